"""Stacked Hourglass against the paper, the authors' and bearpaw's code, by numbers obtained from
running them.
"""

import copy
import re

import hourglass_keys
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filling import golden_forward
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from toy import randomize, snapshot

import posezoo
from posezoo.geometry import flip_keypoints
from posezoo.heatmaps import encode
from posezoo.losses import heatmap_mse
from posezoo.models.hourglass import MEAN, StackedHourglass, decode_princeton
from posezoo.models.hourglass52 import CornerNetHourglass


def meta(name, **kwargs):
    with torch.device("meta"):
        return posezoo.create(name, **kwargs)


def tensors(model):
    return [key for key in model.state_dict() if not key.startswith("normalize.")]


# ---------------------------------------------------------------------------------------------------------------------
# The networks

# specs/models2d_b.md 2.3, 16 keypoints: parameters, and billions of multiply-adds for 256 x 256
SIZES = [
    ("hourglass_1", "newell", 3_426_448, 5.15),
    ("hourglass_2", "newell", 6_570_400, 8.33),
    ("hourglass_4", "newell", 12_858_304, 14.70),
    ("hourglass_8", "newell", 25_434_112, 27.44),
    ("hourglass_1_bearpaw", "bearpaw", 3_586_960, 5.81),
    ("hourglass_2_bearpaw", "bearpaw", 6_730_912, 8.99),
    ("hourglass_4", "bearpaw", 13_018_816, 15.36),
    ("hourglass_8_bearpaw", "bearpaw", 25_594_624, 28.09),
]


def multiply_adds(model, *size):
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("name", "stem", "parameters", "gmacs"), SIZES)
def test_size_is_the_authors(name, stem, parameters, gmacs):
    model = meta(name, num_keypoints=16, stem=stem)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    if model.num_stacks < 8:  # counting takes a second per eight stacks
        assert multiply_adds(model, 256, 256) == pytest.approx(gmacs, abs=0.006)
    if model.num_stacks in (tensors_of := {1: 377, 2: 684, 8: 2526}):  # in the released files
        assert len(tensors(model)) == tensors_of[model.num_stacks]


@pytest.mark.parametrize(("size", "gmacs"), [((256, 256), 28.62), ((384, 384), 64.39)])
def test_size_of_hourglass52_is_mmposes(size, gmacs):
    model = meta("hourglass52")
    # 94,847,889 in mmpose (specs/models2d_b.md 2.3), less a block never run: two 3x3 convolutions and their norms
    dead = 2 * (256 * 256 * 9 + 2 * 256)
    assert sum(parameter.numel() for parameter in model.parameters()) == 94_847_889 - dead
    assert multiply_adds(model, *size) == pytest.approx(gmacs, abs=0.006)


@pytest.mark.parametrize("name", ["hourglass_1", "hourglass_2_bearpaw", "hourglass52"])
@pytest.mark.parametrize(("size", "shape"), [((256, 256), (64, 64)), ((384, 128), (96, 32))])
def test_heatmaps_are_a_quarter_of_the_input(name, size, shape):
    model = meta(name, num_keypoints=17)
    stages = model(torch.empty(2, 3, *size, device="meta"), all_stages=True)
    assert [stage.shape for stage in stages] == [(2, 17, *shape)] * getattr(model, "num_stacks", 1)


# The authors' code, filled as in tests/filling.py, float64: mean, std, first and middle value, three argmaxes
# (specs/models2d_b.md 9). The first stack of two is the network of one.
GOLDEN = [
    ("bearpaw", 1, [0.376844283, 12.853629, -1.27440822, 2.61082458], [2562, 1983, 127]),
    ("bearpaw", 2, [-28.1501414, 126.129879, -67.1214546, -21.8483814], [3199, 3124, 2241]),
    ("bearpaw", 8, [-3141470.58, 42409337.7, 19660980.6, 29611094], [4035, 1414, 943]),
    ("newell", 2, [-4.98519939, 104.06917, -38.7949749, 117.375405], [63, 4095, 3825]),
    ("newell", 8, [-4284515.41, 17881493.3, 2933827.78, -3024064.58], [2600, 63, 1478]),
]


