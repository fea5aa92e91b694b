"""The Hub, end to end: the real `huggingface_hub` client against a server on this machine
(hub_server.py).

The client reads its environment when it is imported, so every scenario is a process of its own,
which runs a script that prints one JSON value.
"""

import hashlib
import json
import os
import socket
import textwrap
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from fresh_process import Program
from hub_server import HubServer, commit_hash
from toy import randomize, scratch_registry, toy

from posezoo.registry import create, register_model
from posezoo.weights import save_pretrained

PROLOGUE = """
import json, os, time
from pathlib import Path
import torch
import posezoo
from posezoo.weights import Weights, WeightsNotFoundError, find
from toy import toy
posezoo.register_model(toy)

def error(function, *args, **kwargs):
    start = time.monotonic()
    try:
        function(*args, **kwargs)
    except WeightsNotFoundError as e:
        return str(e), time.monotonic() - start
    raise AssertionError("no error")

def total(model):
    return sum(value.double().sum().item() for value in model.state_dict().values())
"""


def start(script: str, environment: dict[str, str]) -> Program:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and k.lower() != "all_proxy"}
    return Program(PROLOGUE + textwrap.dedent(script), environment={**inherited, **environment})


def finish(process: Program) -> Any:
    return json.loads(process.finish().splitlines()[-1])


