"""The 3D poses of a person over time, to draw, convert and save."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posezoo.data.bvh import bvh_text
from posezoo.images import load_image
from posezoo.progress import with_progress
from posezoo.skeletons import Skeleton
from posezoo.video import VideoReader, write_video
from posezoo.viz import contact_sheet, draw_keypoints, pose3d_bounds, pose3d_pictures, save_gif
from posezoo.writing import replacing, save_image

FPS = 25.0  # of keypoints and frames without a frame rate
SHEET = 12  # frames of a contact sheet
MARGIN = 0.15  # around the person in a drawn image, in units of the person
LINE = 0.012  # line width, in units of the drawn image


@dataclass(frozen=True, eq=False)  # arrays have no single result of ==
class Poses3D:
    """The poses of one person in the frames of a video.

    Attributes:
        pose3d: `(T, K, 3)` float32, mm in the camera frame (x right, y down, z forward), relative
            to the root of the skeleton, which is 0. The absolute position of the person is not
            estimated.
        skeleton: names and bones of the K keypoints, or None where the model's keypoints have no
            names.
        keypoints: `(T, J, 2)` float32, (x, y) pixels, the input of the network.
        interpolated: `(T, J)` bool, the input keypoints that depend on an interpolated one.
        input_skeleton: names and bones of the J keypoints, or None as above.
        fps: frames per second.
    """

    pose3d: np.ndarray
    skeleton: Skeleton | None
    keypoints: np.ndarray
    interpolated: np.ndarray
    input_skeleton: Skeleton | None
    fps: float = FPS

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.pose3d)

    def to_dict(self) -> dict[str, Any]:
        """Convert to lists for JSON, with unit, coordinate frame and names.

        Examples:
            >>> arm = Skeleton("arm", ("elbow", "wrist"), bones=((0, 1),))
            >>> keypoints, interpolated = np.ones((1, 2, 2)), np.zeros((1, 2), bool)
            >>> poses = Poses3D(np.ones((1, 2, 3)), arm, keypoints, interpolated, arm)
            >>> poses.to_dict()["pose3d"]
            [[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]
        """
        return {
            "unit": "mm",
            "frame": "camera: x right, y down, z forward, relative to the root",
            "skeleton": self.skeleton.name if self.skeleton else None,
            "names": list(self.skeleton.keypoints) if self.skeleton else None,
            "bones": [list(bone) for bone in self.skeleton.bones] if self.skeleton else None,
            "fps": self.fps,
            "pose3d": np.round(self.pose3d.astype(float), 3).tolist(),
            "keypoints": np.round(self.keypoints.astype(float), 3).tolist(),
            "keypoint_names": list(self.input_skeleton.keypoints) if self.input_skeleton else None,
            "interpolated": self.interpolated.tolist(),
        }

    def save(
        self, path: str | Path, frames: "Sequence[Any] | VideoReader | None" = None, *, progress: bool | None = False
    ) -> Path:
        """Write the poses in the format of the suffix.

        | suffix | content |
        |---|---|
        | `.json` | `to_dict` |
        | `.gif`, `.mp4` | an animation of `pictures`; MP4 needs `pip install "posezoo[video]"` |
        | `.png`, `.jpg` | a contact sheet of twelve frames |
        | `.bvh` | the motion of the skeleton in centimetres, for Blender and others |

        The file is written beside its name and renamed when it is complete.

        Args:
            path: the file to write; its folder is created.
            frames: as in `pictures`, for drawings.
            progress: show a progress bar for an animation; None: on a terminal, for 32 frames or
                more.

        Raises:
            ValueError: another suffix; frames for a file without pictures; a BVH file of a skeleton
                whose bones are no tree.

        Examples:
            >>> import posezoo, tempfile
            >>> video = posezoo.data.sample_video()
            >>> poses = posezoo.lift(video["keypoints"], skeleton="h36m17", fps=50)
            >>> poses.save(Path(tempfile.mkdtemp(), "walk.bvh")).read_text()[:22]
            'HIERARCHY\\nROOT pelvis\\n'
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if frames is not None and suffix in (".json", ".bvh"):
            raise ValueError(f"{path}: this file has no pictures; leave out the frames")
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix in (".gif", ".mp4"):
            pictures = with_progress(self.pictures(frames), len(self), progress, "frame", f"drawing {suffix[1:]}")
            if suffix == ".gif":
                save_gif(path, pictures, fps=self.fps)
            else:
                write_video(path, pictures, self.fps)
        elif suffix in (".png", ".jpg", ".jpeg"):
            some = sorted({round(n * (len(self) - 1) / (SHEET - 1)) for n in range(SHEET)})
            labels = [f"\nframe {frame}" for frame in some]  # below the name of the view
            save_image(path, contact_sheet(self.pictures(frames, index=some, size=192), labels, columns=2))
        elif suffix in (".json", ".bvh"):
            if suffix == ".json":
                text = json.dumps(self.to_dict()) + "\n"
            elif self.skeleton is None:
                raise ValueError(f"{path}: the joints have no names and no bones, which BVH needs")
            else:
                text = bvh_text(self.pose3d, self.skeleton, fps=self.fps)
            with replacing(path) as part:
                part.write_text(text, encoding="utf-8")
        else:
            raise ValueError(f"{path}: expected a name that ends in .json, .gif, .mp4, .png, .jpg or .bvh")
        return path

    def pictures(
        self,
        frames: "Sequence[Any] | VideoReader | None" = None,
        *,
        index: Sequence[int] | None = None,
        size: int = 256,
    ) -> Iterator[np.ndarray]:
        """Draw the poses frame by frame, in front, side and top view.

        Args:
            frames: the T images of the video, as `posezoo.predict` takes them, or the video. They
                are shown beside the views, cropped to the region of the person over the whole
                video, with the input keypoints drawn in. Defaults to none.
            index: the frames to draw, increasing for a video. Defaults to all.
            size: height of a drawing and width of a view, in pixels.

        Yields:
            uint8 `(size, 3 * size, 3)`, with `frames` `(size, 4 * size, 3)`.

        Raises:
            ValueError: another number of frames.
        """
        if frames is not None and not isinstance(frames, VideoReader) and len(frames) != len(self):
            raise ValueError(f"frames: expected {len(self)}, one per pose, got {len(frames)}")
        chosen = list(range(len(self)) if index is None else index)
        images: Iterator[np.ndarray] | None = None
        if isinstance(frames, VideoReader):
            wanted = set(chosen)
            images = (self._photograph(frame.image, n) for n, frame in enumerate(frames) if n in wanted)
        elif frames is not None:
            images = (self._photograph(frames[number], number) for number in chosen)
        return pose3d_pictures(
            self.pose3d[chosen],
            self.skeleton or numbered(self.pose3d),
            images=images,
            size=size,
            bounds=pose3d_bounds(self.pose3d),
        )

    def _photograph(self, image: Any, number: int) -> np.ndarray:
        """Crop an image to the region of the person in the video and draw keypoints of a frame."""
        photo = load_image(image)
        whole = np.array([photo.shape[2], photo.shape[1]])
        low, high = self.keypoints.min(axis=(0, 1)), self.keypoints.max(axis=(0, 1))
        margin = MARGIN * (high - low).max()
        start, stop = np.clip([low - margin, high + margin + 1], 0, whole).astype(int)
        if (stop <= start).any():  # the person is outside of the image
            start, stop = np.zeros(2, int), whole
        part = photo[:, start[1] : stop[1], start[0] : stop[0]]
        skeleton = self.input_skeleton or numbered(self.keypoints)
        return draw_keypoints(part, self.keypoints[number] - start, skeleton, line_width=max(1, LINE * max(part.shape)))


def numbered(points: np.ndarray) -> list[str]:
    """Make names for keypoints `(T, K, D)` without names.

    Examples:
        >>> numbered(np.zeros((5, 2, 3)))
        ['keypoint 0', 'keypoint 1']
    """
    return [f"keypoint {number}" for number in range(points.shape[1])]
