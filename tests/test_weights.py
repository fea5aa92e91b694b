"""Weights: sources, checksums, strict loading, files that are not what they seem, saving. The Hub
is in test_hub.py.
"""

import json
import logging
import os
import pickle
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import nn
from toy import Toy, randomize, same, scratch_registry, snapshot, toy, toy_wide

import posezoo
from posezoo.checkpoints import FORMATS, Format, infer, load_weights
from posezoo.registry import create, register_model
from posezoo.weights import (
    Weights,
    WeightsNotFoundError,
    find,
    load_state_dict,
    read_config,
    read_state_dict,
    save_pretrained,
    sources,
)
from posezoo.weights.record import parse_hub_source


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    monkeypatch.setenv("POSEZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with scratch_registry():
        register_model(toy)
        register_model(toy_wide)
        yield


@pytest.fixture
def model():
    return randomize(create("toy", num_keypoints=16, skeleton="mpii16"))


@pytest.fixture
def folder(model, tmp_path):
    return save_pretrained(model, tmp_path / "saved")


@pytest.fixture
def server():
    with HubServer() as server:
        yield server


def message(function: Any, *args: Any, kind: type[Exception] = ValueError, **kwargs: Any) -> str:
    with pytest.raises(kind) as info:
        function(*args, **kwargs)
    return str(info.value)


def closed_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# the record -----------------------------------------------------------------------------------------------------------


def test_record_to_json_and_back():
    record = Weights(
        sources=("package:a", "hf-hub:o/n@v1/model.pth", "https://x.org/a.pth"),
        sha256="ABCDEF0123",
        size=0,
        kwargs={"num_keypoints": 3},
        input_size=(256, 192),
        metrics={"coco": {"AP": 74.4}},
    )
    assert record.sha256 == "abcdef0123"
    assert Weights.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert Weights.from_dict({}) == Weights()
    text = message(Weights.from_dict, {"sha256": "", "from_the_future": 1})
    assert "from_the_future" in text
    assert "--upgrade posezoo" in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sources": ("https://x.org/a.pth",)}, "needs its sha256"),
        ({"sources": ("ftp://x.org/a.pth",)}, "unknown source"),
        ({"sources": ("/some/path",)}, "unknown source"),
        ({"sources": ("package:",)}, "unknown source"),
        ({"sources": "package:a"}, r"write \('package:a',\)"),
        ({"sources": ("hf-hub:name",)}, "expected hf-hub:org/name"),
        ({"sha256": "abc"}, "8 to 64"),
        ({"sha256": "not hex digits"}, "8 to 64"),
    ],
)
def test_a_record_with_an_error(fields, said):
    with pytest.raises(ValueError, match=said):
        Weights(**fields)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("org/name", ("org/name", None, "model.safetensors")),
        ("org/name.v2@v1.0", ("org/name.v2", "v1.0", "model.safetensors")),
        ("org/name/pose_256x192.pth", ("org/name", None, "pose_256x192.pth")),
        ("org/name@main/sub/model.pth.tar", ("org/name", "main", "sub/model.pth.tar")),
        ("org/name@refs/pr/3", ("org/name", "refs/pr/3", "model.safetensors")),
        ("org/name@refs/pr/3/model.bin", ("org/name", "refs/pr/3", "model.bin")),
    ],
)
def test_hub_sources(source, parts):
    assert parse_hub_source(source) == parts


# finding --------------------------------------------------------------------------------------------------------------


def test_sources_are_tried_in_order(folder, tmp_path):
    record = Weights(sources=("package:no_such_weights", "local-dir:/nowhere", f"local-dir:{folder}"))
    assert find(record) == folder / "model.safetensors"
    other = shutil.copytree(folder, tmp_path / "other")
    both = Weights(sources=(f"local-dir:{other}", f"local-dir:{folder}"))
    assert find(both) == other / "model.safetensors"
    assert find(Weights(sources=(f"local-dir:{folder}/config.json",))).name == "config.json"


