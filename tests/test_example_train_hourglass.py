"""The training recipe of Stacked Hourglass: its loss, and a few steps of it."""

import pytest
import torch
from running_examples import load_example

import posezoo
from posezoo.heatmaps import encode


@pytest.fixture(scope="module")
def example():
    return load_example("train_hourglass")


@pytest.mark.parametrize("name", ["hourglass_2", "hourglass_1_bearpaw"])
def test_runs(example, lspet, tmp_path, name):
    arguments = ["--data", str(lspet), "--train-images", "1", "4", "--val-images", "5", "6", "--model", name]
    arguments += ["--width", "8", "--size", "64", "64", "--batch-size", "2", "--epochs", "1", "--workers", "0"]
    report = example.main([*arguments, "--output", str(tmp_path / "run")])
    assert report["people"] == 2
    assert report["error_percent"] > 0
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert (model.architecture, model.num_features, model.skeleton.name) == (name, 8, "lsp14")


def test_mmposes_network_has_another_recipe(example, lspet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        example.main(["--data", str(lspet), "--output", str(tmp_path), "--model", "hourglass52", "--width", "8"])
    assert "hourglass52 has another recipe" in capsys.readouterr().err


def test_the_loss_of_a_perfect_network_is_zero(example):
    keypoints = torch.tensor([[[30.0, 12.0], [5.0, 60.0]], [[40.0, 40.0], [torch.nan, torch.nan]]])
    visible = torch.tensor([[True, True], [True, False]])
    batch = {"image": torch.rand(2, 3, 64, 64), "keypoints": keypoints, "visible": visible}
    # pixel 30 is in the eighth block of four
    target, _ = encode(keypoints, visible, size=(16, 16), offset=1.5, sigma=1.0)
    assert target[0, 0, 3].argmax() == 7

    network = posezoo.create("hourglass_1", width=8)

    def loss(*stages):
        return float(example.batch_loss(lambda image, all_stages: stages, batch, network=network, sigma=1.0))

    assert loss(target, target) == 0
    seen = target.clone()
    seen[1, 1] = 1  # a missing joint's map is to be empty
    assert loss(target, seen) == pytest.approx(1 / 4)  # of two people's two maps
    assert loss(seen, seen, target) == pytest.approx(2 / 4)


def test_colours_change_apart_and_stay_in_range(example):
    torch.manual_seed(0)
    image = torch.full((200, 3, 2, 2), 0.5)
    factors = (example.gains(image) / image)[:, :, 0, 0]
    assert 0.6 <= factors.min() < 0.65 < 1.35 < factors.max() <= 1.4
    assert not torch.allclose(factors[:, 0], factors[:, 1])
    assert example.gains(torch.ones(50, 3, 2, 2)).max() == 1
