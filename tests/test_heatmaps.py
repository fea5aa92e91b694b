"""Targets and decoding: the authors' numbers, round trips, and the edges of the map."""

import math

import numpy as np
import pytest
import torch
from reference import dark as reference_dark
from torch import Tensor
from torch.testing import assert_close

from posezoo.geometry import crop_matrix, flip_keypoints, invert, transform_points
from posezoo.heatmaps import DECODINGS, ENCODINGS, decode, encode, flip_average, merge_people, with_background

SIZE = (64, 48)
INPUT = (256, 192)
UNBIASED = ((INPUT[0] - 1) / (SIZE[0] - 1), (INPUT[1] - 1) / (SIZE[1] - 1))  # UDP's stride


def scattered(*shape: int, margin: float = 40.0, seed: int = 0) -> Tensor:
    """Keypoints in the input, at least `margin` pixels from its border, `(*shape, 2)` float64."""
    generator = torch.Generator().manual_seed(seed)
    room = torch.tensor([INPUT[1], INPUT[0]]) - 1 - 2 * margin
    return margin + room * torch.rand(*shape, 2, dtype=torch.float64, generator=generator)


def point(x: float, y: float) -> Tensor:
    return torch.tensor([[[x, y]]], dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("method", ENCODINGS)
def test_cells_can_be_blocks_of_pixels(stride, method):
    """With `offset`, cell i stands for the pixels it was pooled from, and a mirrored image for the
    mirrored map.
    """
    offset = (stride - 1) / 2
    keypoints = scattered(2, 3)
    given = {"stride": stride, "offset": offset}
    size = (INPUT[0] // stride, INPUT[1] // stride)
    heatmaps, _ = encode(keypoints, size=size, method=method, **given)
    peaks = heatmaps.flatten(2).argmax(dim=-1)
    cells = torch.stack([peaks % size[1], peaks // size[1]], dim=-1)
    assert torch.equal(cells, (keypoints + 0.5).div(stride).floor().long())  # the block that holds the keypoint
    decoded, _ = decode(heatmaps, method="argmax", **given)
    assert_close(decoded, cells * stride + offset, check_dtype=False)
    mirrored, _ = encode(flip_keypoints(keypoints, INPUT[1], (0, 1, 2)), size=size, method=method, **given)
    assert_close(mirrored, heatmaps.flip(-1))
    if method == "gaussian":
        assert_close(decode(heatmaps, method="dark", **given)[0], keypoints, rtol=0, atol=0.05)
    assert decode(torch.zeros(1, 1, 4, 4), **given)[0].tolist() == [[[0, 0]]]  # nothing found is still the corner


def test_targets_are_the_authors():  # specs/models2d_b.md 1.6
    keypoints = torch.tensor([[[90.0, 120.0], [1.9, 254.0], [-30.0, 40.0]]], dtype=torch.float64)
    heatmaps, weights = encode(keypoints, size=SIZE)
    sums = torch.tensor([25.081287, 6.0203223, 0], dtype=torch.float64)
    assert_close(heatmaps.sum(dim=(-1, -2))[0], sums, rtol=5e-7, atol=0)  # theirs in float32
    assert (heatmaps > 0).sum(dim=(-1, -2)).tolist() == [[169, 42, 0]]
    assert heatmaps.flatten(2).argmax(-1)[0, :2].tolist() == [30 * 48 + 23, 63 * 48]
    assert weights.tolist() == [[1, 1, 1]]  # the third ends a cell before the map, which still counts as inside
    profile = torch.tensor(
        [1, 0.8824969, 0.6065307, 0.3246525, 0.1353353, 0.0439369, 0.0111090, 0], dtype=torch.float64
    )
    assert_close(heatmaps[0, 0, 30, 23:31], profile, rtol=0, atol=5e-8)


@pytest.mark.parametrize(
    ("x", "weight"), [(-30, 1), (-31.9, 1), (-34, 0), (191 + 22, 1), (191 + 26, 0), (-1e9, 0), (1e9, 0)]
)
def test_weight_is_zero_where_nothing_of_the_gaussian_is_left(x, weight):
    for keypoint in (point(x, 100), point(100, x + (64 if x > 0 else 0))):
        heatmaps, weights = encode(keypoint, size=SIZE)
        assert weights.item() == weight
        assert weight or heatmaps.abs().max() == 0


@pytest.mark.parametrize("method", ENCODINGS)
@pytest.mark.parametrize("stride", [4.0, UNBIASED, (5.0, 7.0)])
def test_targets_are_gaussians_around_the_keypoint(method, stride):
    keypoints = scattered(2, 3)
    heatmaps, _ = encode(keypoints, size=SIZE, stride=stride, sigma=1.5, method=method)
    stride_y, stride_x = stride if isinstance(stride, tuple) else (stride, stride)
    for b in range(2):
        for k in range(3):
            x, y = float(keypoints[b, k, 0]) / stride_x, float(keypoints[b, k, 1]) / stride_y
            cell_x, cell_y = math.floor(x + 0.5), math.floor(y + 0.5)
            if method == "msra":
                x, y = cell_x, cell_y
            for row in range(0, 64, 3):
                for column in range(48):
                    value = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 1.5**2))
                    if method != "gaussian" and (abs(column - cell_x) > 4.5 or abs(row - cell_y) > 4.5):
                        value = 0
                    assert heatmaps[b, k, row, column].item() == pytest.approx(value, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("method", ENCODINGS)
def test_invisible_keypoints_have_no_target(method):
    keypoints = scattered(1, 4).index_fill(1, torch.tensor([2]), math.nan)
    visible = torch.tensor([[True, False, False, True]])
    heatmaps, weights = encode(keypoints, visible, size=SIZE, method=method)
    assert weights.tolist() == [[1, 0, 0, 1]]
    assert heatmaps[0, 1:3].abs().max() == 0
    assert_close(heatmaps[:, [0, 3]], encode(keypoints[:, [0, 3]], size=SIZE, method=method)[0])


def test_encode_returns_the_weights():
    weights = torch.tensor([[0.5, 1.5, 0.0]])
    heatmaps, kept = encode(scattered(1, 3).float(), weights, size=SIZE)
    assert_close(kept, weights)
    assert heatmaps.amax(dim=(-1, -2)).tolist() == [[1, 1, 0]]


def test_whole_numbers_and_precisions():
    assert encode(torch.tensor([[[90, 120]]]), size=SIZE)[0].dtype == torch.float32
    keypoints = scattered(3, 5)
    for method in ENCODINGS:
        double, _ = encode(keypoints, size=SIZE, method=method)
        single, _ = encode(keypoints.float(), size=SIZE, method=method)
        assert (double.dtype, single.dtype) == (torch.float64, torch.float32)
        assert_close(single.double(), double, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keypoints": torch.zeros(3, 2)}, r"expected \(B, K, 2\) pixels, got shape \(3, 2\)"),
        ({"keypoints": torch.zeros(1, 3, 3)}, r"expected \(B, K, 2\)"),
        ({"visible": torch.ones(1, 4)}, r"visible: expected \(1, 3\) like keypoints, got \(1, 4\)"),
        ({"method": "udp"}, r"method: expected one of .*'msra'.*, got 'udp'"),
        ({"keypoints": torch.full((1, 3, 2), math.nan)}, "NaN or infinite; mark missing ones in `visible`"),
        ({"keypoints": torch.full((1, 3, 2), math.inf)}, "NaN or infinite"),
    ],
)
def test_encode_refuses_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        encode(**({"keypoints": torch.zeros(1, 3, 2), "size": SIZE} | arguments))


def test_the_floor_cuts_a_disc():
    keypoints = torch.tensor([[[100.3, 50.7], [3.0, 250.0], [-500.0, 10.0]]], dtype=torch.float64)
    plain, weights = encode(keypoints, size=SIZE, sigma=1.5, method="gaussian")
    cut, same = encode(keypoints, size=SIZE, sigma=1.5, method="gaussian", floor=0.01)
    assert_close(cut, torch.where(plain >= 0.01, plain, 0.0))
    assert_close(same, weights)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    distance = (x - 100.3 / 4) ** 2 + (y - 50.7 / 4) ** 2
    assert torch.equal(cut[0, 0] > 0, distance <= 2 * 1.5**2 * math.log(100))


def test_people_add_up_to_one():
    keypoints = torch.tensor([[40.0, 40.0], [43.0, 40.0], [150.0, 200.0]], dtype=torch.float64).view(3, 1, 2)
    people, _ = encode(keypoints, torch.tensor([[1], [1], [0]]), size=SIZE, method="gaussian")
    merged = merge_people(people[None])
    assert merged.shape == (1, 1, *SIZE)
    assert_close(merged[0, 0], (people[0, 0] + people[1, 0]).clamp(max=1))
    assert merged.max() == 1
    assert merged[0, 0, 50, 37] < 1e-6  # the third is invisible
    with pytest.raises(ValueError, match=r"expected \(B, P, K, h, w\), got shape \(3, 1, 64, 48\)"):
        merge_people(people)


def test_the_background_is_one_minus_the_maximum():
    heatmaps, _ = encode(scattered(2, 5), size=SIZE)
    complete = with_background(torch.cat([heatmaps, 2 * heatmaps[:, :1]], dim=1))
    assert complete.shape == (2, 7, *SIZE)
    assert_close(complete[:, 6], (1 - complete[:, :6].amax(dim=1)).clamp(min=0))
    assert complete[:, 6].min() == 0
    assert complete[:, 6].max() == 1


# --------------------------------------------------------------------------------------------------------- decoding


def test_decoding_is_the_authors():  # specs/models2d_b.md 1.8
    heatmaps = torch.from_numpy(np.random.RandomState(1).standard_normal((1, 17, 64, 48)))
    center, extent = torch.tensor([[320.5, 240.25]]).double(), torch.tensor([[240.0, 320.0]]).double()
    to_image = invert(crop_matrix(center, extent, SIZE))
    cells, scores = decode(heatmaps, stride=1, method="argmax")
    assert cells[0, :3].tolist() == [[37, 11], [20, 47], [27, 33]]
    assert_close(scores[0, :3], torch.tensor([3.9586027, 3.1320297, 4.0268490]).double(), rtol=0, atol=5e-7)
    plain = torch.tensor([[385.5, 135.25], [300.5, 315.25], [335.5, 245.25]]).double()
    assert_close(transform_points(cells, to_image)[0, :3], plain)
    moved, _ = decode(heatmaps, stride=1, method="quarter")
    quarter = torch.tensor([[386.75, 134.0], [299.25, 316.5], [334.25, 244.0]]).double()
    assert_close(transform_points(moved, to_image)[0, :3], quarter)


@pytest.mark.parametrize("stride", [4.0, UNBIASED])
@pytest.mark.parametrize(
    ("encoding", "decoding", "cells"),
    [
        ("msra", "argmax", 0.5),
        ("msra", "quarter", 0.5),  # a Gaussian in the middle of a cell has neighbours of one height
        ("gaussian", "argmax", 0.5),
        ("gaussian", "quarter", 0.25),
        ("truncated", "quarter", 0.25),
        ("gaussian", "dark", 0.001),
        ("truncated", "dark", 0.001),
        ("gaussian", "soft", 0.06),  # the softmax has a floor, which pulls towards the middle of the map
    ],
)
def test_round_trip_error_is_bounded(encoding, decoding, cells, stride):
    keypoints = scattered(8, 17)
    found, scores = decode(
        encode(keypoints, size=SIZE, stride=stride, method=encoding)[0], stride=stride, method=decoding
    )
    error = (found - keypoints).abs() / torch.tensor(stride[::-1] if isinstance(stride, tuple) else stride)
    assert error.max() <= cells + 1e-9
    assert error.max() > 0.8 * cells or cells < 0.1  # the bound is the bound
    assert ((scores > 0.93) & (scores <= 1)).all()


def test_dark_is_exact_on_gaussians():
    for sigma in (1.5, 2.0, 3.0):
        keypoints = scattered(4, 17, margin=60)
        found, _ = decode(encode(keypoints, size=SIZE, sigma=sigma, method="gaussian")[0], method="dark")
        assert (found - keypoints).norm(dim=-1).max() < 0.01


def test_dark_agrees_with_loops_over_its_formulas():
    generator = torch.Generator().manual_seed(0)
    heatmaps, _ = encode(scattered(1, 6, margin=6), size=(32, 24), stride=8.0, method="gaussian")
    stretched = heatmaps[:, :3].roll(1, dims=-1) + 0.6 * heatmaps[:, :3].roll(1, dims=-2)  # a diagonal: dxy counts
    noisy = heatmaps + 0.05 * torch.rand(heatmaps.shape, dtype=torch.float64, generator=generator)
    # smoothed values below 0 beside the peak, where the scale counts, which a hill elsewhere decides
    spikes = heatmaps**8 + 0.9 * heatmaps.roll(12, dims=-1) - 0.08
    maps = torch.cat([heatmaps, stretched, noisy, spikes], dim=1)
    found, _ = decode(maps, stride=1, method="dark")
    expected = torch.tensor([reference_dark.decode(one.numpy()) for one in maps[0]], dtype=torch.float64)
    cells = decode(maps, stride=1, method="argmax")[0][0]
    expected = cells + (expected - cells).clamp(-2, 2)
    assert_close(found[0], expected, rtol=0, atol=1e-9)
    assert (found[0] - found[0].round()).abs().max() > 0.2


def test_udp_puts_the_last_cell_on_the_last_pixel():
    """Its crops are aligned by their corner pixels, so that a mirrored map needs no shift."""
    height, width = 4 * SIZE[0], 4 * SIZE[1]
    stride = ((height - 1) / (SIZE[0] - 1), (width - 1) / (SIZE[1] - 1))
    # away from the border, where what the blur does not see moves the peak
    keypoints = torch.tensor([[[42.3, 50.6], [width - 44.2, height - 30.1], [100.5, 77.7]]]).double()
    heatmaps, _ = encode(keypoints, size=SIZE, stride=stride, method="gaussian")
    found, _ = decode(heatmaps, method="udp")
    assert (found - keypoints).abs().max() < 0.02
    mirrored, _ = decode(heatmaps.flip(-1), method="udp")
    assert_close(width - 1 - mirrored[..., 0], found[..., 0])
    corner = torch.zeros(1, 1, *SIZE)
    corner[..., -1, -1] = 1
    assert (decode(corner, method="udp")[0] - torch.tensor([width - 1.0, height - 1.0])).abs().max() < stride[0]


def test_udp_refines_as_mmpose():
    """The numbers are those of refine_keypoints_dark_udp of mmpose 1.3.2 (759b39c) on the same
    maps, in crop pixels.
    """
    random = np.random.RandomState(7)
    yy, xx = np.mgrid[:16, :12]
    centers = [(4.3, 7.8), (0.4, 1.2), (10.6, 14.9), (6.5, 3.1)]
    maps = np.stack([np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 8) for x, y in centers]).astype(np.float32)
    maps += 0.02 * random.rand(4, 16, 12).astype(np.float32)
    found, _ = decode(torch.from_numpy(maps)[None], method="udp")
    expected = [[18.423251, 32.760055], [-2.137485, 7.075849], [49.134290, 65.097657], [27.786773, 13.225852]]
    assert_close(found[0], torch.tensor(expected), rtol=0, atol=1e-4)


def test_dark_survives_autocast():
    # a convolution of the forward pass would round to 8 bits there, and the step would jump by a twentieth of a cell
    heatmaps, _ = encode(scattered(2, 17).float(), size=SIZE, method="gaussian")
    plain, _ = decode(heatmaps, method="dark")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(decode(heatmaps, method="dark")[0], plain, rtol=0, atol=0)


@pytest.mark.parametrize("method", DECODINGS)
def test_whatever_the_map_the_keypoint_is_in_it(method):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(16, 17, *SIZE, generator=generator)
    maps = [noise, noise - 0.5, 1e-3 * noise, 1 + 1e-6 * noise, noise**9, torch.ones(1, 17, *SIZE), noise[..., :3, :2]]
    for heatmaps in maps:
        keypoints, _ = decode(heatmaps, stride=1, method=method)
        h, w = heatmaps.shape[-2:]
        assert (keypoints >= 0).all()
        assert (keypoints <= torch.tensor([w - 1, h - 1])).all()


@pytest.mark.parametrize("method", DECODINGS)
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_without_a_positive_value_has_its_keypoint_at_0(method, value):
    heatmaps = torch.full((2, 3, *SIZE), value)
    heatmaps[1, 2] = encode(point(90, 120).float(), size=SIZE)[0]
    keypoints, scores = decode(heatmaps, method=method)
    assert scores.tolist() == [[value, value, value], [value, value, 1.0]]
    assert keypoints.flatten(0, 1)[:5].abs().max() == 0
    assert (keypoints[1, 2] - torch.tensor([90.0, 120.0])).abs().max() <= 2.001


@pytest.mark.parametrize("method", DECODINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_at_the_border_and_in_the_corners(method, encoding):
    corners = torch.tensor([[0.0, 0], [188, 0], [0, 252], [188, 252], [0, 120], [92, 252], [4, 4], [184, 248]])[None]
    keypoints, scores = decode(encode(corners, size=SIZE, method=encoding)[0], method=method)
    limit = 4.0 if method == "soft" else 1.001  # half a Gaussian has its mean inside the map
    assert (keypoints - corners).abs().max() <= limit
    assert_close(scores, torch.ones(1, 8))


def test_quarter_moves_only_inside_the_border():
    # 1 < x < w - 1 and 1 < y < h - 1 must both hold (specs 1.8): not at 0, 1 and w - 1
    for x in range(12):
        for y in range(10):
            heatmap = torch.zeros(1, 1, 10, 12)
            heatmap[..., y, x] = 1
            heatmap[..., y, max(x - 1, 0)] += 0.5
            heatmap[..., max(y - 1, 0), x] += 0.5
            moves = -0.25 if 1 < x < 11 and 1 < y < 9 else 0.0
            assert decode(heatmap, stride=1)[0].tolist() == [[[x + moves, y + moves]]]


@pytest.mark.parametrize("method", DECODINGS)
def test_strides_scale_the_keypoints(method):
    heatmaps, _ = encode(scattered(2, 3), size=SIZE, method="gaussian")
    cells, _ = decode(heatmaps, stride=1, method=method)
    assert_close(decode(heatmaps, stride=(3.0, 2.0), method=method)[0], cells * torch.tensor([2.0, 3.0]).double())
    assert_close(decode(heatmaps, method=method)[0], cells * 4)


@pytest.mark.parametrize("method", DECODINGS)
def test_precisions_layouts_and_batches(method):
    exact, _ = encode(scattered(3, 5), size=SIZE, method="gaussian")
    keypoints, scores = decode(exact, method=method)
    assert (keypoints.dtype, scores.dtype) == (torch.float64, torch.float64)
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.bfloat16, 0.1)):
        heatmaps = exact.to(dtype)
        if dtype == torch.bfloat16 and method in ("argmax", "quarter"):  # the highest of two nearly equal cells
            tolerance = 2.0
        found, values = decode(heatmaps, method=method)
        assert (found.dtype, values.dtype) == (torch.float32, torch.float32)
        assert (found - keypoints).abs().max() <= tolerance
    assert_close(decode(exact.to(memory_format=torch.channels_last), method=method)[0], keypoints)
    assert_close(torch.cat([decode(one[None], method=method)[0] for one in exact]), keypoints)
    none, no_scores = decode(exact[:0], method=method)
    assert (none.shape, no_scores.shape) == ((0, 5, 2), (0, 5))


