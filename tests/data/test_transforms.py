"""Augmentation, by drawing: a dot painted on every keypoint must be where the transformed keypoint
says.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from posezoo.data import PersonCrop, cutout, jitter_colour
from posezoo.data.transforms import half_of_body, truncate
from posezoo.geometry import box_to_crop, crop_matrix, tight_box, transform_points, warp
from posezoo.skeletons import get_skeleton

LSP14 = get_skeleton("lsp14")
SIGMA = 4.0  # pixels, of the dots
EVERYTHING = {"skeleton": LSP14, "scale": 0.3, "rotation": 40, "flip": 0.5, "translation": 0.1, "half_body": 0.4}
OPTIONS = [{name: EVERYTHING[name], "skeleton": LSP14} for name in EVERYTHING if name != "skeleton"] + [EVERYTHING]


def person(seed: int, height: int = 260, width: int = 240) -> dict:
    """A person whose keypoints lie well inside a noisy photograph; two of them are not annotated."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.tensor([80.0, 90.0]) + 80 * torch.rand(14, 2, generator=generator)
    visible = torch.ones(14, dtype=torch.bool)
    visible[torch.randint(14, (2,), generator=generator)] = False
    image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
    return {
        "image": image,
        "keypoints": keypoints,
        "visible": visible,
        "box": tight_box(keypoints, visible),
        "index": seed,
    }


def painted(sample: dict) -> list[dict]:
    """The sample with dots for a picture: five copies with a red, a green and a blue one each, in
    keypoint order.
    """
    height, width = sample["image"].shape[-2:]
    y, x = torch.arange(height)[:, None], torch.arange(width)
    dots = [
        (255 * torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SIGMA**2))).round()
        for px, py in sample["keypoints"].tolist()
    ]
    dots.append(torch.zeros(height, width))
    return [sample | {"image": torch.stack(dots[i : i + 3]).to(torch.uint8)} for i in range(0, 15, 3)]


def find(picture: Tensor) -> tuple[float, float]:
    mass, (y, x) = picture.sum(), (torch.arange(float(n)) for n in picture.shape)
    return float((picture.sum(0) * x).sum() / mass), float((picture.sum(1) * y).sum() / mass)


def apply(transform: PersonCrop, sample: dict, seed: int) -> dict:
    torch.manual_seed(seed)
    return transform(sample)


# -------------------------------------------------------------------------------------------------------- evaluation


def test_without_options_it_is_the_crop_of_geometry():
    sample = person(0)
    out = PersonCrop(size=(64, 48))(sample)
    center, extent = box_to_crop(sample["box"][None], (64, 48))
    matrix = crop_matrix(center, extent, (64, 48))
    assert_close(out["matrix"], matrix[0])
    assert_close(out["image"], warp(sample["image"][None].float() / 255, matrix, (64, 48))[0])
    moved = transform_points(sample["keypoints"], matrix[0])
    assert_close(out["keypoints"][sample["visible"]], moved[sample["visible"]])
    assert out["keypoints"][~sample["visible"]].abs().max() == 0
    assert torch.equal(out["visible"], sample["visible"])


def test_outputs_have_the_documented_shapes():
    sample = person(0)
    before = {key: value.clone() for key, value in sample.items() if isinstance(value, Tensor)}
    out = apply(PersonCrop(size=(64, 48), truncation=0.5, **EVERYTHING), sample, seed=0)
    assert sorted(out) == ["image", "index", "keypoints", "matrix", "visible"]
    assert (out["image"].shape, out["image"].dtype) == ((3, 64, 48), torch.float32)
    assert 0 <= out["image"].min() <= out["image"].max() <= 1
    assert (out["keypoints"].dtype, out["visible"].dtype, out["matrix"].dtype) == (
        torch.float32,
        torch.bool,
        torch.float32,
    )
    assert all(torch.equal(sample[key], value) for key, value in before.items())  # the dataset's own stay as they were


def test_padding_widens_the_view():
    sample = person(0)
    for padding in (1.0, 1.6):
        matrix = PersonCrop(size=(64, 64), padding=padding)(sample)["matrix"]
        side = float((sample["box"][2:] - sample["box"][:2]).max())
        assert float(matrix[0, 0]) == pytest.approx(64 / side / padding, rel=1e-5)