def run(script: str, environment: dict[str, str]) -> Any:
    return finish(start(script, environment))


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions of a repository's files, and the sum of each one's tensors."""
    made = []
    with scratch_registry():
        register_model(toy)
        for number in (1, 2):
            model = randomize(create("toy", num_keypoints=16, width=64))
            with torch.no_grad():
                model.conv.bias.fill_(number)
            folder = save_pretrained(model, tmp_path_factory.mktemp("saved"))
            total = sum(value.double().sum().item() for value in model.state_dict().values())
            made.append(({path.name: path.read_bytes() for path in folder.iterdir()}, total))
    return made


@pytest.fixture
def hub(versions):
    with HubServer() as server:
        server.add("someone/pose", versions[0][0])
        server.add("someone/pose", versions[1][0], "v2")
        yield server


def test_download_revisions_cache_and_offline(hub, versions, tmp_path):
    (first, one), (_, two) = versions
    hub.add("someone/broken", {**first, "model.safetensors": first["model.safetensors"][:-4] + b"oops"})
    hub.add("someone/timm", {"config.json": b'{"architecture": "resnet18"}'})
    result = run(
        """
        out = {"main": total(posezoo.create("hf-hub:someone/pose", pretrained=True))}
        out["v2"] = total(posezoo.create("hf_hub:someone/pose@v2", pretrained=True))
        out["short"] = total(posezoo.from_pretrained("someone/pose"))
        model = posezoo.create("hf-hub:someone/pose@v2")
        out["untrained"] = [model.width, model.training, model.weights is None]
        out["weights"] = posezoo.create("hf-hub:someone/pose", pretrained=True).weights.sources
        out["broken"] = error(posezoo.create, "hf-hub:someone/broken", pretrained=True)[0]
        out["absent"] = error(posezoo.create, "hf-hub:someone/nothing", pretrained=True)[0]
        out["no revision"] = error(posezoo.create, "hf-hub:someone/pose@v3", pretrained=True)[0]
        out["no file"] = error(find, Weights(sources=("hf-hub:someone/pose/other.pth",)))[0]
        out["elsewhere"] = str(find(Weights(sources=("hf-hub:someone/pose",)), os.environ["HF_HOME"] + "/other"))
        try:
            posezoo.create("hf-hub:someone/timm")
        except ValueError as e:
            out["foreign"] = str(e)
        print(json.dumps(out))
        """,
        hub.environment(tmp_path),
    )
    assert (result["main"], result["v2"], result["short"]) == (one, two, one)
    assert result["untrained"] == [64, True, True]
    assert result["weights"] == ["hf-hub:someone/pose"]
    # someone/pose twice (main, v2), the broken one, and the other cache: the rest came from the cache
    assert len(hub.bodies("model.safetensors")) == 4
    assert result["elsewhere"].startswith(str(tmp_path / "other"))

    broken = hashlib.sha256(hub.repos["someone/broken"]["main"]["model.safetensors"]).hexdigest()
    blob = tmp_path / "hub" / "models--someone--broken" / "blobs" / broken
    assert f"delete {blob} to have it downloaded again" in result["broken"]
    assert "instead of" in result["broken"]
    assert "Repository Not Found" in result["absent"]
    assert "hf download someone/nothing config.json" in result["absent"]
    assert "--revision v3" in result["no revision"]
    assert "other.pth" in result["no file"]
    assert "is not posezoo's" in result["foreign"]

    # the broken file goes, the repository is repaired, and it loads
    blob.unlink()
    hub.add("someone/broken", first)
    repaired = run(
        'print(json.dumps(total(posezoo.create("hf-hub:someone/broken", pretrained=True))))', hub.environment(tmp_path)
    )
    assert repaired == one

    # without a Hub: what is in the cache still loads, what is not is one error within a second
    offline = f"""
        out = [total(posezoo.create("hf-hub:someone/pose", pretrained=True))]
        out.append(total(posezoo.create("hf-hub:someone/pose@v2", pretrained=True)))
        out += error(find, Weights(sources=("hf-hub:someone/pose/other.pth",)))
        sha = {json.dumps(hashlib.sha256(first["model.safetensors"]).hexdigest())}
        out.append(str(find(Weights(sources=("hf-hub:someone/pose",), sha256=sha))))
        print(json.dumps(out))
        """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{s.getsockname()[1]}"
    count = len(hub.requests)
    processes = [
        start(offline, hub.environment(tmp_path, HF_HUB_OFFLINE="1")),
        start(offline, hub.environment(tmp_path, HF_ENDPOINT=closed)),
    ]
    for process, reason in zip(processes, ("HF_HUB_OFFLINE is set", "Connection refused"), strict=True):
        main, v2, text, seconds, path = finish(process)
        assert (main, v2) == (one, two)
        assert reason in text
        assert f"not in the cache {tmp_path / 'hub'}" in text
        assert "hf download someone/pose other.pth" in text
        assert seconds < 1.0, text
        assert "models--someone--pose" in path
    assert len(hub.requests) == count


def test_wrong_sha_falls_back_to_the_next_source(hub, versions, tmp_path):
    content = versions[1][0]["model.safetensors"]
    hub.plain["mirror.safetensors"] = content
    sha = hashlib.sha256(content).hexdigest()
    result = run(
        f"""
        sources = ("hf-hub:someone/pose", "{hub.url}/plain/mirror.safetensors")
        record = Weights(sources=sources, sha256="{sha}", kwargs={{"num_keypoints": 16, "width": 64}})
        model = posezoo.create("toy", pretrained=True, pretrained_cfg=record)
        print(json.dumps([total(model), error(find, Weights(sources=sources[:1], sha256="{sha}"))[0]]))
        """,
        hub.environment(tmp_path),
    )
    assert result[0] == versions[1][1]
    assert "instead of" in result[1]
    assert [path.name for path in (tmp_path / "posezoo").iterdir()] == [f"{sha[:8]}-mirror.safetensors"]


@pytest.mark.skipif(int(version("huggingface_hub").split(".")[0]) < 2, reason="older clients do not resume a download")
def test_a_dropped_connection_is_resumed(hub, versions, tmp_path):
    files, one = versions[0]
    size = len(files["model.safetensors"])
    hub.cut_after = [10**9, 5000, 3000]  # config.json arrives; the weights take three attempts
    script = """
        from huggingface_hub import constants
        constants.DOWNLOAD_CHUNK_SIZE = 1000  # it resumes at whole chunks, of 10 MB, which is more than this file has
        print(json.dumps(total(posezoo.from_pretrained("someone/pose"))))
        """
    assert run(script, hub.environment(tmp_path)) == one
    ranges = [headers.get("range") for headers in hub.bodies("model.safetensors")]
    assert size > 8000
    assert ranges == [None, "bytes=5000-", "bytes=8000-"]


def test_a_body_that_never_comes_whole(hub, versions, tmp_path):
    # config.json arrives; of the weights not one byte does, however often they are asked for
    hub.cut_after = [10**9, *[0] * 50]
    script = """
        import huggingface_hub.file_download
        huggingface_hub.file_download.time.sleep = lambda seconds: None  # the client waits a second between attempts
        print(json.dumps(error(posezoo.create, "hf-hub:someone/pose", pretrained=True)[0]))
        """
    text = run(script, hub.environment(tmp_path))
    assert "hf-hub:someone/pose" in text
    assert "hf download someone/pose model.safetensors" in text
    blobs = [path for path in (tmp_path / "hub").rglob("*") if path.is_file() and "blobs" in path.parts]
    cached = [path for path in blobs if path.suffix != ".incomplete"]  # which older clients leave
    assert [path.stat().st_size for path in cached] == [len(versions[0][0]["config.json"])]  # nothing half-cached
    hub.cut_after = []
    total = run('print(json.dumps(total(posezoo.from_pretrained("someone/pose"))))', hub.environment(tmp_path))
    assert total == versions[0][1]


def test_a_killed_download_and_then_two_processes_at_once(hub, versions, tmp_path):
    script = 'print(json.dumps(total(posezoo.from_pretrained("someone/pose"))))'
    hub.pause = 1.0
    victim = start(script, hub.environment(tmp_path))
    deadline = time.monotonic() + 60
    while not hub.bodies("model.safetensors") and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    victim.kill()
    assert hub.bodies("model.safetensors")
    hub.pause = 0.02
    both = [start(script, hub.environment(tmp_path)) for _ in range(2)]
    assert [finish(process) for process in both] == [versions[0][1]] * 2
    blobs = tmp_path / "hub" / "models--someone--pose" / "blobs"
    sha = hashlib.sha256(versions[0][0]["model.safetensors"]).hexdigest()
    assert (blobs / sha).read_bytes() == versions[0][0]["model.safetensors"]


def test_a_cache_that_cannot_be_written(hub, versions, tmp_path):
    # root may write anywhere, so a cache below a file, and calls that are refused, stand for missing permissions
    sha = hashlib.sha256(versions[0][0]["model.safetensors"]).hexdigest()
    (tmp_path / "file").write_text("")
    result = run(
        f"""
        record = Weights(sources=("hf-hub:someone/pose",), sha256="{sha}")
        out = [error(find, record, "{tmp_path}/file/cache")[0]]
        find(record)
        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")
        os.makedirs = os.mkdir = Path.mkdir = Path.touch = refuse
        out.append(str(find(record)))
        out.append(str(find(Weights(sources=record.sources))))
        out.append(error(find, Weights(sources=("hf-hub:someone/pose@v2",)))[0])
        print(json.dumps(out))
        """,
        hub.environment(tmp_path),
    )
    assert "cannot write to the cache" in result[0]
    assert "HF_HOME" in result[0]
    assert result[1] == result[2]
    assert Path(result[1]).read_bytes() == versions[0][0]["model.safetensors"]
    assert "cannot write to the cache" in result[3]


def test_private_repositories_and_publishing(hub, versions, tmp_path):
    hub.tokens["someone/pose"] = "hf_secret"
    environment = hub.environment(tmp_path)
    script = """
        try:
            print(json.dumps(total(posezoo.from_pretrained("someone/pose"))))
        except WeightsNotFoundError as e:
            print(json.dumps(str(e)))
        """
    refused = start(script, environment)
    push = start(
        """
        model = posezoo.create("hf-hub:someone/pose", pretrained=True)
        model.reset_head(5)
        urls = [posezoo.push_to_hub(model, "me/mine", license="MIT", metrics={"lsp": {"PCK": 0.9}}, dtype="float16")]
        urls.append(model.push_to_hub("me/mine", revision="wide", commit_message="Again"))
        try:
            posezoo.push_to_hub(model, "me/mine@wide")
        except ValueError as e:
            urls.append(str(e))
        print(json.dumps([urls, total(posezoo.create("hf-hub:me/mine@wide", pretrained=True)), total(model)]))
        """,
        hub.environment(tmp_path / "with_token", HF_TOKEN="hf_secret"),
    )
    assert "Repository Not Found" in finish(refused) or "401" in finish(refused)
    urls, loaded, pushed = finish(push)
    assert all(headers.get("authorization") == "Bearer hf_secret" for headers in hub.bodies("model.safetensors")[:1])
    assert loaded == pushed
    half, wide = hub.repos["me/mine"]["main"], hub.repos["me/mine"]["wide"]
    assert urls[0] == f"{hub.url}/me/mine/commit/{commit_hash(half)}"
    assert urls[1] == f"{hub.url}/me/mine/commit/{commit_hash(wide)}"
    assert "revision=" in urls[2]
    assert set(half) >= {"model.safetensors", "config.json", "README.md"}
    assert len(half["model.safetensors"]) < 0.6 * len(wide["model.safetensors"])
    config = json.loads(half["config.json"])
    assert config["kwargs"]["num_keypoints"] == 5
    assert config["weights"]["metrics"] == {"lsp": {"PCK": 0.9}}
    assert config["weights"]["sha256"] == hashlib.sha256(half["model.safetensors"]).hexdigest()
    card = half["README.md"].decode()
    assert "pipeline_tag: keypoint-detection" in card
    assert "license: mit" in card
    assert 'posezoo.create("hf-hub:me/mine", pretrained=True)' in card