@pytest.mark.parametrize(
    ("stem", "num_stacks", "numbers", "peaks"),
    [pytest.param(*row, marks=pytest.mark.slow if row[1] == 8 else ()) for row in GOLDEN],
)
def test_agrees_with_the_authors_code(stem, num_stacks, numbers, peaks):
    model = StackedHourglass(num_stacks=num_stacks, stem=stem, num_keypoints=16)
    names = hourglass_keys.bearpaw if stem == "bearpaw" else hourglass_keys.princeton
    shape, ours, our_peaks = golden_forward(model, (256, 256), names)
    assert shape == (1, 16, 64, 64)
    assert ours == pytest.approx(numbers, rel=1e-6)
    assert our_peaks == peaks
    if (stem, num_stacks) == ("bearpaw", 2):
        with torch.no_grad():
            first = model(torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, 256, 256))), all_stages=True)
        assert float(first[0].mean()) == pytest.approx(GOLDEN[0][2][0], rel=1e-6)


@pytest.mark.slow
def test_hourglass52_agrees_with_mmpose():
    shape, ours, our_peaks = golden_forward(CornerNetHourglass(), (256, 256), hourglass_keys.mmpose)
    assert shape == (1, 17, 64, 64)
    assert ours == pytest.approx([1.39325916, 7.17872384, 4.15249519, -11.7614195], rel=1e-6)
    assert our_peaks == [1168, 3047, 3840]


def test_keys_are_those_of_the_released_files():
    model = meta("hourglass_2", num_modules=1)
    ours = set(tensors(model))
    bearpaw = {hourglass_keys.bearpaw(key) for key in ours}
    princeton = {hourglass_keys.princeton(key) for key in ours}
    assert len(ours) == len(bearpaw) == len(princeton)
    assert {
        "hg.0.hg.0.3.0.conv1.weight", "hg.1.hg.3.0.0.bn1.bias", "fc.0.1.running_var", "score_.0.weight",
    } <= bearpaw  # fmt: skip
    assert {
        "pre.0.conv.weight", "pre.1.skip_layer.conv.weight", "hgs.0.0.low2.low2.low2.low2.bn1.weight",
        "hgs.1.0.up1.conv3.conv.bias", "features.0.0.conv1.conv.weight", "features.1.1.bn.running_mean",
        "outs.0.conv.weight", "merge_features.0.conv.conv.weight", "merge_preds.0.conv.conv.bias",
    } <= princeton  # fmt: skip


def test_modules_repeat_at_every_place():
    """`nModules` of the first code, `num_blocks` of bearpaw: residuals at every place, but in the
    stem.
    """
    one, three = meta("hourglass_1", width=32), meta("hourglass_1", width=32, num_modules=3)
    extra = sum(p.numel() for p in three.parameters()) - sum(p.numel() for p in one.parameters())
    residual = sum(p.numel() for p in one.hgs[0].up1.parameters())
    assert extra == 2 * 14 * residual  # 13 in an hourglass, one after it


def test_the_first_heatmaps_are_made_of_the_features():
    torch.manual_seed(0)
    model = StackedHourglass(num_stacks=3, width=8, num_keypoints=2).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(model.outs[0](model.forward_features(image)), model(image, all_stages=True)[0])


def test_later_stacks_come_and_go_with_the_head():
    model = StackedHourglass(num_stacks=3, width=8, num_keypoints=5)
    before = snapshot(model)
    model.reset_head(0)
    assert len(model.hgs) == len(model.features) == len(model.outs) == 1
    assert not len(model.merge_features)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in StackedHourglass(num_stacks=1, width=8, num_keypoints=0).parameters()
    )
    model.reset_head(2)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert torch.equal(after["hgs.0.up1.0.conv1.weight"], before["hgs.0.up1.0.conv1.weight"])
    assert len(model(torch.rand(2, 3, 64, 64), all_stages=True)) == 3


