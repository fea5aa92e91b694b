"""Clips of video frames for networks that take images of several frames, such as RPSM.

The frames of a video, `video["frames"]`, are paths of images, or `FrameOfVideo`, a frame of a video
file. `Windows` cuts videos into windows that never cross a video, and `ClipCrop` turns a window
into the input of a network:

    videos = Human36M(root, frames=videos, boxes="masks", fps=2)
    windows = Windows(videos, length=5, tail="keep")
    crop = ClipCrop(size=368, scale=(0.9, 1.1))
    clip = crop(windows[0])["clip"]                                       # (5, 3, 368, 368)
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.data.files import read_image
from posezoo.data.windows import Windows
from posezoo.geometry import box_to_crop, crop, crop_matrix, tight_box
from posezoo.video import read_frames

VIDEO_FILES = (".mp4", ".avi", ".mov", ".mkv")


class FrameOfVideo(NamedTuple):
    """A frame of a video file; `number` counts from 0."""

    path: Path
    number: int


@dataclass(frozen=True, kw_only=True)
class ClipCrop:
    """Crop the frames of a window to a square around the person, at one scale for all frames.

    The box of each frame is extended to a square about its middle and resized to `size`. A scale
    other than 1 enlarges the square's content: above 1 a random part of it is kept, the same in all
    frames; below 1 it is surrounded by `fill`.

    Args:
        size: height and width of the result, pixels.
        padding: factor on the side of the square.
        scale: range of the scale, drawn uniformly for each clip. RPSM: (0.9, 1.1) in training.
        fill: value in [0, 1] outside of the image, and of the square at a scale below 1.
        root: index of the joint that `pose3d` is made relative to; None for the mean of the joints.

    Returns, when called with a window of `Windows` that has `frames` and `boxes` `(T, 4)` or
    `keypoints` `(T, K, 2)`, whose tight boxes are used without `boxes`: the window with `clip`
    `(T, 3, size, size)` in [0, 1], `matrix` `(T, 2, 3)` from the images to the clip, and `pose3d`
    relative to the root.

    Raises:
        ValueError: a window without frames, or without boxes and keypoints; a scale that is not
            positive.
    """

    size: int = 368
    padding: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    fill: float = 0.5
    root: int | None = 0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"ClipCrop: expected a scale (low, high) above 0, got {self.scale}")

    def __call__(self, window: dict[str, Any]) -> dict[str, Any]:
        if "frames" not in window or not ("boxes" in window or "keypoints" in window):
            raise ValueError(
                "ClipCrop: expected a window with frames, and boxes or keypoints; open the videos with frames="
            )
        boxes = window.get("boxes")
        if boxes is None:
            keypoints = window["keypoints"]
            visible = torch.ones(keypoints.shape[1], dtype=torch.bool)
            boxes = torch.stack([tight_box(points, visible) for points in keypoints])
        size = (self.size, self.size)
        low, high = self.scale
        scale = low + (high - low) * float(torch.rand(())) if high > low else low
        center, extent = box_to_crop(boxes, size, padding=self.padding)
        matrices = crop_matrix(center, extent, size)
        # the square is enlarged about its corner, and a random part of it, or all, lies in the clip
        spare = (1 - scale) * self.size  # below 0 for a part
        shift = torch.full((2,), spare / 2) if spare >= 0 else spare * torch.rand(2)
        matrices = scale * matrices
        matrices[:, :, 2] += shift
        images = [image.float() / 255 - self.fill for image in load_frames(window["frames"])]
        clip = torch.cat([crop(image, matrix[None], size) for image, matrix in zip(images, matrices, strict=True)])
        if spare > 0:  # of a smaller square nothing around it is shown
            at = torch.arange(self.size)
            inside = (at >= round(spare / 2)) & (at < self.size - round(spare / 2))
            clip = clip * (inside[:, None] & inside)
        moved = {**window, "clip": (clip + self.fill).clamp(0, 1), "matrix": matrices}
        if "pose3d" in window:
            pose3d = window["pose3d"]
            middle = pose3d.mean(dim=1, keepdim=True) if self.root is None else pose3d[:, self.root, None]
            moved["pose3d"] = pose3d - middle
        return moved


class CroppedClips(Dataset[dict[str, Any]]):
    """Windows of videos, cropped: items with `clip` and `pose3d`, and the index `video`.

    Args:
        windows: of videos with frames.
        crop: applied to each window, with a new scale every time.
    """

    def __init__(self, windows: Windows, crop: ClipCrop) -> None:
        self.windows, self.crop = windows, crop

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.crop(self.windows[index])
        return {name: item[name] for name in ("clip", "pose3d", "video") if name in item}


def load_frames(frames: Sequence[Path | FrameOfVideo]) -> list[Tensor]:
    """Load frames as uint8 tensors `(3, H, W)`; those of a video file are decoded together.

    Raises:
        ValueError: a file that is missing or damaged, or a frame that the video does not have.
    """
    numbers: dict[Path, list[int]] = {}
    for frame in frames:
        if isinstance(frame, FrameOfVideo):
            numbers.setdefault(frame.path, []).append(frame.number)
    decoded = {
        (path, number): image
        for path, wanted in numbers.items()
        for number, image in zip(wanted, read_frames(path, wanted), strict=True)
    }
    return [
        torch.from_numpy(decoded[frame.path, frame.number]).movedim(-1, 0)
        if isinstance(frame, FrameOfVideo)
        else read_image(frame)
        for frame in frames
    ]


def frames_of(source: Path, numbers: Iterable[int]) -> list[Path | FrameOfVideo]:
    """List the frames of a video: images in a folder by their numbers, or those of a video file.

    Args:
        source: a folder of images numbered from 1, or a video file.
        numbers: of the frames, from 0.

    Raises:
        ValueError: there is no such folder or file, or it lacks an image.
    """
    if source.is_file():
        return [FrameOfVideo(source, number) for number in numbers]
    if not source.is_dir():
        raise ValueError(f"{source} is missing; it should be a folder of images, or a video file")
    found = {}
    for path in source.iterdir():
        match = re.search(r"(\d+)\.(jpe?g|png)$", path.name, flags=re.IGNORECASE)
        if match:
            found[int(match[1]) - 1] = path
    listed = list(numbers)
    missing = next((number for number in listed if number not in found), None)
    if missing is not None:
        raise ValueError(
            f"{source} has no image of frame {missing + 1}; frames are numbered from 1, extract the video again"
        )
    return [found[number] for number in listed]


def source_of_frames(candidates: Sequence[Path]) -> Path:
    """Return the first folder or video file that exists among paths without suffix.

    Raises:
        ValueError: there is none.
    """
    for path in candidates:
        if path.is_dir():
            return path
        file = next((file for suffix in VIDEO_FILES if (file := path.with_name(path.name + suffix)).is_file()), None)
        if file is not None:
            return file
    raise ValueError(f"{candidates[0]} is missing; it should be a folder of the video's images, or its video file")


def read_mask_boxes(path: Path) -> Tensor:
    """Read the boxes `(T, 4)` of the person from Human3.6M's masks, one per frame.

    Args:
        path: a file of `MySegmentsMat/ground_truth_bb`: MATLAB 7.3, `Masks`, a cell of T masks.

    Raises:
        ImportError: the package h5py is missing.
        ValueError: the file is missing or malformed, or a mask is empty.
    """
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError('MATLAB 7.3 files need the package h5py: pip install "posezoo[data]"') from error
    if not path.is_file():
        raise ValueError(f"{path} is missing; unpack the data set's bounding boxes, or leave boxes= out")
    boxes = []
    try:
        with h5py.File(path) as file:
            for reference in np.asarray(file["Masks"]).reshape(-1):
                mask = np.asarray(file[reference]) > 0  # (W, H), as MATLAB's axes are reversed
                across, down = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
                boxes.append([across[0], down[0], across[-1] + 1, down[-1] + 1])
    except (IndexError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: mask {len(boxes)} (from 0) cannot be read ({error}); unpack it again") from error
    return torch.tensor(boxes, dtype=torch.float32)