def test_nothing_found_lists_everything_tried(tmp_path):
    record = Weights(
        sources=("package:no_such_weights", "local-dir:/nowhere", "hf-hub:org/name@v2", "https://127.0.0.1:1/a.pth"),
        sha256="0" * 64,
        architecture="toy",
        tag="coco",
    )
    text = message(find, record, tmp_path / "cache", kind=WeightsNotFoundError)
    assert issubclass(WeightsNotFoundError, ValueError)
    assert issubclass(WeightsNotFoundError, FileNotFoundError)
    assert text.startswith("the weights of toy.coco could not be found")
    for number, said in enumerate(record.sources, 1):
        assert f"{number}. {said}" in text
    assert "pretrained/no_such_weights/model.safetensors" in text
    assert "pip install --force-reinstall" in text
    assert "/nowhere/model.safetensors" in text
    assert "hf download org/name model.safetensors --revision v2" in text
    assert f"put it at {tmp_path / 'cache' / '00000000-a.pth'}" in text
    assert text.count("checkpoint_path=") == 2
    assert "no sources" in message(find, Weights(), kind=WeightsNotFoundError)


def test_package_source(folder, monkeypatch, tmp_path):
    shutil.copytree(folder, tmp_path / "posezoo" / "pretrained" / "toy")
    monkeypatch.setattr(sources, "PRETRAINED", tmp_path / "posezoo" / "pretrained")
    found = find(Weights(sources=("package:toy",), sha256=read_config(folder)["weights"]["sha256"]))
    assert found == tmp_path / "posezoo" / "pretrained" / "toy" / "model.safetensors"
    assert "instead of" in message(find, Weights(sources=("package:toy",), sha256="0" * 8), kind=WeightsNotFoundError)


def test_wrong_sha_or_size_is_never_used(folder):
    text = message(find, Weights(sources=(f"local-dir:{folder}",), sha256="0123456789"), kind=WeightsNotFoundError)
    assert "instead of 0123456789" in text
    assert str(folder / "model.safetensors") in text
    assert "bytes instead of 7" in message(find, Weights(sources=(f"local-dir:{folder}",), size=7))
    sha = read_config(folder)["weights"]["sha256"]
    assert find(Weights(sources=(f"local-dir:{folder}",), sha256=sha[:8]))


def test_url_is_downloaded_once_and_verified(folder, server, tmp_path):
    content = (folder / "model.safetensors").read_bytes()
    sha = read_config(folder)["weights"]["sha256"]
    server.plain["net 1.safetensors"] = content
    record = Weights(sources=(f"{server.url}/plain/net%201.safetensors",), sha256=sha)
    path = find(record)
    assert path == tmp_path / "home" / f"{sha[:8]}-net 1.safetensors"
    assert path.read_bytes() == content
    assert find(record) == path
    assert len(server.requests) == 1

    path.write_bytes(content[:-1] + b"x")  # damaged since: never used, fetched again
    assert find(record).read_bytes() == content
    assert len(server.requests) == 2
    assert find(record, tmp_path / "elsewhere").parent == tmp_path / "elsewhere"
    assert find(record).read_bytes() == content
    assert len(server.requests) == 3


def test_url_with_a_wrong_or_truncated_file(folder, server, tmp_path):
    content = (folder / "model.safetensors").read_bytes()
    server.plain["a.safetensors"] = content
    url = f"{server.url}/plain/a.safetensors"
    assert "instead of 00000000" in message(find, Weights(sources=(url,), sha256="0" * 8), kind=WeightsNotFoundError)
    server.cut_after = [100]
    record = Weights(sources=(url,), sha256=read_config(folder)["weights"]["sha256"])
    text = message(find, record, kind=WeightsNotFoundError)
    assert f"ended after 100 of {len(content)} bytes" in text
    assert list((tmp_path / "home").iterdir()) == []  # nothing half-done stays
    assert "404" in message(find, Weights(sources=(f"{server.url}/plain/none",), sha256="0" * 8))
    assert find(Weights(sources=(f"{server.url}/plain/none", url), sha256=record.sha256))  # the next mirror


