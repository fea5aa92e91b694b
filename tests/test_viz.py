import itertools
import weakref

import fresh_process
import numpy as np
import pytest
import torch
from PIL import Image

from posezoo.images import load_image
from posezoo.skeletons import Skeleton, convert, get_skeleton
from posezoo.viz import (
    CENTRE,
    GRID,
    LEFT,
    PAPER,
    RIGHT,
    VIEWS,
    contact_sheet,
    draw_attention,
    draw_heatmaps,
    draw_keypoints,
    draw_pose3d,
    heatmap_grid,
    pose3d_bounds,
    pose3d_pictures,
    save_gif,
)

GREY = 90
STICK = Skeleton("stick", ("head", "left_hand", "right_hand"), bones=((0, 1), (0, 2), (1, 2)))
POSE = np.array([[60.0, 20.0], [30.0, 80.0], [90.0, 80.0]])


def _grey(height: int = 100, width: int = 120) -> np.ndarray:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def _changed(picture: np.ndarray) -> np.ndarray:
    """`(H, W)` mask of the pixels that are no longer grey."""
    return (picture != GREY).any(axis=-1)


def _box_of_changes(picture: np.ndarray) -> tuple[int, int, int, int]:
    y, x = np.nonzero(_changed(picture))
    return x.min(), y.min(), x.max(), y.max()


def test_keypoints_and_bones_have_the_colour_of_their_side():
    picture = draw_keypoints(_grey(), POSE, STICK)
    for (x, y), colour in zip(POSE.astype(int), (CENTRE, LEFT, RIGHT), strict=True):
        assert tuple(picture[y, x]) == colour
    assert tuple(picture[50, 45]) == LEFT  # middle of head - left hand
    assert tuple(picture[50, 75]) == RIGHT
    assert tuple(picture[80, 60]) == CENTRE  # between the two sides
    assert len({LEFT, RIGHT, CENTRE}) == 3


def test_only_the_surroundings_of_the_pose_change():
    picture = draw_keypoints(_grey(), POSE, STICK)
    assert picture.shape == (100, 120, 3)
    assert picture.dtype == np.uint8
    x1, y1, x2, y2 = _box_of_changes(picture)
    assert 24 <= x1 < 30 < 90 < x2 <= 96
    assert 14 <= y1 < 20 < 80 < y2 <= 86
    assert not _changed(picture)[45:55, 55:65].any()  # inside the triangle
    assert _changed(picture).mean() < 0.1


def test_a_dot_lies_around_the_centre_of_its_pixel():
    changed = _changed(draw_keypoints(_grey(), [[40.0, 30.0]], ["tip"], radius=4))
    y, x = np.nonzero(changed)
    assert (x.mean(), y.mean()) == (40, 30)
    for mirrored in (changed[30 - 8 : 30 + 9, 40 - 8 : 40 + 9][::-1], changed[22:39, 32:49].T):
        np.testing.assert_array_equal(mirrored, changed[22:39, 32:49])


def test_a_quarter_pixel_moves_the_picture():
    dots = [draw_keypoints(_grey(), [[x, 30.0]], ["tip"]) for x in (40.0, 40.25)]
    assert not np.array_equal(*dots)


def test_lines_have_the_width_asked_for_and_soft_edges():
    ends = np.array([[10.0, 50.0], [110.0, 50.0]])
    bone = Skeleton("bone", ("a", "b"), bones=((0, 1),))
    column = draw_keypoints(_grey(), ends, bone, line_width=9, radius=1)[:, 60].astype(int)
    assert (column == CENTRE).all(axis=-1).sum() == 9
    slanted = draw_keypoints(_grey(), [[10, 40], [110, 57]], bone, line_width=9, radius=1)
    assert len(np.unique(slanted.reshape(-1, 3), axis=0)) > 20


def test_a_long_slanted_line_is_without_gaps():  # strokes are painted in bands of rows
    bone = Skeleton("bone", ("a", "b"), bones=((0, 1),))
    for ends in ([[5, 5], [395, 295]], [[395, 5], [5, 295]], [[200, -3000], [210, 3000]], [[-4000, 20], [4000, 40]]):
        ends = np.array(ends, dtype=float)
        picture = draw_keypoints(_grey(300, 400), ends, bone, line_width=5)
        along = ends[0] + np.linspace(0.05, 0.95, 20001)[:, None] * (ends[1] - ends[0])
        inside = ((along >= 0) & (along <= (399, 299))).all(axis=-1)
        x, y = np.rint(along[inside]).astype(int).T
        assert inside.sum() > 500
        assert (picture[y, x] == CENTRE).all()
        normal = np.array([ends[0, 1] - ends[1, 1], ends[1, 0] - ends[0, 0]]) / np.linalg.norm(ends[1] - ends[0])
        for side in (-12, 12):
            x, y = np.rint(along[inside] + side * normal).astype(int).T
            beside = (x >= 0) & (y >= 0) & (x < 400) & (y < 300)
            assert not _changed(picture)[y[beside], x[beside]].any()


