"""`posezoo convert`: a published file becomes a folder of ours, or nothing is written."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fails, run
from toy import same, scratch_registry

import posezoo
from posezoo.checkpoints import detect, known_file
from posezoo.convert import convert_file
from posezoo.registry import Weights, load_checkpoint, register_model
from posezoo.weights import file_sha256, read_state_dict

NOTE = "left out: data_preprocessor.mean (3, 1, 1) and 1 more (the model has the same mean and std as its own buffers)"


def tiny(**kwargs):
    torch.manual_seed(0)
    return posezoo.create("hrnet_w32", **{"width": 2, "num_keypoints": 16, "skeleton": "mpii16", **kwargs})


def mmpose(model):
    """mmpose's names and its preprocessor."""
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("normalize.")}
    state = {(key if key.startswith("final") else f"backbone.{key}"): value for key, value in state.items()}
    state = {(f"head.{key}" if key.startswith("final") else key): value for key, value in state.items()}
    return state | {"data_preprocessor.mean": torch.ones(3, 1, 1), "data_preprocessor.std": torch.ones(3, 1, 1)}


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "td-hm_hrnet.pth.tar"
    torch.save({"state_dict": mmpose(tiny()), "meta": {"epoch": 210}}, path)
    return path


@pytest.fixture
def recorded(published):
    """The file is one that the zoo knows: by its sha256, with a codec that its keys do not tell."""
    with scratch_registry():
        record = Weights(
            sources=("https://nowhere.invalid/a.pth",),
            sha256=file_sha256(published)[:8],
            kwargs={"width": 2, "num_keypoints": 16, "skeleton": "mpii16"},
            input_size=(256, 256),
            skeleton="mpii16",
            codec="udp",
            channel_order="BGR",
            metrics={"MPII val": {"PCKh@0.5": 0.9}},
            metrics_by="authors",
            protocol="annotated boxes",
            license="MIT",
            data="MPII",
            format="mmpose",
        )

        @register_model(weights={"mpii_udp": record})
        def hrnet_tiny(**kwargs):
            """For this test."""
            return posezoo.model_entrypoint("hrnet_w32")(**kwargs)

        yield record