def test_a_silent_mirror_does_not_hang(folder, server, monkeypatch):
    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(3)

        def log_message(self, *args: Any) -> None:
            pass

    monkeypatch.setattr(sources, "READ_TIMEOUT", 0.3)
    silent = HTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=silent.serve_forever, daemon=True).start()
    server.plain["a.safetensors"] = (folder / "model.safetensors").read_bytes()
    urls = (f"http://127.0.0.1:{silent.server_port}/a", f"{server.url}/plain/a.safetensors")
    start = time.monotonic()
    assert find(Weights(sources=urls, sha256=read_config(folder)["weights"]["sha256"]))
    assert time.monotonic() - start < 2


def test_read_only_cache(folder, server, tmp_path, monkeypatch):
    # root may write anywhere, so a folder below a file stands for one without permission
    (tmp_path / "file").write_text("")
    server.plain["a.safetensors"] = (folder / "model.safetensors").read_bytes()
    record = Weights(sources=(f"{server.url}/plain/a.safetensors",), sha256=read_config(folder)["weights"]["sha256"])
    text = message(find, record, tmp_path / "file" / "cache", kind=WeightsNotFoundError)
    assert "cannot write to" in text
    assert "POSEZOO_HOME" in text
    find(record)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(Path, "touch", refuse)
    assert find(record)  # there already: nothing needs to be written


def test_cache_folder(monkeypatch, tmp_path):
    assert sources._cache_folder(None) == tmp_path / "home"
    assert sources._cache_folder(tmp_path) == tmp_path
    monkeypatch.delenv("POSEZOO_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert sources._cache_folder(None) == Path("/xdg/posezoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources._cache_folder(None) == Path.home() / ".cache" / "posezoo"


def test_without_network_the_error_comes_within_a_second(tmp_path, monkeypatch):
    from huggingface_hub import constants

    find_name = socket.getaddrinfo

    def slow_names(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.invalid":
            time.sleep(5)  # a name server that does not answer
        if host == "unknown.invalid":
            raise socket.gaierror(-2, "Name or service not known")
        return find_name(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow_names)
    monkeypatch.setenv("NO_PROXY", "*")
    refused = f"http://127.0.0.1:{closed_port()}"
    for endpoint in (refused, "http://slow.invalid", "http://unknown.invalid"):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        urls = (f"{refused}/a.pth", "http://slow.invalid/a.pth", "http://unknown.invalid/a.pth")
        record = Weights(sources=("hf-hub:org/name", *urls), sha256="0" * 8)
        start = time.monotonic()
        text = message(find, record, tmp_path, kind=WeightsNotFoundError)
        assert time.monotonic() - start < 1.0
        assert "Connection refused" in text
        assert "did not answer within 0.7 s" in text
        assert "Name or service not known" in text
        assert text.count("cannot be reached") + text.count("did not answer") == 4


def test_behind_a_proxy_only_the_proxy_must_be_reachable(monkeypatch, tmp_path, server):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("http_proxy", server.url)
    record = Weights(sources=("http://far.invalid/plain/a.pth",), sha256="0" * 8)
    assert sources._unreachable(record.sources) == {}
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{closed_port()}")
    assert "Connection refused" in sources._unreachable(record.sources)["http://far.invalid/plain/a.pth"]


# reading --------------------------------------------------------------------------------------------------------------


def test_reads_both_formats(model, tmp_path):
    tensors = snapshot(model)
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pth")
    torch.save({"state_dict": tensors, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "a.pth.tar")
    torch.save({"model": tensors}, tmp_path / "a.bin", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "a.pth", "a.pth.tar", "a.bin"):
        assert same(read_state_dict(tmp_path / name), tensors)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"weight": [1, 2]}, "the entries weight"),
        ([1, 2], "a list"),
        ({}, "a dict"),
        ({"state_dict": {"a": torch.zeros(1), "b": 1}}, "the entries b"),
    ],
)
def test_something_else_than_tensors(tmp_path, content, said):
    torch.save(content, tmp_path / "a.pth")
    text = message(read_state_dict, tmp_path / "a.pth")
    assert said in text
    assert str(tmp_path / "a.pth") in text