@pytest.mark.parametrize("num_keypoints", [0, 3])
def test_weights_of_all_stacks_fit_other_heads(num_keypoints, tmp_path, caplog):
    published = randomize(StackedHourglass(num_stacks=2, width=8, num_keypoints=5))
    torch.save(published.state_dict(), tmp_path / "hourglass.pth")
    model = StackedHourglass(num_stacks=2, width=8, num_keypoints=num_keypoints)
    fresh = snapshot(model)
    posezoo.load_checkpoint(model, tmp_path / "hourglass.pth")
    for key, value in model.state_dict().items():
        in_head = key.startswith(("outs.", "merge_preds."))
        assert torch.equal(value, (fresh if in_head else published.state_dict())[key]), key
    assert f"They are for other keypoints, the model has {num_keypoints}" in caplog.text


# ---------------------------------------------------------------------------------------------------------------------
# Cells are blocks of pixels


def test_a_keypoint_falls_into_its_block_of_pixels():
    """The authors' second code (`GenerateHeatmap`): the cell of pixel u of the crop is int(u / 4),
    its Gaussian
    exp(-d^2 / 2); ours ends at 3 cells, theirs at 4."""
    pixels = torch.arange(256.0)
    keypoints = torch.stack([pixels, pixels.flip(0)], dim=-1)[None]
    target, _ = encode(keypoints, size=(64, 64), offset=1.5, sigma=1.0)
    index = target[0].flatten(1).argmax(dim=1)
    assert torch.equal(index % 64, (pixels / 4).long())
    assert torch.equal(index // 64, (pixels.flip(0) / 4).long())
    row = target[0, 128, 31, 30:37].tolist()  # keypoint (128, 127), cell (32, 31)
    assert row == pytest.approx(np.exp(-np.array([4, 1, 0, 1, 4, 9, np.inf]) / 2).tolist())


@pytest.mark.parametrize("decoding", ["argmax", "quarter", "princeton"])
def test_a_dot_and_its_mirror_image(decoding):
    model = StackedHourglass(num_stacks=1, width=8, num_keypoints=3, decoding=decoding)
    keypoints = torch.tensor([[[101.0, 90.0], [27.0, 200.5], [232.2, 30.0]]])
    drawn, _ = encode(keypoints, size=(64, 64), offset=1.5, sigma=2.0, method="gaussian")
    seen, _ = model.decode(drawn)
    assert (seen - keypoints).abs().max() < (2.01 if decoding == "argmax" else 1.01)
    mirrored, _ = model.decode(drawn.flip(-1))
    assert_close(mirrored, flip_keypoints(seen, 256, (0, 1, 2)))


@pytest.mark.parametrize("name", ["hourglass_2", "hourglass52"])
def test_flip_averaging_leaves_a_dot_where_it_is(name):
    """A network whose output is the image itself, each cell the mean of its block; mmpose's
    begin at pixel 0.
    """
    model = posezoo.create(name, width=8, num_keypoints=1, skeleton=["nose"])
    corner = 0 if name == "hourglass52" else 1.5
    model.forward = lambda image: (
        F.avg_pool2d(image[:, :1], 4) if corner else F.pad(image[:, :1], (1, 1, 1, 1))[..., 1:257:4, 1:257:4]
    )
    dots = torch.tensor([[[101.0, 90.0]], [[37.0, 200.5]], [[33.2, 31.0]]])
    image = encode(dots, size=(256, 256), stride=1, sigma=8, method="gaussian")[0].expand(-1, 3, -1, -1)
    plain, _ = model.predict(image)
    assert (plain - dots).abs().max() <= 1.01  # a quarter of a cell
    keypoints, _ = model.predict(image, flip=True)
    assert (keypoints - dots).abs().max() <= (1.01 if corner else 2.01)  # mmpose's shift is a cell, 3/4 were needed
    if corner:
        mirrored, _ = model.predict(image.flip(-1), flip=True)
        assert_close(mirrored, flip_keypoints(keypoints, 256, (0,)))


def test_decoding_is_bearpaws():
    """anibali's `final_preds_untransformed` returns these cells, from the edge of the first pixel."""
    maps = torch.from_numpy(np.random.RandomState(1).standard_normal((1, 16, 64, 64))).float()
    keypoints, _ = StackedHourglass(num_stacks=1, width=8, num_keypoints=16).decode(maps)
    theirs = torch.tensor([[53.75, 8.25], [11.25, 57.75], [22.75, 8.25], [14.25, 41.25]])
    assert torch.equal(keypoints[0, :4], 4 * theirs - 0.5)


def test_decoding_is_princetons():
    """The authors' `HeatmapParser` on small maps, where every peak is near a border, returns these
    cells; a half is
    added already."""
    maps = torch.from_numpy(np.random.RandomState(3).standard_normal((1, 6, 4, 5))).float() / 3
    keypoints, scores = decode_princeton(maps)
    theirs = torch.tensor([[0.25, 0.25], [1.25, 2.25], [4.75, 2.25], [4.75, 1.75], [4.75, 3.75], [4.75, 3.75]])
    assert torch.equal(keypoints[0], 4 * theirs - 0.5)
    expected = [0.59620947, 0.65870363, 0.4958477, 0.64632612, 0.71938306, 0.44833079]
    assert scores[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_princetons_decoding_cuts_off_at_1_and_steps_back_between_equals():
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 0, 4, 4:6] = torch.tensor([1.5, 2.0])  # both are 1: the first counts, and the second draws it nearer
    maps[0, 1, 4, 4] = 0.5  # nothing beside it: back
    keypoints, scores = decode_princeton(maps)
    assert scores.tolist() == [[1.0, 0.5, 0.0]]
    assert keypoints[0].tolist() == [[4.25 * 4 + 1.5, 3.75 * 4 + 1.5], [3.75 * 4 + 1.5] * 2, [0.0, 0.0]]


# ---------------------------------------------------------------------------------------------------------------------
# What belongs to the weights


def test_normalisation_is_the_weights():
    authors, bearpaw = (posezoo.create(name, width=8).normalize for name in ("hourglass_2", "hourglass_2_bearpaw"))
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(authors(image), image)
    mean = torch.tensor([0.4404, 0.4440, 0.4327])
    assert_close(bearpaw(image), image - mean.view(3, 1, 1))
    assert MEAN["bearpaw"] == posezoo.checkpoints.BEARPAW_MEAN
    assert_close(posezoo.create("hourglass52", width=8).normalize.std, torch.tensor([0.229, 0.224, 0.225]))


def test_records_name_files_by_their_checksums():
    names = [name for name in posezoo.list_pretrained(["hourglass*"]) if "lspet" not in name]
    assert len(names) == 7
    for name in names:
        record = posezoo.get_pretrained_cfg(name)
        assert record.sha256 in record.sources[0]
        assert re.fullmatch(r"[0-9a-f]{8}", record.sha256)
        assert record.format in posezoo.checkpoints.FORMATS
        # the cut-down network takes the record's arguments
        assert meta(name, width=8).skeleton.name == record.skeleton
    with pytest.raises(ValueError, match=r"Download http://.*original_2hg/checkpoint\.pt .*hourglass_2_bearpaw\.mpii"):
        posezoo.create("hourglass_2", pretrained=True)


# ---------------------------------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(("name", "fits"), [("hourglass_2", (256, 192)), ("hourglass52", (256, 256))])
def test_sizes_that_do_not_fit_name_the_next_that_does(name, fits):
    model = meta(name)
    with pytest.raises(
        ValueError, match=rf"multiples of \d+, got \(224, 150\); resize or pad, .*\({fits[0]}, {fits[1]}\)"
    ):
        model(torch.empty(1, 3, 224, 150, device="meta"))


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"stem": "torch7"}, r"stem: expected one of \['bearpaw', 'newell'\], got 'torch7'"),
        ({"num_stacks": 0}, "num_stacks: expected a whole number, 1 or more, got 0"),
        ({"num_modules": 1.5}, "num_modules: expected a whole number, 1 or more, got 1.5"),
        ({"num_keypoints": -1}, "num_keypoints"),
    ],
)
def test_impossible_networks(kwargs, says):
    with pytest.raises(ValueError, match=says):
        StackedHourglass(width=8, **kwargs)