def test_soft_has_the_right_gradient():
    heatmaps = torch.rand(
        2, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    assert torch.autograd.gradcheck(lambda h: decode(h, method="soft", sharpness=3.0)[0], (heatmaps,))
    decode(heatmaps, method="soft")[0].sum().backward()
    assert heatmaps.grad is not None
    assert (heatmaps.grad.abs().sum(dim=(-1, -2)) > 0).all()


def test_soft_sharpness_trades_the_floor_for_the_cell():
    keypoints = point(92, 60)
    heatmaps, _ = encode(keypoints, size=SIZE, method="gaussian")
    errors = [(decode(heatmaps, method="soft", sharpness=s)[0] - keypoints).norm().item() for s in (2.0, 8.0, 20.0)]
    assert errors[0] > 3 * errors[1] > 100 * errors[2]


@pytest.mark.parametrize("method", ["argmax", "quarter", "soft"])
def test_decode_works_inside_of_vmap(method):
    heatmaps = torch.rand(3, 2, 8, 6, generator=torch.Generator().manual_seed(0))
    mapped = torch.vmap(lambda maps: decode(maps[None], method=method)[0][0])(heatmaps)
    assert_close(mapped, decode(heatmaps, method=method)[0])


@pytest.mark.parametrize("shape", [(3, 64, 48), (64, 48), (1, 1, 1, 64, 48)])
def test_decode_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected \(B, K, h, w\), got shape"):
        decode(torch.zeros(shape))


def test_decode_refuses_unknown_methods():
    with pytest.raises(ValueError, match=r"method: expected one of .*'quarter'.*, got 'taylor'"):
        decode(torch.zeros(1, 1, 4, 4), method="taylor")


# ------------------------------------------------------------------------------------------------------------- flip


def mirrored_pair(stride: float | tuple[float, float]) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Keypoints, and the maps that a perfect network gives for the image and for its mirror image."""
    flip_index = (0, 2, 1)
    keypoints = scattered(4, 3, seed=3)
    mirrored = flip_keypoints(keypoints, INPUT[1], flip_index)
    maps = [encode(points, size=SIZE, stride=stride, method="gaussian")[0] for points in (keypoints, mirrored)]
    return keypoints, *maps, flip_index


@pytest.mark.parametrize(
    ("stride", "shift", "offset"),
    [
        (UNBIASED, False, 0.0),  # cells mirror onto cells
        (4.0, False, -3.0),  # 191 - x mirrored back at 4 * 47 - (191 - x)
        (4.0, True, 1.0),  # one cell of 4 to the right
    ],
)
def test_mirrored_predictions_land_on_the_keypoint(stride, shift, offset):
    keypoints, _, mirrored, flip_index = mirrored_pair(stride)
    back = 2 * flip_average(torch.zeros_like(mirrored), mirrored, flip_index, shift=shift)
    found, _ = decode(back, stride=stride, method="dark")
    assert_close(found - keypoints, torch.tensor([offset, 0.0]).double().expand(4, 3, 2), rtol=0, atol=0.01)


def test_the_shift_sharpens_the_average():
    keypoints, plain, mirrored, flip_index = mirrored_pair(4.0)
    errors, heights = [], []
    for shift in (False, True):
        found, scores = decode(flip_average(plain, mirrored, flip_index, shift=shift), method="dark")
        errors.append((found - keypoints)[..., 0].mean().item())
        heights.append(scores.mean().item())
    assert errors == pytest.approx([-1.5, 0.5], abs=0.02)
    assert heights[1] > heights[0]


def test_flip_average_is_the_mean_and_keeps_the_first_column():
    heatmaps, mirrored = torch.rand(2, 1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    back = torch.stack([mirrored[0, 1].flip(-1), mirrored[0, 0].flip(-1)])[None]
    assert_close(flip_average(heatmaps, mirrored, (1, 0)), (heatmaps + back) / 2)
    shifted = torch.cat([back[..., :1], back[..., :3]], dim=-1)
    assert_close(flip_average(heatmaps, mirrored, (1, 0), shift=True), (heatmaps + shifted) / 2)
