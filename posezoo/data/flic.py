"""FLIC, Frames Labeled In Cinema (Sapp & Taskar, "MODEC", CVPR 2013).

Reads the archive as its authors distribute it: a folder with `examples.mat` and `images/`. FLIC is
5,003 people, 3,987 of them for training and 1,016 for test. Of the 29 columns of coordinates 11 are
annotated, the upper body. Left and right are the person's own. One person in twenty is seen from
behind; papers exchange left and right of these people, as if they faced the camera: `back_facing`.

The torso's box is given to every method, at test too, to select the person in an image of several
people. Centre and scale follow from it as in Convolutional Pose Machines: the scale, like MPII's
the person's height over 200 pixels, is 0.0110 torso heights; the centre is three tenths down the
torso. With the padding of that paper, `PersonCrop(padding=1.84 * 35 / 41)`, the crop contains every
keypoint; with the usual 1.25 it does for 93 % of the people.

Coordinates in the file count pixels from 1, as MATLAB does; here they count from 0.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from posezoo.arrays import explained
from posezoo.data.files import field, file_names, load_mat, neighbours, read_image
from posezoo.data.mpii import PERSON_HEIGHT
from posezoo.skeletons import Skeleton, convert, get_skeleton

NUM_COLUMNS = 29
COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)  # the annotated ones, in the order of the skeleton "flic11"
SCALE_PER_TORSO = 0.0110  # of the torso box's height, in the data preparation of Convolutional Pose Machines
CENTER_BELOW_TOP = 0.3  # likewise


class FLIC(Dataset[dict[str, Any]]):
    """FLIC's people, one sample each.

    Args:
        root: the unpacked folder, holding `examples.mat` and `images/`.
        split: "train" or "test", as marked in the file. Defaults to all people.
        skeleton: "flic11", all annotated keypoints; "flic9", the order of Convolutional Pose
            Machines; "flic7", that of DeepPose's reimplementation and of Tompson et al., with a
            face, the mean of eyes and nose. In another skeleton the keypoints that FLIC lacks are
            not visible.
        back_facing: exchange left and right of people seen from behind. "shoulders" finds them by a
            right shoulder with the larger x (Convolutional Pose Machines), "hips" by a left hip
            with the smaller x (Tompson et al.); in FLIC both find the same people. Defaults to the
            annotations as they are. `posezoo.metrics.flic_pck` has the same option; use one of the
            two.
        others: also yield `others` and `others_visible`, the keypoints of the other examples in the
            same image, of either split, as the authors of Convolutional Pose Machines trained.

    Yields samples as `posezoo.data` describes, in pixels of the image, with

        index            the person's index in this data set
        torso            (4,) float32 box (x1, y1, x2, y2); its diagonal normalises one of the two versions of PCK
        center           (2,) float32, the middle of `box`
        scale            () float32; the side of `box` is 200 `scale`
        others           (P, K, 2) float32, only with `others=True`; P differs, so that a `DataLoader` needs
                         `collate_fn=collate_others`
        others_visible   (P, K) bool

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.

    Examples:
        >>> import tempfile, scipy.io, numpy as np, PIL.Image
        >>> root = Path(tempfile.mkdtemp())
        >>> coords = np.full((2, 29), np.nan); coords[:, COLUMNS] = 41
        >>> scipy.io.savemat(root / "examples.mat", {"examples": [{"filepath": "1.jpg", "coords": coords,
        ...     "torsobox": [21.0, 31.0, 61.0, 81.0], "istrain": 1, "istest": 0}]})
        >>> (root / "images").mkdir(); PIL.Image.new("RGB", (120, 100)).save(root / "images" / "1.jpg")
        >>> sample = FLIC(root, split="train", skeleton="flic9")[0]
        >>> sample["keypoints"].shape, sample["torso"].tolist(), sample["center"].tolist()
        (torch.Size([9, 2]), [20.0, 30.0, 60.0, 80.0], [40.0, 45.0])
    """

    @explained
    def __init__(
        self,
        root: str | Path,
        *,
        split: str | None = None,
        skeleton: str | Skeleton = "flic11",
        back_facing: str | None = None,
        others: bool = False,
    ) -> None:
        if split not in ("train", "test", None):
            raise ValueError(f'split: expected "train", "test" or None, got {split!r}')
        if back_facing not in ("shoulders", "hips", None):
            raise ValueError(f'back_facing: expected "shoulders", "hips" or None, got {back_facing!r}')
        self.root, self.skeleton = Path(root), get_skeleton(skeleton)
        path = self.root / "examples.mat"
        names, coordinates, torsos, splits = _read_examples(path)
        if back_facing is not None:
            coordinates = _face_forward(coordinates, back_facing)
        keypoints, visible = convert(coordinates, "flic11", self.skeleton)

        rows = np.flatnonzero([split in (None, part) for part in splits])
        if not len(rows):
            raise ValueError(f"{path}: none of its {len(names)} examples is marked for {split}; choose another split")
        self.names = [names[row] for row in rows]
        missing = sorted(set(self.names) - file_names(self.root / "images"))
        if missing:
            raise ValueError(
                f"{self.root / 'images' / missing[0]} is missing, like {len(missing)} of the {len(set(self.names))} "
                "images of examples.mat; unpack the whole archive"
            )
        self._all_keypoints = torch.from_numpy((keypoints - 1).astype(np.float32))
        self._all_visible = torch.from_numpy(visible)
        self.keypoints, self.visible = self._all_keypoints[rows], self._all_visible[rows]
        self.torsos = torch.from_numpy((torsos[rows] - 1).astype(np.float32))
        self._others = neighbours(names, rows) if others else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        visible, torso = self.visible[index], self.torsos[index]
        left, top, right, bottom = torso.unbind()
        center = torch.stack([(left + right) / 2, top + CENTER_BELOW_TOP * (bottom - top)])
        scale = SCALE_PER_TORSO * (bottom - top)
        half = PERSON_HEIGHT / 2 * scale
        sample = {
            "image": read_image(self.root / "images" / self.names[index]),
            "keypoints": torch.where(visible[:, None], self.keypoints[index], 0.0),
            "visible": visible,
            "box": torch.cat([center - half, center + half]),
            "index": index,
            "torso": torso,
            "center": center,
            "scale": scale,
        }
        if self._others is not None:
            others_visible = self._all_visible[self._others[index]]
            sample["others"] = torch.where(others_visible[..., None], self._all_keypoints[self._others[index]], 0.0)
            sample["others_visible"] = others_visible
        return sample


def read_flic_evaluation(variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a file of annotations or predictions of FLIC.

    | variable | shape | file |
    |---|---|---|
    | `joints` | (2, 12, N) | annotations: 11 keypoints, then width and height of the torso box |
    | `joints` or `pred` | (2, K, N) | K keypoints |

    Args:
        variables: arrays of a MATLAB file by name.

    Returns:
        `keypoints` `(N, K, 2)` in pixels counted from 1 as in the file; `normalizer` `(N,)`, the
        diagonal of the torso box in pixels, where the file has one. Empty for other files.

    Examples:
        >>> arrays = read_flic_evaluation({"joints": np.ones((2, 12, 5))})
        >>> arrays["keypoints"].shape, arrays["normalizer"].shape
        ((5, 11, 2), (5,))
    """
    array = np.asarray(variables.get("joints", variables.get("pred", ())))
    if array.ndim != 3 or array.shape[0] != 2:
        return {}
    points = array.transpose(2, 1, 0)
    if points.shape[1] == len(COLUMNS) + 1:
        return {"keypoints": points[:, :-1], "normalizer": np.linalg.norm(points[:, -1], axis=1)}
    return {"keypoints": points}


