"""Buffy Stickmen (Ferrari, Marin-Jimenez, Zisserman; CVPR 2008), versions 2 and 3: 748 frames.

Reads the archive as its authors distribute it: a folder with `data/buffy_s5e2_sticks.txt` for each
of five episodes, and images as `images/buffy_s5e2_original/000063.jpg`; the folders of images may
also lie beside `data`. Each record is a frame with one person, a number and six line segments:

    63                            the frame, whose image is 000063.jpg
    198.6 263.2 213.2 370.7       torso
    138.9 256.8 167.6 331.4       left upper arm, on the left of the image
    239.3 249.6 270.9 309.9       right upper arm
    176.2 341.4 233.6 355.7       left lower arm
    271.2 356.1 274.1 315.5       right lower arm
    184.1 173.2 198.6 254.5       head

Two traps are handled. The ends of a segment come in either order: of two segments that meet, the
pair of ends with the smallest distance is the joint. And the sides are those of the image; here, as
everywhere in posezoo, they are the person's. The person is assumed to face the camera, because the
files do not mark people seen from behind, whose sides are therefore exchanged; `FLIC(back_facing=)`
gives FLIC the same convention.

| keypoint | position |
|---|---|
| shoulders, wrists | the free ends of the arms |
| elbows | the middle of the two ends of the joint, which lie a few pixels apart |
| `thorax`, `pelvis` | the end of the torso nearer to the head, and the other end |
| `upper_neck`, `head_top` | the end of the head nearer to the torso, and the other end |

DeepPose, trained on FLIC, is tested on all 748 frames by PDJ of elbows and wrists (Figure 7).
Without hips `posezoo.metrics.pdj` has no normalizer; `pck(pred, target, torso)`, with the length of
the torso's segment, is the closest measure. The bones of `SKELETON` are the six segments, for
`metrics.pcp`.

Coordinates in the files count pixels from 1, as MATLAB does; here they count from 0. Files of
version 1 have the coordinates in another order and cannot be told apart: use version 2 or 3.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from posezoo.arrays import explained
from posezoo.data.files import file_names, read_image
from posezoo.geometry import tight_box
from posezoo.skeletons import Skeleton, convert, get_skeleton

EPISODES = {None: (2, 3, 4, 5, 6), "train": (3, 4), "test": (2, 5, 6)}  # of season 5; the split of all papers
SEGMENTS = ("torso", "left upper arm", "right upper arm", "left lower arm", "right lower arm", "head")
NUMBERS_PER_RECORD = 1 + 4 * len(SEGMENTS)
SKELETON = Skeleton(
    "buffy10",
    (
        *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
        *("thorax", "pelvis", "upper_neck", "head_top"),
    ),
    bones=((6, 7), (0, 1), (3, 4), (1, 2), (4, 5), (8, 9)),
)


class Buffy(Dataset[dict[str, Any]]):
    """Buffy Stickmen, one sample per annotated frame.

    Args:
        root: the unpacked folder, holding `data/` and `images/`.
        split: "test", the 276 frames of episodes 2, 5 and 6, or "train", the 472 of 3 and 4.
            Defaults to all, DeepPose's test set.
        skeleton: order of the keypoints, such as "flic9", in which keypoints that Buffy does not
            have are not visible. Defaults to `SKELETON`.

    Yields samples as `posezoo.data` describes, with

        index            the sample's place in this data set
        episode, frame   numbers that name the image
        torso            () float32, length of the torso's segment in pixels, a normalizer for PCK

    The box is the tight box of all annotated keypoints.

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.

    Examples:
        >>> import tempfile, PIL.Image
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "data").mkdir(); (root / "images" / "buffy_s5e3_original").mkdir(parents=True)
        >>> _ = (root / "data" / "buffy_s5e3_sticks.txt").write_text('''7
        ... 50 40 50 80
        ... 40 41 35 60
        ... 60 41 65 60
        ... 35 61 35 75
        ... 65 61 65 75
        ... 50 20 50 38 ''')
        >>> _ = (root / "data" / "buffy_s5e4_sticks.txt").write_text("")
        >>> folder = root / "images" / "buffy_s5e3_original"
        >>> PIL.Image.new("RGB", (120, 100)).save(folder / "000007.jpg")
        >>> sample = Buffy(root, split="train")[0]
        >>> sample["keypoints"][3].tolist(), float(sample["torso"])    # the person's right shoulder
        ([39.0, 40.0], 40.0)
    """

    @explained
    def __init__(self, root: str | Path, *, split: str | None = None, skeleton: str | Skeleton | None = None) -> None:
        if split not in EPISODES:
            raise ValueError(f'split: expected "train", "test" or None, got {split!r}')
        self.root, self.skeleton = Path(root), get_skeleton(skeleton or SKELETON)
        self.frames: list[tuple[int, int]] = []
        self.images: list[Path] = []
        segments = []
        for episode in EPISODES[split]:
            path = self.root / "data" / f"buffy_s5e{episode}_sticks.txt"
            numbers, found = _read_segments(path)
            folder = self.root / "images" / f"buffy_s5e{episode}_original"
            if not folder.is_dir() and (self.root / folder.name).is_dir():
                folder = self.root / folder.name
            names = [f"{number:06d}.jpg" for number in numbers]
            if names and (missing := sorted(set(names) - file_names(folder))):
                raise ValueError(
                    f"{folder / missing[0]} is missing, like {len(missing)} of {len(names)} frames for which "
                    f"{path.name} has a record; unpack the whole archive"
                )
            self.frames += [(episode, number) for number in numbers]
            self.images += [folder / name for name in names]
            segments.append(found)
        whole = np.concatenate(segments)
        if not len(whole):
            raise ValueError(f"{self.root / 'data'}: the files of annotations are empty; unpack the archive again")
        self._annotated = torch.from_numpy((_keypoints(whole) - 1).astype(np.float32))
        self.keypoints, self.visible = convert(self._annotated, SKELETON, self.skeleton)
        self.torsos = torch.from_numpy(np.linalg.norm(whole[:, 0, 1] - whole[:, 0, 0], axis=-1).astype(np.float32))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        annotated = self._annotated[index]
        return {
            "image": read_image(self.images[index]),
            "keypoints": self.keypoints[index],
            "visible": self.visible[index],
            "box": tight_box(annotated, torch.ones(len(annotated), dtype=torch.bool)),
            "index": index,
            "episode": self.frames[index][0],
            "frame": self.frames[index][1],
            "torso": self.torsos[index],
        }


def _read_segments(path: Path) -> tuple[list[int], np.ndarray]:
    """Read frame numbers and segments `(N, 6, 2, 2)`, each as its two ends, counted from 1."""
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; root must be the unpacked folder of Buffy Stickmen, with data/ and images/ in it"
        )
    words = path.read_text(encoding="utf-8", errors="replace").split()
    frames, segments = [], []
    for start in range(0, len(words), NUMBERS_PER_RECORD):
        record = words[start : start + NUMBERS_PER_RECORD]
        where = f"{path}: record {start // NUMBERS_PER_RECORD + 1}, frame {record[0]},"
        if len(record) < NUMBERS_PER_RECORD:
            raise ValueError(
                f"{where} has {len(record) - 1} coordinates, expected 4 of each of {', '.join(SEGMENTS)}; unpack the "
                "archive again"
            )
        try:
            frames.append(int(record[0]))
            ends = np.array([float(word) for word in record[1:]]).reshape(len(SEGMENTS), 2, 2)
        except ValueError as error:
            raise ValueError(
                f"{where} is malformed ({error}); expected the number of a frame and 24 coordinates; unpack the "
                "archive again"
            ) from error
        if not np.isfinite(ends).all():
            raise ValueError(f"{where} has a coordinate that is no number; unpack the archive again")
        segments.append(ends)
    return frames, np.array(segments).reshape(-1, len(SEGMENTS), 2, 2)


def _keypoints(segments: np.ndarray) -> np.ndarray:
    """Convert segments `(N, 6, 2, 2)` of unordered ends to keypoints `(N, 10, 2)` of `SKELETON`."""
    torso, upper_left, upper_right, lower_left, lower_right, head = segments.swapaxes(0, 1)
    arms = []
    # the arm that appears on the right of the image is the left one of a person who faces the camera
    for upper, lower in ((upper_right, lower_right), (upper_left, lower_left)):
        shoulder, elbow, other_elbow, wrist = _joined(upper, lower)
        arms += [shoulder, (elbow + other_elbow) / 2, wrist]
    pelvis, thorax, neck, top = _joined(torso, head)
    return np.stack([*arms, thorax, pelvis, neck, top], axis=1)


def _joined(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Order the ends of two segments `(N, 2, 2)` that meet: free, near; near, free."""
    distance = np.linalg.norm(first[:, :, None] - second[:, None], axis=-1).reshape(-1, 4)
    near_first, near_second = np.divmod(distance.argmin(axis=1), 2)
    rows = np.arange(len(first))
    return (
        first[rows, 1 - near_first],
        first[rows, near_first],
        second[rows, near_second],
        second[rows, 1 - near_second],
    )
