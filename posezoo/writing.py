"""Write files whole: a file is written beside its final name and renamed when it is complete."""

import contextlib
import errno
import glob
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LEFT_OVER = 86400  # seconds after which an unfinished file belongs to no running process


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to, and rename it at the end of the `with` block.

    The folder is created. After an error the new file is removed, and one that was there before is
    unchanged. New files that processes left behind when they were killed are removed after a day.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "deep", "poses.json")
        >>> with replacing(path) as part:
        ...     _ = part.write_text("[]")
        >>> path.read_text(), [file.name for file in path.parent.iterdir()]
        ('[]', ['poses.json'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{glob.escape(path.stem)}.????????{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError):  # another process may remove or write it
            if time.time() - old.stat().st_mtime > LEFT_OVER:
                old.unlink()
    # a name of its own, for two processes may write the same file; the suffix tells Pillow the format
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(f"{path}: the disk is full; nothing was changed, free some space") from error
        raise
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a folder beside `path` to fill, and give it that name at the end of the `with` block.

    After an error nothing is left. A folder `path` that exists must be empty.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "network")
        >>> with new_folder(path) as part:
        ...     _ = (part / "config.json").write_text("{}"), path.exists()
        >>> [file.name for file in path.iterdir()]
        ['config.json']
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    part.mkdir()
    try:
        yield part
        if path.is_dir():
            path.rmdir()  # an error if somebody has put a file into it
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def save_image(path: str | Path, pixels: np.ndarray) -> Path:
    """Write a uint8 array `(H, W, 3)`, RGB, as a PNG, a JPEG or another format of Pillow.

    Raises:
        ValueError: a suffix that is no format of Pillow.

    Examples:
        >>> import tempfile
        >>> save_image(Path(tempfile.mkdtemp(), "grey.png"), np.full((4, 5, 3), 90, np.uint8)).name
        'grey.png'
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path}: expected the name of an image, such as {path.stem or 'drawing'}.png")
    with replacing(path) as part:
        Image.fromarray(pixels).save(part, quality=92)  # of a JPEG; PNG has none
    return path
