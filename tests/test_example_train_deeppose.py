"""The example trains two stages, one after the other, and goes on where it was stopped."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

import posezoo

ROOT = Path(__file__).parents[1]
WIDTHS = ["4", "4", "6", "6", "4", "16", "16"]


@pytest.fixture
def lspet(tmp_path):
    """Ten images in the layout of LSPET, a joint of which is labelled on some people only."""
    random = np.random.default_rng(0)
    folder = tmp_path / "lspet"
    (folder / "images").mkdir(parents=True)
    joints = np.ones((14, 3, 10))
    joints[:, :2] = random.uniform(20, 100, (14, 2, 10))
    joints[9, 2, :2] = joints[3, 2, 1] = 0  # two without a left shoulder, one of them without a left hip either
    for number in range(10):
        pixels = random.integers(0, 128, (120, 110, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"im{number + 1:05d}.jpg")
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    return folder


def load_example():
    spec = importlib.util.spec_from_file_location("train_deeppose", ROOT / "examples" / "train_deeppose.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_train_deeppose_trains_two_stages_and_resumes(lspet, tmp_path, capsys):
    train = load_example().main
    run = tmp_path / "run"
    common = ["--data", str(lspet), "--train-images", "1", "6", "--val-images", "7", "10", "--batch-size", "4"]
    common += ["--workers", "0", "--widths", *WIDTHS, "--epochs", "1", "--output", str(run)]
    reports = train(common)
    assert list(reports) == ["mean pose", "stage 1", "stage 2"]
    for report in reports.values():
        assert 0 <= report["pck@0.2"] <= 1
        assert 0 <= report["pcp@0.5"] <= 1
        assert report["people"] == 4
    assert json.loads((run / "stages.json").read_text()).keys() == reports.keys()
    said = capsys.readouterr().out
    assert "stage 2  PCK@0.2" in said

    first, second = (
        posezoo.create(f"local-dir:{run / stage / 'model'}", pretrained=True) for stage in ("stage1", "stage2")
    )
    assert (first.num_stages, second.num_stages) == (1, 2)
    assert (second.heads[1].displacement_variance > 0).all()
    untrained = posezoo.create("deeppose", num_stages=2, widths=[int(width) for width in WIDTHS])
    for name, tensor in first.state_dict().items():  # the second stage leaves the first alone
        assert torch.equal(second.state_dict()[name], tensor), name
    assert not torch.equal(second.heads[1].fc.bias, untrained.heads[1].fc.bias)

    again = train([*common, "--resume"])
    assert "epoch 0" not in capsys.readouterr().out
    assert again["stage 2"]["pck@0.2"] == reports["stage 2"]["pck@0.2"]
