"""The three phases of Tompson et al.'s training, a step or two of each."""

import pytest
import torch
from running_examples import load_example

import posezoo
from posezoo.heatmaps import encode
from posezoo.weights import read_state_dict


@pytest.fixture(scope="module")
def example():
    return load_example("train_tompson")


def test_each_phase_trains_its_part_and_goes_on_from_the_one_before(example, lspet, tmp_path):
    common = ["--data", str(lspet), "--train-images", "1", "4", "--val-images", "5", "6", "--width", "4"]
    common += ["--fc-width", "8", "--size", "64", "64", "--batch-size", "2", "--epochs", "1", "--workers", "0"]
    states = {}
    for before, phase in ((None, "coarse"), ("coarse", "fine"), ("fine", "joint")):
        init = ["--init", str(tmp_path / before / "model")] if before else []
        report = example.main([*common, "--phase", phase, *init, "--output", str(tmp_path / phase)])
        assert report["people"] == 2
        states[phase] = read_state_dict(tmp_path / phase / "model" / "model.safetensors")
    assert not any(key.startswith("fine.") for key in states["coarse"])
    assert all(torch.equal(states["fine"][key], value) for key, value in states["coarse"].items())  # it was frozen
    moved = {key for key, value in states["fine"].items() if not torch.equal(states["joint"][key], value)}
    assert {"banks.0.conv1.weight", "final_layer.weight", "fine.fuse.0.weight"} <= moved
    model = posezoo.create(f"local-dir:{tmp_path / 'joint' / 'model'}", pretrained=True)
    assert (model.architecture, model.width, model.skeleton.name) == ("tompson_mpii", 4, "lsp14")


def test_later_phases_require_the_earlier_phases_weights(example, lspet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        example.main(["--data", str(lspet), "--output", str(tmp_path), "--phase", "fine"])
    assert "--init" in capsys.readouterr().err


def test_losses_of_the_phases(example):
    """E1 of perfect coarse heatmaps is 0; E3 is E1 and a tenth of E2."""
    keypoints, visible = 8 + 48 * torch.rand(2, 3, 2), torch.tensor([[1, 1, 0], [1, 0, 1]]).bool()
    options = {"sigma": 1.5, "method": "gaussian"}
    coarse, _ = encode(keypoints, visible, size=(8, 8), stride=8, offset=3.5, **options)
    fine, _ = encode(keypoints, visible, size=(64, 64), stride=1, **options)
    batch = {"image": torch.rand(2, 3, 64, 64), "keypoints": keypoints, "visible": visible}

    def model(*stages):
        return lambda image, all_stages: stages

    assert example.batch_loss(model(coarse), batch, "coarse") == 0
    assert example.batch_loss(model(coarse + 1), batch, "coarse") == pytest.approx(64 * 4 / 6)  # four of six joints
    assert example.batch_loss(model(coarse + 1, fine), batch, "fine") == 0
    expected = 64 * 4 / 6 + 0.1 * 64 * 64 * 4 / 6
    assert example.batch_loss(model(coarse + 1, fine + 1), batch, "joint") == pytest.approx(expected, rel=1e-4)
