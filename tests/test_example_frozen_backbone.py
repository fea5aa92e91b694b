"""The training examples on a backbone of another network: copied, frozen, its features computed
once.
"""

import argparse
import json

import numpy as np
import pytest
import torch
from running_examples import load_example
from safetensors.torch import load_file

import posezoo
from posezoo.data import LSP

from data_sources import lsp_people, source

BACKBONE = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A Simple Baselines network with other values in its batch norms than a new one."""
    torch.manual_seed(0)
    model = posezoo.create("simple_baseline_lite", backbone=BACKBONE, deconv_width=8, num_keypoints=14)
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
    model.normalize.mean.fill_(0.4)
    return model.save_pretrained(tmp_path_factory.mktemp("start"))


@pytest.fixture
def common(lspet, start, tmp_path):
    options = ["--data", str(lspet), "--train-images", "1", "4", "7", "8", "--val-images", "5", "6", "--workers", "0"]
    options += ["--batch-size", "3", "--output", str(tmp_path / "run")]
    return [*options, "--backbone", BACKBONE, "--start", str(start), "--freeze-backbone"]


def backbone_of(folder, prefix="backbone."):
    return {k: v for k, v in load_file(folder / "model.safetensors").items() if k.startswith(prefix)}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_posernn_trains_on_features_and_resumes(common, start, tmp_path, capsys):
    train = load_example("train_posernn").main
    run = tmp_path / "run"
    command = [*common, "--decoder", "attention", "--neck-width", "8", "--cache", "2", "--augment"]
    report = train([*command, "--epochs", "1"])
    said = capsys.readouterr().out
    assert "features: 12 of 12" in said
    assert "step 0/4" in said  # twelve rows, three a step
    assert report["people"] == 2
    features = np.load(run / "features" / "features.npy")
    assert features.shape == (12, 96, 7, 7)
    assert features.dtype == np.float16
    assert np.isfinite(features).all()
    assert features.any(axis=(1, 2, 3)).all()
    assert same(backbone_of(run / "model"), backbone_of(start))
    model = posezoo.create(f"local-dir:{run / 'model'}", pretrained=True)
    assert torch.equal(model.normalize.mean, torch.full((3,), 0.4))
    train([*command, "--epochs", "2", "--resume"])
    said = capsys.readouterr().out
    assert "features:" not in said
    assert "epoch 1" in said
    assert "epoch 0" not in said
    with pytest.raises(ValueError, match="delete it"):
        train([*command[:-1], "--epochs", "3"])  # crops without augmentation


@pytest.mark.parametrize("decoder", ["cnn", "lstm", "attention"])
def test_posernn_starts_at_the_mean_pose(decoder):
    example = load_example("train_posernn")
    model = posezoo.create(f"posernn_{decoder}", backbone=BACKBONE, neck_width=4, num_keypoints=14)
    pose = 224 * torch.rand(14, 2)
    with torch.no_grad():
        for layer in model.head.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.zero_()
    example.start_at(model, pose)
    assert torch.equal(model.eval()(torch.rand(1, 3, 224, 224))[0], pose)


def test_cached_features_are_those_of_the_crops(common, tmp_path):
    train = load_example("train_posernn").main
    train([*common, "--decoder", "attention", "--neck-width", "8", "--cache", "1", "--epochs", "1"])
    run = tmp_path / "run"
    model = posezoo.create(f"local-dir:{run / 'model'}", pretrained=True)
    example = load_example("training")
    args = argparse.Namespace(
        data=[source(common[1])], train_images=(1, 4, 7, 8), val_images=(5, 6), batch_size=1, workers=0
    )
    crop = posezoo.data.PersonCrop(size=(224, 224), keep_aspect=False)
    people = example.make_loaders(args, crop)[0].dataset
    assert len(people) == 6
    arrays = {name: np.load(run / "features" / f"{name}.npy") for name in ("features", "keypoints", "visible")}
    rows = {tuple(pose.ravel()[:4].tolist()): row for row, pose in enumerate(arrays["keypoints"])}
    for sample in (people[index] for index in range(6)):
        row = rows[tuple(sample["keypoints"].flatten()[:4].tolist())]
        with torch.no_grad():
            expected = model.backbone_features(sample["image"][None])[0]
        scale = float(expected.abs().max())
        assert np.abs(arrays["features"][row] - expected.numpy()).max() < 2e-3 * scale
        assert (arrays["visible"][row] == sample["visible"].numpy()).all()


def test_interrupted_features_are_continued(tmp_path):
    example = load_example("frozen_backbone")
    batches = [{"x": torch.full((4, 2), float(number))} for number in range(3)]

    def describe(batch):
        return {"features": batch["x"], "label": batch["x"][:, 0].long()}

    def stops(batch):
        if batch["x"][0, 0] == 2:
            raise KeyboardInterrupt
        return describe(batch)

    example.WRITE_EVERY = 1
    with pytest.raises(KeyboardInterrupt):
        example.cache_features(tmp_path, "people", batches, stops, count=10, settings={"a": 1})
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 8
    dataset = example.cache_features(tmp_path, "people", batches, describe, count=10, settings={"a": 1})
    assert len(dataset) == 10
    assert [int(dataset[index]["label"]) for index in range(10)] == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert dataset[9]["features"].dtype == torch.float32
    with pytest.raises(ValueError, match="no rows"):
        example.cache_features(tmp_path / "other", "people", [], describe, count=1, settings={})


def test_deeppose_trains_every_stage_on_features(common, start, tmp_path, capsys):
    train = load_example("train_deeppose").main
    run = tmp_path / "run"
    command = [*common, "--cache", "2", "--epochs", "1", "--stages", "2", "--measure", "6", "--optimizer", "adamw"]
    reports = train(command)
    assert list(reports) == ["mean pose", "stage 1", "stage 2"]
    assert same(backbone_of(run / "stage2" / "model"), backbone_of(start))
    first, second = (np.load(run / f"stage{stage}" / "features" / "target.npy") for stage in (1, 2))
    assert first.shape == (12, 14, 2)
    assert second.shape == (12, 1, 2)
    assert np.load(run / "stage2" / "features" / "visible.npy").all()
    keys = load_file(run / "stage2" / "model" / "model.safetensors").keys()
    assert not [key for key in keys if "trunks.0.backbone" in key]
    again = train([*command, "--resume"])
    assert "epoch 0" not in capsys.readouterr().out.partition("stage 2  PCK")[2]
    assert again["stage 2"]["pck@0.2"] == reports["stage 2"]["pck@0.2"]


def test_ief_starts_from_a_backbone(common, start, tmp_path):
    train = load_example("train_ief").main
    report = train([*common, "--epochs-per-step", "1", "1", "--optimizer", "adamw"])
    assert np.isfinite(report["error_percent"])
    trained = backbone_of(tmp_path / "run" / "model")
    more = trained.pop("backbone.conv1.0.more.weight")
    assert more.shape[1] == 14
    assert more.any()
    assert same({key.replace(".image", ""): value for key, value in trained.items()}, backbone_of(start))


def test_options_that_do_not_go_together(common, capsys):
    train = load_example("train_posernn").main
    at = common.index("--backbone")
    for wrong, said in (
        ([*common[:at], *common[at + 2 :]], "--backbone"),
        ([*common[:-1], "--cache", "2"], "--freeze-backbone only"),
    ):
        with pytest.raises(SystemExit):
            train(wrong)
        assert said in capsys.readouterr().err


def test_several_ranges_of_people(lspet):
    people = lsp_people(lspet, (1, 4, 7, 8))
    assert len(people) == 6
    assert torch.equal(people.keypoints[4:], LSP(lspet, images=(7, 8)).keypoints)
    assert torch.equal(people.keypoints[4], people[4]["keypoints"])
    with pytest.raises(ValueError, match="FIRST LAST"):
        lsp_people(lspet, (1, 4, 7))
    with pytest.raises(IndexError):
        people[6]


def test_evaluation_is_by_name(lspet):
    """A network with more keypoints than LSP's, in another order."""
    from accelerate import Accelerator

    from posezoo.data import PersonCrop
    from posezoo.skeletons import get_skeleton

    example = load_example("training")
    names = ("nose", *reversed(get_skeleton("lsp14").keypoints))

    class Perfect(torch.nn.Module):
        skeleton = get_skeleton(names)

        def predict(self, image, *, flip):
            return torch.cat([truth[:, :1], truth.flip(1)], dim=1), None

    held_out = example.Cropped(LSP(lspet, images=(5, 6)), PersonCrop(size=(64, 64)))
    loader = torch.utils.data.DataLoader(held_out, batch_size=2)
    truth = next(iter(loader))["keypoints"]
    report = example.evaluate(Accelerator(cpu=True), Perfect(), loader)
    assert report["pck@0.2"] == 1
    assert report["error_percent"] < 1e-3
