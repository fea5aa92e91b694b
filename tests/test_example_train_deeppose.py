"""The example trains two stages, one after the other, and goes on where it was stopped."""

import json

import torch
from running_examples import load_example

import posezoo

WIDTHS = ["4", "4", "6", "6", "4", "16", "16"]


def test_train_deeppose_trains_two_stages_and_resumes(lspet, tmp_path, capsys):
    train = load_example("train_deeppose").main
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
