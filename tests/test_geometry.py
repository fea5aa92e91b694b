"""Boxes, crops and mirrors, mostly by drawing: paint a dot, move the picture, look where the dot
went.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from posezoo.geometry import (
    box_to_crop,
    compose,
    crop,
    crop_boxes,
    crop_matrix,
    denormalize_points,
    flip_keypoints,
    invert,
    normalize_points,
    shrink,
    tight_box,
    transform_points,
    warp,
)
from posezoo.skeletons import get_skeleton

CENTER = torch.tensor([[320.5, 240.25]], dtype=torch.float64)
EXTENT = torch.tensor([[1.2, 1.6]], dtype=torch.float64) * 200


def draw(dots: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """One channel per dot: an anti-aliased Gaussian with its centre anywhere between the pixels,
    `(1, N, H, W)`.
    """
    x, y = (torch.arange(n, dtype=torch.float64) for n in (width, height))
    rows = torch.exp(-((y - dots[:, 1:].double()) ** 2) / (2 * sigma**2))
    columns = torch.exp(-((x - dots[:, :1].double()) ** 2) / (2 * sigma**2))
    return (rows[:, :, None] * columns[:, None, :])[None].to(dots.dtype)


def find(images: Tensor) -> Tensor:
    """Where the dots of `(..., H, W)` are: the centroids, `(..., 2)`."""
    images = images.double()
    x, y = (torch.arange(n, dtype=torch.float64) for n in (images.shape[-1], images.shape[-2]))
    mass = images.sum(dim=(-1, -2))
    return torch.stack([(images.sum(-2) * x).sum(-1) / mass, (images.sum(-1) * y).sum(-1) / mass], dim=-1)


def crops(seed: int, size: tuple[int, int], middle: tuple[float, float], zoom: tuple[float, float]) -> dict:
    """Four random crops around `middle`, half of them mirrored, magnified by a factor within
    `zoom`.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    extent = torch.tensor([size[1], size[0]]) / uniform(*zoom, 4, 1)
    return {
        "center": torch.tensor(middle, dtype=torch.float64) + uniform(-20, 20, 4, 2),
        "extent": extent,
        "size": size,
        "rotation": uniform(-180, 180, 4),
        "flip": torch.tensor([False, True, True, False]),
    }


# ------------------------------------------------------------------------------------------------ reference numbers


def test_box_to_crop_is_the_authors():  # specs/models2d_b.md 1.3
    boxes = torch.tensor([[100.0, 50, 180, 250], [10, 20, 310, 120]])
    center, extent = box_to_crop(boxes, (256, 192))
    assert_close(center, torch.tensor([[140.0, 150], [160, 70]]))
    assert_close(extent / 200, torch.tensor([[0.9375, 1.25], [1.875, 2.5]]))


@pytest.mark.parametrize(
    ("size", "extent", "rotation", "golden"),
    [
        ((256, 192), (240, 320), 0, [[0.8, 0, -160.4], [0, 0.8, -64.2]]),
        ((256, 192), (240, 320), 30, [[0.69282039, 0.40000004, -222.14894495], [-0.40000004, 0.69282029, 89.74993607]]),
        ((64, 64), (300, 300), 30, [[0.18475209, 0.10666667, -52.83971027], [-0.10666667, 0.18475209, 21.79997797]]),
    ],
)
def test_crop_matrix_is_the_authors(size, extent, rotation, golden):  # specs 1.4 and 1.5; theirs went through float32
    matrix = crop_matrix(CENTER, torch.tensor([extent], dtype=torch.float64), size, rotation=rotation)[0]
    assert_close(matrix[:, :2], torch.tensor(golden, dtype=torch.float64)[:, :2], rtol=0, atol=1e-7)
    assert_close(matrix, torch.tensor(golden, dtype=torch.float64), rtol=0, atol=5e-5)


