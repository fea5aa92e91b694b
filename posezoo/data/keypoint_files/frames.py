"""People of each frame of a video, and the order of frames by their ids."""

import itertools
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posezoo.foreign import printable
from posezoo.skeletons import get_skeleton, list_skeletons


@dataclass
class Frames:
    """Detected people of a video.

    Args:
        people: of each frame, `(K, 3)` x, y and score; keypoints that are missing have a score of 0
            or NaN coordinates.
        skeleton: of the keypoints, if the file has it.
        scored: whether the file has scores. Otherwise they are 1 here.
    """

    people: list[list[np.ndarray]]
    skeleton: str | list[str] | None = None
    scored: bool = True


def frame_numbers(ids: Sequence[Any], path: Path) -> list[int]:
    """Return the number of the frame of each id, from 0; numbers without an id are empty frames.

    Ids are whole numbers, or texts such as file names that differ in one number. Other texts are in
    natural order, without gaps. If few of the numbers are there, as in every fifth frame of a
    video, the smallest difference is the step.

    Raises:
        ValueError: ids of another type, or more gaps than frames.

    Examples:
        >>> frame_numbers(["f9.jpg", "f8.jpg", "f11.jpg"], Path("video.json"))
        [1, 0, 3]
        >>> frame_numbers([0, 5, 10, 20], Path("video.json"))
        [0, 1, 2, 4]
    """
    texts = isinstance(next(iter(ids), 0), str)
    wrong = [one for one in ids if not (isinstance(one, str) if texts else _is_whole(one))]
    if wrong:
        raise ValueError(
            f"{path}: expected COCO results or the like, whose image_id are whole numbers or texts throughout, got "
            f"{printable(repr(wrong[0]), 60)}"
        )
    distinct = list(dict.fromkeys(ids))
    numbers = _counted(distinct) if texts else [int(number) for number in distinct]
    if numbers is None:
        counters = [re.findall(r"\d+", Path(name).stem)[-1:] for name in distinct]
        if all(counters) and len({counter for (counter,) in counters}) < len(distinct):
            warnings.warn(
                f"{path}: the frames {printable(distinct[0], 60)} to {printable(distinct[-1], 60)} count more than "
                "once, as those of several cameras do; they are taken for one video, in the order of their names. Put "
                "the files of each camera into a folder of its own",
                stacklevel=2,
            )
        place = {identity: at for at, identity in enumerate(sorted(distinct, key=natural))}
        return [place[identity] for identity in ids]
    low, count, step = min(numbers), len(numbers), 1
    span = max(numbers) - low + 1
    if span > 2 * count and count >= 4:
        in_order = sorted(numbers)
        smallest = min(after - before for before, after in itertools.pairwise(in_order))
        if all((number - low) % smallest == 0 for number in numbers):
            step = smallest
    if (span - 1) // step + 1 > 2 * count:
        raise ValueError(
            f"{path}: image_id (or the number in the file's name) should be the number of the frame, but only {count} "
            f"of {span} numbers from the lowest to the highest are there; list all frames as `images` of COCO "
            "annotations, or number them from 0"
        )
    frame = {identity: (number - low) // step for identity, number in zip(distinct, numbers, strict=True)}
    return [frame[identity] for identity in ids]


def _is_whole(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number == number // 1


def _counted(names: Sequence[str]) -> list[int] | None:
    """The one number in which names differ; None if they differ otherwise."""
    parts = [re.split(r"(\d{1,18})", name) for name in names]
    if len({(len(part), *part[::2]) for part in parts}) > 1:
        return None
    columns = [[int(part[at]) for part in parts] for at in range(1, len(parts[0]), 2)]
    varying = [column for column in columns if len(set(column)) > 1]
    if len(varying) > 1 or (varying and len(set(varying[0])) < len(names)) or (not varying and len(names) > 1):
        return None
    return varying[0] if varying else [0]


def by_frame(ids: Sequence[Any], people: Iterable[Sequence[np.ndarray]], path: Path) -> list[list[np.ndarray]]:
    """Sort people into the frames that `frame_numbers` gives to their ids."""
    numbers = frame_numbers(ids, path)
    frames: list[list[np.ndarray]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for number, some in zip(numbers, people, strict=True):
        frames[number] += some
    return frames


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key that puts frame 10 after frame 9."""
    parts = re.split(r"(\d{1,18})", name.lower())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part], name


def name_of(keypoints: Sequence[str]) -> str | list[str]:
    """Return the skeleton that has these keypoints by its name, else the list of them.

    Examples:
        >>> name_of(["tail", "left_paw", "right_paw"])
        ['tail', 'left_paw', 'right_paw']
    """
    known = (name for name in list_skeletons() if get_skeleton(name).keypoints == tuple(keypoints))
    return next(known, list(keypoints))