@pytest.mark.parametrize("ends", [[[5, 5], [395, 295]], [[390, 60], [-50, 75]], [[200, 260], [203, 10]]])
def test_a_line_covers_pixels_within_its_distance(ends):
    bone = Skeleton("bone", ("a", "b"), bones=((0, 1),))
    picture = draw_keypoints(_grey(300, 400), ends, bone, line_width=20, radius=1)
    start, along = np.array(ends[0]), np.subtract(ends[1], ends[0])
    pixels = np.stack(np.meshgrid(np.arange(400), np.arange(300)), axis=-1) - start
    nearest = np.clip(pixels @ along / (along @ along), 0, 1)[..., None] * along
    distance = np.linalg.norm(pixels - nearest, axis=-1)
    near_ends = np.minimum(*(np.linalg.norm(pixels + start - end, axis=-1) for end in ends)) < 8
    assert ((picture == CENTRE).all(axis=-1) | near_ends)[distance < 9.5].all()
    assert not (picture == CENTRE).all(axis=-1)[distance > 10.5].any()
    assert _changed(picture)[distance < 16.4].all()  # half a width of 10, a rim of 6, half a pixel of softness
    assert not _changed(picture)[distance > 16.5].any()


def test_default_widths_follow_the_image_and_the_person():
    def count(scale: float, size: int) -> int:
        picture = draw_keypoints(_grey(size, size), (POSE - (60, 50)) * scale + size / 2, STICK)
        return int((picture == LEFT).all(axis=-1).sum())

    assert count(8, 1000) > 30 * count(1, 125)  # everything 8 times larger: 64 times the area
    # a person 8 times smaller in the same picture gets thinner lines, not only shorter ones
    assert count(1, 1000) < count(8, 1000) / 16


@pytest.mark.parametrize("low", [0.29, float("nan"), -1.0])
def test_a_low_score_hides_the_keypoint_and_its_bones(low):
    everything = draw_keypoints(_grey(), POSE, STICK, scores=[0.9, 0.6, 0.9])
    hidden = draw_keypoints(_grey(), POSE, STICK, scores=[0.9, low, 0.9])
    np.testing.assert_array_equal(everything, draw_keypoints(_grey(), POSE, STICK))
    assert not (hidden == LEFT).all(axis=-1).any()
    assert not _changed(hidden)[:, :50].any()
    assert tuple(hidden[50, 75]) == RIGHT
    assert (draw_keypoints(_grey(), POSE, STICK, scores=[0.9, 0.4, 0.9], threshold=0.45) == hidden).all()
    assert not _changed(draw_keypoints(_grey(), POSE, STICK, scores=[0, 0, 0])).any()


def test_unsure_keypoints_are_faint():
    sure = draw_keypoints(_grey(), POSE, STICK, scores=[0.9, 0.9, 0.9])
    faint = draw_keypoints(_grey(), POSE, STICK, scores=[0.9, 0.3, 0.9])
    x, y = POSE[1].astype(int)
    assert tuple(sure[y, x]) == LEFT
    distance = np.abs(faint[y, x].astype(int) - GREY).sum()
    assert 0 < distance < np.abs(np.array(LEFT) - GREY).sum()
    assert (faint[50, 75] == sure[50, 75]).all()  # the other arm


def test_names_and_the_legend_are_written():
    plain = draw_keypoints(_grey(300, 400), 3 * POSE, STICK)
    named = draw_keypoints(_grey(300, 400), 3 * POSE, STICK, names=True)
    legend = draw_keypoints(_grey(300, 400), 3 * POSE, STICK, legend=True)
    added = (named != plain).any(axis=-1)
    for x, y in 3 * POSE.astype(int):
        assert added[y - 12 : y + 12, x : x + 90].any()
    corner = (legend != plain).any(axis=-1)
    assert corner[-60:, :150].any()
    assert not corner[:200].any()
    one = draw_keypoints(_grey(300, 400), [[9.0, 9.0]], ["left_hand"], legend=True)
    assert not (one == RIGHT).all(axis=-1).any()  # only colours that are used


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_points_that_are_nowhere_are_left_out(value):
    pose = POSE.copy()
    pose[1, 0] = value
    expected = draw_keypoints(_grey(), POSE, STICK, scores=[1, 0, 1])
    np.testing.assert_array_equal(draw_keypoints(_grey(), pose, STICK), expected)


def test_points_outside_the_image_are_fine():
    bone = Skeleton("bone", ("a", "b"), bones=((0, 1),))
    crossing = draw_keypoints(_grey(), [[-500, 50], [900, 50]], bone)
    assert (crossing[50] == CENTRE).all()
    assert not _changed(draw_keypoints(_grey(), [[-50, -50], [-20, 500]], bone)).any()


def test_the_mask_of_a_conversion_hides_absent_keypoints():
    pose, valid = convert(np.full((17, 2), 60.0), "coco17", "mpii16")
    changed = _changed(draw_keypoints(_grey(), pose, "mpii16", scores=valid))
    assert changed[60, 60]
    assert not changed[:10, :10].any()  # invalid points are (0, 0)