def test_point_and_inverse_are_the_authors():  # specs 1.4
    matrix = crop_matrix(CENTER, EXTENT, (256, 192), rotation=30)
    point = transform_points(torch.tensor([[300.0, 200.0]], dtype=torch.float64), matrix)[0]
    assert_close(point, torch.tensor([[65.69718, 108.31398]], dtype=torch.float64), rtol=0, atol=5e-5)
    back = invert(crop_matrix(CENTER, EXTENT, (64, 48)))[0]
    assert_close(back, torch.tensor([[5, 0, 200.5], [0, 5, 80.25]], dtype=torch.float64))


def test_unbiased_crop_maps_the_extent_to_the_outer_pixel_centres():  # UDP, specs 1.4
    matrix = crop_matrix(CENTER, EXTENT, (256, 192), corner_aligned=True)
    corners = torch.stack([CENTER[0] - EXTENT[0] / 2, CENTER[0], CENTER[0] + EXTENT[0] / 2])
    found = transform_points(corners, matrix)[0]
    assert_close(found, torch.tensor([[0, 0], [95.5, 127.5], [191, 255]], dtype=torch.float64))


def test_rotation_turns_the_picture_counter_clockwise_on_the_screen():
    matrix = crop_matrix(torch.tensor([[50.0, 50.0]]), torch.tensor([[100.0, 100.0]]), (100, 100), rotation=90)
    right_of_center = transform_points(torch.tensor([[60.0, 50.0]]), matrix)[0, 0]
    assert_close(right_of_center, torch.tensor([50.0, 40.0]))  # now above it: y points down


# ---------------------------------------------------------------------------------------------------------- drawing


# Where pixels of the crop are nearly as large as those of the image, both grids beat against each other, and centroids
# of dots measure that too: by up to 0.004 px for dots of sigma 4. Magnified crops and wide dots keep clear of it;
# `test_every_pixel_comes_from_its_point` has no such limit.
@pytest.mark.parametrize("corner_aligned", [False, True])
@pytest.mark.parametrize(("zoom", "sigma"), [((1.2, 2.0), 6.0), ((0.5, 0.8), 12.0)])
@pytest.mark.parametrize("seed", range(4))
def test_a_dot_stays_under_its_point(seed, zoom, sigma, corner_aligned):
    chosen = crops(seed, (256, 192), (130, 100), zoom)
    dots = chosen["center"] + 10 * torch.rand(4, 2, generator=torch.Generator().manual_seed(seed)) - 5
    matrix = crop_matrix(**chosen, corner_aligned=corner_aligned)
    crop_of_each = warp(draw(dots, 200, 260, sigma), matrix, chosen["size"])  # every crop sees every dot
    expected = transform_points(dots, matrix)
    own = torch.arange(4)
    assert (find(crop_of_each)[own, own] - expected[own, own]).norm(dim=-1).max() <= 1e-3


@pytest.mark.parametrize("corner_aligned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("zoom", [(0.3, 0.9), (0.95, 1.05), (1.2, 4.0)])
def test_every_pixel_comes_from_its_point(zoom, dtype, corner_aligned):
    # bilinear interpolation is exact on ramps: a picture whose colour is its own x and y tells where a pixel came from
    chosen = crops(7, (96, 64), (120, 110), zoom)
    ramp = torch.stack([torch.arange(260.0).expand(220, 260), torch.arange(220.0)[:, None].expand(220, 260)])
    matrix = crop_matrix(**chosen, corner_aligned=corner_aligned).to(dtype)
    came_from = warp(ramp[None].to(dtype), matrix, chosen["size"]).flatten(2).mT
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing="ij")
    pixels = torch.stack([x, y], dim=-1).view(1, -1, 2).double()
    true = transform_points(pixels, invert(matrix.double()))
    inside = ((true > 0) & (true < torch.tensor([259, 219]))).all(dim=-1)
    assert inside.float().mean() > 0.3
    assert_close(came_from[inside].double(), true[inside], rtol=0, atol=1e-10 if dtype == torch.float64 else 2e-4)
    landed = transform_points(came_from, matrix)
    assert (landed - pixels)[inside].norm(dim=-1).max() <= 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_a_dot_stays_under_its_point_in_a_huge_photograph(seed):
    # float32 throughout, at x = 4,000, magnified: where rounding is worst
    chosen = crops(seed, (128, 96), (3900, 60), (1.2, 1.8))
    dots = (chosen["center"] + torch.tensor([0.3, -2.2])).float()
    chosen |= {"center": chosen["center"].float(), "extent": chosen["extent"].float()}
    matrix = crop_matrix(**chosen)
    assert matrix.dtype == torch.float32
    found = find(warp(draw(dots, 120, 4000, 5.0), matrix, chosen["size"]))
    own = torch.arange(4)
    assert (found - transform_points(dots, matrix))[own, own].norm(dim=-1).max() <= 1e-3


