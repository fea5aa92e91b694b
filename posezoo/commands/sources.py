"""The inputs of `posezoo predict` and `posezoo lift`, and checks of the options they share."""

import argparse
import contextlib
import glob
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

DETECTOR, NO_DETECTOR = "default", "none"  # values of --detector
IMAGE_FILES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def list_sources(arguments: Sequence[str]) -> list[Path | int]:
    """List files of paths, folders, patterns, and - (standard input); a webcam is its index.

    Raises:
        ValueError: a folder without images, or a pattern without files.

    Examples:
        >>> list_sources(["photo.jpg", "0"])
        [PosixPath('photo.jpg'), 0]
    """
    from posezoo.data.detections import in_order
    from posezoo.video import VIDEO_FILES

    sources: list[Path | int] = []
    for argument in arguments:
        path = Path(argument)
        found: Sequence[Path | int] = [path]
        problem = ""
        if argument == "-":
            found = [Path(line) for line in sys.stdin.read().splitlines() if line.strip()]
            problem = "-: there are no paths on the standard input, one a line"
        elif path.is_dir():
            found = [file for file in in_order(path) if file.suffix.lower() in (*IMAGE_FILES, *VIDEO_FILES)]
            problem = f"{path}: there are no images in this folder, {' '.join(IMAGE_FILES)}, and no videos"
        elif glob.has_magic(argument) and not path.exists():
            found = [Path(file) for file in sorted(glob.glob(argument, recursive=True)) if Path(file).is_file()]
            problem = f"{argument}: no file has such a name"
        elif argument.isdecimal() and not path.exists():
            found = [int(argument)]
        if not found:
            raise ValueError(problem)
        sources += found
    return sources


def check_options(options: argparse.Namespace) -> None:
    """Check what the commands share, and make the folders of their files.

    Raises:
        ValueError: a batch size, a device or a file that is not possible.
    """
    from posezoo.arrays import check_count, check_device

    if options.batch_size is not None:
        check_count(options.batch_size, "--batch-size")
    check_device(options.device, "--device")
    if options.json and str(options.json) != "-" and options.json.is_dir():
        raise ValueError(f"--json: expected a file, {options.json} is a folder")
    folders = {"--out": options.out, "--json": options.json.parent if options.json else None}
    for name, folder in folders.items():
        if folder is not None:
            existing = next(path for path in (folder, *folder.parents) if path.exists())
            if not existing.is_dir():
                raise ValueError(f"{name}: expected a folder, {existing} is a file")
    for folder in folders.values():
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # first, because it may fail


def detector_of(options: argparse.Namespace) -> str | None:
    """Return the detector of the command line, as `posezoo.predict` takes it.

    Examples:
        >>> detector_of(argparse.Namespace(detector="none")) is None
        True
    """
    return None if options.detector == NO_DETECTOR else options.detector


def free_path(folder: Path, stem: str, suffix: str, taken: Collection[Path]) -> Path:
    """Return `folder/stem.suffix`, with a number where that is among the resolved paths `taken`.

    Examples:
        >>> free_path(Path("out"), "photo", ".png", {Path("out/photo.png").resolve()}).name
        'photo-2.png'
    """
    target, number = folder / f"{stem}{suffix}", 1
    while target.resolve() in taken:
        number += 1
        target = folder / f"{stem}-{number}{suffix}"
    return target


def check_not_inputs(outputs: dict[str, Path | None], inputs: Sequence[Any]) -> None:
    """Raise if an output of a command is one of its inputs, by whatever name."""
    for name, output in outputs.items():
        if output is not None and str(output) != "-" and output.exists():
            for path in inputs:
                if isinstance(path, Path) and path.exists() and output.samefile(path):
                    raise ValueError(f"{name}: {output} is an input of this command; choose another name")


@contextlib.contextmanager
def warnings_as_lines(quiet: bool) -> Iterator[None]:
    """Print each warning of the `with` block once, as a line on stderr; none if `quiet`.

    Examples:
        >>> with warnings_as_lines(quiet=True):
        ...     warnings.warn("40 of 200 keypoints are interpolated", stacklevel=1)
    """
    from posezoo.progress import say

    shown = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            say(f"posezoo: warning: {message}", sys.stderr)

    with warnings.catch_warnings():
        if quiet:
            warnings.simplefilter("ignore")
        else:
            warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