def test_an_unknown_file(published, tmp_path):
    done = convert_file(published, tmp_path / "out")
    assert (done.format, done.record, done.folder) == ("mmpose", None, tmp_path / "out")
    assert done.notes == (NOTE,)
    assert sorted(path.name for path in done.folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    model = posezoo.create(f"local-dir:{done.folder}", pretrained=True)
    assert (model.architecture, model.num_keypoints, model.skeleton.name) == ("hrnet_w32", 16, "mpii16")
    assert same(model.state_dict(), tiny().state_dict())


def test_a_known_file_has_arguments_that_its_keys_do_not_show(published, recorded, tmp_path):
    assert known_file(published).tag == "mpii_udp"
    model = load_checkpoint(None, published)
    assert (model.architecture, model.decoding, model.flip_shift) == ("hrnet_tiny", "udp", False)
    assert model.weights.codec == "udp"
    done = convert_file(published, tmp_path / "out")
    assert done.record.tag == "mpii_udp"
    config = json.loads((done.folder / "config.json").read_text())
    assert config["kwargs"]["decoding"] == "udp"
    about = config["weights"]
    assert about["metrics"] == {"MPII val": {"PCKh@0.5": 0.9}}
    assert (about["metrics_by"], about["protocol"], about["codec"]) == ("authors", "annotated boxes", "udp")
    assert about["channel_order"] == "RGB"  # of the file that was written
    assert "sources" not in about
    assert about["sha256"] == file_sha256(done.folder / "model.safetensors")
    again = posezoo.create(f"local-dir:{done.folder}", pretrained=True)
    assert same(again.state_dict(), model.state_dict())
    assert again.weights.codec == "udp"  # by which posezoo.predict crops


def test_a_model_for_a_file_that_does_not_tell(published, tmp_path):
    done = convert_file(published, tmp_path / "out", tiny(decoding="dark").eval())
    assert done.model.decoding == "dark"
    assert posezoo.create(f"local-dir:{tmp_path / 'out'}", pretrained=True).decoding == "dark"


def test_existing_files_are_not_changed(published, tmp_path):
    (tmp_path / "out").mkdir()
    convert_file(published, tmp_path / "out")  # an empty folder is taken
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for place in (tmp_path / "out", published):
        with pytest.raises(ValueError, match="is there already, and not empty; choose another directory"):
            convert_file(published, place)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("length", [0, 1, 100, 5_000, 200_000, -1])
def test_nothing_is_written_of_a_file_that_is_cut_off(published, tmp_path, length):
    whole = published.read_bytes()
    published.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=r"td-hm_hrnet\.pth\.tar is (not a whole PyTorch checkpoint|empty)"):
        convert_file(published, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [published.name]


def test_nothing_is_left_when_writing_fails(published, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("posezoo.weights.folder.model_card", fail)
    with pytest.raises(OSError, match="no space left"):
        convert_file(published, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [published.name]


def test_values_that_are_not_finite_are_not_written(tmp_path):
    state = mmpose(tiny())
    state["backbone.conv1.weight"][0, 0, 0, 0] = torch.inf
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"NaN or infinite values: conv1\.weight"):
        convert_file(tmp_path / "a.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


def test_the_nearest_format_is_named_with_the_keys_it_would_have():
    state = {key: value for key, value in tiny().state_dict().items() if not key.startswith(("normalize.", "conv1."))}
    with pytest.raises(ValueError, match=r"nearest is 'hrnet', which would have conv1\.\* too"):
        detect(state)


def test_a_visibility_head_is_left_out(tmp_path):
    """As mmpose's VisPredictHead keeps its two heads: a ResNet-50 of its zoo has them."""
    state = {
        key.replace("head.final_layer", "head.pose_head.final_layer"): value for key, value in mmpose(tiny()).items()
    }
    state |= {"head.vis_head.2.weight": torch.ones(16, 2), "head.vis_head.2.bias": torch.ones(16)}
    torch.save({"state_dict": state}, tmp_path / "vis.pth")
    done = convert_file(tmp_path / "vis.pth", tmp_path / "out")
    assert same(done.model.state_dict(), tiny().state_dict())
    assert done.notes[0].startswith("left out: head.vis_head.2.weight (16, 2) and 1 more (it predicts the visib")


class Asking:
    def __reduce__(self):
        return print, ("code was run",)


def test_harmless_objects_beside_tensors_are_ignored(tmp_path, capsys):
    """Scores in NumPy's types, random states, arguments and paths: what training scripts leave in
    their files.
    """
    company = {
        "best": np.float64(0.5), "history": np.arange(3.0), "random": np.random.RandomState(0),
        "args": argparse.Namespace(data=Path("/data"), lr=0.1), "optimizer": {"state": {0: {"step": 3}}},
    }  # fmt: skip
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"model_pos": {"a": torch.ones(2)}, **company}, tmp_path / "a.bin", **options)
        assert same(read_state_dict(tmp_path / "a.bin"), {"a": torch.ones(2)})
        torch.save({"state_dict": {"a": torch.ones(2)}, **company, "x": Asking()}, tmp_path / "a.bin", **options)
        with pytest.raises(ValueError, match=r"refused and nothing in it was run: besides tensors it asks for .*print"):
            read_state_dict(tmp_path / "a.bin")
    assert capsys.readouterr().out == ""


def test_reading_with_stand_ins_leaves_numpy_unchanged(tmp_path):
    torch.save({"state_dict": {"a": np.ones(3)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"expected a dictionary of tensors, .* found the entries a"):
        read_state_dict(tmp_path / "a.pth")
    assert type(np.float64(1)).__module__ == "numpy"
    content = torch.load(tmp_path / "a.pth", weights_only=False)  # NumPy's own is back
    assert isinstance(content["state_dict"]["a"], np.ndarray)
    with pytest.raises(Exception, match="numpy"):
        torch.load(tmp_path / "a.pth", weights_only=True)


def test_an_error_explains_an_unreadable_pickle(tmp_path):
    torch.save({"a": torch.ones(2), "b": {1: b"bytes" * 100}}, tmp_path / "a.pth", pickle_protocol=4)
    with pytest.warns(UserWarning, match="pickle protocol"), pytest.raises(ValueError) as caught:  # noqa: PT011
        read_state_dict(tmp_path / "a.pth")
    assert "was refused and nothing in it was run" in str(caught.value)
    assert "more than a plain pickle (Unsupported operand" in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# On the command line


def test_convert(capsys, published, tmp_path):
    code, out, err = run(capsys, "convert", published)
    assert (code, err) == (0, "")
    folder = tmp_path / "td-hm_hrnet"
    assert out.splitlines() == [
        f"{published}",
        "  format    mmpose",
        f"  network   hrnet_w32, {sum(p.numel() for p in tiny().parameters()):,} parameters",
        "  keypoints 16 (mpii16)",
        "  known as  no published file with a known sha256; its licence and training data are not known",
        f"  note      {NOTE}",
        f"  written   {folder}; posezoo.create('local-dir:{folder}', pretrained=True)",
    ]
    assert "not empty" in fails(capsys, "convert", published)
    assert posezoo.create(f"local-dir:{folder}", pretrained=True).num_keypoints == 16


def test_convert_names_a_known_file(capsys, published, recorded, tmp_path):
    code, out, _ = run(capsys, "convert", published, "--out", tmp_path / "deep" / "out")
    assert code == 0
    assert "  known as  hrnet_tiny.mpii_udp, by its sha256\n" in out
    assert (tmp_path / "deep" / "out" / "model.safetensors").is_file()


def test_convert_into_a_model(capsys, published, recorded, tmp_path):
    code, out, _ = run(capsys, "convert", published, "--out", tmp_path / "out", "--model", "hrnet_tiny.mpii_udp")
    assert (code, "network   hrnet_tiny," in out) == (0, True)
    message = fails(capsys, "convert", published, "--out", tmp_path / "other", "--model", "hrnet_w32")
    assert "do not fit a HRNet, which is unchanged" in message
    assert not (tmp_path / "other").exists()


def test_convert_accepts_a_named_file_without_checksum(capsys, published, tmp_path):
    with scratch_registry():
        record = Weights(
            origin="https://nowhere.invalid/a", license="MIT", data="MPII", metrics={"MPII val": {"PCKh": 0.9}}
        )

        @register_model(weights={"by_hand": record})
        def hrnet_tiny(**kwargs):
            """For this test."""
            return posezoo.model_entrypoint("hrnet_w32")(width=2, num_keypoints=16, **kwargs)

        code, out, _ = run(capsys, "convert", published, "--out", tmp_path / "out", "--model", "hrnet_tiny.by_hand")
    assert code == 0
    assert "  known as  hrnet_tiny.by_hand, as --model says; there is no sha256 to compare with\n" in out
    about = json.loads((tmp_path / "out" / "config.json").read_text())["weights"]
    assert (about["license"], about["data"], about["origin"]) == ("MIT", "MPII", "https://nowhere.invalid/a")
    assert "metrics" not in about


def test_mistakes_of_convert_are_one_line(capsys, tmp_path):
    assert "there is no file" in fails(capsys, "convert", tmp_path / "nowhere.pth")
    assert "there is no file" in fails(capsys, "convert", tmp_path / "nowhere.t7")
    (tmp_path / "a.t7").write_bytes(b"\x04")
    assert "not a whole binary Torch7 file" in fails(capsys, "convert", tmp_path / "a.t7")
    (tmp_path / "a.pth").write_text("404: Not Found\n")
    assert "no checkpoint at all" in fails(capsys, "convert", tmp_path / "a.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pth")
    assert "unknown format of checkpoint; its first keys are a." in fails(capsys, "convert", tmp_path / "b.pth")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "a.t7", "b.pth"]
