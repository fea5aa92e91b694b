"""The training examples that learn from another network: its predictions as labels, and the trunk
of a text detector as a start.
"""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from running_examples import load_example
from torch.testing import assert_close

import posezoo
from posezoo.layers import cpm_trunk
from posezoo.skeletons import get_skeleton

import craft

WIDTHS = (8, 8, 16, 16, 32, 32, 32, 64, 64)  # of CRAFT's convolutions, here
SLICES = (1, 1, 1, 1, 2, 2, 3, 3, 4)  # of its trunk, in which they are
NUMBERS = (0, 3, 7, 10, 14, 17, 20, 24, 27)  # of torchvision's VGG-16 with batch norm
POOLED_BEFORE = (2, 4, 7)


@pytest.fixture
def common(lspet, tmp_path):
    torch.manual_seed(0)
    teacher = posezoo.create("hourglass_1", width=16, skeleton="coco17", num_keypoints=17)
    teacher.input_size = (128, 128)
    folder = teacher.save_pretrained(tmp_path / "teacher")
    options = ["--data", str(lspet), "--train-images", "1", "4", "--val-images", "5", "6", "--workers", "0"]
    options += ["--batch-size", "4", "--epochs", "1", "--ema", "0", "--mixed-precision", "no"]
    options += ["--model", "hourglass_1", "--width", "16", "--teacher", f"local-dir:{folder}", "--copies", "2"]
    return [*options, "--crops", str(tmp_path / "crops")]


def test_predictions_of_the_teacher_are_the_labels(common, tmp_path, capsys):
    train = load_example("train_heatmap").main
    report = train([*common, "--size", "64", "64", "--crop-size", "128", "128", "--output", str(tmp_path / "a")])
    assert report["people"] == 2
    assert "features: 8 of 8" in capsys.readouterr().out
    rows = {path.stem: np.load(path) for path in (tmp_path / "crops").glob("*.npy")}
    assert (rows["image"].shape, rows["image"].dtype) == ((8, 3, 128, 128), np.uint8)
    teacher = posezoo.from_pretrained(tmp_path / "teacher")
    keypoints, _ = teacher.predict(torch.from_numpy(rows["image"]).float() / 255)
    coco, lsp = teacher.skeleton.keypoints, get_skeleton("lsp14").keypoints
    known = [name for name in lsp if name in coco]
    found = torch.from_numpy(rows["keypoints"])[:, [lsp.index(name) for name in known]]
    near = (found - keypoints[:, [coco.index(name) for name in known]]).norm(dim=-1) < 4
    assert near.float().mean() > 0.7  # a random teacher's peaks are close to ties; images are rounded to bytes
    assert not rows["visible"][:, [index for index, name in enumerate(lsp) if name not in coco]].any()
    # another run takes the crops as they are; other settings are refused
    train([*common, "--size", "128", "128", "--output", str(tmp_path / "b")])
    assert "features:" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="features of other settings"):
        train([*common, "--copies", "1", "--size", "128", "128", "--output", str(tmp_path / "c")])
    assert json.loads((tmp_path / "crops" / "progress.json").read_text())["done"] == 8


def test_smaller_images_keep_their_keypoints():
    example = load_example("teaching")
    images = torch.zeros(1, 3, 8, 16)
    images[..., 4:6, 8:10] = 1
    small, keypoints = example.resized(images, torch.tensor([[8.5, 4.5]]), (4, 8))
    assert_close(keypoints, torch.tensor([[4.0, 2.0]]))
    assert small[0, 0].argmax() == 2 * 8 + 4


def detector():
    """The state of a narrow CRAFT, and its trunk as a function."""
    generator = torch.Generator().manual_seed(0)
    state, layers, channels = {}, [], 3
    for width, part, number in zip(WIDTHS, SLICES, NUMBERS, strict=True):
        conv, norm = torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.BatchNorm2d(width).eval()
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, name).data = 0.5 + torch.rand(width, generator=generator)
        prefix = f"module.basenet.slice{part}"
        state |= {f"{prefix}.{number}.{key}": value for key, value in conv.state_dict().items()}
        state |= {f"{prefix}.{number + 1}.{key}": value for key, value in norm.state_dict().items()}
        layers.append((conv, norm))
        channels = width
    state["module.basenet.slice5.1.weight"] = torch.zeros(4, 64, 3, 3)

    def run(x):
        for index, (conv, norm) in enumerate(layers):
            x = F.relu(norm(conv(F.max_pool2d(x, 2) if index in POOLED_BEFORE else x)))
        return x

    return state, run


@torch.no_grad()
def test_a_trunk_starts_with_crafts_outputs(tmp_path):
    state, run = detector()
    torch.save(state, tmp_path / "craft.pth")
    images = torch.rand(12, 3, 64, 64)
    trunk = cpm_trunk(16)
    normalize = craft.start_from_craft(trunk, tmp_path / "craft.pth", images)
    x = normalize(images)
    wanted, last = run(x.clone()), trunk.relu4_2
    for layer in trunk:
        x = layer(x)
        if layer is last:
            break
    assert_close(x / x.mean(), wanted / wanted.mean(), rtol=0, atol=0.1)
    assert trunk(normalize(images)).square().mean().sqrt() == pytest.approx(1, abs=0.3)