def test_precision_survives_autocast():
    # a matrix product of the forward pass would be rounded to 8 bits there, 16 px at x = 4,000
    center, extent, point = (
        torch.tensor([[3900.5, 60.25]]),
        torch.tensor([[160.0, 200.0]]),
        torch.tensor([[3877.7, 9.1]]),
    )

    def through() -> list[Tensor]:
        matrix = crop_matrix(center, extent, (250, 200), rotation=20)
        back = invert(matrix)
        return [matrix, back, compose(back, matrix), transform_points(point, matrix), transform_points(point, back)]

    plain = through()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = through()
    for one, other in zip(plain, cast, strict=True):
        assert_close(one, other, rtol=0, atol=0)


def test_the_mirrored_crop_shows_the_mirror_image():
    # up to the one pixel between "mirror about the middle of the crop" and "mirror about the middle of its pixels"
    image = torch.rand(1, 2, 40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    center, extent = torch.tensor([[24.0, 20.0]]).double(), torch.tensor([[16.0, 16.0]]).double()
    plain, mirrored = (
        warp(image, crop_matrix(center, extent, (16, 16), flip=flip), (16, 16)) for flip in (False, True)
    )
    assert_close(mirrored[..., 1:], plain.flip(-1)[..., :-1])
    plain, mirrored = (
        warp(image, crop_matrix(center, extent, (16, 16), flip=flip, corner_aligned=True), (16, 16))
        for flip in (False, True)
    )
    assert_close(mirrored, plain.flip(-1))


def test_warp_without_a_change_is_the_image():
    image = torch.rand(2, 3, 9, 7, dtype=torch.float64)
    same = torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3)
    for mode in ("bilinear", "nearest", "bicubic"):
        assert_close(warp(image, same, (9, 7), mode=mode), image)


def test_outside_the_image_is_zero():
    image = torch.ones(1, 1, 10, 10)
    shifted = warp(image, torch.tensor([[[1.0, 0, 5], [0, 1, 3]]]), (20, 20))[0, 0]
    assert_close(shifted[3:13, 5:15], torch.ones(10, 10))
    shifted[3:13, 5:15] = 0
    assert shifted.abs().max() == 0


def test_one_pixel_is_an_image_too():
    middle = warp(torch.full((1, 1, 1, 1), 7.0), torch.tensor([[[1.0, 0, 2], [0, 1, 1]]]), (3, 5))[0, 0]
    assert middle[1, 2] == 7
    assert middle.sum() == 7


@pytest.mark.parametrize(("factor", "height", "width"), [(2, 200, 260), (3, 199, 256), (4, 201, 263), (5, 201, 263)])
def test_shrink_keeps_dots_under_their_points(factor, height, width):
    dots = torch.tensor([[120.3, 99.6], [61.0, 140.25]], dtype=torch.float64)
    small, matrix = shrink(draw(dots, height, width, 8.0), factor)
    assert small.shape[-2:] == (math.ceil(height / factor), math.ceil(width / factor))
    assert_close(find(small)[0], transform_points(dots, matrix), rtol=0, atol=1e-4, check_dtype=False)


