"""Read detected 2D keypoints of a video: COCO json, OpenPose's json, NumPy arrays.

`read_keypoints` reads all formats and tracks one person through the frames.
"""

import functools
import io
import json
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posezoo.skeletons import Skeleton, get_skeleton

OPENPOSE = ("openpose18", "body25", "body25b")


def read_keypoints(path: str | Path, skeleton: str | Skeleton | Sequence[str] | None = None) -> dict[str, Any]:
    """Read detected 2D keypoints of a video, as arguments for `posezoo.lift`.

    | format | frames |
    |---|---|
    | `.npz` with `keypoints` `(T, K, 2)`, optionally `scores`, `visible`, `skeleton`; `.npy` | the axis T |
    | COCO results, a list, as `posezoo predict --json` writes it | `image_id`; gaps are frames without a person |
    | COCO annotations | `images`, in order |
    | a folder of OpenPose's `.json`, one per frame, or one of them | numbers in the file names |

    Of several people in a frame, the one nearest to the person in the previous frame is selected;
    in the first frame the largest. This emits a warning.

    Args:
        path: file or folder.
        skeleton: of the keypoints, for files that do not store it.

    Returns:
        `keypoints`, `skeleton`, and `scores` if the file has them. Missing keypoints are NaN.

    Raises:
        ValueError: the file is missing, damaged or of another format, or has no person or more gaps
            than frames.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "video.npz")
        >>> np.savez(file, keypoints=np.zeros((9, 17, 2)), skeleton="coco17")
        >>> video = read_keypoints(file)                                # then posezoo.lift(**video)
        >>> video["keypoints"].shape, video["skeleton"]
        ((9, 17, 2), 'coco17')
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.is_dir():
        files = [file for file in in_order(path) if file.suffix.lower() == ".json"]
        if not files:
            raise ValueError(f"{path}: expected OpenPose's .json files in this folder, one per frame; found none")
        frames, openpose = [_openpose(_json(file), file) for file in files], True
    elif path.suffix in (".npz", ".npy"):
        return _arrays(path, skeleton)
    elif path.suffix == ".json":
        content = _json(path)
        openpose = isinstance(content, dict) and "people" in content
        frames = [_openpose(content, path)] if openpose else _coco(content, path)
    else:
        raise ValueError(f"{path}: expected .json, .npz, .npy, or a folder of OpenPose's .json files")
    video = _follow(frames, path)
    if skeleton is None and openpose:
        fitting = [name for name in OPENPOSE if len(get_skeleton(name)) == video.shape[1]]
        if len(fitting) > 1:
            raise ValueError(f"{path}: {video.shape[1]} keypoints of OpenPose are {' or '.join(fitting)}; say which")
        skeleton = fitting[0] if fitting else None
    return {"keypoints": video[..., :2], "scores": video[..., 2], "skeleton": skeleton}


def in_order(folder: Path) -> list[Path]:
    """List the files of a folder by the numbers in their names: frame 10 after frame 9."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(files, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part], name


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is damaged, or no JSON: {error}") from None


def _triples(values: Any, path: Path) -> np.ndarray:
    """x, y, score of one person, `(K, 3)`; missing keypoints have a score of 0."""
    try:
        numbers = np.asarray(values, float)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.ndim != 1 or not numbers.size or numbers.size % 3:
        raise ValueError(f"{path}: expected keypoints [x1, y1, score1, x2, ...], got {str(values)[:60]}")
    return numbers.reshape(-1, 3)


def _openpose(content: Any, path: Path) -> list[np.ndarray]:
    """The people of a frame."""
    try:
        return [_triples(person["pose_keypoints_2d"], path) for person in content["people"]]
    except (KeyError, TypeError):
        raise ValueError(f"{path}: expected OpenPose's people with their pose_keypoints_2d") from None