def test_no_such_file(tmp_path):
    assert "there is no file" in message(read_state_dict, tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, legacy):
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "it_ran"),)

    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Evil()}, path, _use_new_zipfile_serialization=not legacy)
    text = message(read_state_dict, path)
    assert "refused and nothing in it was run" in text
    assert "mkdir" in text
    assert str(path) in text
    path.write_bytes(pickle.dumps(Evil()))
    assert "no checkpoint at all" in message(read_state_dict, path)
    assert not (tmp_path / "it_ran").exists()


def test_truncated_files_never_half_load(model, tmp_path):
    save_file(snapshot(model), tmp_path / "a.safetensors")
    torch.save(snapshot(model), tmp_path / "a.pth")
    torch.save(snapshot(model), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    target = Toy(num_keypoints=16)
    before = snapshot(target)
    for name in ("a.safetensors", "a.pth", "old.pth"):
        whole = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut-{name}"
        for size in sorted({0, 1, 7, 8, 9, *range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1}):
            cut.write_bytes(whole[:size])
            text = message(load_weights, target, Weights(sources=(f"local-dir:{cut}",)))
            assert str(cut) in text
            assert (
                "not a whole" in text or "is empty" in text or "refused" in text
            )  # the name of a type may be cut, too
            assert same(snapshot(target), before)


def test_flipped_bits_never_half_load(model, tmp_path):
    save_file(snapshot(model), tmp_path / "a.safetensors")
    sha = sources.file_sha256(tmp_path / "a.safetensors")
    target = Toy(num_keypoints=16)
    before = snapshot(target)
    whole = (tmp_path / "a.safetensors").read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        broken = bytearray(whole)
        broken[position] ^= 0x10
        (tmp_path / "b.safetensors").write_bytes(broken)
        message(load_weights, target, Weights(sources=(f"local-dir:{tmp_path}/b.safetensors",), sha256=sha[:16]))
        assert same(snapshot(target), before)


# loading --------------------------------------------------------------------------------------------------------------


def test_all_or_nothing(model):
    good = snapshot(model)
    target = Toy(num_keypoints=16)
    before = snapshot(target)
    nan = good["bn.weight"].clone()
    nan[0] = torch.nan
    without = {key: value for key, value in good.items() if key != "conv.weight"}
    for bad, said in (
        (without, "missing: conv.weight (4, 3, 3, 3)"),
        ({**good, "extra": torch.zeros(2)}, "not in the model: extra (2,)"),
        ({**good, "conv.bias": torch.zeros(5)}, "another shape: conv.bias (5,) instead of (4,)"),
        ({**good, "bn.weight": nan}, "NaN or infinite values: bn.weight"),
        ({f"module.{key}": value for key, value in good.items()}, "DataParallel"),
        ({f"net.{key}": value for key, value in good.items()}, "and 6 more"),
        ({**without, "conv1.weight": good["conv.weight"]}, "posezoo.load_checkpoint translates"),
        ({**good, "final_layer.bias": torch.zeros(3), "final_layer.weight": torch.zeros(3, 4, 1, 1)}, "only the head"),
        ({}, "missing"),
    ):
        text = message(load_state_dict, target, bad)
        assert said in text
        assert "unchanged" in text
        assert same(snapshot(target), before)
    assert load_state_dict(target, good) == []
    assert same(snapshot(target), good)


def test_values_are_cast_and_may_not_overflow(model):
    half = {k: v.half() if v.is_floating_point() else v for k, v in snapshot(model).items()}
    target = Toy(num_keypoints=16)
    load_state_dict(target, half)
    assert target.conv.weight.dtype == torch.float32
    assert torch.equal(target.conv.weight, half["conv.weight"].float())
    huge = {**snapshot(model), "conv.bias": torch.full((4,), 1e6)}
    small = Toy(num_keypoints=16).half()
    before = snapshot(small)
    assert "infinite values: conv.bias" in message(load_state_dict, small, huge)
    assert same(snapshot(small), before)


def test_a_model_without_memory_is_not_silently_left_empty(model):
    with torch.device("meta"):
        empty = Toy(num_keypoints=16)
    assert "to_empty" in message(load_state_dict, empty, snapshot(model))


def test_another_head_is_left_out_and_reported(folder, caplog):
    for known in (True, False):  # whether the record says how many keypoints there are, or only the file's shapes
        record = Weights(sources=(f"local-dir:{folder}",), kwargs={"num_keypoints": 16} if known else {})
        target = Toy(num_keypoints=21)
        before = snapshot(target)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="posezoo"):
            load_weights(target, record)
        assert "final_layer.bias (16,), final_layer.weight (16, 4, 1, 1)" in caplog.text
        assert "model has 21" in caplog.text
        assert torch.equal(target.final_layer.weight, before["final_layer.weight"])
        file = load_file(folder / "model.safetensors")
        rest = {key: value for key, value in snapshot(target).items() if not key.startswith("final_layer")}
        assert all(torch.equal(value, file[key]) for key, value in rest.items())
        caplog.clear()
        load_weights(Toy(num_keypoints=16), record)
        assert not caplog.records

    wide = Toy(num_keypoints=21, width=5)  # the rest stays strict
    before = snapshot(wide)
    text = message(load_weights, wide, record)
    assert "conv.bias (4,) instead of (5,)" in text
    assert str(folder) in text
    assert same(snapshot(wide), before)