def test_one_image_in_training():
    model = StackedHourglass(num_stacks=1, width=8, num_keypoints=1).train()
    assert model(torch.rand(1, 3, 128, 64)).shape == (1, 1, 32, 16)
    with pytest.raises(ValueError, match="more than 1 value per channel when training"):
        model(torch.rand(1, 3, 64, 64))  # its innermost map is one cell


@pytest.mark.parametrize("name", ["hourglass_2", "hourglass52"])
def test_checkpointing_runs_every_part_twice(name):
    """The contract compares outputs and gradients; here, that activations are forgotten at all."""
    model = posezoo.create(name, width=8, num_keypoints=1).train()
    model.set_grad_checkpointing()
    part = model.hgs[1].low1[0].bn1 if name == "hourglass_2" else model.hourglass.low2.low3[0].bn1
    calls = []
    part.register_forward_hook(lambda *_: calls.append(1))
    model(torch.rand(2, 3, 128, 128)).sum().backward()
    assert len(calls) == 2
    model.set_grad_checkpointing(False)
    model(torch.rand(2, 3, 128, 128)).sum().backward()
    assert len(calls) == 3


# ---------------------------------------------------------------------------------------------------------------------
# Learning


def figures(count, size, seed=0):
    """Drawn people: a bar from the red head to the green feet. Images and keypoints `(N, 2, 2)`."""
    random = torch.Generator().manual_seed(seed)
    feet, head = ((0.6 * torch.rand(count, 2, generator=random) + 0.2) * size for _ in range(2))
    keypoints = torch.stack([head, feet], dim=1)
    dots, _ = encode(keypoints, size=(size, size), stride=1, sigma=3, method="gaussian")
    along = torch.linspace(0, 1, 32).view(1, -1, 1)
    bar, _ = encode(head[:, None] * (1 - along) + feet[:, None] * along, size=(size, size), stride=1, sigma=1.5)
    return torch.cat([dots, bar.amax(dim=1, keepdim=True) / 2], dim=1), keypoints


