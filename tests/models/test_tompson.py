"""Tompson et al. 2014 and 2015 against their equations, figures and numbers: nobody published code
to compare with.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import posezoo
from posezoo import heatmaps
from posezoo.losses import coarse_to_fine_sse, heatmap_cross_entropy, heatmap_sse
from posezoo.models.tompson import (
    FineModel,
    Tompson,
    highest_cell,
    local_contrast,
    paste,
    pyramid,
    upscale,
    windows,
)
from posezoo.spatial_model import SpatialModel, convolve

SMALL = {"width": 8, "fc_width": 16}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


# ----------------------------------------------------------------------------------------- numbers and shapes


@pytest.mark.parametrize(
    ("name", "coarse", "fine"), [("tompson_mpii", 9_160_590, 3_296_142), ("tompson_flic", 18_613_255, 3_295_239)]
)
def test_sizes_are_those_of_the_tables(name, coarse, fine):  # specs/models2d_a.md 2.3 and 2.4
    with torch.device("meta"):
        model = posezoo.create(name)
        assert count(posezoo.create(name, fine=False)) == coarse
    assert count(model.fine) == fine
    assert count(model) == coarse + fine


def test_fine_model_is_shared_by_all_joints_but_for_the_last_layer():
    with torch.device("meta"):
        sizes = [count(FineModel(128, joints, inputs=4)) for joints in (1, 2, 14)]
    assert sizes[1] - sizes[0] == 128 + 1
    assert sizes[2] - sizes[0] == 13 * (128 + 1)


@pytest.mark.parametrize(("pooling", "multiple"), [(4, 4), (8, 8), (16, 16)])
@pytest.mark.parametrize("layout", ["mpii", "flic"])
def test_pooling_sets_the_coarse_maps_and_not_the_fine_ones(layout, pooling, multiple):
    model = Tompson(layout=layout, pooling=pooling, width=2, fc_width=4).eval()
    for height, width in [(64, 96), (5 * multiple, 3 * multiple)]:
        with torch.no_grad():
            coarse, fine = model(torch.rand(1, 3, height, width), all_stages=True)
        assert coarse.shape == (1, model.num_keypoints, height // pooling, width // pooling)
        assert fine.shape == (1, model.num_keypoints, height, width)
    with pytest.raises(ValueError, match=f"multiples of {multiple}.*resize or pad"):
        model(torch.rand(1, 3, 64, 64 + multiple // 2))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("tompson_mpii", (14, 32, 32)), ("tompson_flic", (7, 30, 40)), ("tompson_nips14", (7, 60, 90))],
)
def test_coarse_maps_have_the_sizes_of_the_figures(name, shape):
    with torch.device("meta"):
        model = posezoo.create(name)
        assert model(model.example_input(2), all_stages=True)[0].shape == (2, *shape)


def test_keypoints_are_those_of_the_authors_predictions():
    model = posezoo.create("tompson_mpii", **SMALL)
    assert model.skeleton.name == "mpii14"
    mpii = posezoo.get_skeleton("mpii16")  # "ids 0-5, 8-15", specs/models2d_a.md 0.1
    assert [mpii.index(name) for name in model.skeleton.keypoints] == [*range(6), *range(8, 16)]
    assert posezoo.create("tompson_flic", **SMALL).skeleton.name == "flic7"


def test_dropout_takes_out_whole_maps_before_the_first_1x1():
    torch.manual_seed(0)
    model = Tompson(width=2, fc_width=64).train()
    dropped = []
    model.dropout.register_forward_hook(lambda module, given, result: dropped.append(result))
    model(torch.rand(2, 3, 64, 64))
    (result,) = dropped
    maps = result.flatten(2)
    gone = (maps == 0).all(dim=-1)
    assert result.shape[1] == model.hidden[0][0].in_channels == 64
    assert 0.25 < gone.float().mean() < 0.9  # half of them, and those that ReLU leaves nothing of
    model.eval()
    model(torch.rand(2, 3, 64, 64))
    alive = ~(dropped[1].flatten(2) == 0).all(dim=-1)
    assert gone[alive].any()


# -------------------------------------------------------------------------------- normalisation and pyramid


def test_local_contrast_is_torch7s():
    """Its loops: Gaussian mean over the channels, deviation by the kernel's mass inside, not by its
    root.
    """
    torch.manual_seed(0)
    image = torch.rand(1, 3, 7, 20, dtype=torch.float64)
    image[..., 8:] *= 1e-5  # deviations below the floor
    weight = {d: math.exp(-(d**2) / (2 * 2.25**2)) for d in range(-4, 5)}
    total = sum(weight.values())

    def local(values):
        result, mass = torch.zeros(7, 20, dtype=torch.float64), torch.zeros(7, 20, dtype=torch.float64)
        for y in range(7):
            for x in range(20):
                for v in range(max(0, y - 4), min(7, y + 5)):
                    for u in range(max(0, x - 4), min(20, x + 5)):
                        w = weight[v - y] * weight[u - x] / total**2
                        result[y, x] += w * sum(values[c, v, u] for c in range(3)) / 3
                        mass[y, x] += w
        return result, mass

    sums, mass = local(image[0])
    centred = image[0] - sums / mass
    squares, _ = local(centred**2)
    deviation = squares.sqrt() / mass
    assert (deviation < 1e-4).any()
    assert mass[0, 0] < 0.5
    expected = centred / torch.where(deviation > 1e-4, deviation, 1e-4)
    assert_close(local_contrast(image)[0], expected, rtol=1e-10, atol=1e-12)


def test_local_contrast_removes_brightness_and_contrast():
    image = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    assert_close(local_contrast(0.3 * image + 0.2), local_contrast(image))
    flat = torch.full((1, 3, 16, 16), 0.7, requires_grad=True)
    normalised = local_contrast(flat)
    assert normalised.abs().max() < 1e-2  # nothing but rounding, over the floor
    normalised.sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_local_contrast_leaves_the_corner_brighter_by_the_missing_mass():
    """In a wide chequered image all deviations are alike but for Torch7's division by the mass
    inside.
    """
    at = torch.arange(32)
    chequered = ((at[:, None] + at) % 2).double().expand(1, 3, 32, 32)
    normalised = local_contrast(chequered).abs()
    assert normalised[0, 0, 16, 16] == pytest.approx(1.0, rel=1e-2)
    # a corner has 0.58 squared of the kernel: sqrt(0.58^2 * 1) / 0.58^2 is a deviation of 1 / 0.58
    share = float(torch.exp(-(torch.arange(5.0) ** 2) / (2 * 2.25**2)).sum())
    share /= float(torch.exp(-(torch.arange(-4.0, 5) ** 2) / (2 * 2.25**2)).sum())
    assert normalised[0, 0, 0, 0] == pytest.approx(share, rel=0.1)


def test_pyramid_is_burt_and_adelsons():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 16, 24, dtype=torch.float64)
    levels = pyramid(image, 3)
    assert [tuple(level.shape[-2:]) for level in levels] == [(16, 24), (8, 12), (4, 6)]
    taps = [1, 4, 6, 4, 1]
    y, x = 3, 5
    expected = sum(
        taps[j] * taps[i] / 256 * image[0, 1, 2 * y + j - 2, 2 * x + i - 2] for j in range(5) for i in range(5)
    )
    assert levels[0] is image
    assert levels[1][0, 1, y, x].item() == pytest.approx(expected.item())
    assert_close(pyramid(torch.ones(1, 3, 8, 8), 3)[2], torch.ones(1, 3, 2, 2))


# --------------------------------------------------------------------------------------------- targets, losses


def test_targets_are_gaussians_of_one_and_a_half_cells():  # specs/models2d_a.md 2.3: at squared distances 1, 2, 4, 9
    middle = torch.tensor([[[8 * 10 + 3.5, 8 * 12 + 3.5]]])
    target, _ = heatmaps.encode(middle, size=(32, 32), stride=8, offset=3.5, sigma=1.5, method="gaussian")
    values = [target[0, 0, 12, 11], target[0, 0, 13, 11], target[0, 0, 12, 12], target[0, 0, 15, 10]]
    assert target[0, 0, 12, 10] == 1
    assert [round(float(value), 5) for value in values] == [0.80074, 0.64118, 0.41111, 0.13534]


def test_fine_loss_has_gradients_in_the_window_only():
    """The gradient of E2 on pasted maps is that of E2 on the windows (the first of the departures)."""
    torch.manual_seed(0)
    squares = torch.randn(1, 2, 36, 36, requires_grad=True)
    corner = torch.tensor([[[10, 20], [-14, 40]]])
    joints = torch.tensor([[[31.3, 30.0], [70.0, 50.0]]])  # the second outside of its window
    target, weights = heatmaps.encode(joints, size=(64, 80), stride=1, sigma=1.5, method="gaussian")
    heatmap_sse(paste(squares, corner, (64, 80)), target, weights).backward()
    expected = torch.zeros(1, 2, 36, 36)
    for k, (x, y) in enumerate(corner[0].tolist()):
        for v in range(36):
            for u in range(36):
                if 0 <= y + v < 64 and 0 <= x + u < 80:
                    expected[0, k, v, u] = squares[0, k, v, u].detach() - target[0, k, y + v, x + u]
    assert_close(squares.grad, 2 * expected / 2)  # the mean over two joints
    assert_close(target[0, 1, 40:, :22].abs().max(), torch.tensor(0.0))


def test_missing_joints_have_no_gradient():
    torch.manual_seed(0)
    model = Tompson(num_keypoints=3, **SMALL)
    stages = model(torch.rand(2, 3, 64, 64), all_stages=True)
    for stage in stages:
        stage.retain_grad()
    keypoints = torch.rand(2, 3, 2) * 64
    keypoints[0, 1] = torch.nan
    visible = torch.tensor([[True, False, True], [False, False, False]])
    frames = [model.heatmap_frame(stage) for stage in (0, 1)]
    pairs = [
        (stage, *heatmaps.encode(keypoints, visible, size=tuple(stage.shape[-2:]), stride=s, offset=o, sigma=1.5))
        for stage, (s, o) in zip(stages, frames, strict=True)
    ]
    weights = pairs[0][2]
    coarse_to_fine_sse(pairs[0][:2], pairs[1][:2], weights).backward()
    for stage in stages:
        assert torch.equal(stage.grad.flatten(2).any(dim=-1), visible)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


# -------------------------------------------------------------------------------------------------- the windows


def coarse_and_oracle(pooling, crop, size, dots):
    """`refine` with a fine model whose output is the crop of the image itself."""
    model = Tompson(pooling=pooling, crop=crop, num_keypoints=len(dots), **SMALL)

    class Oracle(torch.nn.Module):
        def forward(self, crops):
            return crops[0][:, :, 0]

    model.fine = Oracle()
    picture = torch.zeros(len(dots), 1, *size)
    for number, (x, y) in enumerate(dots):
        picture[number, 0, y, x] = 1
    cells = torch.tensor([[x // pooling, y // pooling] for x, y in dots])
    early = [picture] + [picture.new_zeros(len(dots), 1, 4, 4)] * 3
    # one joint for each picture
    return model, model.refine(early, cells[:, None], size)


@pytest.mark.parametrize(("pooling", "crop"), [(4, 36), (8, 36), (8, 40), (16, 36)])
def test_a_dot_lands_where_it_is(pooling, crop):
    """At every position of an image, borders and corners included: cut out, pasted and decoded, it
    has not moved.
    """
    size = (3 * pooling, 5 * pooling)
    dots = [(x, y) for y in range(size[0]) for x in range(size[1])]
    model, pasted = coarse_and_oracle(pooling, crop, size, dots)
    keypoints, scores = model.decode(pasted)
    assert_close(keypoints[:, 0], torch.tensor(dots, dtype=torch.float32), rtol=0, atol=0)
    assert (scores == 1).all()
    assert (pasted.flatten(2).sum(dim=-1) == 1).all()


def test_windows_are_cut_at_the_same_place_in_every_layer():
    """A bright pixel of the first layer is, at stride s, in cell floor(pixel / s); the other
    windows have it.
    """
    size, joint = (128, 128), (61, 70)
    strides = (1, 2, 2, 4)
    early = [torch.zeros(1, 1, size[0] // stride, size[1] // stride) for stride in strides]
    for features, stride in zip(early, strides, strict=True):
        features[0, 0, joint[1] // stride, joint[0] // stride] = 1
    for crop, rest in ((40, (0, 0, 0, 0)), (36, (0, 0, 0, 2))):  # at stride 4 a window of 36 starts 2 pixels late
        model, seen = Tompson(crop=crop, num_keypoints=1, width=1, fc_width=2), []
        model.fine = torch.nn.Module()
        model.fine.forward = lambda crops, seen=seen: (seen.extend(crops), crops[0][:, :, 0])[1]
        model.refine(early, torch.tensor([[[joint[0] // 8, joint[1] // 8]]]), size)
        corner = [8 * (at // 8) + 4 - crop // 2 for at in joint]
        for window, stride, late in zip(seen, strides, rest, strict=True):
            assert window.shape[-1] == crop // stride
            y, x = (window[0, 0, 0] == 1).nonzero()[0].tolist()
            for found, start, at in zip((x, y), corner, joint, strict=True):
                assert found * stride + start + late <= at < (found + 1) * stride + start + late


def test_windows_against_slices():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 11, 13)
    padded = F.pad(features, [20] * 4)
    corner = torch.tensor([[[-3, -7], [2, 4], [12, 10]], [[-20, 0], [0, 0], [9, -6]]])
    cut = windows(features, corner, 7)
    assert cut.shape == (2, 3, 3, 7, 7)
    for b in range(2):
        for k in range(3):
            x, y = (corner[b, k] + 20).tolist()
            assert torch.equal(cut[b, k], padded[b, :, y : y + 7, x : x + 7])


def test_gradients_come_back_to_where_the_features_were_taken():
    features = torch.zeros(1, 2, 16, 16, requires_grad=True)
    windows(features, torch.tensor([[[2, 3], [4, 3], [-2, 14]]]), 4).sum().backward()
    expected = torch.zeros(16, 16)
    expected[3:7, 2:6] += 1
    expected[3:7, 4:8] += 1  # two joints' windows overlap
    expected[14:16, 0:2] += 1
    assert_close(features.grad, expected.expand(1, 2, 16, 16))


def test_fine_loss_reaches_the_shared_layers_but_not_through_the_choice_of_place():
    torch.manual_seed(0)
    model = Tompson(num_keypoints=2, **SMALL)
    _, fine = model(torch.rand(1, 3, 64, 64), all_stages=True)
    fine.square().sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {f"banks.{bank}.conv{layer}.weight" for bank in (0, 1) for layer in (1, 2)} <= reached
    assert not any(name.startswith(("banks.2", "hidden", "final_layer", "fc")) or ".convs" in name for name in reached)


def test_joints_share_the_fine_model():
    """The same features around two joints, and the same last layer, give the same map."""
    torch.manual_seed(0)
    fine = FineModel(4, 2, inputs=4).eval()
    with torch.no_grad():
        fine.final_layer.weight[1], fine.final_layer.bias[1] = fine.final_layer.weight[0], fine.final_layer.bias[0]
        crops = [torch.randn(1, 1, 4, size, size).expand(1, 2, 4, size, size) for size in (36, 18, 18, 9)]
        maps = fine(crops)
    assert maps.shape == (1, 2, 36, 36)
    assert_close(maps[:, 0], maps[:, 1])


def test_smaller_crops_are_repeated_and_added():
    fine = FineModel(1, 1, inputs=4)
    fine.branches = torch.nn.ModuleList(torch.nn.Identity() for _ in range(4))
    fine.fuse = torch.nn.Identity()
    torch.nn.init.ones_(fine.final_layer.weight)
    torch.nn.init.zeros_(fine.final_layer.bias)
    crops = [torch.rand(1, 1, 1, size, size) for size in (36, 18, 18, 9)]
    repeated = [
        crop[0, 0].repeat_interleave(36 // crop.shape[-1], 1).repeat_interleave(36 // crop.shape[-1], 2)
        for crop in crops
    ]
    assert_close(fine(crops)[0], sum(repeated))


@pytest.mark.parametrize("flat", [0.0, -1.0])
def test_a_map_without_a_peak_still_has_a_window(flat):
    coarse = torch.full((1, 2, 8, 8), flat)
    assert highest_cell(coarse).tolist() == [[[0, 0], [0, 0]]]
    model = Tompson(num_keypoints=2, **SMALL).eval()
    torch.nn.init.zeros_(model.final_layer.weight)
    torch.nn.init.constant_(model.final_layer.bias, flat)
    torch.nn.init.zeros_(model.fine.final_layer.weight)
    torch.nn.init.constant_(model.fine.final_layer.bias, 1.0)
    with torch.no_grad():
        fine = model(torch.rand(1, 3, 64, 64))
    assert fine[0, 0, :22, :22].eq(1).all()  # the window of cell 0 is pixels -14 to 21
    assert fine.sum() == 2 * 22 * 22
    torch.nn.init.constant_(model.fine.final_layer.bias, flat)
    keypoints, scores = model.predict(torch.rand(1, 3, 64, 64))
    assert not keypoints.any()
    assert (scores <= 0).all()  # nothing positive: (0, 0), as everywhere in the zoo


def test_coarse_maps_decode_to_the_middle_of_their_cell():
    for pooling, middle in ((4, 1.5), (8, 3.5), (16, 7.5)):
        model = Tompson(pooling=pooling, num_keypoints=1, **SMALL)
        coarse = torch.zeros(1, 1, 8, 8)
        coarse[0, 0, 2, 5] = 1
        expected = torch.tensor([[[5 * pooling + middle, 2 * pooling + middle]]])
        assert_close(model.decode(coarse, stage=0)[0], expected)
        alone = Tompson(pooling=pooling, num_keypoints=1, fine=False, **SMALL)
        assert_close(alone.decode(coarse)[0], expected)


def test_three_banks_with_a_fine_model_require_whole_cells():
    with pytest.raises(ValueError, match="crop: expected a multiple of 8"):
        Tompson(fine_banks=3)
    model = Tompson(fine_banks=3, crop=40, **SMALL).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 64, 64)).shape == (1, 14, 64, 64)


def test_banks_that_do_not_halve_evenly_stay_aligned():
    """432 rows are 13.5 of the third bank's last cells: the half one is kept, the others are not
    moved to make room.
    """
    torch.manual_seed(0)
    model = Tompson(layout="flic", fine=False, **SMALL).eval()
    grown = torch.rand(1, 3, 448, 64)
    image = grown[..., :432, :]
    with torch.no_grad():
        whole, cut = model.forward_features(grown), model.forward_features(image)
    assert cut.shape[-2:] == (54, 8)
    assert_close(cut[..., :20, :], whole[..., :20, :])  # what lies 222 pixels and more above the cut does not see it
    assert not torch.allclose(cut[..., 50:, :], whole[..., 50:54, :])
    rows = torch.arange(14.0).view(1, 1, 14, 1).expand(1, 1, 14, 2)
    assert torch.equal(upscale(rows, 4, cut)[0, 0, :, 0], torch.arange(54.0) // 4)


def test_fine_model_can_be_exported():
    torch.manual_seed(0)
    model = Tompson(num_keypoints=2, **SMALL).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (torch.rand(2, 3, 64, 64),), dynamic_shapes={"image": {0: batch}})
    image = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        assert_close(exported.module()(image), model(image))


@pytest.mark.slow
def test_fine_model_can_be_compiled_as_one_graph():
    torch.manual_seed(0)
    model, image = Tompson(num_keypoints=2, **SMALL).eval(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(image), model(image))
    torch.compiler.reset()


def test_heads_come_and_go():
    model = Tompson(spatial_model=True, **SMALL)
    shared = model.fine.fuse[0].weight.clone()
    model.reset_head(5)
    assert torch.equal(model.fine.fuse[0].weight, shared)  # only each joint's own layer is new
    assert model.spatial_model.num_keypoints == 5
    model.reset_head(0)
    assert model.fine is None
    assert model.spatial_model is None
    model.reset_head(3)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_weights_with_a_fine_model_load_without_a_head(tmp_path):
    posezoo.create("tompson_mpii", **SMALL).save_pretrained(tmp_path)
    for keypoints in (0, 5):
        model = posezoo.create(f"local-dir:{tmp_path}", pretrained=True, num_keypoints=keypoints)
        assert model.num_keypoints == keypoints


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "coco"}, "layout: expected one of"),
        ({"pooling": 2}, "pooling: expected one of"),
        ({"banks": 0}, "banks: expected 1 to 4"),
        ({"fine_banks": 4}, "fine_banks: expected 1 to 3"),
        ({"crop": 38}, "crop: expected a multiple of 4"),
        ({"spatial_model": True, "fine": False}, "SpatialModel"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Tompson(**SMALL, **settings)


# ---------------------------------------------------------------------------------------------- spatial model


def slow_spatial_model(maps, kernels, biases, radius, beta, epsilon):
    """The equation of section 3.2, a sum at a time: log of the product over v of (e_Av * e_v + b)."""
    joints, everything = kernels.shape[:2]
    height, width = maps.shape[-2:]

    def softplus(x):
        return math.log1p(math.exp(beta * float(x))) / beta

    energies = torch.zeros(joints, height, width, dtype=torch.float64)
    for a in range(joints):
        for y in range(height):
            for x in range(width):
                for v in range(everything):
                    total = 0.0
                    for j in range(height):
                        for i in range(width):
                            dy, dx = y - j, x - i  # from v, at (j, i), to A, at (y, x)
                            if abs(dy) <= radius[0] and abs(dx) <= radius[1]:
                                energy = kernels[a, v, dy + radius[0], dx + radius[1]]
                                total += softplus(energy) * max(float(maps[v, j, i]), epsilon)
                    bias = biases[a, v, y, x] if biases.shape[-1] > 1 else biases[a, v, 0, 0]
                    energies[a, y, x] += math.log(total + softplus(bias))
    return energies


@pytest.mark.parametrize(
    ("radius", "bias", "beta", "context"),
    [((4, 5), "scalar", 1.0, 1), ((4, 5), "map", 0.5, 0), ((2, 1), "scalar", 2.0, 1), ((7, 6), "map", 1.0, 0)],
    ids=["exact", "exact, maps", "short", "longer than the map"],
)
def test_spatial_model_is_the_papers_equation(radius, bias, beta, context):
    torch.manual_seed(0)
    size = (5, 6)
    model = SpatialModel(
        num_keypoints=2, radius=radius, context=context, bias=bias, size=size if bias == "map" else None, beta=beta,
        epsilon=0.01,
    ).double()  # fmt: skip
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    maps = torch.randn(2, 2 + context, *size, dtype=torch.float64)
    with torch.no_grad():
        energies = model(maps[:, :2], maps[:, 2:] if context else None)
        expected = [slow_spatial_model(m, model.weight, model.bias, radius, beta, 0.01) for m in maps]
    assert_close(energies, torch.stack(expected), rtol=1e-9, atol=1e-9)
    chances = SpatialModel.softmax(energies)
    assert_close(chances.sum(dim=(-2, -1)), torch.ones(2, 2, dtype=torch.float64))
    assert_close(chances.log() - energies, (chances.log() - energies)[..., :1, :1].expand_as(energies))


def test_spatial_model_convolves_as_conv2d_does():
    """Fourier transforms against sums; the kernel is turned round, because conv2d correlates."""
    torch.manual_seed(0)
    maps, kernels = torch.rand(2, 3, 12, 17), torch.rand(2, 3, 9, 13)
    expected = torch.stack(
        [
            torch.stack(
                [
                    F.conv2d(maps[:, v : v + 1], kernels[a, v].flip(0, 1)[None, None], padding=(4, 6))[:, 0]
                    for v in range(3)
                ],
                dim=1,
            )
            for a in range(2)
        ],
        dim=1,
    )
    assert_close(convolve(maps, kernels), expected, rtol=1e-5, atol=1e-5)


def test_kernel_of_the_whole_map_reaches_from_corner_to_corner():
    maps = torch.zeros(1, 1, 6, 9)
    maps[0, 0, 5, 8] = 1
    kernels = torch.zeros(1, 1, 11, 17)
    kernels[0, 0, 0, 0] = 1  # five rows up and eight columns to the left
    found = convolve(maps, kernels)[0, 0, 0]
    assert found[0, 0] == pytest.approx(1, abs=1e-6)
    assert found.abs().sum() == pytest.approx(1, abs=1e-4)


def test_spatial_model_has_the_size_of_the_papers():  # specs/models2d_a.md 2.2: 1.61 M weights, +0.54 M bias maps
    with torch.device("meta"):
        model = SpatialModel(num_keypoints=10, radius=63, bias="map", size=(60, 90))
    assert model.weight.numel() == 10 * 10 * 127**2 == 1_612_900
    assert model.bias.numel() == 540_000


def drawn_maps(joints, size, height=1.0):
    """Coarse maps `(1, K, h, w)` with a peak for each joint of each figure: `(K, 2)` cells or
    several of them.
    """
    figures = [
        heatmaps.encode(joint[None].float(), size=size, stride=1, sigma=1.5, method="gaussian")[0] for joint in joints
    ]
    return sum(weight * figure for weight, figure in zip(height, figures, strict=True))


OFFSETS = torch.tensor([[0.0, -8.0], [5.0, 1.0], [-5.0, 6.0]])  # cells from the torso: head, one hand, the other


def trained_spatial_model():
    torch.manual_seed(0)
    torso = torch.rand(500, 1, 2) * 20 + 6
    joints = torso + OFFSETS + torch.randn(500, 3, 2)
    model = SpatialModel(num_keypoints=3, radius=(31, 31), context=1)
    model.init_from_displacements(8 * torch.cat([joints, torso], dim=1), stride=8)
    return model


def test_torso_decides_which_of_two_people_wins():
    """Two figures, all of their joints found; the left ones a little more clearly."""
    model = trained_spatial_model()
    left, right = torch.tensor([9.0, 16.0]), torch.tensor([23.0, 14.0])
    maps = drawn_maps([left + OFFSETS, right + OFFSETS], (32, 32), height=(1.0, 0.8))
    for torso, person in ((left, left), (right, right)):
        context = drawn_maps([torso[None]], (32, 32), height=(1.0,))
        with torch.no_grad():
            found = highest_cell(model(maps, context))
        assert (found[0] - (person + OFFSETS)).abs().max() <= 1
    with torch.no_grad():
        anyone = highest_cell(model(maps, torch.full((1, 1, 32, 32), 1 / 1024)))
    assert (anyone[0] - (left + OFFSETS)).abs().max() <= 1


def test_torso_decides_through_predict():
    """The same in the whole network, with a coarse head that predicts two figures."""
    torch.manual_seed(0)
    model = Tompson(num_keypoints=3, skeleton=["head", "left_hand", "right_hand"], spatial_model=True, **SMALL).eval()
    model.spatial_model = trained_spatial_model()
    left, right = torch.tensor([9.0, 16.0]), torch.tensor([23.0, 14.0])
    maps = drawn_maps([left + OFFSETS, right + OFFSETS], (32, 32), height=(1.0, 0.8))

    class Head(torch.nn.Module):
        def forward(self, features):
            return maps.expand(features.shape[0], -1, -1, -1)

    model.final_layer = Head()
    torch.nn.init.zeros_(model.fine.final_layer.weight)  # a fine map of ones: the keypoint is its window's first pixel
    torch.nn.init.ones_(model.fine.final_layer.bias)
    image = torch.rand(2, 3, 256, 256)
    keypoints, _ = model.predict(image, torso=torch.stack([left, right]) * 8 + 3.5)
    for found, person in zip(keypoints, (left, right), strict=True):
        corner = (person + OFFSETS) * 8 - 14
        assert (found - corner.clamp(min=0)).abs().max() <= 8
    assert_close(model.predict(image)[0][0], keypoints[0])  # nobody is meant: the clearer one
    with pytest.raises(ValueError, match=r"inside the image, 256 wide and 256 high, got \[300.0, 10.0\]"):
        model.predict(image, torso=torch.tensor([[10.0, 10.0], [300.0, 10.0]]))
    with pytest.raises(ValueError, match=r"torso: expected \(2, 2\)"):
        model(image, torso=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="spatial_model=True"):
        Tompson(**SMALL).predict(image, torso=torch.zeros(2, 2))


def test_flip_averaging_mirrors_the_torso():
    torch.manual_seed(0)
    model = Tompson(num_keypoints=2, skeleton=["left_hand", "right_hand"], spatial_model=True, **SMALL).eval()
    asked = []
    model.spatial_model_energies = lambda coarse, torso: (asked.append(torso), coarse)[1]
    model.predict(torch.rand(1, 3, 64, 64), flip=True, torso=torch.tensor([[10.0, 20.0]]))
    assert [torso.tolist() for torso in asked] == [[[10.0, 20.0]], [[53.0, 20.0]]]


def test_histogram_counts_where_joints_are_seen_from_each_other():
    model = SpatialModel(num_keypoints=2, radius=(3, 4), context=1)
    poses = torch.tensor([[[80.0, 80.0], [96.0, 88.0], [80.0, 104.0]], [[40.0, 40.0], [56.0, 52.5], [0.0, 0.0]]])
    visible = torch.tensor([[True, True, True], [True, True, False]])
    used = model.init_from_displacements(poses, visible, stride=8, taps=1)
    assert used.tolist() == [[2, 2, 1], [2, 2, 1]]
    kernels = F.softplus(model.weight.detach())
    assert_close(kernels.sum(dim=(-2, -1)), torch.ones(2, 3))
    assert kernels[0, 0, 3, 4] > 0.99  # each from itself: nowhere else
    # joint 1 from joint 0: 2 cells right and 1 down, once 2 down (12.5 pixels); joint 0 from joint 1 the other way
    assert_close(kernels[1, 0, 3 + 1, 4 + 2], torch.tensor(0.5), rtol=0, atol=1e-3)
    assert_close(kernels[1, 0, 3 + 2, 4 + 2], torch.tensor(0.5), rtol=0, atol=1e-3)
    assert_close(kernels[0, 1, 3 - 1, 4 - 2], torch.tensor(0.5), rtol=0, atol=1e-3)
    assert kernels[0, 2, 3 - 3, 4] > 0.99  # three cells above the torso, as far as the kernel goes
    assert_close(F.softplus(model.bias.detach()), torch.full((2, 3, 1, 1), 1e-5))


def test_histogram_can_be_smoothed_by_a_binomial():
    model = SpatialModel(num_keypoints=1, radius=8)
    model.init_from_displacements(torch.zeros(3, 1, 2), stride=8, taps=9)
    kernel = F.softplus(model.weight.detach())[0, 0]
    row = torch.tensor([1.0, 8, 28, 56, 70, 56, 28, 8, 1]) / 256
    assert_close(kernel[4:13, 4:13], row[:, None] * row, rtol=1e-2, atol=1e-5)


def test_joints_never_labelled_together_have_uniform_kernels():
    model = SpatialModel(num_keypoints=3, radius=2)
    poses = torch.tensor([[[10.0, 10.0], [torch.nan, torch.nan], [500.0, 500.0]]])
    used = model.init_from_displacements(poses, torch.tensor([[True, False, True]]), stride=8)
    assert used.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]  # 500 pixels are beyond two cells
    kernels = F.softplus(model.weight.detach())
    assert_close(kernels[0, 1], torch.full((5, 5), 1 / 25))
    assert_close(kernels[0, 2], torch.full((5, 5), 1 / 25))
    with pytest.raises(ValueError, match="expected visible ones"):
        model.init_from_displacements(poses, torch.zeros(1, 3), stride=8)
    with pytest.raises(ValueError, match="all of them finite"):
        model.init_from_displacements(poses, stride=8)


def test_a_new_spatial_model_keeps_the_detectors_maxima():
    torch.manual_seed(0)
    maps = torch.rand(4, 3, 12, 16)
    with torch.no_grad():
        energies = SpatialModel(num_keypoints=3, radius=(11, 15))(maps)
    assert torch.equal(highest_cell(energies), highest_cell(maps))


@pytest.mark.parametrize("seen", [0, 1])
def test_spatial_model_of_one_visible_joint_or_none(seen):
    model = trained_spatial_model()
    maps = torch.zeros(1, 3, 32, 32)
    cell = torch.tensor([16, 10])
    if seen:
        maps[0, 0, cell[1], cell[0]] = 1
    energies = model(maps - 0.1, torch.zeros(1, 1, 32, 32))
    energies.sum().backward()
    assert torch.isfinite(energies).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    if seen:  # it says where the others must be
        expected = cell + OFFSETS - OFFSETS[0]
        assert (highest_cell(energies)[0] - expected).abs().max() <= 2


def test_spatial_model_learns_by_cross_entropy():
    """From knowing nothing: a detector that cannot tell two hands apart, with a head that can."""
    torch.manual_seed(0)
    model = SpatialModel(num_keypoints=2, radius=(11, 11))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    for _ in range(60):
        head = torch.randint(4, 8, (16, 1, 2)).float()
        joints = torch.cat([head, head + torch.tensor([3.0, 2.0])], dim=1)
        target, visible = heatmaps.encode(joints, size=(12, 12), stride=1, sigma=1, method="gaussian")
        decoy = heatmaps.encode(joints * torch.tensor([1.0, 0]), size=(12, 12), stride=1, sigma=1, method="gaussian")[0]
        maps = target.clone()
        maps[:, 1] += decoy[:, 1]
        loss = heatmap_cross_entropy(model(maps), target, visible)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (highest_cell(model(maps))[:, 1] == joints[:, 1]).all(dim=-1)
    assert right.float().mean() > 0.9


def test_spatial_model_in_half_precision_and_empty_batches():
    model = trained_spatial_model()
    maps, torso = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected = model(maps.bfloat16().float(), torso.bfloat16().float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_close(model(maps.bfloat16(), torso.bfloat16()), expected)
        assert model(maps[:0], torso[:0]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_keypoints": 0}, "num_keypoints of 1 or more"),
        ({"num_keypoints": 2, "bias": "vector"}, "bias: expected"),
        ({"num_keypoints": 2, "bias": "map"}, "size: expected"),
        ({"num_keypoints": 2, "size": (4, 4)}, "size: expected"),
        ({"num_keypoints": 2, "epsilon": 0.0}, "positive"),
    ],
)
def test_impossible_spatial_models_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SpatialModel(**settings)


def test_spatial_model_refuses_other_maps():
    model = SpatialModel(num_keypoints=3, radius=3, context=1, bias="map", size=(8, 8))
    with pytest.raises(ValueError, match=r"1 maps of context of the same size, got \(1, 3, 8, 8\)"):
        model(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) and \(1, 1, 4, 4\)"):
        model(torch.rand(1, 3, 8, 8), torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match='bias="scalar" takes any size'):
        model(torch.rand(1, 3, 6, 8), torch.rand(1, 1, 6, 8))
    with pytest.raises(ValueError, match=r"\(N, 4, 2\)"):
        model.init_from_displacements(torch.rand(1, 3, 2), stride=8)
    with pytest.raises(ValueError, match="odd"):
        model.init_from_displacements(torch.rand(1, 4, 2), stride=8, taps=4)


# ------------------------------------------------------------------------------------------------ it learns


@pytest.mark.slow
def test_overfits_drawn_figures_to_below_a_pixel():
    """Coloured dots, the coarse model and then both, with the paper's losses; the prediction through
    `predict`.
    """
    torch.manual_seed(0)
    keypoints = 16 + 96 * torch.rand(4, 3, 2)
    dots, _ = heatmaps.encode(keypoints, size=(128, 128), stride=1, sigma=3, method="gaussian")
    model = Tompson(num_keypoints=3, width=16, fc_width=32, dropout=0.0, decoding="dark")
    targets = []
    for stage, size in ((0, (16, 16)), (1, (128, 128))):
        stride, offset = model.heatmap_frame(stage)
        target, _ = heatmaps.encode(keypoints, size=size, stride=stride, offset=offset, sigma=1.5, method="gaussian")
        targets.append(target)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(150):
        coarse, fine = model(dots, all_stages=True)
        loss = coarse_to_fine_sse((coarse, targets[0]), (fine, targets[1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found, scores = model.eval().predict(dots)
    assert (found - keypoints).norm(dim=-1).max() < 0.5
    assert scores.min() > 0.5
    coarse = model.decode(model(dots, all_stages=True)[0], stage=0)[0]
    assert (coarse - keypoints).norm(dim=-1).mean() > (found - keypoints).norm(dim=-1).mean()


def test_a_window_without_a_positive_value_has_its_maximum():
    model = Tompson(layout="mpii", num_keypoints=2, width=4, fc_width=8).eval()
    windows = -1 - torch.rand(1, 2, 36, 36)
    windows[0, 0, 30, 7] = -0.5
    windows[0, 1, 3, 4] = 0.25
    corner = torch.tensor([[[40, 60], [100, 20]]])
    mask = paste(torch.ones_like(windows, dtype=torch.bool), corner, (256, 256))
    keypoints, scores = model.decode(paste(windows, corner, (256, 256)), mask=mask)
    assert keypoints.tolist() == [[[47, 90], [104, 23]]]
    assert scores.tolist() == [[-0.5, 0.25]]
    nowhere, scores = model.decode(torch.zeros(1, 2, 256, 256))
    assert nowhere.tolist() == [[[0, 0], [0, 0]]]
    assert scores.tolist() == [[0, 0]]


def test_a_value_of_exactly_0_inside_of_the_window_counts():
    """Outside of the window is a mask, not the value 0."""
    model = Tompson(layout="mpii", num_keypoints=1, width=4, fc_width=8).eval()
    corner = torch.tensor([[[40, 60]]])
    windows = torch.full((1, 1, 36, 36), -1.0)
    windows[0, 0, 30, 7] = 0
    mask = paste(torch.ones_like(windows, dtype=torch.bool), corner, (256, 256))
    keypoints, scores = model.decode(paste(windows, corner, (256, 256)), mask=mask)
    assert keypoints.tolist() == [[[47, 90]]]
    assert scores.tolist() == [[0]]


@pytest.mark.parametrize("flip", [False, True])
def test_predict_stays_inside_of_the_windows(flip):
    """With no positive value in any window, keypoints lie inside of them all the same."""
    torch.manual_seed(0)
    model = Tompson(num_keypoints=2, skeleton=["left", "right"], **SMALL).eval()
    with torch.no_grad():
        model.fine.final_layer.weight.zero_()
        model.fine.final_layer.bias.fill_(-1)
    image = torch.rand(1, 3, 64, 64)
    cells = highest_cell(model(image, all_stages=True)[0])
    keypoints, scores = model.predict(image, flip=flip)
    assert (scores < 0).all()
    if not flip:
        assert ((keypoints >= model.corners(cells)) & (keypoints < model.corners(cells) + model.crop)).all()
