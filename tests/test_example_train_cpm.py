"""The training recipe of Convolutional Pose Machines: its groups of parameters, and a few steps of
it.
"""

import pytest
import torch
from running_examples import load_example

import posezoo
from posezoo.models.cpm import CPM


@pytest.fixture(scope="module")
def example():
    return load_example("train_cpm")


@pytest.mark.parametrize(("name", "more"), [("cpm_9x9_4s", []), ("cpm_vgg_6s", ["--adam", "--lr", "1e-3"])])
def test_runs(example, lspet, tmp_path, name, more):
    arguments = ["--data", str(lspet), "--train-images", "1", "4", "--val-images", "5", "6", "--model", name]
    arguments += ["--width", "8", "--size", "64", "64", "--batch-size", "2", "--epochs", "1", "--workers", "0"]
    report = example.main([*arguments, *more, "--output", str(tmp_path / "run")])
    assert report["people"] == 2
    assert report["error_percent"] > 0
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert (model.architecture, model.num_features, model.skeleton.name) == (name, 8, "lsp14")


def test_mmposes_variant_has_another_recipe(example, lspet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        example.main(["--data", str(lspet), "--output", str(tmp_path), "--model", "cpm_bn_6s"])
    assert "no background map" in capsys.readouterr().err


# lr_mult and decay_mult in the authors' prototxts; vgg's later stages learn four times as fast as its trunk
@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("9x9", {"trunk": 1, "stage1": 5, "stages": 1}),
        ("vgg", {"trunk": 1, "stage1": 1, "stages": 4}),
    ],
)
def test_learning_rates_are_the_authors(example, design, expected):
    model = CPM(design=design, width=4, num_stages=3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = []
    for group in example.parameter_groups(model, 1.0):
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.append(name)
            bias = name.endswith("bias")
            assert group["lr"] == expected[name.partition(".")[0]] * (2 if bias else 1)
            assert group["weight_decay"] == (0 if bias else 5e-4)
    assert sorted(seen) == sorted(names.values())


def test_the_loss_of_a_perfect_network_is_zero(example):
    from posezoo.models.cpm import cpm_targets

    keypoints, visible = torch.rand(2, 3, 2) * 60, torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()
    target, _ = cpm_targets(keypoints[:, None], visible[:, None], size=(8, 8))
    batch = {"image": torch.rand(2, 3, 64, 64), "keypoints": keypoints, "visible": visible}
    assert example.batch_loss(lambda image, all_stages: (target, target), batch) == 0
    assert example.batch_loss(lambda image, all_stages: (target, target + 1), batch) == pytest.approx(4 * 64 / 2)
