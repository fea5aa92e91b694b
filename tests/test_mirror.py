"""Weights for machines without network: `posezoo download`, `posezoo mirror`, `POSEZOO_MIRROR`."""

import json

import pytest
import torch

import posezoo
from posezoo.__main__ import main
from posezoo.mirror import fetchable
from posezoo.weights import file_sha256


def test_a_mirror_is_read_in_place_of_the_sources(tmp_path, monkeypatch, capsys):
    assert main(["mirror", str(tmp_path), "martinez", "simple_baseline_lite"]) == 0
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert folders[0] == "martinez.cmu"
    assert len(folders) == 2
    assert capsys.readouterr().out.splitlines()[0] == f"martinez.cmu  {tmp_path / 'martinez.cmu'}"
    shipped = posezoo.create("martinez", pretrained=True)
    local = posezoo.create(f"local-dir:{tmp_path / 'martinez.cmu'}", pretrained=True)
    monkeypatch.setenv("POSEZOO_MIRROR", str(tmp_path))
    for name in ("martinez", folders[1]):
        mirrored = posezoo.create(name, pretrained=True)
        assert (
            mirrored.weights.sources[0]
            == f"local-dir:{tmp_path / f'{name.partition(chr(46))[0]}.{mirrored.weights.tag}'}"
        )
        assert mirrored.weights.metrics == posezoo.get_pretrained_cfg(name).metrics
    mirrored = posezoo.create("martinez", pretrained=True)
    for key, value in shipped.state_dict().items():
        assert torch.equal(mirrored.state_dict()[key], value)
        assert torch.equal(local.state_dict()[key], value)
    config = json.loads((tmp_path / "martinez.cmu" / "config.json").read_text())
    assert config["weights"]["sha256"] == file_sha256(tmp_path / "martinez.cmu" / "model.safetensors")
    with (tmp_path / "martinez.cmu" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ValueError, match="has sha256"):
        posezoo.create("martinez", pretrained=True)


def test_download_names_the_files(capsys):
    assert main(["download", "martinez", "*.cmu"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["martinez.cmu", "seq2seq3d.cmu", "temporal_conv_27.cmu"]
    assert main(["download", "martinez.nobody"]) == 2
    assert "can fetch no such weights" in capsys.readouterr().err


def test_an_architecture_alone_is_its_default_weights():
    assert fetchable(["hrnet_w32"]) == [f"hrnet_w32.{posezoo.get_pretrained_cfg('hrnet_w32').tag}"]
    assert len(fetchable(["hrnet_w32.*"])) > 3


def test_the_list_says_how_files_are_verified(capsys):
    assert main(["list", "--pretrained", "martinez*"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert "VERIFIED BY" in header
    assert any("sha256 " in row and "shipped" in row for row in rows)
    assert any("8 digits of sha256" in row for row in rows)


def test_timm_reads_the_configuration(tmp_path):
    from timm.models._hub import load_model_config_from_path

    posezoo.create("simple_baseline_lite", num_keypoints=5).save_pretrained(tmp_path)
    described, architecture, arguments = load_model_config_from_path(tmp_path)
    assert architecture == "simple_baseline_lite"
    assert described["num_classes"] == 5
    assert tuple(described["input_size"]) == (3, 256, 192)
    assert arguments["num_keypoints"] == 5
