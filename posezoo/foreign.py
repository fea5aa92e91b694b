"""Files of others: JSON, texts of them for messages, and files that stand in place of the data."""

import json
from pathlib import Path
from typing import Any

HEAD = 512  # bytes that tell a web page or a pointer


def printable(text: str, length: int = 200) -> str:
    """Shorten a text of a foreign file and replace its control characters, for messages.

    Examples:
        >>> printable("left\\x1b[2J")
        'left?[2J'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text[:length])


def load_json(path: Path, hint: str) -> Any:
    """Load a json file in UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        ValueError: the file is missing, with `hint` for the fix, or damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; {hint}")
    check_content(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); download it again") from error


def check_content(path: Path) -> None:
    """Raise if a file is empty, a pointer of Git LFS or a web page in place of the data.

    Raises:
        ValueError: it is; with the way to the data.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "model.pth")
        >>> _ = path.write_text("version https://git-lfs.github.com/spec/v1")
        >>> check_content(path)
        Traceback (most recent call last):
        ValueError: ...model.pth is a pointer of Git LFS, not the file itself; run `git lfs pull` in its repository
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:40].lower()
    if not head:
        raise ValueError(f"{path} is empty; get it again")
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a pointer of Git LFS, not the file itself; run `git lfs pull` in its repository")
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        raise ValueError(
            f"{path} is a web page, not the file itself: the server may ask for a login or a confirmation; download "
            "the file in a browser, or by the address of the file instead of its page"
        )