def test_shrink_averages_the_pixels_that_an_edge_block_has():
    image = torch.arange(15.0).view(1, 1, 3, 5)
    assert_close(shrink(image, 2)[0], torch.tensor([[[[3.0, 5, 6.5], [10.5, 12.5, 14]]]]))
    assert_close(shrink(image, 1)[0], image)


@pytest.mark.parametrize("zoom", [1.0, 1 / 2, 1 / 3.3, 1 / 9, 1 / 17])
def test_crop_keeps_dots_under_their_points_however_much_it_shrinks(zoom):
    center = torch.tensor([[380.0, 420.0]], dtype=torch.float64)
    extent = torch.tensor([[48.0, 64.0]], dtype=torch.float64) / zoom
    matrix = crop_matrix(center, extent, (64, 48), rotation=25, flip=True)
    expected = torch.tensor([[19.3, 36.1], [28.6, 29.9]], dtype=torch.float64)
    dots = transform_points(expected, invert(matrix))[0]
    picture = crop(draw(dots, 800, 760, 2 / zoom)[0], matrix, (64, 48))[0]
    assert_close(find(picture), expected, rtol=0, atol=0.01)


def test_crop_does_not_skip_pixels():
    # a fine checkerboard is grey from afar; bilinear sampling alone shows stripes of black and white
    board = (torch.arange(400)[:, None] + torch.arange(400)).remainder(2).float()[None]
    center, extent = torch.tensor([[200.0, 200.0]]), torch.tensor([[370.0, 370.0]])
    matrix = crop_matrix(center, extent, (50, 50), rotation=10)
    inner = (..., slice(5, 45), slice(5, 45))
    assert (crop(board, matrix, (50, 50))[inner] - 0.5).abs().max() < 0.01
    assert (warp(board[None], matrix, (50, 50))[inner] - 0.5).abs().max() > 0.3


def test_crop_without_shrinking_is_warp_and_each_crop_shrinks_by_its_own():
    image = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(1))
    center = torch.tensor([[60.0, 40], [50, 45], [55, 50]])
    extent = torch.tensor([[20.0, 20], [75, 75], [160, 160]])
    matrix = crop_matrix(center, extent, (30, 30))
    together = crop(image, matrix, (30, 30))
    assert_close(together[:1], warp(image[None], matrix[:1], (30, 30)))
    assert_close(together, torch.cat([crop(image, one[None], (30, 30)) for one in matrix]))
    assert crop(image, matrix[:0], (30, 30)).shape == (0, 3, 30, 30)