def _coco(content: Any, path: Path) -> list[list[np.ndarray]]:
    """The people of each frame, from results or annotations."""
    try:
        entries = content["annotations"] if isinstance(content, dict) else content
        people = [(entry["image_id"], _triples(entry["keypoints"], path)) for entry in entries]
        order = [image["id"] for image in content["images"]] if isinstance(content, dict) else None
    except (KeyError, TypeError):
        raise ValueError(
            f"{path}: expected COCO results, a list of image_id and keypoints, or COCO annotations with images, or "
            "OpenPose's people"
        ) from None
    if not people:
        raise ValueError(f"{path}: there is nobody in it")
    found = {image for image, _ in people}
    if order is not None:
        if found - set(order):
            raise ValueError(f"{path}: image_id {min(found - set(order), key=str)} is not one of its images")
    elif all(isinstance(image, int) for image in found):
        order = list(range(min(found), max(found) + 1))
        if len(order) > 2 * len(found):
            raise ValueError(
                f"{path}: image_id should be the number of the frame, but only {len(found)} of {len(order)} numbers "
                "from the lowest to the highest are there"
            )
    else:
        order = sorted(found, key=lambda image: _natural(str(image)))
    return [[keypoints for image, keypoints in people if image == frame] for frame in order]


def _arrays(path: Path, skeleton: Any) -> dict[str, Any]:
    try:
        stored = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        content = {"keypoints": stored} if isinstance(stored, np.ndarray) else dict(stored)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: is damaged, or holds objects instead of numbers: {error}") from None
    if "keypoints" not in content:
        raise ValueError(f"{path}: expected an array called keypoints, found {', '.join(sorted(content)) or 'nothing'}")
    video: dict[str, Any] = {"keypoints": content["keypoints"], "skeleton": skeleton}
    if skeleton is None and "skeleton" in content:
        video["skeleton"] = content["skeleton"].tolist()
    if "scores" in content:
        video["scores"] = content["scores"]
    if "visible" in content:
        visible = content["visible"]
        if visible.shape != video["keypoints"].shape[:-1]:
            raise ValueError(f"{path}: expected visible {video['keypoints'].shape[:-1]}, got {visible.shape}")
        video["keypoints"] = np.where(visible[..., None] > 0, video["keypoints"], np.nan)
    return video


def _follow(frames: Sequence[Sequence[np.ndarray]], path: Path) -> np.ndarray:
    """Track one person: `(T, K, 3)`; NaN where no person is near enough."""
    counts = {len(keypoints) for people in frames for keypoints in people}
    if not counts:
        raise ValueError(f"{path}: there is nobody in it")
    if len(counts) > 1:
        raise ValueError(f"{path}: expected people with equally many keypoints, got {sorted(counts)}")
    video = np.full((len(frames), counts.pop(), 3), np.nan)
    last: np.ndarray | None = None
    for frame, people in enumerate(frames):
        seen = [keypoints for keypoints in people if (keypoints[:, 2] > 0).any()]
        if last is None:
            chosen = max(seen, key=_extent, default=None)
        else:
            chosen = min(seen, key=functools.partial(_distance, last), default=None)
            if chosen is not None and _distance(last, chosen) > _extent(last):
                chosen = None  # another person
        if chosen is not None:
            video[frame] = last = chosen
    most = max(map(len, frames))
    if most > 1:
        warnings.warn(
            f"{path}: up to {most} people in a frame; the largest one at the beginning is tracked", stacklevel=3
        )
    return video


def _extent(keypoints: np.ndarray) -> float:
    """The diagonal of the box around the keypoints that are there, `(K, 3)`."""
    return float(np.linalg.norm(np.ptp(keypoints[keypoints[:, 2] > 0, :2], axis=0)))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two people: mean over their common keypoints, or distance of their centroids."""
    both = (a[:, 2] > 0) & (b[:, 2] > 0)
    if both.any():
        return float(np.linalg.norm(a[both, :2] - b[both, :2], axis=1).mean())
    middles = [points[points[:, 2] > 0, :2].mean(axis=0) for points in (a, b)]
    return float(np.linalg.norm(middles[0] - middles[1]))
