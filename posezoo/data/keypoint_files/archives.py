"""Detected keypoints in NumPy's .npy and .npz files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posezoo.data.files import load_arrays
from posezoo.data.keypoint_files.frames import Frames
from posezoo.foreign import printable

LAYOUTS = {"coco": "coco17", "h36m": "h36m17", "mpii": "mpii16"}  # layout_name of VideoPose3D's metadata


def read_array_frames(path: Path) -> Frames | dict[str, Any]:
    """Read our own arrays, VideoPose3D's `data_2d_custom_*.npz`, or what its detector writes.

    Returns:
        People of each frame from the detector; otherwise, since there is one person, `keypoints`
        `(T, K, 2)`, and `scores` and `skeleton` if the file has them.

    Raises:
        ValueError: the file is damaged, or has none of these arrays.
    """
    content = load_arrays(path, objects=True)
    if "positions_2d" in content:
        return video_pose_3d(content, path)
    keypoints = content.get("keypoints")
    if isinstance(keypoints, np.ndarray) and keypoints.dtype == object and "boxes" in content:
        return detectron(content, path)
    for name, array in content.items():
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise ValueError(f"{path}: is damaged, or holds objects instead of numbers: {name}")
    if keypoints is None:
        found = printable(", ".join(sorted(content))) or "nothing"
        raise ValueError(f"{path}: expected an array called keypoints, found {found}")
    return own_arrays(content, path)


def own_arrays(content: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Return `keypoints`, and `scores` and `skeleton` if they are there; NaN if not `visible`."""
    video: dict[str, Any] = {"keypoints": content["keypoints"]}
    if "skeleton" in content:
        video["skeleton"] = content["skeleton"].tolist()
    if "scores" in content:
        video["scores"] = content["scores"]
    if "visible" in content:
        visible = content["visible"]
        if visible.shape != video["keypoints"].shape[:-1]:
            raise ValueError(f"{path}: expected visible {video['keypoints'].shape[:-1]}, got {visible.shape}")
        video["keypoints"] = np.where(visible[..., None] > 0, video["keypoints"], np.nan)
    return video


def video_pose_3d(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Read the one video of `positions_2d`: {video: {action: [keypoints of each camera]}}."""
    try:
        videos = {
            f"{video}/{action}/{camera}": keypoints
            for video, actions in content["positions_2d"].items()
            for action, cameras in actions.items()
            for camera, keypoints in enumerate(cameras)
        }
    except (AttributeError, TypeError):
        raise ValueError(
            f"{path}: expected positions_2d as VideoPose3D's prepare_data_2d_custom.py writes it"
        ) from None
    if len(videos) != 1:
        raise ValueError(
            f"{path}: expected one video, got {len(videos)}, {printable(', '.join(list(videos)[:3]))} ...; save the "
            "keypoints of one in a .npz of its own, or use posezoo.data.Human36M"
        )
    keypoints = np.asarray(next(iter(videos.values())))
    if keypoints.dtype.kind not in "fiu" or keypoints.ndim != 3 or keypoints.shape[2] < 2:
        raise ValueError(f"{path}: expected keypoints (T, K, 2) in positions_2d, got {keypoints.shape}")
    metadata = content.get("metadata")
    layout = LAYOUTS.get(str(metadata.get("layout_name"))) if isinstance(metadata, dict) else None
    return {"keypoints": keypoints[..., :2]} | ({"skeleton": layout} if layout else {})


def detectron(content: Mapping[str, Any], path: Path) -> Frames:
    """Read the `keypoints` of each frame by class: `(people, 4, K)` x, y, logit, probability."""
    frames = []
    for number, classes in enumerate(content["keypoints"]):
        people: Any = np.asarray(classes[-1] if len(classes) else [])  # the last class is the person
        if people.size and (people.ndim != 3 or people.shape[1] != 4 or people.dtype.kind != "f"):
            raise ValueError(
                f"{path}: frame {number}: expected keypoints (people, 4, K), as VideoPose3D's infer_video_d2.py writes "
                f"them, got {people.shape}"
            )
        frames.append([person[[0, 1, 3]].T.astype(float) for person in people])
    return Frames(frames, "coco17" if any(len(person) == 17 for people in frames for person in people) else None)