def test_flip_keypoints_follows_the_mirrored_image():
    skeleton = get_skeleton("lsp14")
    keypoints = 20 + 40 * torch.rand(14, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mirrored = draw(keypoints, 80, 83, 2.0).flip(-1)[0]
    found = find(mirrored[list(skeleton.flip_index)])  # the picture of a left wrist is now that of a right one
    assert_close(flip_keypoints(keypoints, 83, skeleton.flip_index), found, rtol=0, atol=1e-6)
    twice = flip_keypoints(flip_keypoints(keypoints, 83, skeleton.flip_index), 83, skeleton.flip_index)
    assert_close(twice, keypoints)


# ---------------------------------------------------------------------------------------------------------- algebra


def test_invert_undoes_and_compose_chains():
    chosen = crops(3, (256, 192), (1300, 1000), (0.3, 2.0))
    matrix, other = crop_matrix(**chosen), crop_matrix(**crops(4, (64, 48), (90, 100), (0.2, 0.3)))
    points = 2000 * torch.rand(4, 5, 2, dtype=torch.float64)
    assert_close(transform_points(transform_points(points, matrix), invert(matrix)), points)
    identity = torch.eye(2, 3, dtype=torch.float64).expand(4, 2, 3)
    assert_close(compose(invert(matrix), matrix), identity, rtol=0, atol=1e-9)
    assert_close(
        transform_points(points, compose(other, matrix)), transform_points(transform_points(points, matrix), other)
    )


def test_a_batch_equals_one_by_one():
    chosen = crops(5, (32, 24), (40, 40), (0.5, 1.5))
    images = torch.rand(4, 3, 80, 90, dtype=torch.float64)
    matrix = crop_matrix(**chosen)
    batch = warp(images, matrix, (32, 24))
    for i in range(4):
        one = {name: chosen[name][i : i + 1] for name in ("center", "extent", "rotation", "flip")}
        alone = crop_matrix(**one, size=(32, 24))
        assert_close(alone, matrix[i : i + 1])
        assert_close(warp(images[i : i + 1], alone, (32, 24)), batch[i : i + 1])
        number = crop_matrix(
            one["center"], one["extent"], (32, 24), rotation=float(one["rotation"]), flip=bool(one["flip"])
        )
        assert_close(number, alone)
    assert_close(warp(images[:1], matrix, (32, 24)), torch.cat([warp(images[:1], m[None], (32, 24)) for m in matrix]))


def test_transform_points_broadcasts():
    matrices = crop_matrix(**crops(6, (32, 24), (40, 40), (0.5, 1.5)))
    points = torch.rand(7, 2, dtype=torch.float64)
    assert transform_points(points, matrices).shape == (4, 7, 2)
    assert_close(transform_points(points, matrices)[2], transform_points(points, matrices[2]))
    clip = points.expand(4, 3, 7, 2)
    assert_close(transform_points(clip, matrices[:, None])[1, 2], transform_points(points, matrices[1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_are_kept(dtype):
    boxes = torch.tensor([[1.0, 2, 11, 22]], dtype=dtype)
    center, extent = box_to_crop(boxes, (8, 6))
    matrix = crop_matrix(center, extent, (8, 6), rotation=3)
    image = torch.rand(1, 3, 30, 30, dtype=dtype)
    results = [
        center, extent, matrix, invert(matrix), compose(matrix, matrix), warp(image, matrix, (8, 6)),
        crop(image[0], matrix, (8, 6)), transform_points(center, matrix), shrink(image, 2)[0],
        flip_keypoints(center, 9, (0,)), tight_box(boxes.view(2, 2), torch.tensor([True, True])),
    ]  # fmt: skip
    assert {result.dtype for result in results} == {dtype}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_images_are_sampled_at_the_right_place(dtype):
    image = torch.rand(1, 1, 300, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    moved = warp(image, torch.tensor([[[1.0, 0, -250], [0, 1, -240]]]), (40, 40))
    assert moved.dtype == dtype
    assert_close(moved, image[..., 240:280, 250:290], rtol=0.01, atol=0.01)


def test_whole_numbers_are_taken_as_pixels():
    center, extent = box_to_crop(torch.tensor([[100, 50, 180, 250]]), (256, 192))
    assert center.dtype == torch.float32
    assert_close(crop_matrix(center.long(), extent.long(), (256, 192)), crop_matrix(center, extent.floor(), (256, 192)))
    assert_close(
        transform_points(torch.tensor([[3, 4]]), torch.tensor([[0.5, 0, 0.25], [0, 0.5, 0]]))[0, 0].item(), 1.75
    )


def test_gradients_reach_boxes_points_and_pixels():
    inputs = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([[5.2, 6.1]], [[8.0, 9.0]], [[3.0, 4.0]])
    ]

    def crop_point(center: Tensor, extent: Tensor, point: Tensor) -> Tensor:
        matrix = crop_matrix(center, extent, (12, 10), rotation=20, flip=True, corner_aligned=True)
        return transform_points(point, compose(invert(matrix), compose(matrix, matrix)))

    assert torch.autograd.gradcheck(crop_point, inputs)
    image = torch.rand(1, 2, 12, 14, dtype=torch.float64, requires_grad=True)
    matrix = crop_matrix(*inputs[:2], (5, 4), rotation=20).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, m: warp(a, m, (5, 4)), (image, matrix))


# ----------------------------------------------------------------------------------------------------- boxes, errors


def test_tight_box_has_at_least_one_pixel():
    point = torch.tensor([[3.5, 4.5], [9.0, 9.0]])
    assert tight_box(point, torch.tensor([True, False])).tolist() == [3.5, 4.5, 4.5, 5.5]
    with pytest.raises(ValueError, match="no keypoint is visible"):
        tight_box(point, torch.tensor([False, False]))


def test_tight_box_ignores_invisible_keypoints():
    points = torch.tensor([[1.0, 2.0], [math.nan, math.inf], [7.0, 3.5]])
    assert tight_box(points, torch.tensor([True, False, True])).tolist() == [1.0, 2.0, 7.0, 3.5]


@pytest.mark.parametrize("size", [(256, 192), (128, 256), (64, 64)])
def test_box_to_crop_holds_the_box_and_has_the_inputs_aspect(size):
    low = 300 * torch.rand(20, 2, dtype=torch.float64)
    boxes = torch.cat([low, low + 1 + 200 * torch.rand(20, 2, dtype=torch.float64)], dim=1)
    center, extent = box_to_crop(boxes, size, padding=1.25)
    assert_close(extent[:, 0] / extent[:, 1], torch.full((20,), size[1] / size[0]).double())
    assert_close((extent / (boxes[:, 2:] - boxes[:, :2])).amin(dim=1), torch.full((20,), 1.25).double())
    assert_close(center, (boxes[:, :2] + boxes[:, 2:]) / 2)


@pytest.mark.parametrize(
    "bad", [[10, 10, 10, 20], [10, 10, 20, 10], [10, 10, 5, 20], [0, 0, math.nan, 9], [0, 0, math.inf, 9], [0, 0, 0, 0]]
)
def test_bad_boxes_are_named(bad):
    boxes = torch.tensor([[0.0, 0, 9, 9], bad])
    with pytest.raises(ValueError, match=r"box 1 is \[.*x2 > x1 and y2 > y1.*\(x, y, w, h\)"):
        box_to_crop(boxes, (64, 48))


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 4), (2, 2)])
def test_boxes_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(N, 4\)"):
        box_to_crop(torch.ones(shape), (64, 48))


