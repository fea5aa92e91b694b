"""Interrupted saves, outputs that are inputs, and what training programs write around weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import posezoo
from posezoo.__main__ import main
from posezoo.weights import read_config, read_state_dict
from posezoo.writing import new_folder, replacing


def martinez(**kwargs):
    return posezoo.create("martinez", linear_size=16, **kwargs)


def equal(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_save_that_ends_between_its_files_leaves_one_network(tmp_path):
    """The weights are the new ones, config.json is the old one, or missing, or of another process."""
    old, new = martinez(), martinez(num_blocks=1)
    folder, other = old.save_pretrained(tmp_path / "a"), new.save_pretrained(tmp_path / "b")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    assert equal(posezoo.from_pretrained(folder), new)
    (folder / "config.json").unlink()
    assert equal(posezoo.from_pretrained(folder), new)
    assert read_config(folder)["kwargs"]["num_blocks"] == 1


def test_damaged_weights_are_not_taken_for_an_interrupted_save(tmp_path):
    folder = martinez().save_pretrained(tmp_path / "a")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="has sha256"):
        posezoo.from_pretrained(folder)


def test_equal_networks_are_equal_files(tmp_path):
    model = martinez()
    first, second = (model.save_pretrained(tmp_path / name) / "model.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_errors_leave_the_earlier_file_and_no_folder(tmp_path):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "a.json") as part:  # noqa: PT012
        part.write_text("half")
        raise OSError("disk full")
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "network") as part:  # noqa: PT012
        (part / "config.json").write_text("{}")
        raise OSError("disk full")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_a_new_folder_deletes_nothing_it_did_not_write(tmp_path):
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "network") as part:  # noqa: PT012
        (part / "config.json").write_text("{}")
        (tmp_path / "network").mkdir()
        (tmp_path / "network" / "of_others.txt").write_text("mine")
    assert (tmp_path / "network" / "of_others.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["photo.png", "./photo.png", "link.png"])
def test_an_output_is_no_input(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (30, 40)).save("photo.png")
    (tmp_path / "link.png").symlink_to("photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    assert main(["predict", "photo.png", "--json", name]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    np.savez("truth.npz", keypoints=np.zeros((2, 3, 2)))
    truth = (tmp_path / "truth.npz").read_bytes()
    assert main(["evaluate", "truth.npz", "--gt", "truth.npz", "--metric", "rmse", "--json", "truth.npz"]) == 2
    assert (tmp_path / "photo.png").read_bytes() == before
    assert (tmp_path / "truth.npz").read_bytes() == truth


PREFIXES = ("", "module.", "model.", "net.module.", "model._orig_mod.", "ema_model.module.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrapped_checkpoints(tmp_path, prefix):
    model = posezoo.create("simple_baseline_lite")
    weights = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights, "optimizer_states": [], "hyper_parameters": {}}, tmp_path / "a.ckpt")
    assert equal(posezoo.load_checkpoint(None, tmp_path / "a.ckpt"), model)
    assert equal(posezoo.load_checkpoint(posezoo.create("simple_baseline_lite"), tmp_path / "a.ckpt"), model)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model_state_dict": 1, "optimizer": {"state": {0: 2}}}, 1),
        ({"checkpoint": {"model": {"state_dict": 1}}}, 1),
        ({"state_dict": 1, "ema_state_dict": 2}, 1),  # mmengine exchanges the two: the average is the first
        ({"state_dict": 1, "state_dict_ema": 2}, 2),  # timm
        ({"weights": 1, "step": "3"}, 1),
        ({"model": {"name": "hrnet"}, "network": 1}, 1),
    ],
)
def test_places_of_weights(tmp_path, content, expected):
    def filled(entry):
        if isinstance(entry, dict):
            return {key: filled(value) for key, value in entry.items()}
        return {"a": torch.tensor([float(entry)])} if isinstance(entry, int) else entry

    torch.save(filled(content), tmp_path / "a.pth")
    assert read_state_dict(tmp_path / "a.pth")["a"].item() == expected


def test_an_average_of_torch(tmp_path):
    model = martinez()
    torch.save(torch.optim.swa_utils.AveragedModel(model).state_dict(), tmp_path / "a.pth")
    assert equal(posezoo.load_checkpoint(martinez(), tmp_path / "a.pth"), model)


def test_pairs_of_a_skeleton_are_saved(tmp_path):
    horse = posezoo.Skeleton("horse", ("head", "near", "off"), pairs=[("near", "off")])
    model = posezoo.create("simple_baseline_lite", skeleton=horse)
    folder = model.save_pretrained(tmp_path / "horse")
    assert json.loads((folder / "config.json").read_text())["kwargs"]["skeleton"]["pairs"] == [[1, 2]]
    assert posezoo.from_pretrained(folder).skeleton == horse


def test_registered_skeletons_are_saved_in_full(tmp_path):
    """Whoever loads the folder has not registered them, or others under these names."""
    table = posezoo.skeletons.registered._SKELETONS
    mouse = posezoo.register_skeleton("mouse5", ["nose", "near", "off"], bones=[(0, 1)], pairs=[("near", "off")])
    plain = posezoo.register_skeleton("plain3", ["nose", "left_ear", "right_ear"])
    try:
        model = posezoo.create("martinez", linear_size=8, skeleton="mouse5", input_keypoints="plain3")
        folder = model.save_pretrained(tmp_path / "mouse")
        others = posezoo.create("martinez", linear_size=8, skeleton="coco17").save_pretrained(tmp_path / "coco")
    finally:
        del table["mouse5"], table["plain3"]
    loaded = posezoo.from_pretrained(folder)
    assert (loaded.skeleton, loaded.input_skeleton) == (mouse, plain)
    assert equal(loaded, model)
    assert read_config(others)["kwargs"]["skeleton"] == "coco17"
    config = read_config(folder)
    config["kwargs"]["skeleton"] = "mouse5"  # as an earlier posezoo saved it
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"unknown skeleton 'mouse5'.*register_skeleton adds one"):
        posezoo.from_pretrained(folder)


NETWORKS = ("cpm_9x9_4s", "deeppose", "hourglass_2", "hourglass52", "hrnet_w18", "ief", "martinez", "posernn_cnn",
            "rpsm", "seq2seq3d", "simple_baseline_lite", "temporal_conv_27", "tompson_mpii")  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_head_that_is_refused_leaves_the_network_as_it_was(name):
    with torch.device("meta"):
        model = posezoo.create(name)

    def state():
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        return shapes, dict(model.kwargs), model.num_keypoints, model.skeleton, model.head_keys

    before = state()
    for arguments in ((3, "coco17"), (-1,), ("x",), (2.5,), (10**13,), (True,), (None,), (3, ["a", "a", "b"])):
        with pytest.raises(ValueError, match=r"keypoint"):
            model.reset_head(*arguments)
        assert state() == before