def test_every_person_is_drawn():
    people = np.stack([POSE * 0.4, POSE * 0.4 + (65, 50)])
    both = _changed(draw_keypoints(_grey(), people, STICK))
    alone = [_changed(draw_keypoints(_grey(), person, STICK)) for person in people]
    np.testing.assert_array_equal(both, alone[0] | alone[1])
    assert not (alone[0] & alone[1]).any()
    second = draw_keypoints(_grey(), people, STICK, scores=[[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(_changed(second), alone[1])
    assert not _changed(draw_keypoints(_grey(), np.zeros((0, 3, 2)), STICK, scores=np.zeros((0, 3)))).any()


def test_boxes_are_frames():
    changed = _changed(draw_keypoints(_grey(), np.zeros((0, 3, 2)), STICK, boxes=[[20, 30, 100, 70]]))
    frame = [*((x, y) for x in (20, 60, 100) for y in (30, 70)), (20, 50), (100, 50)]
    assert all(changed[y, x] for x, y in frame)
    assert not changed[36:64, 26:94].any()
    assert not changed[:24].any()
    single = _changed(draw_keypoints(_grey(), np.zeros((0, 3, 2)), STICK, boxes=torch.tensor([20, 30, 100, 70])))
    np.testing.assert_array_equal(single, changed)


@pytest.mark.parametrize("name", ["coco17", "mpii16", "flic7", "h36m17"])
def test_registered_skeletons_are_drawn(name):
    points = np.random.default_rng(0).uniform(5, 95, (len(get_skeleton(name)), 2))
    picture = draw_keypoints(_grey(), points, name)
    assert all((picture == colour).all(axis=-1).any() for colour in (LEFT, RIGHT, CENTRE))


def test_names_alone_give_dots_without_bones():
    picture = draw_keypoints(_grey(), POSE, list(STICK.keypoints))
    assert tuple(picture[80, 30]) == LEFT
    assert not _changed(picture)[50].any()


def _colourful() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


IMAGES = {
    "uint8 array": lambda image: image,
    "uint8 array, channels first": lambda image: image.transpose(2, 0, 1),
    "float32 array": lambda image: image.astype(np.float32) / 255,
    "float64 array, channels first": lambda image: image.transpose(2, 0, 1) / 255,
    "uint8 tensor": lambda image: torch.from_numpy(image).permute(2, 0, 1),
    "float tensor": lambda image: torch.from_numpy(image).permute(2, 0, 1) / 255,
    "float tensor, channels last": lambda image: torch.from_numpy(image) / 255,
    "tensor with gradient": lambda image: (torch.from_numpy(image).permute(2, 0, 1) / 255).requires_grad_(),
    "PIL image": Image.fromarray,
    "PIL image with alpha": lambda image: Image.fromarray(image).convert("RGBA"),
}


@pytest.mark.parametrize("kind", list(IMAGES))
def test_every_kind_of_image_is_drawn_on_and_left_alone(kind):
    image = IMAGES[kind](_colourful())
    before = image.detach().clone() if isinstance(image, torch.Tensor) else image.copy()
    heatmaps = np.zeros((1, 10, 10))
    heatmaps[0, 5, 5] = 1
    nowhere = np.full((3, 2), np.nan)
    np.testing.assert_array_equal(draw_keypoints(image, nowhere, STICK), _colourful())
    np.testing.assert_array_equal(draw_heatmaps(image, heatmaps, alpha=0), _colourful())
    for draw in (
        lambda: draw_keypoints(image, POSE * 0.3, STICK, boxes=[1, 1, 20, 20]),
        lambda: draw_heatmaps(image, heatmaps),
        lambda: heatmap_grid(image, heatmaps, ["tip"]),
    ):
        picture = draw()
        assert picture.shape == (40, 50, 3)
        assert picture.dtype == np.uint8
        assert (picture != _colourful()).any()
        picture[:] = 7  # the result is ours: writable, and not a view of the input
        unchanged = torch.equal(image, before) if isinstance(image, torch.Tensor) else np.array_equal(image, before)
        assert unchanged


def test_half_precision_and_grey_pil_images():
    image = torch.full((3, 8, 9), 0.5, dtype=torch.bfloat16)
    assert draw_keypoints(image, np.full((3, 2), np.nan), STICK).tolist() == np.full((8, 9, 3), 128).tolist()
    grey = Image.fromarray(_colourful()[..., 0])
    picture = draw_keypoints(grey, np.full((3, 2), np.nan), STICK)
    np.testing.assert_array_equal(picture, np.repeat(_colourful()[..., :1], 3, axis=-1))


def test_images_are_loaded_as_for_predict(tmp_path):
    """Files, 16 bits, grey and alpha give the pixels of `posezoo.images`."""
    nowhere = np.full((3, 2), np.nan)
    colours, alpha = _colourful(), np.where(_colourful()[..., :1] > 100, 255, 51).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "photo.png")
    deep = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    for image in (tmp_path / "photo.png", deep, colours[..., 0], np.concatenate([colours, alpha], axis=-1)):
        expected = (load_image(image) * 255).round().byte().movedim(0, -1).numpy()
        np.testing.assert_array_equal(draw_keypoints(image, nowhere, STICK), expected)


def test_floats_may_overshoot_a_little():
    image = np.array([[[-0.04, 0.5, 1.04]]])
    assert draw_keypoints(image, np.full((3, 2), np.nan), STICK).tolist() == [[[0, 128, 255]]]


def test_where_both_layouts_fit_tensors_have_channels_first():
    image = _colourful()[:3]  # (3, 50, 3)
    nowhere = np.full((3, 2), np.nan)
    assert draw_keypoints(image, nowhere, STICK).shape == (3, 50, 3)
    assert draw_keypoints(torch.from_numpy(image.copy()), nowhere, STICK).shape == (50, 3, 3)


def test_keypoints_and_scores_may_be_tensors():
    pose = torch.from_numpy(POSE).float().requires_grad_()
    picture = draw_keypoints(_grey(), pose, STICK, scores=torch.ones(3, dtype=torch.bfloat16))
    np.testing.assert_array_equal(picture, draw_keypoints(_grey(), POSE, STICK))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 9, 2), np.uint8), r"grey, RGB or RGBA, got shape \(8, 9, 2\)"),
        (np.zeros((0, 9, 3), np.uint8), r"\(0, 9, 3\)"),
        (torch.zeros(2, 3, 8, 9), r"batch of shape \(2, 3, 8, 9\); draw image\[i\]"),
        (np.zeros((8, 9, 3), np.int64), r"uint8, or of floats in \[0, 1\], got int64"),
        (np.full((8, 9, 3), 200.0), "200 to 200; divide"),
        (torch.full((3, 8, 9), -2.1), "-2.1 to -2.1.*leave normalisation"),
        (np.full((8, 9, 3), 1.06), r"1.06 to 1.06"),
        (np.full((8, 9, 3), np.nan), "NaN or infinite"),
        ([[0, 0, 0]], "got list"),
        ("photo.jpg", "photo.jpg: there is no such image"),
    ],
)
def test_images_that_cannot_be_drawn_on_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        draw_keypoints(image, POSE, STICK)
    with pytest.raises(ValueError, match=message):
        draw_heatmaps(image, np.zeros((1, 4, 4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keypoints": np.zeros((17, 2))}, r"\(3, 2\) or \(N, 3, 2\).*'stick'; got \(17, 2\)"),
        ({"keypoints": np.zeros((3, 3))}, r"got \(3, 3\)"),
        ({"keypoints": np.zeros((1, 2, 3, 2))}, r"got \(1, 2, 3, 2\)"),
        ({"scores": np.zeros(2)}, r"scores must be \(3,\) or \(N, 3\).*got \(2,\)"),
        ({"scores": np.zeros((2, 3))}, "keypoints of 1 people and scores of 2"),
        ({"boxes": [1, 2, 3]}, r"boxes must be \(4,\) or \(N, 4\)"),
        ({"boxes": [1, 2, np.nan, 4]}, "boxes must be finite"),
        ({"line_width": 0}, "line_width must be a positive"),
        ({"radius": float("nan")}, "radius must be a positive"),
        ({"skeleton": "coco"}, "Did you mean 'coco17'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_keypoints(_grey(), **{"keypoints": POSE, "skeleton": STICK, **arguments})


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_a_heatmap_peak_lies_on_its_cell_times_the_stride(stride, make):
    heatmaps = np.zeros((3, 12, 16))
    heatmaps[1, 7, 10] = 0.3
    black = np.zeros((12 * stride, 16 * stride, 3), dtype=np.uint8)
    brightness = draw_heatmaps(black, make(heatmaps)).sum(axis=-1)
    assert np.unravel_index(brightness.argmax(), brightness.shape) == (7 * stride, 10 * stride)
    lit_y, lit_x = np.nonzero(brightness)  # a linear tent, one stride to each side
    assert (lit_x.min(), lit_x.max()) == (10 * stride - stride + 1, 10 * stride + stride - 1)
    assert (lit_y.min(), lit_y.max()) == (7 * stride - stride + 1, 7 * stride + stride - 1)


def test_strides_may_differ_by_axis_and_be_fractions():
    heatmap = np.zeros((10, 10))
    heatmap[4, 6] = 1
    brightness = draw_heatmaps(np.zeros((25, 80, 3), np.uint8), heatmap).sum(axis=-1)
    assert np.unravel_index(brightness.argmax(), brightness.shape) == (10, 48)


def test_overlay_agrees_with_the_drawn_keypoint():
    heatmaps = np.zeros((1, 25, 30))
    heatmaps[0, 10, 20] = 1
    heat = draw_heatmaps(_grey(), heatmaps)
    dot = draw_keypoints(_grey(), [[80.0, 40.0]], ["tip"])
    for picture in (heat, dot):
        y, x = np.nonzero(_changed(picture))
        assert (x.mean(), y.mean()) == (80, 40)


def test_heatmap_colours_rise_from_violet_to_yellow_and_all_keypoints_show():
    heatmaps = np.zeros((3, 10, 12))
    heatmaps[0, 2, 2], heatmaps[1, 5, 5], heatmaps[2, 8, 8] = 0.05, 0.1, 0.2
    picture = draw_heatmaps(np.zeros((100, 120, 3), np.uint8), heatmaps, alpha=1).astype(int)
    low, middle, high = (picture[cell * 10, cell * 10] for cell in (2, 5, 8))
    assert low.sum() < middle.sum() < high.sum()
    assert high.tolist() == [252, 250, 160]
    assert low[0] < 90 < low[0] + low[2]


def test_one_certain_keypoint_outshines_many_doubtful_ones():
    heatmaps = np.zeros((5, 10, 12))
    heatmaps[0, 2, 2] = 1
    heatmaps[:, 7, 7] = 0.6
    picture = draw_heatmaps(np.zeros((100, 120, 3), np.uint8), heatmaps).astype(int)
    assert picture[20, 20].sum() > picture[70, 70].sum() > 0


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_empty_heatmaps_change_nothing(value):
    assert not _changed(draw_heatmaps(_grey(), np.full((2, 25, 30), value))).any()


def test_negative_values_change_nothing_around_a_peak():
    heatmaps = np.full((1, 25, 30), -0.5)
    heatmaps[0, 10, 10] = 1
    changed = _changed(draw_heatmaps(_grey(), heatmaps))
    assert changed[40, 40]
    assert not changed[:30].any()


@pytest.mark.parametrize(
    ("heatmaps", "alpha", "message"),
    [
        (np.zeros((2, 17, 4, 4)), 0.5, r"\(K, h, w\) of one image, got \(2, 17, 4, 4\)"),
        (np.zeros((0, 4, 4)), 0.5, r"got \(0, 4, 4\)"),
        (np.zeros(4), 0.5, r"got \(4,\)"),
        (np.full((1, 4, 4), np.nan), 0.5, "finite"),
        (np.zeros((1, 4, 4)), 1.5, r"alpha must be in \[0, 1\], got 1.5"),
        (np.zeros((1, 4, 4)), float("nan"), r"alpha must be in \[0, 1\]"),
    ],
)
def test_heatmaps_that_do_not_fit_are_refused(heatmaps, alpha, message):
    with pytest.raises(ValueError, match=message):
        draw_heatmaps(_grey(), heatmaps, alpha=alpha)
    with pytest.raises(ValueError, match=message):
        heatmap_grid(_grey(), heatmaps, alpha=alpha)


def test_the_grid_holds_one_tile_per_keypoint():
    heatmaps = np.zeros((5, 25, 30))
    for i in range(5):
        heatmaps[i, 10, 4 + 4 * i] = i + 1
    sheet = heatmap_grid(_grey(), heatmaps)
    assert sheet.shape == (200, 360, 3)
    for i, (row, column) in enumerate(itertools.islice(itertools.product(range(2), range(3)), 5)):
        tile = sheet[row * 100 : row * 100 + 100, column * 120 : column * 120 + 120]
        np.testing.assert_array_equal(tile, draw_heatmaps(_grey(), heatmaps[i]))
    assert not sheet[100:, 240:].any()


def test_the_grid_writes_names_in_the_corners():
    heatmaps = np.zeros((3, 25, 30))
    plain, named = heatmap_grid(_grey(), heatmaps), heatmap_grid(_grey(), heatmaps, STICK)
    written = (plain != named).any(axis=-1)
    for row, column in ((0, 0), (0, 1), (1, 0)):
        tile = written[row * 100 : row * 100 + 100, column * 120 : column * 120 + 120]
        assert tile[:20].any()
        assert not tile[20:].any()
    np.testing.assert_array_equal(heatmap_grid(_grey(), heatmaps, list(STICK.keypoints)), named)
    with pytest.raises(ValueError, match="17 names for 3 heatmaps"):
        heatmap_grid(_grey(), heatmaps, "coco17")


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_attention_lies_on_the_block_of_pixels_its_cell_stands_for(make):
    weights = np.zeros((3, 6, 8))
    weights[0, 2, 5] = weights[1, 0, 0] = weights[2, 5, 7] = 0.4
    sheet = draw_attention(np.zeros((96, 128, 3), np.uint8), make(weights)).sum(axis=-1).astype(float)
    assert sheet.shape == (192, 256)
    tiles = (sheet[:96, :128], sheet[:96, 128:], sheet[96:, :128])
    for tile, (row, column) in zip(tiles, ((2, 5), (0, 0), (5, 7)), strict=True):
        brightest = np.argwhere(tile == tile.max())
        # for the inner cell the four pixels around its middle; at the corners it stays bright up to the edge
        assert brightest.mean(axis=0) == pytest.approx([16 * row + 7.5, 16 * column + 7.5], abs=4.5 * (row != 2))
        y, x = np.nonzero(tile)
        assert (abs(y - 16 * row - 7.5) < 16).all()
        assert (abs(x - 16 * column - 7.5) < 16).all()
    assert not sheet[96:, 128:].any()


def test_attention_of_a_mirrored_image_is_the_mirrored_picture():
    weights = np.random.default_rng(0).random((2, 6, 8))
    black = np.zeros((96, 128, 3), np.uint8)
    picture, mirrored = draw_attention(black, weights), draw_attention(black, weights[..., ::-1])
    for tile in (slice(0, 128), slice(128, 256)):
        np.testing.assert_array_equal(picture[:, tile][:, ::-1], mirrored[:, tile])


def test_attention_shows_each_prediction_on_its_own_tile():
    weights, points = np.zeros((2, 5, 6)), np.array([[30.0, 40.0], [90.0, 60.0]])
    sheet = draw_attention(_grey(), weights, keypoints=points)
    for (x, y), tile in zip(points.astype(int), (sheet[:, :120], sheet[:, 120:]), strict=True):
        found_y, found_x = np.nonzero(_changed(tile))
        assert (found_x.mean(), found_y.mean()) == (x, y)
    named = draw_attention(_grey(), weights, ["tip", "tail"], keypoints=points)
    assert (named != sheet).any(axis=-1)[:20].any()
    with pytest.raises(ValueError, match="3 names for 2 heatmaps"):
        draw_attention(_grey(), weights, STICK)
    with pytest.raises(ValueError, match=r"keypoints must be \(2, 2\).*got \(3, 2\)"):
        draw_attention(_grey(), weights, keypoints=POSE)
    with pytest.raises(ValueError, match=r"one person.*got 3 people"):
        draw_attention(_grey(), weights, keypoints=np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match=r"of one image, got \(2, 16, 5, 6\)"):
        draw_attention(_grey(), np.zeros((2, 16, 5, 6)))


def test_importing_does_not_import_pil_or_matplotlib():
    code = "import sys, posezoo.viz, posezoo.skeletons; print({'PIL', 'matplotlib', 'timm'} & set(sys.modules))"
    assert fresh_process.run(code).strip() == "set()"


# ---------------------------------------------------------------------------------------------------------------------
# In 3D

ARMS = Skeleton("arms", ("middle", "left_hand", "right_hand"), bones=((0, 1), (0, 2)))
BOUNDS = np.array([[-1000, -1000, -1000], [1000, 1000, 1000.0]])


def _place(picture, colour):
    """`(x, y)`: the middle of what has that colour, and how much there is."""
    y, x = np.nonzero((picture == colour).all(axis=-1))
    return (x.mean(), y.mean()), len(x)


@pytest.mark.parametrize(
    ("view", "place"),
    [  # of x = 400 mm (to the right), y = 600 (down), z = -800 (towards the camera), in metres from the middle
        ("front", (0.4, 0.6)),  # x right, y down
        ("side", (-0.8, 0.6)),  # the camera is on the left, so what is near to it lies left
        ("top", (0.4, 0.8)),  # the camera is below
    ],
)
@pytest.mark.parametrize("size", [100, 101, 256])
def test_a_joint_is_where_it_should_be_in_each_view(view, place, size):
    tip = Skeleton("tip", ("left_hand",))
    picture = draw_pose3d([[400.0, 600, -800]], tip, views=[view], size=size, bounds=BOUNDS)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    middle, count = _place(picture, LEFT)
    np.testing.assert_allclose(middle, (size - 1) / 2 + 0.42 * size * np.array(place), atol=0.75)
    assert 0 < count < (0.06 * size) ** 2 + 9


def test_the_views_stand_side_by_side():
    pose = np.array([[0, 0, 0], [400, -300, 200], [-400, 300, -600.0]])
    together = draw_pose3d(pose, ARMS, size=80)
    assert together.shape == (80, 240, 3)
    for number, view in enumerate(("front", "side", "top")):
        alone = draw_pose3d(pose, ARMS, size=80, views=[view])
        np.testing.assert_array_equal(together[:, 80 * number : 80 * number + 80], alone)
    np.testing.assert_array_equal(together, draw_pose3d(torch.from_numpy(pose), ARMS, size=80))


@pytest.mark.parametrize("view", VIEWS)
def test_left_and_right_have_their_colours_in_3d(view):
    pose = np.array([[0, 0, 0], [700, 700, -700], [-700, -700, 700.0]])
    picture = draw_pose3d(pose, ARMS, size=200, views=[view], bounds=BOUNDS)
    (left, _), (right, _) = _place(picture, LEFT), _place(picture, RIGHT)
    axes = {"front": (1, 1), "side": (-1, 1), "top": (1, 1)}[view]  # where the left hand lies
    assert (np.sign(np.subtract(left, right)) == axes).all()
    assert tuple(picture[100, 100]) in (CENTRE, LEFT, RIGHT)


@pytest.mark.parametrize(("view", "axis"), [("front", 2), ("side", 0), ("top", 1)])
def test_near_limbs_cover_far_limbs(view, axis):
    """Two bones that cross in the middle of the view."""
    near = {"front": -1, "side": 1, "top": -1}[view]  # nearest to the viewer is: small z, large x, small y
    cross = Skeleton("cross", ("left_a", "left_b", "right_a", "right_b"), bones=((0, 1), (2, 3)))
    others = [k for k in range(3) if k != axis]
    for left_is_near in (True, False):
        pose = np.zeros((4, 3))
        pose[0, others], pose[1, others] = (-500, -500), (500, 500)
        pose[2, others], pose[3, others] = (-500, 500), (500, -500)
        pose[:2, axis] = 300 * near if left_is_near else -300 * near
        picture = draw_pose3d(pose, cross, size=101, views=[view], bounds=BOUNDS)
        assert tuple(picture[50, 50]) == (LEFT if left_is_near else RIGHT)


def test_the_pose_fills_the_view_and_bounds_fix_the_scale():
    pose = np.array([[0, 0, 0], [300, -100, 200], [-300, 500, 100.0]])
    np.testing.assert_array_equal(pose3d_bounds(pose), [[-300, -100, 0], [300, 500, 200]])
    for scale in (0.01, 1, 50):  # whatever the size of the person
        (left, _), (right, _) = (_place(draw_pose3d(scale * pose, ARMS, views=["front"]), c) for c in (LEFT, RIGHT))
        assert left[0] > 170
        assert right[0] < 86
        assert right[1] - left[1] > 100
    near, far = (draw_pose3d(pose, ARMS, views=["front"], bounds=factor * BOUNDS) for factor in (1, 4))
    assert _place(near, LEFT)[0][0] - 127.5 > 2 * (_place(far, LEFT)[0][0] - 127.5)


def test_the_grid_has_lines_every_half_metre():
    picture = draw_pose3d(np.full((1, 3), np.nan), ["tip"], size=200, views=["front"], bounds=BOUNDS)
    columns = np.flatnonzero((picture[150] == GRID).all(axis=-1))
    rows = np.flatnonzero((picture[:, 150] == GRID).all(axis=-1))
    np.testing.assert_array_equal(columns, rows)
    np.testing.assert_allclose(np.diff(columns), 0.42 * 200 / 2, atol=1)
    assert np.abs(columns - 99.5).min() <= 0.5  # through the root
    huge = draw_pose3d(np.full((1, 3), np.nan), ["tip"], size=200, views=["front"], bounds=1000 * BOUNDS)
    assert 2 <= (huge[150] == GRID).all(axis=-1).sum() <= 13


def test_points_that_are_nowhere_are_left_out_in_3d():
    pose = np.array([[0, 0, 0], [300, -100, 200], [np.nan, 500, 100.0]])
    picture = draw_pose3d(pose, ARMS)
    assert (picture == LEFT).all(axis=-1).any()
    assert not (picture == RIGHT).all(axis=-1).any()
    for value in (np.inf, -np.inf, 1e300):
        pose[2, 0] = value
        np.testing.assert_array_equal(draw_pose3d(pose, ARMS), picture)
    assert draw_pose3d(np.full((3, 3), np.nan), ARMS).shape == (256, 768, 3)
    assert pose3d_bounds(np.full((3, 3), np.nan)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert draw_pose3d(np.zeros((3, 3)), ARMS).shape == (256, 768, 3)


def test_two_people_in_one_view():
    pose = np.array([[0, 0, 0], [200, -100, 200], [-200, 100, 100.0]])
    both = draw_pose3d(np.stack([pose, pose + 800]), ARMS, views=["front"], bounds=BOUNDS)
    for person in (pose, pose + 800):
        alone = draw_pose3d(person, ARMS, views=["front"], bounds=BOUNDS)
        where = (alone == LEFT).all(axis=-1)
        assert (both[where] == LEFT).all()


@pytest.mark.parametrize("name", ["h36m17", "humaneva15", "humaneva14", "coco17"])
def test_registered_skeletons_are_drawn_in_3d(name):
    pose = np.random.default_rng(0).uniform(-900, 900, (len(get_skeleton(name)), 3))
    picture = draw_pose3d(pose, name)
    assert all((picture == colour).all(axis=-1).any() for colour in (LEFT, RIGHT, CENTRE))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pose3d": np.zeros((3, 2))}, r"pose3d must be \(3, 3\) or \(N, 3, 3\).*got \(3, 2\)"),
        ({"pose3d": np.zeros((17, 3))}, r"got \(17, 3\)"),
        ({"views": ["back"]}, "views: expected some of front, side, top, got 'back'"),
        ({"views": []}, "got none"),
        ({"size": 8}, "size: expected a whole number of pixels, 16 or more, got 8"),
        ({"size": 99.5}, "got 99.5"),
        ({"bounds": np.zeros((3, 2))}, r"bounds must be \(2, 3\)"),
        ({"bounds": -BOUNDS}, "the lowest and the highest"),
        ({"bounds": np.full((2, 3), np.nan)}, r"bounds must be \(2, 3\)"),
        ({"skeleton": "h36m"}, "Did you mean .*'h36m17'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_3d(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_pose3d(**{"pose3d": np.zeros((3, 3)), "skeleton": ARMS, **arguments})
    with pytest.raises(ValueError, match=r"poses must be \(\.\.\., K, 3\)"):
        pose3d_bounds(np.zeros((3, 2)))


def _walk(frames=6):
    pose = np.array([[0, 0, 0], [200, -100, 200], [-200, 100, 100.0]])
    return np.stack([pose * (1 + 0.4 * frame) for frame in range(frames)])


def test_all_frames_have_one_scale():
    walk = _walk()
    pictures = list(pose3d_pictures(walk, ARMS, size=64))
    assert len(pictures) == 6
    for pose, picture in zip(walk, pictures, strict=True):
        np.testing.assert_array_equal(picture, draw_pose3d(pose, ARMS, size=64, bounds=pose3d_bounds(walk)))
    fixed = next(pose3d_pictures(walk, ARMS, size=64, views=["top"], bounds=BOUNDS))
    np.testing.assert_array_equal(fixed, draw_pose3d(walk[0], ARMS, size=64, views=["top"], bounds=BOUNDS))


def test_frames_are_drawn_one_at_a_time():
    asked = []

    def images():
        for number in range(6):
            asked.append(number)
            yield np.full((30, 20, 3), 40 * number, np.uint8)

    pictures = pose3d_pictures(_walk(), ARMS, size=60, images=images())
    assert asked == []
    for number in range(3):
        picture = next(pictures)
        assert picture.shape == (60, 240, 3)
        assert (picture[:, 12:48] == 40 * number).all()  # 40 x 60 in the middle of the square
        assert (picture[:, :9] == PAPER).all()
        assert asked == list(range(number + 1))


@pytest.mark.parametrize("count", [5, 7])
def test_images_that_do_not_fit_the_poses(count):
    images = [np.zeros((9, 9, 3), np.uint8)] * count
    with pytest.raises(ValueError, match=f"got {'5 images for 6' if count == 5 else 'more images than 6'} poses"):
        list(pose3d_pictures(_walk(), ARMS, size=32, images=images))
    with pytest.raises(ValueError, match=r"poses must be \(T, K, 3\).*got \(3, 3\)"):
        pose3d_pictures(_walk()[0], ARMS)


def test_a_contact_sheet():
    tiles = [np.full((20, 30, 3), 40 * number, np.uint8) for number in range(5)]
    sheet = contact_sheet(tiles)
    assert sheet.shape == (40, 90, 3)
    for number, (row, column) in enumerate(itertools.islice(itertools.product(range(2), range(3)), 5)):
        assert (sheet[20 * row : 20 * row + 20, 30 * column : 30 * column + 30] == 40 * number).all()
    named = contact_sheet([Image.fromarray(tile) for tile in tiles], list("abcde"))
    assert (named != sheet).any()
    assert (named != sheet)[20:, 60:].sum() == 0
    np.testing.assert_array_equal(contact_sheet(iter(tiles[:1])), tiles[0])
    assert contact_sheet(tiles, columns=2).shape == (60, 60, 3)
    assert contact_sheet(tiles, columns=8).shape == (20, 240, 3)
    with pytest.raises(ValueError, match="columns: expected a whole number, 1 or more, got 0"):
        contact_sheet(tiles, columns=0)
    with pytest.raises(ValueError, match="of one size with a label each, got 0 pictures and 0 labels"):
        contact_sheet([])
    with pytest.raises(ValueError, match="got 2 pictures of 20 x 30, 30 x 20 and 2 labels"):
        contact_sheet([tiles[0], tiles[0].transpose(1, 0, 2)])
    with pytest.raises(ValueError, match="got 5 pictures of 30 x 20 and 2 labels"):
        contact_sheet(tiles, ["a", "b"])


def _frames(path):
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            yield image.info["duration"], np.asarray(image.convert("RGB")).astype(int)


def test_a_gif_has_every_frame(tmp_path):
    pictures = list(pose3d_pictures(_walk(9), ARMS, size=64))
    assert save_gif(tmp_path / "walk.gif", pictures, fps=20) == tmp_path / "walk.gif"
    frames = list(_frames(tmp_path / "walk.gif"))
    assert len(frames) == 9
    for (duration, frame), picture in zip(frames, pictures, strict=True):
        assert duration == 50
        assert np.abs(frame - picture).max() < 50  # 256 colours
        assert np.abs(frame - picture).mean() < 2
    assert Image.open(tmp_path / "walk.gif").info["loop"] == 0  # for ever
    assert [path.name for path in tmp_path.iterdir()] == ["walk.gif"]


def test_a_gif_of_a_motionless_person(tmp_path):
    """Repeated frames need not be there, but their time."""
    save_gif(tmp_path / "still.gif", [_grey()] * 7)
    assert sum(duration for duration, _ in _frames(tmp_path / "still.gif")) == 280


def test_a_gif_of_photographs(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    save_gif(tmp_path / "noise.gif", list(torch.from_numpy(pictures).permute(0, 3, 1, 2)))
    for (_, frame), picture in zip(_frames(tmp_path / "noise.gif"), pictures, strict=True):
        assert np.abs(frame - picture).mean() < 20


@pytest.mark.parametrize(
    ("fps", "durations"),
    [(50, [20] * 6), (30, [30, 40, 30, 30, 40, 30]), (60, [20] * 6), (1, [1000] * 6), (8, [120, 130] * 3)],
)
def test_the_speed_of_a_gif(tmp_path, fps, durations):
    save_gif(tmp_path / "a.gif", pose3d_pictures(_walk(), ARMS, size=64), fps=fps)
    found = [duration for duration, _ in _frames(tmp_path / "a.gif")]
    assert abs(sum(found) - sum(durations)) <= 10
    assert found == durations or sorted(found) == sorted(durations)


def test_a_gif_takes_one_picture_at_a_time(tmp_path):
    alive = []

    def pictures():
        for number in range(6):
            picture = np.full((20, 30, 3), 40 * number, np.uint8)
            alive.append(weakref.ref(picture))
            yield picture
            del picture
            assert sum(reference() is not None for reference in alive) <= 1

    save_gif(tmp_path / "a.gif", pictures())
    assert len(alive) == 6


def test_a_gif_is_written_frame_by_frame(tmp_path):
    """Not at the end, from a list of all frames."""
    sizes = []

    def pictures():
        for picture in np.random.default_rng(0).integers(0, 256, (6, 90, 80, 3), dtype=np.uint8):
            yield picture
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))

    save_gif(tmp_path / "a.gif", pictures())
    assert sizes[-1] > 4 * 90 * 80 / 2


@pytest.mark.parametrize("before", [True, False])
def test_no_gif_is_half_done(tmp_path, before):
    file = tmp_path / "a.gif"
    if before:
        file.write_bytes(b"of an earlier call")

    def pictures():
        yield _grey()
        raise OSError("a damaged photograph")

    for wrong, error in ((pictures(), "damaged"), ([_grey(), _grey(50, 50)], "one size"), ([], "at least one picture")):
        with pytest.raises((OSError, ValueError), match=error):
            save_gif(file, wrong)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"of an earlier call"] * before


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_an_invalid_speed_is_refused(tmp_path, fps):
    with pytest.raises(ValueError, match="fps: expected a positive number"):
        save_gif(tmp_path / "a.gif", [_grey()], fps=fps)


def test_gifs_are_the_same_every_time(tmp_path):
    for name in ("a.gif", "b.gif"):
        save_gif(tmp_path / name, pose3d_pictures(_walk(), ARMS, size=64))
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