def test_no_boxes_give_no_crops():
    center, extent = box_to_crop(torch.zeros(0, 4), (64, 48))
    matrix = crop_matrix(center, extent, (64, 48))
    assert matrix.shape == (0, 2, 3)
    assert warp(torch.rand(1, 3, 9, 9), matrix, (64, 48)).shape == (0, 3, 64, 48)


def test_warp_refuses_whole_numbers():
    with pytest.raises(ValueError, match=r"expected floats, got torch.uint8; convert"):
        warp(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.eye(2, 3)[None], (4, 4))


# ----------------------------------------------------------------------------------------- units of a box, and its crop


def boxes_around(seed: int, number: int, size: float, spread: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    middle = 110 + spread * (2 * torch.rand(2, number, 2, generator=generator, dtype=torch.float64) - 1)
    half = size / 2 * (0.6 + 0.8 * torch.rand(2, number, 2, generator=generator, dtype=torch.float64))
    return torch.cat([middle - half, middle + half], dim=-1)


def test_units_of_a_box():  # specs/models2d_a.md 1.2
    box = torch.tensor([20.0, 10.0, 60.0, 110.0], dtype=torch.float64)
    corners = torch.tensor([[20.0, 10], [60, 110], [40, 60], [50, 10]], dtype=torch.float64)
    expected = torch.tensor([[-0.5, -0.5], [0.5, 0.5], [0, 0], [0.25, -0.5]], dtype=torch.float64)
    assert_close(normalize_points(corners, box), expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [0.01, 50.0, 1e4])
def test_units_of_a_box_and_back(seed, size):
    boxes = boxes_around(seed, 7, size, 1000.0)
    points = 1000 * torch.randn(2, 3, 7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    there = normalize_points(points, boxes[:, None])
    assert_close(denormalize_points(there, boxes[:, None]), points, rtol=1e-9, atol=1e-9)
    assert_close(
        normalize_points(denormalize_points(points, boxes[:, None]), boxes[:, None]), points, rtol=1e-6, atol=1e-3
    )
    # the box is the square from -0.5 to 0.5, and mirroring it changes the sign of x
    mirror = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    mirrored = torch.stack([219 - boxes[..., 2], boxes[..., 1], 219 - boxes[..., 0], boxes[..., 3]], dim=-1)[:, None]
    flipped = torch.stack([219 - points[..., 0], points[..., 1]], dim=-1)
    assert_close(normalize_points(flipped, mirrored), there * mirror, rtol=1e-9, atol=1e-6)


# magnified, to the last digit; the mean of pixels that are partly covered is off by an eighth of one at most
@pytest.mark.parametrize(
    ("size", "spread", "error"), [(30.0, 20.0, 1e-9), (30.0, 120.0, 1e-9), (100.0, 20.0, 0.125), (200.0, 20.0, 0.125)]
)
def test_every_pixel_of_a_box_comes_from_its_point(size, spread, error):
    # as above: a picture whose colour is its own x and y, on which interpolation is exact
    ramp = torch.stack([torch.arange(220.0).expand(220, 220), torch.arange(220.0)[:, None].expand(220, 220)]).double()
    boxes = boxes_around(0, 5, size, spread)
    came_from = crop_boxes(ramp.expand(2, -1, -1, -1), boxes, (48, 64)).movedim(2, -1)
    assert came_from.shape == (2, 5, 48, 64, 2)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    units = (torch.stack([x, y], dim=-1).double() + 0.5) / torch.tensor([64.0, 48.0]) - 0.5
    true = denormalize_points(units, boxes[:, :, None, None])
    reach = ((boxes[..., 2:] - boxes[..., :2]) / torch.tensor([64.0, 48.0]))[:, :, None, None].clamp(min=1)
    inside = ((true > reach) & (true < 219 - reach)).all(dim=-1)
    assert inside.any()
    assert_close(came_from[inside], true[inside], rtol=0, atol=error)
    outside = ((true < -reach) | (true > 219 + reach)).any(dim=-1)
    assert outside.any() or spread < 100
    assert (came_from[outside] == 0).all()


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_a_box_of_the_whole_image_is_the_mean_of_blocks(factor):
    image = torch.rand(2, 3, 20 * factor, 10 * factor, dtype=torch.float64)
    box = torch.tensor([-0.5, -0.5, 10 * factor - 0.5, 20 * factor - 0.5]).double().expand(2, 4)
    expected = torch.nn.functional.avg_pool2d(image, factor)
    assert_close(crop_boxes(image, box, (20, 10)), expected)
    assert_close(crop_boxes(image.float(), box.float(), (20, 10)), expected.float())


def test_shrinking_a_box_skips_no_pixels():
    image = torch.rand(1, 1, 90, 90, dtype=torch.float64)
    for side in (31.0, 47.3, 88.0):
        box = torch.tensor([[0.5, 0.5, 0.5 + side, 0.5 + side]], dtype=torch.float64)
        # each pixel of the crop covers side / 10 pixels of the image, in parts at its edges: fine samples count them
        fine = (torch.arange(10 * 400, dtype=torch.float64) + 0.5) / (10 * 400) * side + 0.5
        index = fine.round().long()
        expected = image[0, 0][index][:, index].view(10, 400, 10, 400).mean(dim=(1, 3))
        assert_close(crop_boxes(image, box, (10, 10))[0, 0], expected, rtol=0, atol=2e-3)


def test_boxes_for_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match=r"boxes: expected \(B, ..., 4\).*for 2 images, got \(3, 4\)"):
        crop_boxes(torch.zeros(2, 3, 8, 8), torch.zeros(3, 4), (4, 4))
    assert crop_boxes(torch.zeros(0, 3, 8, 8), torch.zeros(0, 5, 4), (4, 4)).shape == (0, 5, 3, 4, 4)
