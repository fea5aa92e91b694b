"""Read detected 2D keypoints of a video, in the formats of the tools that write them.

`read_keypoints` recognises the format by the content and tracks one person through the frames.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posezoo.data.keypoint_files.archives import read_array_frames
from posezoo.data.keypoint_files.frames import Frames, by_frame, natural
from posezoo.data.keypoint_files.tables import read_csv_frames, read_h5_frames
from posezoo.data.keypoint_files.texts import openpose, read_json_frames
from posezoo.data.single_person import track_person
from posezoo.foreign import load_json
from posezoo.skeletons import Skeleton, get_skeleton, list_skeletons

SUFFIXES = (".json", ".npz", ".npy", ".csv", ".h5")


def read_keypoints(
    path: str | Path,
    skeleton: str | Skeleton | Sequence[str] | None = None,
    *,
    size: tuple[int, int] | None = None,
    several: bool = True,
) -> dict[str, Any]:
    """Read detected 2D keypoints of a video, as arguments for `posezoo.lift`.

    | format | frames |
    |---|---|
    | `.npz` with `keypoints` `(T, K, 2)`, or also `scores`, `visible`, `skeleton` | the axis T |
    | `.npy` with keypoints `(T, K, 2)` | the axis T |
    | COCO results, of `posezoo predict --json`, AlphaPose and others | `image_id` |
    | COCO annotations | `images`, in order |
    | a folder of OpenPose's or mmpose's `.json` | numbers in the file names |
    | mmpose's `instance_info` | `frame_id` |
    | MediaPipe's landmarks: a list, or `frames` with `height` and `width` | the list |
    | VideoPose3D's `data_2d_custom_*.npz` of one video, and its detector's `.npz` | the axis T |
    | DeepLabCut's `.csv` and `.h5`, SLEAP's analysis `.h5` | rows |

    Numbers without an entry are frames without a person.

    Of several people in a frame, `posezoo.data.single_person` selects one: the largest, summed over
    all frames, with those who continue the track after a camera cut. This emits a warning.

    Args:
        path: file or folder.
        skeleton: of the keypoints, for files that do not store it.
        size: (H, W) of the images, for MediaPipe's landmarks, which are fractions of them.
        several: accept several people in a frame. Defaults to True.

    Returns:
        `keypoints`, `skeleton`, and `scores` if the file has them. Missing keypoints are NaN or
        have a score of 0.

    Raises:
        ValueError: the file is missing, damaged or of another format, or has no person or more gaps
            than frames.

    Examples:
        >>> import tempfile, numpy as np
        >>> file = Path(tempfile.mkdtemp(), "video.npz")
        >>> np.savez(file, keypoints=np.zeros((9, 17, 2)), skeleton="coco17")
        >>> video = read_keypoints(file)                                # then posezoo.lift(**video)
        >>> video["keypoints"].shape, video["skeleton"]
        ((9, 17, 2), 'coco17')
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    unknown = skeleton is None or (isinstance(skeleton, str) and skeleton not in list_skeletons())
    count = None if skeleton is None or unknown else len(get_skeleton(skeleton))
    suffix = path.suffix.lower()
    found: Frames | dict[str, Any]
    if path.is_dir():
        found = _folder(path, count)
    elif suffix == ".json":
        found = read_json_frames(load_json(path, ""), path, count=count, size=size)
    elif suffix in (".npz", ".npy"):
        found = read_array_frames(path)
    elif suffix == ".csv":
        found = read_csv_frames(path)
    elif suffix in (".h5", ".hdf5"):
        found = read_h5_frames(path)
    else:
        raise ValueError(
            f"{path}: expected .json, .npz, .npy, .csv, .h5, or a folder of OpenPose's .json files; markers in "
            ".c3d and .trc files are not keypoints of images and are not read"
        )
    if isinstance(found, dict):
        return {"skeleton": None} | found | ({} if skeleton is None else {"skeleton": skeleton})
    most = max(map(len, found.people), default=0)
    if not most:
        raise ValueError(f"{path}: there is nobody in it")
    if most > 1 and not several:
        raise ValueError(f"{path}: expected one person in a frame, got up to {most}")
    try:
        video = track_person(found.people)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if most > 1:
        warnings.warn(
            f"{path}: up to {most} people in a frame; the largest one, summed over all frames, is tracked", stacklevel=2
        )
    scores = {"scores": video[..., 2]} if found.scored else {}
    return {"keypoints": video[..., :2], "skeleton": found.skeleton if skeleton is None else skeleton, **scores}


def in_order(folder: Path) -> list[Path]:
    """List the files of a folder by the numbers in their names: frame 10 after frame 9."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(files, key=lambda path: natural(path.name))


def _folder(path: Path, count: int | None) -> Frames:
    """A folder of .json files of one frame each, of OpenPose or mmpose."""
    files = [file for file in in_order(path) if file.suffix.lower() == ".json"]
    if not files:
        raise ValueError(f"{path}: expected OpenPose's .json files in this folder, one per frame; found none")
    contents = [load_json(file, "") for file in files]
    if all(isinstance(content, dict) for content in contents):
        frames = Frames([])
        for file, content in zip(files, contents, strict=True):
            one = openpose([content], file, count)
            frames.people += one.people
            frames.skeleton = frames.skeleton or one.skeleton
            frames.scored &= one.scored
    else:
        read = [read_json_frames(content, file, count=count) for file, content in zip(files, contents, strict=True)]
        if any(len(frame.people) > 1 for frame in read):
            raise ValueError(f"{path}: expected one frame per file; read the files one by one")
        frames = Frames([person for frame in read for person in frame.people or [[]]])
    names = [file.name for file in files]
    return Frames(by_frame(names, frames.people, path), frames.skeleton, frames.scored)
