"""Weights: the record that describes a file, the way from its sources into a model, and from a model to a file.

A record lists where its file may come from, in order of preference:

    package:NAME                             shipped with posezoo, in posezoo/pretrained/NAME/
    local-dir:/path                          a folder that `save_pretrained` wrote, or one file
    hf-hub:org/name[@revision][/file.ext]    the Hugging Face Hub; without a file, model.safetensors
    https://...                              any web server

A file is verified before it is read, read without running code from it, and copied into the model only when every
tensor of it fits: a model is never half loaded.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import logging
import os
import re
import socket
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FORMAT = 1  # of config.json
WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "README.md"
CONNECT_TIMEOUT = 0.7  # seconds until a server counts as out of reach; HF_HUB_ETAG_TIMEOUT overrules it
READ_TIMEOUT = 30  # seconds a web server may stay silent in the middle of a file
CHUNK = 1 << 20
CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT)
HUB_SOURCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/pr/\d+|[^/@]+))?(?:/(?P<file>[^@]+\.[A-Za-z]\w*))?"
)
HUB_LICENSES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "lgpl-3.0", "unlicense"),
}

INERT = (  # what training scripts leave beside the tensors; read as nothing
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *("numpy.dtype", "numpy.ndarray", "numpy.dtypes.Float64DType", "numpy.dtypes.Int64DType"),
    *("numpy.random.__RandomState_ctor", "numpy.random._mt19937.MT19937"),
    *(f"numpy.random._pickle.__{kind}_ctor" for kind in ("randomstate", "bit_generator")),
    *("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath"),
    *("mmengine.logging.history_buffer.HistoryBuffer", "builtins.getattr"),
)

logger = logging.getLogger("posezoo")


class WeightsNotFoundError(FileNotFoundError, ValueError):
    """No source of a record could provide its file; the message tells what was tried and what would help."""


@dataclass(frozen=True)
class Weights:
    """One set of weights: where the file is, what is in it, what it scores, and whose it is.

    Attributes:
        sources: places of the file, the preferred first (see the top of `posezoo.weights`).
        sha256: of the file, at least its first 8 hexadecimal digits; only a URL cannot do without.
        size: of the file, in bytes.
        kwargs: constructor arguments the weights need.
        input_size: `(H, W)` in pixels.
        input: other input settings of the model, see `PoseModel.input_settings`.
        skeleton: a name of `posezoo.list_skeletons()`.
        codec: how the heatmaps of the training were made: "msra", rounded to cells; "gaussian", not rounded; "dark" and
            "udp", not rounded and decoded accordingly.
        channel_order: of the images the file was trained with, "RGB" or "BGR"; its converter folds BGR into RGB.
        flip_shift: whether a mirror image's heatmaps move by one cell before they are averaged; None: no heatmaps.
        metrics: `{dataset: {metric: value}}`.
        metrics_by: who measured them: "authors", "mmpose" or "posezoo".
        protocol: how: whose person boxes, averaged with the mirror image or not.
        data: what the weights were trained on.
        data_license: the terms of that data.
        license: the terms of the weights themselves.
        paper: link to it.
        origin: URL of where the weights were first published.
        converter: the file's flavour in `posezoo.checkpoints`; "" is our own layout.
        tag: filled in by the registry.
        architecture: filled in by the registry.

    Raises:
        ValueError: a source of an unknown kind, a URL without sha256, a malformed sha256, another channel order.

    Example:
        >>> from posezoo import Weights
        >>> record = Weights(sources=("hf-hub:someone/pose@v1",), kwargs={"num_keypoints": 16})
        >>> Weights.from_dict(record.to_dict()) == record
        True
    """

    sources: tuple[str, ...] = ()
    sha256: str = ""
    size: int | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None
    input: dict[str, Any] = field(default_factory=dict)
    skeleton: str = ""
    codec: str = ""
    channel_order: str = ""
    flip_shift: bool | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    metrics_by: str = ""
    protocol: str = ""
    data: str = ""
    data_license: str = ""
    license: str = ""
    paper: str = ""
    origin: str = ""
    converter: str = ""
    tag: str = ""
    architecture: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.sources, str):
            raise ValueError(f"sources: expected a tuple, got the string {self.sources!r}; write ({self.sources!r},)")
        object.__setattr__(self, "sources", tuple(self.sources))
        object.__setattr__(self, "sha256", self.sha256.lower())
        if self.input_size is not None:
            object.__setattr__(self, "input_size", tuple(self.input_size))
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"sha256: expected 8 to 64 hexadecimal digits, got {self.sha256!r}")
        if self.channel_order not in ("", "RGB", "BGR"):
            raise ValueError(f"channel_order: expected 'RGB' or 'BGR', got {self.channel_order!r}")
        for source in self.sources:
            kind, rest = _split_source(source)
            if kind in ("http", "https") and not self.sha256:
                raise ValueError(f"{source}: a web server's file needs its sha256 (`sha256sum FILE` prints it)")
            if kind == "hf-hub":
                _parse_hub_source(rest)

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, as JSON has them."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value not in ((), "", None, {})
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Weights":
        """The record `to_dict` wrote."""
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(
                f"unknown fields of a weights record: {', '.join(unknown)}. A newer posezoo may have written them "
                "(pip install --upgrade posezoo); otherwise remove them"
            )
        return cls(**values)


TRUE_BOXES, DETECTIONS = "annotated boxes", "detections of person AP 56.4"
OPENMMLAB_SCORES = {  # score -> skeleton, test set, metric, person boxes, training set, its terms
    "coco_ap": ("coco17", "COCO val2017", "AP", DETECTIONS, "COCO train2017", "COCO terms of use"),
    "coco_aic_ap": (
        *("coco17", "COCO val2017", "AP", DETECTIONS),
        *("COCO train2017 and AI Challenger", "COCO terms of use; AI Challenger: research"),
    ),
    "coco_aic19_ap": (
        *("coco_aic19", "COCO val2017", "AP", DETECTIONS),
        *("COCO train2017 and AI Challenger", "COCO terms of use; AI Challenger: research"),
    ),
    "mpii_pckh": ("mpii16", "MPII val", "PCKh@0.5", TRUE_BOXES, "MPII", "MPII: non-commercial research"),
    "aic_ap": ("aic14", "AI Challenger val", "AP", TRUE_BOXES, "AI Challenger", "AI Challenger: research"),
    "crowdpose_ap": ("crowdpose14", "CrowdPose test", "AP", "detections of YOLOv3", "CrowdPose", "CrowdPose: research"),
    "posetrack18_map": (
        *("posetrack17", "PoseTrack18 val", "mAP", TRUE_BOXES),
        *("COCO train2017, then PoseTrack18", "COCO terms of use; PoseTrack: non-commercial"),
    ),
    "jhmdb_pck": (
        *("jhmdb15", "sub-JHMDB test", "PCK@0.2 of the person's size", TRUE_BOXES),
        *("MPII, then sub-JHMDB", "MPII: non-commercial research; JHMDB: none stated"),
    ),
}


def openmmlab(
    path: str, input_size: tuple[int, int], *, codec: str = "msra", converter: str = "mmpose", **score: float
) -> Weights:
    """The record of a top-down checkpoint of mmpose's model zoo (Apache-2.0), whose file name ends in its sha256.

    Args:
        path: below https://download.openmmlab.com/mmpose/.
        input_size: `(H, W)` in pixels.
        codec: "msra"; "dark" and "udp" bring their decoding along; "" for coordinates.
        converter: the file's flavour in `posezoo.checkpoints`.
        **score: one of `OPENMMLAB_SCORES`, whose name tells the data and the keypoints; MPII's is pooled over the
            joints but pelvis and thorax.

    Example:
        >>> record = openmmlab("top_down/resnet/res50_coco_256x192-ec54d7f3_20200709.pth", (256, 192), coco_ap=0.718)
        >>> record.sha256, record.skeleton
        ('ec54d7f3', 'coco17')
    """
    ((name, value),) = score.items()
    skeleton, test, metric, boxes, data, data_license = OPENMMLAB_SCORES[name]
    split = re.search(r"_jhmdb_sub(\d)", path)
    decoding: dict[str, Any] = {} if codec not in ("dark", "udp") else {"decoding": codec}
    if codec == "udp":
        decoding["flip_shift"] = False
    return Weights(
        sources=(f"https://download.openmmlab.com/mmpose/{path}",),
        sha256=path.rpartition("-")[2].partition("_")[0],
        kwargs={"num_keypoints": int(re.sub(r"\D", "", skeleton)), "skeleton": skeleton, **decoding},
        input_size=input_size,
        skeleton=skeleton,
        codec=codec,
        channel_order="RGB",
        flip_shift=codec != "udp" if codec else None,
        metrics={f"{test} split {split[1]}" if split else test: {metric: value}},
        metrics_by="mmpose",
        protocol=f"{boxes}; averaged with the mirror image",
        data=data,
        data_license=data_license,
        license="Apache-2.0",
        origin="https://github.com/open-mmlab/mmpose",
        converter=converter,
    )


def cmu_lifter(
    architecture: str,
    sha256: str,
    size: int,
    clean: tuple[float, float, float],
    noisy: tuple[float, float, float],
    paper: str,
    **kwargs: Any,
) -> Weights:
    """The record of a lifter that ships with the package, for the keypoints of any camera.

    Args:
        architecture: whose weights they are; the tag is "cmu".
        sha256: of the file.
        size: of the file, bytes.
        clean: MPJPE, PA-MPJPE and MPJVE with true keypoints.
        noisy: the same with noise of 10 pixels.
        paper: its address.
        **kwargs: of the network, beside frame and keypoints.

    Example:
        >>> cmu_lifter("martinez", "0" * 64, 9, (62.0, 42.3, 5.5), (77.7, 52.8, 59.7), "").sources
        ('package:martinez.cmu',)
    """
    errors = {"true keypoints": clean, "noise of 10 px": noisy}
    return Weights(
        sources=(f"package:{architecture}.cmu",),
        sha256=sha256,
        size=size,
        kwargs={"frame": "person", "num_keypoints": 17, "skeleton": "h36m17", **kwargs},
        skeleton="h36m17",
        metrics={
            f"CMU, held-out people, {keypoints}": dict(zip(("MPJPE", "PA-MPJPE", "MPJVE"), values, strict=True))
            for keypoints, values in errors.items()
        },
        metrics_by="posezoo",
        protocol="24 recordings by two virtual cameras; mm from the pelvis, velocity in mm per frame at 50 fps",
        data="CMU motion capture without 03 07 29 45 114 soccer directing_traffic",
        data_license="free for all uses, not to be resold as such; acknowledge mocap.cs.cmu.edu, NSF EIA-0196217",
        license="Apache-2.0",
        paper=paper,
    )


# ---------------------------------------------------------------------------------------------------------------------
# From a record to a file


def find(record: Weights, cache_dir: str | Path | None = None) -> Path:
    """The record's file on this machine, downloaded if need be, its checksum verified.

    Args:
        record: where to look; its sources are tried in order.
        cache_dir: where downloads are kept. Without it the Hub's go to its own cache (`HF_HOME`), others to
            `$POSEZOO_HOME`, `$XDG_CACHE_HOME/posezoo` or `~/.cache/posezoo`.

    Raises:
        WeightsNotFoundError: (a ValueError) every source failed; lists why, and what would provide the file. With no
            network this takes less than a second.

    Example:
        >>> from posezoo.weights import Weights, find
        >>> find(Weights(sources=("local-dir:/nowhere",)))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        WeightsNotFoundError: ...
    """
    # asked once, for all sources together, when the first of them needs the network
    unreachable = functools.cache(lambda: _unreachable(record.sources))
    failures = []
    for source in record.sources:
        kind, rest = _split_source(source)
        try:
            if kind == "package":
                return _find_in_package(rest, record)
            if kind == "local-dir":
                return _find_in_folder(rest, record)
            if kind == "hf-hub":
                return _find_on_hub(source, record, cache_dir, unreachable)
            return _find_at_url(source, record, cache_dir, unreachable)
        except Exception as error:  # whatever is wrong with one source, the next may work
            logger.debug("%s failed", source, exc_info=True)
            failures.append(f"{source}\n     {_one_line(error)}")
    name = ".".join(filter(None, (record.architecture, record.tag)))
    tried = "".join(f"\n  {number}. {failure}" for number, failure in enumerate(failures, 1))
    raise WeightsNotFoundError(
        f"{f'the weights of {name}' if name else 'the file'} could not be found or downloaded"
        + (f"; tried, in order:{tried}" if failures else ": the record has no sources")
    )


def _find_in_package(name: str, record: Weights) -> Path:
    path = Path(__file__).parent / "pretrained" / name / WEIGHTS_FILE
    fix = "reinstall posezoo: pip install --force-reinstall --no-deps posezoo"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; {fix}")
    return _verify(path, record, fix)


def _find_in_folder(folder: str, record: Weights) -> Path:
    path = Path(folder).expanduser()
    path = path if path.is_file() else path / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; posezoo.save_pretrained(model, directory) writes such a folder")
    return _verify(path, record, "write it again with posezoo.save_pretrained")


def _find_on_hub(
    source: str, record: Weights, cache_dir: str | Path | None, unreachable: Callable[[], dict[str, str]]
) -> Path:
    import huggingface_hub
    from huggingface_hub import constants

    repo, revision, file = _parse_hub_source(_split_source(source)[1])
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    cached = huggingface_hub.try_to_load_from_cache(repo, file, cache_dir=cache, revision=revision)
    path = Path(cached) if isinstance(cached, str) else None
    if path and record.sha256 and _mismatch(path, record) is None:
        return path  # no need to ask the Hub whether there is a newer one

    command = f"hf download {repo} {file}" + (f" --revision {revision}" if revision else "")
    elsewhere = (
        f"On a machine with network run `{command}`, then pass the file as checkpoint_path=, or copy "
        f"models--{repo.replace('/', '--')} from its cache into {cache}"
    )
    offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable().get(source)
    if offline:
        if path is None:
            raise FileNotFoundError(f"not in the cache {cache}, and {offline}. {elsewhere}")
    else:
        try:
            path = Path(huggingface_hub.hf_hub_download(repo, file, revision=revision, cache_dir=cache))
        except Exception as error:
            if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
                raise OSError(f"cannot write to the cache {cache} ({error}); pass cache_dir= or set HF_HOME") from error
            raise OSError(f"{_one_line(error)}. {elsewhere}") from error
    # the name in the cache is a link; the file behind it has to go
    return _verify(path, record, f"delete {path.resolve()} to have it downloaded again")


def _find_at_url(
    url: str, record: Weights, cache_dir: str | Path | None, unreachable: Callable[[], dict[str, str]]
) -> Path:
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "weights"
    path = _cache_folder(cache_dir) / f"{record.sha256[:8]}-{name}"
    if path.is_file() and _mismatch(path, record) is None:
        return path
    elsewhere = f"Download it on another machine and put it at {path}, or pass it as checkpoint_path="
    reason = unreachable().get(url)
    if reason:
        raise FileNotFoundError(f"not at {path}, and {reason}. {elsewhere}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
        partial.touch()
    except OSError as error:
        raise OSError(f"cannot write to {path.parent} ({error}); pass cache_dir= or set POSEZOO_HOME") from error
    try:
        _download(url, partial)
        _verify(partial, record, "tell the server's owner, or download it from elsewhere", name=url)
        os.replace(partial, path)  # another process may have done the same; both files are right
    except OSError as error:
        raise OSError(f"{_one_line(error)}. {elsewhere}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _download(url: str, path: Path) -> None:
    # torch.hub.download_url_to_file would do, but waits for ever on a server that falls silent
    from huggingface_hub.utils import tqdm

    request = urllib.request.Request(url, headers={"User-Agent": "posezoo"})
    with urllib.request.urlopen(request, timeout=READ_TIMEOUT) as response, path.open("wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        with tqdm(total=total, unit="B", unit_scale=True, desc=path.name.split(".")[0]) as bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and file.tell() != total:
            raise OSError(f"the connection ended after {file.tell()} of {total} bytes")


def _cache_folder(cache_dir: str | Path | None) -> Path:
    chosen = cache_dir or os.environ.get("POSEZOO_HOME")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posezoo"


def _verify(path: Path, record: Weights, fix: str, name: str = "") -> Path:
    reason = _mismatch(path, record)
    if reason:
        raise ValueError(f"{name or path} {reason}: it is damaged, or another file than the record's; {fix}")
    return path


def _mismatch(path: Path, record: Weights) -> str | None:
    """What makes this another file than the record's, or None."""
    size = path.stat().st_size
    if record.size is not None and size != record.size:
        return f"has {size} bytes instead of {record.size}"
    if record.sha256:
        digest = file_sha256(path)
        if not digest.startswith(record.sha256):
            return f"has sha256 {digest[: len(record.sha256)]} instead of {record.sha256}"
    return None


