"""Find a record's file on this machine, or download it; verify it before it is used."""

import contextlib
import errno
import functools
import hashlib
import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from posezoo.foreign import printable
from posezoo.weights.record import WEIGHTS_FILE, Weights, parse_hub_source, split_source

PRETRAINED = Path(__file__).parents[1] / "pretrained"  # weights that are shipped with the package
CONNECT_TIMEOUT = 0.7  # seconds until a server counts as out of reach; HF_HUB_ETAG_TIMEOUT overrules it
READ_TIMEOUT = 10  # seconds a web server may stay silent, before a file and in the middle of it
SLOW_AFTER, SLOWEST = 10, 5_000  # seconds, and the bytes a second that a server has to have sent by then
MOST_BYTES = 8 << 30  # of a file whose size neither the record nor the server tells
CHUNK = 1 << 20  # bytes
CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger("posezoo")


class WeightsNotFoundError(FileNotFoundError, ValueError):
    """No source of a record could provide its file. The message lists the attempts and remedies."""


def find(record: Weights, cache_dir: str | Path | None = None) -> Path:
    """Find a record's file on this machine, download it if necessary, and verify its checksum.

    Args:
        record: its sources are tried in order.
        cache_dir: folder for downloads. Defaults to the Hub's own cache (`HF_HOME`) for files of
            the Hub, and to `$POSEZOO_HOME`, `$XDG_CACHE_HOME/posezoo` or `~/.cache/posezoo` for
            others.

    Returns:
        The path of the file.

    Raises:
        WeightsNotFoundError: (a ValueError) every source failed. The message lists the reasons and
            how to get the file. Without network it comes within a second.

    Examples:
        >>> from posezoo.weights import Weights, find
        >>> find(Weights(sources=("local-dir:/nowhere",)))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        WeightsNotFoundError: ...
    """
    # probed once, for all sources together, when the first of them needs the network
    unreachable = functools.cache(lambda: _unreachable(record.sources))
    failures = []
    for source in record.sources:
        kind, rest = split_source(source)
        try:
            if kind == "package":
                return _find_in_package(rest, record)
            if kind == "local-dir":
                return _find_in_folder(rest, record)
            if kind == "hf-hub":
                return _find_on_hub(source, record, cache_dir, unreachable)
            return _find_at_url(source, record, cache_dir, unreachable)
        except Exception as error:  # the next source may work, whatever the error
            logger.debug("%s failed", source, exc_info=True)
            failures.append(f"{source}\n     {one_line(error)}")
    name = ".".join(filter(None, (record.architecture, record.tag)))
    tried = "".join(f"\n  {number}. {failure}" for number, failure in enumerate(failures, 1))
    raise WeightsNotFoundError(
        f"{f'the weights of {name}' if name else 'the file'} could not be found or downloaded"
        + (f"; tried, in order:{tried}" if failures else ": the record has no sources")
    )