# ------------------------------------------------------------------------------------------------------ augmentation


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(o for o in options if o != "skeleton"))
def test_dots_stay_under_their_keypoints(options):
    transform = PersonCrop(size=(160, 128), padding=2.2, **options)
    checked = mirrored = 0
    for seed in range(8):
        sample = person(seed)
        crops = torch.cat([apply(transform, copy, seed)["image"] for copy in painted(sample)])
        out = apply(transform, sample, seed)
        flipped = bool(torch.linalg.det(out["matrix"][:, :2]) < 0)
        mirrored += flipped
        for keypoint in range(14):
            # what was painted on the left wrist is, in the mirror, a right wrist
            name = LSP14.flip_index[keypoint] if flipped else keypoint
            assert out["visible"][name] == sample["visible"][keypoint]
            x, y = out["keypoints"][name].tolist()
            reach = 4 * SIGMA * float(torch.linalg.det(out["matrix"][:, :2]).abs().sqrt())
            if out["visible"][name] and reach < x < 127 - reach and reach < y < 159 - reach:
                assert find(crops[keypoint]) == pytest.approx((x, y), abs=0.05)
                checked += 1
    assert checked > 30
    assert (0 < mirrored < 8) if "flip" in options else mirrored == 0


def test_mirroring_swaps_left_and_right():
    sample = person(1)
    plain = PersonCrop(size=(64, 64))(sample)
    flipped = PersonCrop(size=(64, 64), skeleton=LSP14, flip=1.0)(sample)
    order = list(LSP14.flip_index)
    mirrored = plain["keypoints"][order]
    mirrored[:, 0] = 64 - mirrored[:, 0]  # about the middle of the crop, at 32
    assert torch.equal(flipped["visible"], plain["visible"][order])
    assert_close(flipped["keypoints"][flipped["visible"]], mirrored[flipped["visible"]])
    assert_close(flipped["image"][..., 1:], plain["image"].flip(-1)[..., :-1], rtol=0, atol=1e-4)