def test_a_head_of_the_same_size_is_left_out_with_the_others():
    class TwoHeads(nn.Module):
        head_keys = ("heat", "offset")

        def __init__(self, num_keypoints: int) -> None:
            super().__init__()
            self.num_keypoints = num_keypoints
            self.trunk, self.heat, self.offset = nn.Linear(2, 2), nn.Linear(2, num_keypoints), nn.Linear(2, 2)

    target = TwoHeads(5)
    before = snapshot(target)
    assert len(load_state_dict(target, snapshot(TwoHeads(3)), drop_prefixes=target.head_keys)) == 4
    assert torch.equal(target.offset.weight, before["offset.weight"])
    assert not torch.equal(target.trunk.weight, before["trunk.weight"])


def test_the_format_is_converted(model, tmp_path, monkeypatch):
    save_file({f"authors.{k}": v for k, v in snapshot(model).items()}, tmp_path / "model.safetensors")
    authors = Format(
        keys=("authors.",),
        convert=lambda state: {k.removeprefix("authors."): v for k, v in state.items()},
        network=infer,
    )
    monkeypatch.setitem(FORMATS, "authors", authors)
    target = Toy(num_keypoints=16)
    load_weights(target, Weights(sources=(f"local-dir:{tmp_path}",), format="authors"))
    assert same(snapshot(target), snapshot(model))


# saving ---------------------------------------------------------------------------------------------------------------