def file_sha256(path: Path) -> str:
    """The file's checksum, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _unreachable(sources: Sequence[str]) -> dict[str, str]:
    """Why there is no way to a source's server, for those where there is none; all are tried at once.

    The Hub's client repeats a refused connection for half a minute, and a name server may be silent for as long: so
    whether anybody listens is asked first, and a slow answer counts as none.
    """
    from huggingface_hub import constants

    configured = os.environ.get("HF_HUB_ETAG_TIMEOUT", "")
    patience = float(configured) if configured.isdigit() else CONNECT_TIMEOUT
    reasons: dict[str, str] = {}
    threads = []

    def knock(source: str, host: str, port: int) -> None:
        try:
            socket.create_connection((host, port), timeout=patience).close()
            del reasons[source]
        except OSError as error:
            reasons[source] = f"{host}:{port} cannot be reached ({error})"

    for source in sources:
        kind, _ = _split_source(source)
        if kind not in ("hf-hub", "http", "https"):
            continue
        address = urllib.parse.urlsplit(constants.ENDPOINT if kind == "hf-hub" else source)
        proxy = urllib.request.getproxies().get(address.scheme)
        if proxy and address.hostname and not urllib.request.proxy_bypass(address.hostname):
            address = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
        reasons[source] = (
            f"{host}:{port} did not answer within {patience:g} s (on a slow network, set HF_HUB_ETAG_TIMEOUT=10)"
        )
        # a daemon, so that a name server that never answers does not keep the program from ending
        threads.append(threading.Thread(target=knock, args=(source, host, port), daemon=True))
        threads[-1].start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(reasons)


def _split_source(source: str) -> tuple[str, str]:
    kind, colon, rest = source.partition(":")
    if not colon or not rest or kind not in ("package", "local-dir", "hf-hub", "http", "https"):
        raise ValueError(
            f"unknown source {source!r}: expected package:NAME, local-dir:/path, hf-hub:org/name or https://..."
        )
    return kind, rest


def _parse_hub_source(rest: str) -> tuple[str, str | None, str]:
    """`org/name[@revision][/file.ext]` to repository, revision, file."""
    match = HUB_SOURCE.fullmatch(rest)
    if match is None:
        raise ValueError(f"hf-hub:{rest}: expected hf-hub:org/name[@revision][/file.ext]")
    return match["repo"], match["revision"], match["file"] or WEIGHTS_FILE


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text if text else type(error).__name__


# ---------------------------------------------------------------------------------------------------------------------
# From a file to a model


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file or a PyTorch checkpoint, on the CPU; code in a checkpoint is never run.

    A checkpoint that keeps its weights under "state_dict", beside an optimizer for instance, is unwrapped.

    Raises:
        ValueError: no such file, damaged, something else than tensors, or a pickle that asks for code.

    Example:
        >>> import torch, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "weights.pth")
        >>> torch.save({"state_dict": {"bias": torch.ones(2)}}, path)
        >>> read_state_dict(path)
        {'bias': tensor([1., 1.])}
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path, device="cpu")
        except Exception as error:
            raise ValueError(f"{path} is not a whole safetensors file ({_one_line(error)}); get it again") from error
    try:
        # PyTorch 2.4 has no such context; there, a file with more than tensors in it is refused
        stand_ins = getattr(torch.serialization, "safe_globals", contextlib.nullcontext)
        with stand_ins([_inert(name) for name in INERT]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        with path.open("rb") as file:
            pickled = file.read(2) == b"PK"  # otherwise bytes that happen to look like a pickle's
        wanted = re.search(rf"GLOBAL ([\w.]+){'|(Unsupported operand .+?) ' * pickled}", _one_line(error))
        if wanted is None:
            # PyTorch puts a page of general advice before the reason
            reason = _one_line(error).rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
            raise ValueError(
                f"{path} is not a whole PyTorch checkpoint, or no checkpoint at all ({reason[:200]}); get it again"
            ) from error
        asked = wanted[1] or f"more than a plain pickle ({wanted[2]})"
        raise ValueError(
            f"{path} was refused and nothing in it was run: besides tensors it asks for {asked}, and loading that "
            "could run any code. If you trust its author, load it with torch.load(path, weights_only=False) where it "
            "can do no harm, and save its state_dict alone"
        ) from error
    for wrapper in ("state_dict", "model", "model_pos"):  # the last one is VideoPose3D's
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    others = (
        [key for key, value in content.items() if not isinstance(value, Tensor)] if isinstance(content, dict) else []
    )
    if not isinstance(content, dict) or not content or others:
        found = f"the entries {', '.join(map(str, others[:5]))}" if others else f"a {type(content).__name__}"
        raise ValueError(f"{path}: expected a dictionary of tensors, alone or under 'state_dict', found {found}")
    return content


class Inert:
    """Stands for something in a training checkpoint that is not a tensor: takes everything and does nothing."""

    def __init__(self, *_: Any) -> None: ...
    def __setstate__(self, _: Any) -> None: ...
    def __setitem__(self, *_: Any) -> None: ...
    def append(self, _: Any) -> None: ...
    def extend(self, _: Any) -> None: ...


@functools.cache
def _inert(name: str) -> type[Inert]:
    """A stand-in that answers to a name; nothing of that name is imported."""
    module, _, leaf = name.rpartition(".")
    return type(leaf, (Inert,), {"__module__": module, "__qualname__": leaf})


def load_state_dict(model: nn.Module, state_dict: dict[str, Tensor], *, drop_prefixes: Iterable[str] = ()) -> list[str]:
    """Copy tensors into a model, all of them or, on any error, none.

    Args:
        model: its tensors keep their dtype and device.
        state_dict: as many tensors as the model has, with its names and shapes, all finite.
        drop_prefixes: submodules to leave as they are, whatever the file has for them.

    Returns:
        Names of the file's tensors that were left out.

    Raises:
        ValueError: missing, unexpected, misshapen or non-finite tensors; the model is unchanged.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1)
        >>> load_state_dict(layer, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)})
        []
        >>> load_state_dict(layer, {"weight": torch.ones(1, 3), "bias": torch.zeros(1)})
        Traceback (most recent call last):
        ValueError: the weights do not fit a Linear, which is unchanged; another shape: weight (1, 3) instead of (1, 2)
    """
    prefixes = tuple(f"{prefix}." for prefix in drop_prefixes)
    dropped = [key for key in state_dict if key.startswith(prefixes)] if prefixes else []
    targets = {k: v for k, v in model.state_dict().items() if not (prefixes and k.startswith(prefixes))}
    values = {key: value for key, value in state_dict.items() if key not in dropped}

    problems = []
    missing = [f"{key} {tuple(value.shape)}" for key, value in targets.items() if key not in values]
    unexpected = [f"{key} {tuple(value.shape)}" for key, value in values.items() if key not in targets]
    shapes = [
        f"{key} {tuple(value.shape)} instead of {tuple(targets[key].shape)}"
        for key, value in values.items()
        if key in targets and value.shape != targets[key].shape
    ]
    problems += [f"missing: {_first(missing)}"] if missing else []
    problems += [f"not in the model: {_first(unexpected)}"] if unexpected else []
    problems += [f"another shape: {_first(shapes)}"] if shapes else []
    hint = ""
    if shapes and not missing and not unexpected and _heads(model) and all(s.startswith(_heads(model)) for s in shapes):
        hint = "; only the head differs: give the model the num_keypoints of the weights, or leave the head out"
    elif missing and unexpected and all(key.startswith("module.") for key in values):
        hint = "; the names begin with 'module.', from DataParallel: posezoo.load_checkpoint takes that off"
    elif missing and unexpected:
        hint = "; if this is a checkpoint of the authors or of mmpose, posezoo.load_checkpoint translates its names"
    if not problems:
        if any(value.is_meta for value in targets.values()):
            problems.append("the model is on the meta device, without memory: call model.to_empty(device='cpu') first")
        # cast before looking: what is finite in the file may overflow in the model's dtype
        values = {key: value.to(targets[key].dtype) for key, value in values.items()}
        broken = [key for key, value in values.items() if value.is_floating_point() and not value.isfinite().all()]
        if broken:
            problems.append(f"NaN or infinite values: {_first(broken)}")
    if problems:
        raise ValueError(
            f"the weights do not fit a {type(model).__name__}, which is unchanged; {'; '.join(problems)}{hint}"
        )
    with torch.no_grad():
        for key, value in values.items():
            targets[key].copy_(value)
    return dropped


def load(model: nn.Module, record: Weights, *, cache_dir: str | Path | None = None) -> None:
    """Find, verify, read, translate and copy a record's weights into a model.

    When the model has another number of keypoints than the weights, its head keeps its fresh values, everything else
    is loaded strictly, and a warning of the logger "posezoo" names the tensors left out.

    Raises:
        WeightsNotFoundError: (a ValueError) no source provides the file.
        ValueError: the file does not fit; the model is unchanged.

    Example:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32"), tempfile.mkdtemp())
        >>> load(posezoo.create("hrnet_w32"), Weights(sources=(f"local-dir:{folder}",)))
    """
    path = find(record, cache_dir)
    state_dict = read_state_dict(path)
    if record.converter:
        from posezoo.checkpoints import convert

        state_dict = convert(state_dict, record.converter)
    try:
        fit(model, state_dict, num_keypoints=record.kwargs.get("num_keypoints"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def fit(model: nn.Module, state_dict: dict[str, Tensor], *, num_keypoints: int | None = None) -> None:
    """Copy a state dict into a model, all but the head where that is for other keypoints.

    Args:
        model: its `head_keys` name the submodules that make up the head.
        state_dict: with the model's names; see `load_state_dict`.
        num_keypoints: that the state dict is for; None: the shapes of its head tell.

    Raises:
        ValueError: as `load_state_dict`; the model is unchanged.
    """
    heads, own = _heads(model), model.state_dict()
    theirs, ours = num_keypoints, getattr(model, "num_keypoints", None)
    in_head = [key for key in state_dict if heads and key.startswith(heads)]
    if theirs is not None:
        replaced = ours is not None and ours != theirs
    else:
        replaced = any(key not in own or own[key].shape != state_dict[key].shape for key in in_head)
    dropped = load_state_dict(model, state_dict, drop_prefixes=[head[:-1] for head in heads] if replaced else ())
    if dropped:
        shown = _first([f"{key} {tuple(state_dict[key].shape)}" for key in dropped])
        logger.warning(
            "left out of the weights: %s. They are for %s keypoints, the model has %s: its head starts untrained.",
            shown,
            "other" if theirs is None else theirs,
            ours,
        )


def _heads(model: nn.Module) -> tuple[str, ...]:
    return tuple(f"{name}." for name in getattr(model, "head_keys", ()))


def _first(items: list[str], count: int = 5) -> str:
    return ", ".join(items[:count]) + (f" and {len(items) - count} more" if len(items) > count else "")


# ---------------------------------------------------------------------------------------------------------------------
# From a model to a folder, or the Hub, and back


def save_pretrained(
    model: nn.Module,
    directory: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    metrics: dict[str, dict[str, float]] | None = None,
    card: str | None = None,
    **record_fields: Any,
) -> Path:
    """Write model.safetensors, config.json and a model card (README.md) into a folder.

    Args:
        model: made by `posezoo.create`.
        directory: made if need be; files of the same names are replaced, each at once.
        dtype: of the floating tensors in the file: "float16" halves it; None keeps the model's.
        metrics: `{dataset: {metric: value}}`. Those of the weights the model began with are not taken over.
        card: Markdown to put on the card in place of the generated text.
        **record_fields: other fields of `Weights` to set: data, data_license, license, input_size, codec, ...

    Returns:
        The folder, for `posezoo.create(f"local-dir:{folder}", pretrained=True)`.

    Raises:
        ValueError: a model `create` did not make, values that are not finite or overflow in `dtype`, unknown fields.

    Example:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32"), tempfile.mkdtemp())
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'config.json', 'model.safetensors']
    """
    directory = Path(directory).expanduser()
    return _save(model, directory, f"local-dir:{directory}", dtype, metrics, card, record_fields)


def _save(
    model: nn.Module,
    directory: Path,
    name: str,
    dtype: str | torch.dtype | None,
    metrics: dict[str, dict[str, float]] | None,
    card: str | None,
    record_fields: dict[str, Any],
) -> Path:
    from safetensors.torch import save

    import posezoo

    architecture, kwargs = getattr(model, "architecture", ""), getattr(model, "kwargs", None)
    if not isinstance(architecture, str) or not architecture or kwargs is None:
        raise ValueError(
            f"expected a model made by posezoo.create, got a {type(model).__name__} without a name to find it by "
            "again; create it by name, or register its function with posezoo.register_model and create it by that"
        )
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    try:
        kwargs = json.loads(json.dumps(kwargs))
    except TypeError as error:
        raise ValueError(f"{architecture}: the constructor's arguments must fit into JSON ({error})") from error

    tensors = _cast(model.state_dict(), dtype)
    started_from = getattr(model, "weights", None) or Weights()
    # what was measured, and where it was, was another file's
    inherited = dataclasses.replace(
        started_from,
        **{"sources": (), "sha256": "", "size": None, "kwargs": {}, "converter": "", "tag": ""},
        **{"metrics": {}, "metrics_by": "", "protocol": ""},
        channel_order="RGB" if started_from.channel_order else "",  # whatever it was, it has been folded
    )
    if isinstance(kwargs.get("skeleton"), str):
        inherited = dataclasses.replace(inherited, skeleton=kwargs["skeleton"])
    elif kwargs.get("num_keypoints") != started_from.kwargs.get("num_keypoints", kwargs.get("num_keypoints")):
        inherited = dataclasses.replace(inherited, skeleton="")
    fields = {**inherited.to_dict(), "architecture": architecture, **record_fields}
    if metrics is not None:
        fields = {**fields, "metrics": metrics, "metrics_by": fields.get("metrics_by") or "posezoo"}
    # training may have changed the size; a size that the caller gives wins
    settings: dict[str, Any] = getattr(model, "input_settings", dict)()
    size = record_fields.get("input_size") or settings.get("input_size") or fields.get("input_size")
    fields, settings = {**fields, "input_size": size, "input": {}}, {**settings, "input_size": size and list(size)}
    record = Weights.from_dict(fields)

    directory.mkdir(parents=True, exist_ok=True)
    with _replacing(directory / WEIGHTS_FILE) as temporary:
        # not save_file: its file would be readable by its owner alone, whatever the umask
        temporary.write_bytes(save(tensors, metadata={"format": "pt"}))
        record = dataclasses.replace(record, sha256=file_sha256(temporary), size=temporary.stat().st_size)
    config = {
        "format": FORMAT,
        "posezoo_version": posezoo.__version__,
        "architecture": architecture,
        "kwargs": kwargs,
        "input": {name: value for name, value in settings.items() if value is not None},
        "weights": record.to_dict(),
    }
    with _replacing(directory / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    with _replacing(directory / CARD_FILE) as temporary:
        temporary.write_text(_card(record, name, card, getattr(model, "input_kind", "image")), encoding="utf-8")
    return directory


def from_pretrained(name_or_path: str | Path, **kwargs: Any) -> Any:
    """A pretrained model from a folder, the Hub, or the zoo.

    Args:
        name_or_path: a folder `save_pretrained` wrote, `org/name` of the Hub, either with its prefix (`local-dir:`,
            `hf-hub:`), or a registered name. A folder of that name wins over the Hub.
        **kwargs: as for `posezoo.create`.

    Example:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32", num_keypoints=2), tempfile.mkdtemp())
        >>> posezoo.from_pretrained(folder).num_keypoints
        2
    """
    from posezoo.registry import create

    name = str(name_or_path)
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return create(name, pretrained=True, **kwargs)
    if isinstance(name_or_path, Path) or Path(name).expanduser().is_dir():
        return create(f"local-dir:{name}", pretrained=True, **kwargs)
    if HUB_SOURCE.fullmatch(name):
        return create(f"hf-hub:{name}", pretrained=True, **kwargs)
    if "/" in name or os.sep in name:
        raise ValueError(f"there is no folder {name}, and a repository of the Hub is written org/name")
    return create(name, pretrained=True, **kwargs)


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a posezoo model",
    **save_kwargs: Any,
) -> str:
    """Publish a model on the Hugging Face Hub, as `save_pretrained` writes it.

    Args:
        model: made by `posezoo.create`.
        repo_id: `org/name`; made if it does not exist.
        private: of a new repository; None is the account's default.
        token: for writing; None takes `HF_TOKEN` or what `hf auth login` stored.
        revision: a branch, made if it does not exist; None is the main one.
        commit_message: what the Hub's history will say.
        **save_kwargs: as for `save_pretrained`.

    Returns:
        The commit's URL.
    """
    from huggingface_hub import HfApi

    repo, at, file = _parse_hub_source(repo_id)
    if at or file != WEIGHTS_FILE:
        raise ValueError(f"repo_id: expected org/name, got {repo_id!r}; a branch goes to revision=")
    options = {key: save_kwargs.pop(key, None) for key in ("dtype", "metrics", "card")}
    with tempfile.TemporaryDirectory() as folder:
        name = f"hf-hub:{repo}" + (f"@{revision}" if revision else "")
        _save(model, Path(folder), name, **options, record_fields=save_kwargs)  # before anything is made on the Hub
        api = HfApi(token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        if revision:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=folder, revision=revision, commit_message=commit_message)
    return str(commit.commit_url)


def read_config(path: str | Path) -> dict[str, Any]:
    """What `config.json` says: architecture, kwargs, weights (a record's dictionary).

    Args:
        path: the file, or its folder.

    Raises:
        ValueError: missing, not ours, or from a newer posezoo.

    Example:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32"), tempfile.mkdtemp())
        >>> read_config(folder)["architecture"]
        'hrnet_w32'
    """
    path = Path(path).expanduser()
    path = path / CONFIG_FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"there is no {path}; posezoo.save_pretrained(model, directory) writes it")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ValueError(
            f"{path} is not posezoo's: it has no number under 'format'. A checkpoint of another program goes to "
            "posezoo.load_checkpoint"
        )
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {config['format']}, written by posezoo {config.get('posezoo_version', '?')}, and this "
            f"posezoo reads up to {FORMAT}; pip install --upgrade posezoo"
        )
    for key, kind in (("architecture", str), ("kwargs", dict), ("weights", dict)):
        if not isinstance(config.get(key), kind):
            raise ValueError(f"{path}: expected a {kind.__name__} under {key!r}, got {config.get(key)!r}")
    return config


def read_record(place: str, cache_dir: str | Path | None = None) -> tuple[str, Weights]:
    """Architecture and record of the model in `local-dir:/path` or `hf-hub:org/name[@revision]`."""
    kind, rest = _split_source(place)
    if kind == "local-dir":
        config = read_config(Path(rest).expanduser() / CONFIG_FILE)
    else:
        if _parse_hub_source(rest)[2] != WEIGHTS_FILE:
            raise ValueError(f"{place}: expected a repository, hf-hub:org/name[@revision], got a file in it")
        config = read_config(find(Weights(sources=(f"{place}/{CONFIG_FILE}",)), cache_dir))
    settings = config.get("input", {})  # absent in folders of posezoo 0.1
    record = Weights.from_dict(
        {**config["weights"], "sources": (place,), "kwargs": config["kwargs"], "input": settings}
    )
    return config["architecture"], dataclasses.replace(record, architecture=config["architecture"])


def _cast(tensors: dict[str, Tensor], dtype: str | torch.dtype | None) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, the floating ones in another dtype, all finite."""
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and (not isinstance(chosen, torch.dtype) or not chosen.is_floating_point):
        raise ValueError(f"dtype: expected a floating type such as 'float16', got {dtype!r}")
    result = {}
    for key, value in tensors.items():
        floating = value.is_floating_point()
        copy = value.detach().to("cpu", chosen if floating else None, copy=True).contiguous()
        if floating and not copy.isfinite().all():
            cause = "overflows in " + str(chosen) if value.isfinite().all() else "has NaN or infinite values"
            raise ValueError(f"nothing was written: {key} {cause}")
        result[key] = copy
    return result


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place at the end, or goes away when something fails."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _card(record: Weights, name: str, text: str | None, input_kind: str) -> str:
    """The model card: front matter for the Hub, then what a user needs to know."""
    if text is not None and text.lstrip().startswith("---"):
        return text
    tags = ["posezoo", "pose-estimation", "keypoint-detection", record.architecture]
    slugs = [_slug(part) for part in re.split(r"[,;+]", record.data)]
    front = ["library_name: posezoo", "pipeline_tag: keypoint-detection"]
    if record.license.lower() in HUB_LICENSES:
        front.append(f"license: {record.license.lower()}")
    elif record.license:
        front += ["license: other", f"license_name: {_slug(record.license)}"]
    front += ["tags:", *(f"- {json.dumps(tag)}" for tag in tags)]
    if any(slugs):
        front += ["datasets:", *(f"- {json.dumps(slug)}" for slug in slugs if slug)]
    head = "\n".join(["---", *front, "---", ""])
    return f"{head}\n{text.strip() if text is not None else _card_text(record, name, input_kind)}\n"


def _card_text(record: Weights, name: str, input_kind: str) -> str:
    facts = {
        "Architecture": record.architecture,
        "Input (H, W)": " x ".join(map(str, record.input_size)) if record.input_size else "",
        "Skeleton": record.skeleton,
        "Training data": record.data,
        "Licence of the data": record.data_license,
        "Licence of the weights": record.license,
        "Paper": record.paper,
        "First published at": record.origin,
    }
    lines = [f"# {record.architecture}", "", "Weights for human pose estimation with posezoo.", ""]
    lines += [f"- {title}: {value or 'not stated'}" for title, value in facts.items() if value or "icence" in title]
    lines += ["", "## Use", "", "```python", "import posezoo", ""]
    lines += [
        f'model = posezoo.create("{name}", pretrained=True)',
        f"{'keypoints' if input_kind == 'image' else 'pose3d'}, scores = model.predict(model.example_input())",
        "```",
    ]
    if input_kind == "image":
        lines += ["", "Or from the command line, on a photograph:", ""]
        lines += ["```", f"posezoo predict photo.jpg --model {name} --out poses", "```"]
    elif input_kind == "keypoints":
        lines += ["", "Or from the command line, on the keypoints of a video:", ""]
        lines += ["```", f"posezoo lift keypoints.json --model {name} --out poses", "```"]
    lines += ["", "## Metrics", ""]
    if record.metrics:
        lines += ["| Dataset | Metric | Value |", "|---|---|---|"]
        lines += [
            f"| {data} | {metric} | {value} |" for data, m in record.metrics.items() for metric, value in m.items()
        ]
        lines += ["", f"Measured by: {record.metrics_by or 'not stated'}."]
    else:
        lines += ["None were recorded."]
    return "\n".join(lines)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