def _read_examples(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, list[str | None]]:
    """Read names, coordinates `(N, 11, 2)` and torso boxes `(N, 4)` counted from 1, and splits."""
    examples = field(load_mat(path, "root must be the unpacked folder of FLIC, with examples.mat in it"), "examples")
    if examples is None:
        raise ValueError(f"{path} has no struct 'examples'; is it the examples.mat of FLIC?")
    names, coordinates, torsos, splits = [], [], [], []
    for number, example in enumerate(np.atleast_1d(examples), start=1):
        try:
            points = np.array(example.coords, float).reshape(2, NUM_COLUMNS).T[list(COLUMNS)]
            torso = np.array(example.torsobox, float).reshape(4)
            marks = {"train": bool(example.istrain), "test": bool(example.istest)}
            names.append(str(example.filepath))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: example {number} is malformed ({error}); expected filepath, coords (2, {NUM_COLUMNS}), "
                "torsobox (4,), istrain and istest; download the file again"
            ) from error
        if not (np.isfinite(torso).all() and (torso[2:] > torso[:2]).all()):
            raise ValueError(
                f"{path}: example {number} has the torso box {torso.tolist()}, expected (x1, y1, x2, y2) with x2 > x1 "
                "and y2 > y1; download the file again"
            )
        coordinates.append(points)
        torsos.append(torso)
        splits.append(next((split for split, marked in marks.items() if marked), None))
    return names, np.stack(coordinates), np.stack(torsos), splits


def _face_forward(coordinates: np.ndarray, trigger: str) -> np.ndarray:
    """Exchange left and right `(N, 11, 2)` if the right shoulder or hip has the larger x."""
    flic = get_skeleton("flic11")
    left, right = (coordinates[:, flic.index(f"{side}_{trigger.removesuffix('s')}"), 0] for side in ("left", "right"))
    return np.where((right > left)[:, None, None], coordinates[:, list(flic.flip_index)], coordinates)