def test_save_and_load_is_bit_exact(model, folder):
    loaded = posezoo.from_pretrained(folder)
    assert same(snapshot(loaded), snapshot(model))
    assert not loaded.training
    assert loaded.kwargs == model.kwargs
    assert loaded.weights.skeleton == "mpii16"
    again = save_pretrained(loaded, folder.parent / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (again / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_from_pretrained_takes_every_kind_of_name(folder, monkeypatch):
    register_model(weights={"here": Weights(sources=(f"local-dir:{folder}",), kwargs={"num_keypoints": 16})})(toy)
    for name in (str(folder), folder, f"local-dir:{folder}", "toy", "toy.here"):
        assert posezoo.from_pretrained(name, num_keypoints=3).num_keypoints == 3
    monkeypatch.chdir(folder.parent.parent)
    assert posezoo.from_pretrained(f"{folder.parent.name}/{folder.name}").num_keypoints == 16  # looks like a repository
    assert "there is no folder" in message(posezoo.from_pretrained, "/no/such/folder")
    assert "unknown model" in message(posezoo.from_pretrained, "toyy")


def test_config(model, folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == 1
    assert config["posezoo_version"] == posezoo.__version__
    assert config["architecture"] == "toy"
    assert config["kwargs"] == {"num_keypoints": 16, "skeleton": "mpii16"}
    assert config["weights"]["sha256"] == sources.file_sha256(folder / "model.safetensors")
    assert config["weights"]["size"] == (folder / "model.safetensors").stat().st_size
    assert read_config(folder) == read_config(folder / "config.json") == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2, "posezoo_version": "9.1"}, "written by posezoo 9.1"),
        ({"format": "1"}, "is not posezoo's"),
        ({"weights": {"from_the_future": 1}}, "from_the_future"),
        ({"kwargs": []}, "expected a dict under 'kwargs'"),
        ({"architecture": None}, "expected a str under 'architecture'"),
    ],
)
def test_config_from_elsewhere(folder, change, said):
    config = read_config(folder)
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    assert said in message(posezoo.from_pretrained, folder)


def test_config_that_is_no_json(folder):
    (folder / "config.json").write_text('{"format": 1')
    assert "cannot be read as JSON" in message(read_config, folder)
    (folder / "config.json").unlink()
    assert read_config(folder)["architecture"] == "toy"  # the copy in the weights
    (folder / "model.safetensors").unlink()
    assert "save_pretrained" in message(read_config, folder)


def test_a_file_changed_after_saving_is_noticed(folder, model):
    save_file(snapshot(randomize(Toy(num_keypoints=16, width=5))), folder / "model.safetensors")
    assert "bytes instead of" in message(posezoo.from_pretrained, folder)


def test_half_precision_file(model, tmp_path):
    folder = save_pretrained(model, tmp_path, dtype="float16")
    stored = load_file(folder / "model.safetensors")
    assert stored["conv.weight"].dtype == torch.float16
    assert stored["bn.num_batches_tracked"].dtype == torch.int64
    loaded = posezoo.from_pretrained(folder)
    assert loaded.conv.weight.dtype == torch.float32
    assert torch.equal(loaded.conv.weight, model.conv.weight.half().float())
    assert same(snapshot(model), snapshot(randomize(Toy(num_keypoints=16))))  # the model itself is not touched