# The authors' targets sit in the middle of a cell and are as high on both sides: two pixels off at most, and the
# quarter of a cell goes either way. DARK's keep the fraction.
@pytest.mark.slow
@pytest.mark.parametrize(("method", "decoding", "pixels"), [("msra", "quarter", 3.01), ("gaussian", "dark", 0.7)])
def test_learns_drawn_figures(method, decoding, pixels):
    torch.manual_seed(0)
    image, keypoints = figures(4, 64)
    model = StackedHourglass(num_stacks=2, width=32, num_keypoints=2, skeleton=["head", "feet"], decoding=decoding)
    target, _ = encode(keypoints, size=(16, 16), offset=1.5, sigma=1.0, method=method)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    # without a decay rounding, which other processors do otherwise, decides about a pixel
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, 80)
    for _ in range(80):
        loss = sum(heatmap_mse(stage, target) for stage in model(image, all_stages=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    found, scores = model.predict(image)  # in train mode: four images say little about running statistics
    assert (found - keypoints).abs().max() < pixels
    assert scores.min() > 0.5


def test_people_without_annotated_keypoints_still_count():
    """An empty target counts, unless the weights say otherwise: whichever keypoint is missing."""
    torch.manual_seed(0)
    model = StackedHourglass(num_stacks=2, width=8, num_keypoints=3)
    image, keypoints = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 2) * 64
    for missing in range(3):
        visible = torch.ones(2, 3)
        visible[:, missing] = 0
        unknown = torch.where(visible[..., None] > 0, keypoints, torch.nan)
        target, weights = encode(unknown, visible, size=(16, 16), offset=1.5, sigma=1.0)
        assert not target[:, missing].any()
        for given in (None, weights):
            network = copy.deepcopy(model)
            sum(heatmap_mse(stage, target, given) for stage in network(image, all_stages=True)).backward()
            taught = network.outs[-1].bias.grad != 0
            assert taught.tolist() == [given is None or keypoint != missing for keypoint in range(3)]