def _find_in_package(name: str, record: Weights) -> Path:
    path = PRETRAINED / name / WEIGHTS_FILE
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

    repo, revision, file = parse_hub_source(split_source(source)[1])
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    cached = huggingface_hub.try_to_load_from_cache(repo, file, cache_dir=cache, revision=revision)
    path = Path(cached) if isinstance(cached, str) else None
    if path and record.sha256 and _mismatch(path, record) is None:
        return path  # its checksum is known, so the Hub need not be asked for a newer one

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
            if not isinstance(error, OSError) or error.errno not in CANNOT_WRITE:
                raise OSError(f"{one_line(error)}. {elsewhere}") from error
            if path is None:  # otherwise the file is there, which only newer clients return
                raise OSError(f"cannot write to the cache {cache} ({error}); pass cache_dir= or set HF_HOME") from error
    assert path is not None
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
        _download(url, partial, record.size)
        _verify(partial, record, "tell the server's owner, or download it from elsewhere", name=url)
        os.replace(partial, path)  # another process may have done the same; both files are right
    except OSError as error:
        raise OSError(f"{one_line(error)}. {elsewhere}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _download(url: str, path: Path, size: int | None) -> None:
    """Download at most `size` bytes, or as many as the server announces."""
    # torch.hub.download_url_to_file would do, but waits for ever on a server that falls silent
    from huggingface_hub.utils import tqdm

    request = urllib.request.Request(url, headers={"User-Agent": "posezoo"})
    with _respond(request, READ_TIMEOUT) as response, path.open("wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        if size is not None and total not in (None, size):
            raise OSError(f"the server offers {total} bytes, and the file has {size}")
        most = size or total or MOST_BYTES
        start = time.monotonic()
        with tqdm(total=total, unit="B", unit_scale=True, desc=path.name.split(".")[0]) as bar:
            while chunk := response.read1(CHUNK):  # which does not wait for the whole chunk
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > most:
                    raise OSError(f"the server sends more than the {most} bytes of the file")
                seconds = time.monotonic() - start
                if seconds > SLOW_AFTER and file.tell() < SLOWEST * seconds:
                    raise OSError(f"the server sent only {file.tell()} bytes in {seconds:.0f} seconds")
        if total is not None and file.tell() != total:
            raise OSError(f"the connection ended after {file.tell()} of {total} bytes")


def _respond(request: urllib.request.Request, seconds: float) -> Any:
    """Open an address; OSError where the server has sent no headers after `seconds`."""
    result: list[Any] = []

    def ask() -> None:
        try:
            result.append(urllib.request.urlopen(request, timeout=seconds))
        except Exception as error:
            result.append(error)

    # a thread, because the timeout of a socket starts again with every byte
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    response = result[0] if result else TimeoutError(f"the server has sent no headers after {seconds:g} seconds")
    if isinstance(response, Exception):
        raise response
    return response


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
    """Return the difference between a file and its record, or None."""
    size = path.stat().st_size
    if record.size is not None and size != record.size:
        return f"has {size} bytes instead of {record.size}"
    if record.sha256:
        digest = file_sha256(path)
        if not digest.startswith(record.sha256):
            return f"has sha256 {digest[: len(record.sha256)]} instead of {record.sha256}"
    return None


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, 64 hexadecimal digits.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "empty"
        >>> file.touch()
        >>> file_sha256(file)[:8]
        'e3b0c442'
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _unreachable(sources: Sequence[str]) -> dict[str, str]:
    """Return the sources whose server cannot be reached, each with the reason.

    The Hub's client repeats a refused connection for half a minute, and a name server may not
    respond for as long. All servers are therefore probed first, in parallel, with a short timeout.
    """
    from huggingface_hub import constants

    configured = os.environ.get("HF_HUB_ETAG_TIMEOUT", "")
    patience = float(configured) if configured.isdigit() else CONNECT_TIMEOUT
    reasons: dict[str, str] = {}
    connected: dict[str, threading.Thread] = {}
    threads = []

    def probe(source: str, host: str, port: int) -> None:
        try:
            socket.create_connection((host, port), timeout=patience).close()
            if source.startswith("hf-hub:"):  # its client repeats a request for minutes where the server is silent
                connected[source] = threading.current_thread()
                reasons[source] = f"{host}:{port} has sent no headers after {READ_TIMEOUT} s"
                with contextlib.suppress(urllib.error.HTTPError):  # a refusal is a response
                    _respond(urllib.request.Request(constants.ENDPOINT, method="HEAD"), READ_TIMEOUT).close()
            del reasons[source]
        except OSError as error:
            reasons[source] = f"{host}:{port} cannot be reached ({one_line(error)})"

    for source in sources:
        kind, _ = split_source(source)
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
        threads.append(threading.Thread(target=probe, args=(source, host, port), daemon=True))
        threads[-1].start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for thread in list(connected.values()):
        thread.join(READ_TIMEOUT + 1)
    return dict(reasons)


def one_line(error: Exception) -> str:
    """Return the message of an exception on one line, without control characters."""
    text = printable(" ".join(str(error).split()), 2000).rstrip(".")
    return text if text else type(error).__name__
