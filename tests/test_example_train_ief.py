"""The training example of Iterative Error Feedback runs, with the paper's curriculum and samples."""

import numpy as np
import pytest
import torch
from running_examples import load_example
from torch.testing import assert_close

import posezoo
from posezoo.data import PersonCrop

from data_sources import lsp_people


@pytest.fixture(scope="module")
def example():
    return load_example("train_ief")


def test_train_ief_runs_stops_and_goes_on_in_the_next_step(example, lspet, tmp_path, capsys, monkeypatch):
    arguments = ["--data", str(lspet), "--train-images", "5", "6", "--val-images", "7", "8", "--workers", "0"]
    arguments += ["--batch-size", "2", "--epochs-per-step", "1", "1", "--output", str(tmp_path / "run")]
    with monkeypatch.context() as stopped:
        stopped.setattr(example, "curriculum", lambda epochs_per_step: [(1, 1, 1.0)])
        example.main(arguments)
    said = capsys.readouterr().out
    assert "epoch 0 step 0/1 " in said  # two samples: everybody's first correction
    assert "epoch 1" not in said
    report = example.main([*arguments, "--resume"])
    said = capsys.readouterr().out
    assert "epoch 0" not in said
    assert "epoch 1 step 0/2 " in said  # four: the second has joined
    assert np.isfinite(report["error_percent"])
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert model.num_steps == 2
    assert (model.initial_pose != posezoo.create("ief").initial_pose[:14]).all()  # the median went with it


def test_train_ief_starts_from_a_checkpoint(example, lspet, tmp_path):
    torch.manual_seed(5)
    before = posezoo.create("ief", num_keypoints=14, skeleton="lsp14", num_steps=2)
    posezoo.save_pretrained(before, tmp_path / "before")
    arguments = ["--data", str(lspet), "--train-images", "5", "6", "--val-images", "7", "8", "--workers", "0"]
    arguments += ["--batch-size", "2", "--epochs-per-step", "0", "1", "--output", str(tmp_path / "run"), "--lr", "0"]
    example.main([*arguments, "--init", str(tmp_path / "before" / "model.safetensors")])
    after = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    for name, weight in before.named_parameters():
        assert torch.equal(weight, after.get_parameter(name)), name


def test_curriculum_is_the_papers_or_the_released_models(example):  # specs/models2d_a.md 4.5
    assert list(example.curriculum([3, 3, 3, 3])) == [(1, 3, 1.0), (2, 3, 1.0), (3, 3, 1.0), (4, 3, 0.1)]
    released = list(example.curriculum([6, 6, 6, 9]))
    assert released == [(1, 6, 1.0), (2, 6, 1.0), (3, 6, 1.0), (4, 6, 1.0), (4, 3, 0.1)]
    assert sum(epochs for _, epochs, _ in released) == 27


def test_pool_has_everybody_once_per_correction(example, lspet):
    cropped = example.Cropped(lsp_people(lspet, (1, 4)), PersonCrop(size=(224, 224)))
    initial = torch.full((14, 2), 112.0)
    pool = example.Pool(cropped, initial, 3, 20.0)
    assert len(pool) == 12
    samples = [pool[index] for index in range(12)]
    for first in (0, 3, 6, 9):  # the corrections of one person
        assert torch.equal(samples[first]["keypoints"], samples[first + 2]["keypoints"])
    assert not torch.equal(samples[0]["keypoints"], samples[3]["keypoints"])
    for done, sample in enumerate(samples[3:6]):
        seen, target = sample["visible"], sample["keypoints"]
        assert seen.tolist() == [k not in (3, 5, 9) for k in range(14)]
        assert_close(sample["start"][[3, 5, 9]], initial[[3, 5, 9]])
        way = (target - initial).norm(dim=-1)
        left = (target - sample["start"]).norm(dim=-1)
        assert_close(left[seen], (way - 20 * done).clamp(min=0)[seen], rtol=0, atol=1e-3)


def test_epochs_are_given_per_step(example, lspet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        example.main(["--data", str(lspet), "--output", str(tmp_path), "--epochs", "3"])
    assert "--epochs-per-step" in capsys.readouterr().err