def parts(options: dict, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of many crops: magnification against the plain crop, rotation in degrees, and where the box's
    middle went.
    """
    sample = person(0)
    sample["image"] = sample["image"][:, :8, :8]  # only the matrix matters
    base = PersonCrop(size=(64, 64))(sample)["matrix"]
    middle = (sample["box"][:2] + sample["box"][2:])[None] / 2
    transform = PersonCrop(size=(64, 64), skeleton=LSP14, **options)
    torch.manual_seed(0)
    matrices = torch.stack([transform(sample)["matrix"] for _ in range(count)])
    zoom = torch.linalg.det(matrices[:, :, :2]).abs().sqrt() / float(base[0, 0])
    angle = torch.atan2(matrices[:, 0, 1], matrices[:, 1, 1]) * (180 / math.pi)
    moved = transform_points(middle, matrices)[:, 0]
    return zoom.numpy(), angle.numpy(), moved.numpy()


def test_scale_is_normal_and_clipped():
    zoom, angle, moved = parts({"scale": 0.3})
    extent = 1 / zoom
    assert 0.7 - 1e-4 < extent.min() < 0.71
    assert 1.29 < extent.max() < 1.3 + 1e-4
    assert abs(extent.mean() - 1) < 0.04
    assert 0.18 < extent.std() < 0.25  # 0.21 after clipping at one standard deviation
    assert abs(angle).max() < 1e-3
    assert abs(moved - 32).max() < 1e-3


def test_rotation_is_normal_clipped_and_not_always():
    zoom, angle, moved = parts({"rotation": 30.0})
    assert abs((abs(angle) < 1e-3).mean() - 0.4) < 0.07
    turned = angle[abs(angle) > 1e-3]
    assert 55 < abs(turned).max() < 60.01
    assert abs(turned.mean()) < 6
    assert 24 < turned.std() < 33
    assert abs(zoom - 1).max() < 1e-4
    assert abs(moved - 32).max() < 1e-3


def test_translation_is_uniform_within_its_fraction():
    zoom, _, moved = parts({"translation": 0.1})
    sample = person(0)
    box = (sample["box"][2:] - sample["box"][:2]).numpy()
    shift = (moved - 32) / (64 / box.max() / 1.25) / box  # in boxes
    assert abs(shift).max() <= 0.1 + 1e-4
    assert abs(shift.std(axis=0) - 0.1 / math.sqrt(3)).max() < 0.006
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.15
    assert abs(zoom - 1).max() < 1e-4


def test_flip_and_half_body_have_their_probabilities():
    sample = person(0)
    sample["image"] = sample["image"][:, :8, :8]
    for options, rate in (({"flip": 0.3}, 0.3), ({"half_body": 0.3}, 0.3), ({"flip": 1.0}, 1.0)):
        transform = PersonCrop(size=(64, 64), skeleton=LSP14, **options)
        plain = PersonCrop(size=(64, 64))(sample)["matrix"]
        torch.manual_seed(0)
        changed = [not torch.allclose(transform(sample)["matrix"], plain, atol=1e-4) for _ in range(400)]
        assert abs(np.mean(changed) - rate) < 0.07


def test_half_body_crops_around_one_half():
    sample = person(2)
    lower = torch.tensor([name.split("_")[-1] in ("ankle", "knee", "hip") for name in LSP14.keypoints])
    upper_half, lower_half = sample["visible"] & ~lower, sample["visible"] & lower
    torch.manual_seed(0)
    halves = [half_of_body(sample["visible"], LSP14) for _ in range(300)]
    assert all(torch.equal(half, upper_half) or torch.equal(half, lower_half) for half in halves)
    assert abs(np.mean([torch.equal(half, upper_half) for half in halves]) - 0.7) < 0.08
    transform = PersonCrop(size=(64, 64), skeleton=LSP14, half_body=1.0)
    expected = []
    for half in (upper_half, lower_half):
        center, extent = box_to_crop(tight_box(sample["keypoints"], half)[None], (64, 64), padding=1.5)
        expected.append(crop_matrix(center, extent, (64, 64))[0])
    matrices = [transform(sample)["matrix"] for _ in range(20)]
    assert all(any(torch.allclose(matrix, one, atol=1e-4) for one in expected) for matrix in matrices)
    assert torch.equal(transform(sample)["visible"], sample["visible"])  # the other half stays a target


def test_half_body_needs_enough_keypoints():
    visible = torch.zeros(14, dtype=torch.bool)
    visible[6:13] = True  # seven of fourteen
    assert half_of_body(visible, LSP14) is None
    visible[0] = True  # one in the lower half: too few to crop around
    torch.manual_seed(0)
    halves = [half_of_body(visible, LSP14) for _ in range(30)]
    assert all(half is not None and half.nonzero().flatten().tolist() == list(range(6, 13)) for half in halves)


# -------------------------------------------------------------------------------------------------------- truncation


def test_truncation_ends_the_photograph_inside_the_person():
    sides = []
    for seed in range(300):
        sample = person(seed)
        image = sample["image"].clamp(min=1)
        torch.manual_seed(seed)
        cut, box, kept = truncate(image, sample["box"], sample["keypoints"], sample["visible"])
        assert int(image.min()) == 1  # the original is not painted over
        changed = (box != sample["box"]).nonzero().flatten().tolist()
        if not changed:
            assert torch.equal(cut, image)
            assert torch.equal(kept, sample["visible"])
            continue
        (side,) = changed
        sides.append(side)
        axis, far = side % 2, side >= 2
        edge = int(box[side])
        lost = abs(edge - float(sample["box"][side])) / float((sample["box"][2:] - sample["box"][:2])[axis])
        assert 0.19 < lost < 0.61
        black = (cut == 0).all(dim=0)
        lines = torch.arange(black.shape[1 - axis])
        gone = lines >= edge if far else lines < edge
        assert torch.equal(black, (gone[None] if axis == 0 else gone[:, None]).expand_as(black))
        assert torch.equal(cut[:, ~black], image[:, ~black])
        beyond = (sample["keypoints"][:, axis] >= edge) == far
        assert torch.equal(kept, sample["visible"] & ~beyond)
        assert int(kept.sum()) >= 3
    counts = np.bincount(sides, minlength=4) / len(sides)
    assert len(sides) > 250
    assert abs(counts - [0.1, 0.1, 0.1, 0.7]).max() < 0.08


def test_truncation_leaves_people_with_few_keypoints_alone():
    for seed in range(60):
        sample = person(seed)
        visible = torch.zeros(14, dtype=torch.bool)
        visible[:3] = True
        torch.manual_seed(seed)
        cut, _, kept = truncate(sample["image"], tight_box(sample["keypoints"], visible), sample["keypoints"], visible)
        assert kept.tolist() == visible.tolist()  # a cut takes at least one of the three that touch the box
        assert torch.equal(cut, sample["image"])


def test_truncated_people_are_hidden_and_black_in_the_crop():
    transform = PersonCrop(size=(160, 128), truncation=1.0, **EVERYTHING)
    hidden = 0
    for seed in range(12):
        sample = person(seed)
        crops = torch.cat([apply(transform, copy, seed)["image"] for copy in painted(sample)])
        out = apply(transform, sample, seed)
        assert int(out["visible"].sum()) >= 3
        flipped = bool(torch.linalg.det(out["matrix"][:, :2]) < 0)
        names = LSP14.flip_index if flipped else range(14)
        for keypoint, name in enumerate(names):
            assert not out["visible"][name] or sample["visible"][keypoint]
            x, y = transform_points(sample["keypoints"][keypoint][None], out["matrix"])[0].round().int().tolist()
            if 1 < x < 126 and 1 < y < 158:
                brightness = float(crops[keypoint][y - 1 : y + 2, x - 1 : x + 2].max())
                if out["visible"][name]:
                    assert brightness > 0.9
                    assert out["keypoints"][name].tolist() == pytest.approx([x, y], abs=0.51)
                elif sample["visible"][keypoint] and brightness == 0:
                    hidden += 1
    assert hidden > 10


# -------------------------------------------------------------------------------------------------------- randomness


def test_a_seed_fixes_everything():
    transform = PersonCrop(size=(64, 48), truncation=0.5, **EVERYTHING)
    sample = person(0)
    one, two, other = (apply(transform, sample, seed) for seed in (5, 5, 6))
    assert all(torch.equal(one[key], two[key]) for key in ("image", "keypoints", "visible", "matrix"))
    assert not torch.equal(one["matrix"], other["matrix"])


@pytest.mark.parametrize("seed", range(3))
def test_options_that_are_off_draw_nothing(seed):
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    PersonCrop(size=(64, 48), skeleton=LSP14)(person(seed))
    assert torch.equal(torch.get_rng_state(), before)
    # so what a seed does to one option does not depend on the others
    alone = apply(PersonCrop(size=(64, 48), translation=0.1), person(seed), seed)
    with_zeros = apply(
        PersonCrop(size=(64, 48), skeleton=LSP14, translation=0.1, flip=0, scale=0.0), person(seed), seed
    )
    assert torch.equal(alone["matrix"], with_zeros["matrix"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 0.5}, "flip and half_body need skeleton="),
        ({"half_body": 0.5}, "flip and half_body need skeleton="),
        ({"flip": 1.5, "skeleton": LSP14}, "flip is a probability, expected 0 to 1, got 1.5"),
        ({"half_body": -0.1, "skeleton": LSP14}, "half_body is a probability"),
        ({"truncation": 2}, "truncation is a probability, expected 0 to 1, got 2"),
        ({"truncation": math.nan}, "truncation is a probability"),
        ({"scale": 1.0}, r"scale is a fraction of the crop, expected 0 to below 1, got 1.0"),
        ({"scale": -0.2}, "scale is a fraction"),
        ({"rotation": -30}, "rotation is a range, expected 0 or more, got -30"),
        ({"translation": -0.1}, "translation is a range"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        PersonCrop(size=(64, 48), **options)


def test_a_bad_box_is_named():
    with pytest.raises(ValueError, match="box 0 is"):
        PersonCrop(size=(64, 48))(person(0) | {"box": torch.tensor([5.0, 5, 5, 9])})


# --------------------------------------------------------------------------------------------------- colour and holes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_jitter_without_strength_changes_nothing():
    images = torch.rand(3, 3, 8, 6, generator=generator())
    assert_close(jitter_colour(images, strength=0.0), images)


def test_jitter_stays_within_its_strength():
    grey = torch.full((500, 3, 4, 4), 0.5)
    out = jitter_colour(grey, strength=0.2, generator=generator())
    # of a grey picture only brightness and the gains are left: a product of two factors of 0.8 to 1.2 per channel
    assert (out - out[..., :1, :1]).abs().max() < 1e-6
    factor = out[..., 0, 0] / 0.5
    assert 0.64 <= factor.min() < 0.7
    assert 1.35 < factor.max() <= 1.44
    assert (factor.std(dim=1) > 1e-3).all()  # channels differ: the tint changes
    assert abs(float(factor.mean()) - 1) < 0.02
    colourful = torch.rand(20, 3, 8, 8, generator=generator())
    strong = jitter_colour(colourful, strength=0.9, generator=generator())
    assert strong.min() == 0
    assert strong.max() == 1


def test_jitter_of_each_image_depends_on_that_image_only():
    images = torch.rand(4, 3, 8, 6, generator=generator())
    one, same = (jitter_colour(images, generator=generator(3)) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, jitter_colour(images, generator=generator(4)))
    changed = images.clone()
    changed[2] = 0.3
    other = jitter_colour(changed, generator=generator(3))
    assert_close(other[[0, 1, 3]], one[[0, 1, 3]])
    torch.manual_seed(3)
    assert torch.equal(jitter_colour(images), one)  # without a generator, torch's own


def test_contrast_scales_greys_and_saturation_colours():
    grey, colour = torch.full((3,), 0.1), torch.tensor([0.1, -0.1 * 0.299 / 0.587, 0.0])  # the second has no luma
    pixels = 0.5 + torch.stack([grey, -grey, colour, -colour], dim=-1)
    out = jitter_colour(pixels[None, :, None].expand(500, 3, 1, 4), strength=0.2, generator=generator())[:, :, 0]
    level = out[..., :2].mean(dim=-1)  # 0.5 times brightness and gain
    contrast = (out[:, 0, 0] - out[:, 0, 1]) / 0.2 / (level[:, 0] / 0.5)
    saturation = (out[:, 0, 2] - out[:, 0, 3]) / (out[:, 0, 0] - out[:, 0, 1])
    for factor in (contrast, saturation):
        assert 0.8 - 1e-4 < factor.min() < 0.81
        assert 1.19 < factor.max() < 1.2 + 1e-4
    draws = torch.corrcoef(torch.stack([contrast, saturation, level[:, 0], level[:, 1]]))
    assert draws[0, 1:].abs().max() < 0.15  # all drawn on their own
    assert draws[1, 2:].abs().max() < 0.15
    assert 0.3 < draws[2, 3] < 0.7  # brightness in common, gains not


@pytest.mark.parametrize("count", [0, 1, 3])
def test_holes_are_few_bounded_and_of_the_mean_colour(count):
    images = torch.rand(60, 3, 40, 60, generator=generator())
    out = cutout(images, count=count, size=0.5, generator=generator(1))
    hole = (out != images).any(dim=1)
    fill = images.mean(dim=(-2, -1), keepdim=True).expand_as(images)
    assert_close(out.movedim(1, -1)[hole], fill.movedim(1, -1)[hole])
    share = hole.float().mean(dim=(-1, -2))
    assert share.max() <= count * 0.25
    if count == 1:  # a rectangle: rows and columns of every image
        rows, columns = hole.any(-1), hole.any(-2)
        assert torch.equal(hole, rows[:, :, None] & columns[:, None, :])
        assert 18 <= rows.sum(1).max() <= 20
        assert 26 <= columns.sum(1).max() <= 30
        assert len({tuple(row) for row in rows.tolist()}) > 30  # each image has its own
        sizes = torch.stack([rows.sum(1), columns.sum(1)]).float()
        assert torch.corrcoef(sizes)[0, 1].abs() < 0.3  # high ones are not the wide ones
    assert (count == 0) == bool(share.max() == 0)


def test_holes_follow_the_generator():
    images = torch.rand(4, 3, 20, 20, generator=generator())
    assert torch.equal(*(cutout(images, generator=generator(2)) for _ in range(2)))
    assert not torch.equal(cutout(images, generator=generator(2)), cutout(images, generator=generator(3)))
    assert torch.equal(images, torch.rand(4, 3, 20, 20, generator=generator()))


# ------------------------------------------------------------------------------- the draws of other papers than HRNet's


def extents_and_angles(transform: PersonCrop, count: int = 400) -> tuple[Tensor, Tensor]:
    """How much larger than without augmentation each crop is, and by how many degrees it is turned."""
    sample = person(0)
    still = PersonCrop(size=transform.size)(sample)["matrix"]
    matrices = torch.stack([apply(transform, sample, seed)["matrix"] for seed in range(count)])
    grown = (torch.linalg.det(still[:, :2]) / torch.linalg.det(matrices[:, :, :2])).sqrt()
    return grown, torch.rad2deg(torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]))


def test_two_numbers_are_a_uniform_range():
    grown, angles = extents_and_angles(PersonCrop(size=(32, 32), scale=(0.7, 1.3), rotation=(-40, 40)))
    assert 0.7 <= grown.min() < 0.72
    assert 1.28 < grown.max() <= 1.3 + 1e-6
    assert abs(float(grown.mean()) - 1) < 0.03
    assert angles[angles != 0].abs().max() <= 40 + 1e-4
    assert 0.35 < float((angles == 0).float().mean()) < 0.45  # 60 % are turned


def test_every_sample_can_be_turned():
    _, angles = extents_and_angles(PersonCrop(size=(32, 32), rotation=(-40, 40), rotation_probability=1))
    assert (angles != 0).all()
    assert abs(float(angles.std()) - 80 / 12**0.5) < 2


def test_a_stretched_box_fills_the_crop():
    sample = person(0) | {"box": torch.tensor([40.0, 60.0, 80.0, 220.0])}  # four times as high as wide
    crop = PersonCrop(size=(64, 48), padding=1.0, keep_aspect=False)
    corners = torch.tensor([[40.0, 60.0], [80.0, 220.0]])
    assert_close(transform_points(corners, crop(sample)["matrix"]), torch.tensor([[0.0, 0.0], [48.0, 64.0]]))


@pytest.mark.parametrize("options", [{"keep_aspect": False, **EVERYTHING}, {"keep_aspect": False, "padding": 1.5}])
def test_dots_stay_under_keypoints_in_a_stretched_crop(options):
    sample = person(3) | {"box": torch.tensor([60.0, 80.0, 180.0, 180.0])}
    transform = PersonCrop(size=(160, 96), **options)
    outs = [apply(transform, copy, seed=5) for copy in painted(sample)]
    keypoints, visible = outs[0]["keypoints"], outs[0]["visible"]
    order = list(LSP14.flip_index) if torch.linalg.det(outs[0]["matrix"][:, :2]) < 0 else list(range(14))
    for at in range(14):
        picture = outs[order[at] // 3]["image"][order[at] % 3]
        x, y = keypoints[at].tolist()
        if visible[at] and 12 < x < 83 and 12 < y < 147:
            assert math.dist(find(picture), (x, y)) < 0.3


def test_ranges_are_checked():
    for options in ({"scale": (1.3, 0.7)}, {"scale": (0.0, 1.0)}, {"rotation": (1, 2, 3)}, {"rotation_probability": 2}):
        with pytest.raises(ValueError, match="expected"):
            PersonCrop(size=(8, 8), **options)


def test_other_people_and_the_centre_move_along():
    """The other people of the image, and the annotated centre, go through the same crop and mirror."""
    sample = person(0)
    sample |= {"others": sample["keypoints"][None] + 5, "others_visible": sample["visible"][None]}
    sample["center"] = sample["keypoints"].mean(dim=0)
    flipped = set()
    for seed in range(8):
        out = apply(PersonCrop(size=(64, 48), **EVERYTHING), sample, seed)
        order = list(LSP14.flip_index) if torch.linalg.det(out["matrix"][:, :2]) < 0 else list(range(14))
        flipped.add(order[0])
        visible = sample["visible"][order]
        assert torch.equal(out["others_visible"][0], visible)
        expected = transform_points(sample["keypoints"][order] + 5, out["matrix"])
        assert_close(out["others"][0], torch.where(visible[:, None], expected, 0.0))
        assert_close(out["center"], transform_points(sample["center"][None], out["matrix"])[0])
    assert len(flipped) == 2
    nobody = sample | {"others": torch.zeros(0, 14, 2), "others_visible": torch.zeros(0, 14, dtype=torch.bool)}
    assert PersonCrop(size=(8, 8))(nobody)["others"].shape == (0, 14, 2)