def test_values_that_cannot_be_saved(model, tmp_path):
    with torch.no_grad():
        model.conv.bias[0] = 1e6
    assert "conv.bias overflows in torch.float16" in message(save_pretrained, model, tmp_path, dtype=torch.float16)
    with torch.no_grad():
        model.conv.bias[0] = torch.nan
    assert "conv.bias has NaN" in message(save_pretrained, model, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert "floating type" in message(save_pretrained, model, tmp_path, dtype="int8")
    assert "floating type" in message(save_pretrained, model, tmp_path, dtype="half precision")


def test_a_model_built_by_hand_cannot_be_found_again(tmp_path):
    assert "made by posezoo.create" in message(save_pretrained, Toy(), tmp_path)
    assert "made by posezoo.create" in message(save_pretrained, nn.Linear(1, 1), tmp_path)


def test_arguments_that_are_no_json(tmp_path, model):
    model.kwargs["width"] = torch.float32
    assert "JSON" in message(save_pretrained, model, tmp_path)


def test_reset_head_is_remembered(folder, tmp_path):
    model = posezoo.from_pretrained(folder)
    model.reset_head(5)
    loaded = posezoo.from_pretrained(save_pretrained(model, tmp_path / "five"))
    assert loaded.num_keypoints == 5
    assert loaded.weights.skeleton == ""


def test_measurements_are_not_copied_to_other_weights(model, tmp_path):
    first = save_pretrained(model, tmp_path / "a", metrics={"mpii": {"PCKh": 88.5}}, data="MPII", license="MIT")
    loaded = posezoo.from_pretrained(first)
    assert loaded.weights.metrics == {"mpii": {"PCKh": 88.5}}
    assert loaded.weights.metrics_by == "posezoo"
    second = posezoo.from_pretrained(save_pretrained(loaded, tmp_path / "b"))  # it may have been trained since
    assert second.weights.metrics == {}
    assert (second.weights.data, second.weights.license) == ("MPII", "MIT")


def test_a_failed_write_leaves_the_old_files(model, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with (folder / "model.safetensors").open("rb") as reader:  # who reads while we write has the old file to the end
        save_pretrained(model, folder, dtype="float16")
        assert reader.read() == before["model.safetensors"]
    save_pretrained(model, folder)

    def fail(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    message(save_pretrained, model, folder, kind=OSError)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_model_card(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)  # the card has no absolute path
    fields = {
        "data": "COCO train2017, MPII",
        "data_license": "CC-BY 4.0",
        "license": "CC-BY-NC-4.0",
        "paper": "https://arxiv.org/abs/1804.06208",
        "input_size": (64, 48),
        "metrics": {"coco": {"AP": 70.4}},
        "metrics_by": "authors",
    }
    card = ModelCard.load(save_pretrained(model, tmp_path, **fields) / "README.md")
    data, text = card.data, card.text
    assert (data.library_name, data.pipeline_tag, data.license) == ("posezoo", "keypoint-detection", "cc-by-nc-4.0")
    assert data.datasets == ["coco", "mpii-human-pose"]
    assert "toy" in data.tags
    (result,) = data.eval_results
    assert (result.dataset_name, result.metric_name, result.metric_value) == ("coco", "AP", 70.4)
    facts = ("authors", "CC-BY 4.0", "64 x 48", "## Citation")
    for said in ("posezoo.create(", "pretrained=True", "| coco | AP | 70.4 |", *facts):
        assert said in text
    assert str(tmp_path) not in text
    assert all(f"`{name}`" in text for name in model.skeleton.keypoints)
    code = text.split("```python\n")[1].split("```")[0].replace("keypoints, scores", "#")
    exec(code, {})
    own = ModelCard.load(save_pretrained(model, tmp_path, card="# Mine", license="research only") / "README.md")
    assert own.text.strip() == "# Mine"
    assert (own.data.license, own.data.license_name) == ("other", "research-only")
    assert (save_pretrained(model, tmp_path, card="---\nx: y\n---\n") / "README.md").read_text() == "---\nx: y\n---\n"
    assert "unknown fields" in message(save_pretrained, model, tmp_path, licence="MIT")


@pytest.mark.parametrize(("kind", "command"), [("image", "predict photo.jpg"), ("keypoints", "lift keypoints.json")])
def test_model_card_contains_the_code_to_run_it(model, tmp_path, kind, command):
    model.input_kind = kind
    card = (save_pretrained(model, tmp_path) / "README.md").read_text()
    assert f"posezoo {command} --model local-dir:{tmp_path.name}" in card


def test_model_card_of_fine_tuned_weights(model, tmp_path):
    picture = tmp_path / "poses.jpg"
    picture.write_bytes(b"jpeg")
    model.weights = Weights(sources=("hf-hub:someone/pose@v1",), architecture="toy", tag="coco", license="MIT")
    folder = save_pretrained(model, tmp_path / "tuned", data="Arrows", thumbnail=picture)
    card = ModelCard.load(folder / "README.md")
    assert (card.data.base_model, card.data.thumbnail, card.data.datasets) == ("someone/pose", "poses.jpg", None)
    assert "Initial weights: `toy.coco`" in card.text
    assert "![Predictions](poses.jpg)" in card.text
    assert (folder / "poses.jpg").read_bytes() == b"jpeg"
    assert "there is no" in message(save_pretrained, model, tmp_path / "none", thumbnail=tmp_path / "absent.jpg")
    assert not (tmp_path / "none").exists()


def test_files_have_the_permissions_of_the_umask(model, tmp_path):
    """safetensors' own writer leaves a file that only its owner can read, whatever the umask."""
    before = os.umask(0o022)
    try:
        save_pretrained(model, tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()} == {0o644}
