"""The training example of PoseRNN runs, with the paper's loss and schedule."""

import numpy as np
import pytest
import torch
from running_examples import load_example

import posezoo


@pytest.fixture(scope="module")
def example():
    return load_example("train_posernn")


def run(example, lspet, output, *more):
    common = ["--data", str(lspet), "--train-images", "1", "4", "--val-images", "5", "6", "--workers", "0"]
    return example.main([*common, "--batch-size", "2", "--epochs", "1", "--output", str(output), *more])


def test_train_posernn_runs(example, lspet, tmp_path):
    report = run(example, lspet, tmp_path / "run", "--decoder", "attention", "--size", "64", "48")
    assert np.isfinite(report["error_percent"])
    assert report["people"] == 2
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert model.architecture == "posernn_attention"
    assert model.skeleton.name == "lsp14"


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["cnn", "lstm"])
def test_train_posernn_runs_with_every_decoder(example, lspet, tmp_path, decoder):
    report = run(example, lspet, tmp_path / "run", "--decoder", decoder)
    assert np.isfinite(report["error_percent"])


def test_the_loss_is_half_the_sum_over_labelled_joints(example):
    batch = {
        "image": torch.zeros(2, 3, 8, 8),
        "keypoints": torch.full((2, 14, 2), 3.0),
        "visible": torch.ones(2, 14, dtype=torch.bool),
    }
    batch["visible"][0, 4] = False
    assert example.batch_loss(lambda image: torch.zeros(2, 14, 2), batch).item() == 27 * 2 * 9 / 2


def test_the_rate_is_the_papers(example, lspet, monkeypatch):
    """Adam at 1e-3, halved every 1,000 iterations, 25 people, 10,000 iterations on 7,000 people, no
    augmentation.
    """
    asked = {}
    monkeypatch.setattr(example, "make_loaders", lambda args, crop, readers: asked.update(args=vars(args), crop=crop))
    monkeypatch.setattr(
        example, "train", lambda args, model, optimizer, *rest, **more: asked.update(more, optimizer=optimizer)
    )
    example.main(["--data", str(lspet), "--train-images", "1", "4", "--output", "run", "--decoder", "attention"])
    assert isinstance(asked["optimizer"], torch.optim.Adam)
    assert asked["optimizer"].defaults["lr"] == 1e-3
    assert asked["optimizer"].defaults["weight_decay"] == 0
    rates = [asked["schedule"](step, 10_000) for step in (0, 999, 1000, 1999, 9999)]
    assert rates == [1, 1, 0.5, 0.5, 0.5**9]
    assert asked["args"]["batch_size"] == 25
    assert round(asked["args"]["epochs"] * (7000 // 25), -3) == 10_000
    skeleton = posezoo.get_skeleton("lsp14")
    assert asked["crop"] == posezoo.data.PersonCrop(size=(224, 224), keep_aspect=False, skeleton=skeleton)
