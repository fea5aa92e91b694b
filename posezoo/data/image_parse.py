"""Image Parse, or PARSE (Ramanan, "Learning to Parse Images of Articulated Bodies", NIPS 2006).

Reads `people.zip` as its author distributes it, unpacked: a folder `people_all` with `labels.mat`
and `im0001.jpg` to `im0305.jpg`. Each image has one person, about 150 pixels high. The first 100
images are for training, the other 205 for test. `labels.mat` holds `ptsAll` (14, 2, 305): ankle,
knee, hip, and hip, knee, ankle of the other side; wrist, elbow, shoulder, and shoulder, elbow,
wrist of the other side; neck and head top. It is read as the order of LSP, in which the first side
is the person's right. The archive does not document the sides of people seen from behind.

DeepPose, trained on LSP, is tested on it (Table 2): `posezoo.metrics.lsp_pcp` gives the table.

Coordinates in the file count pixels from 1, as MATLAB does; here they count from 0.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from posezoo.arrays import explained
from posezoo.data.files import file_names, load_mat, read_image
from posezoo.geometry import tight_box
from posezoo.skeletons import get_skeleton

NUM_KEYPOINTS = 14
NUM_TRAIN = 100  # images; the others are for test


class ImageParse(Dataset[dict[str, Any]]):
    """Image Parse, one sample per image.

    Args:
        root: the unpacked folder, holding `labels.mat` and the images.
        split: "train", the first 100 images, or "test", the others. Defaults to all.

    Yields samples as `posezoo.data` describes, in the order of LSP-14, with `index`, the image's
    number. The box is the tight box of the keypoints.

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.

    Examples:
        >>> import tempfile, scipy.io, numpy as np, PIL.Image
        >>> root = Path(tempfile.mkdtemp())
        >>> points = np.random.default_rng(0).uniform(1, 99, (14, 2, 1))
        >>> scipy.io.savemat(root / "labels.mat", {"ptsAll": points})
        >>> PIL.Image.new("RGB", (120, 100)).save(root / "im0001.jpg")
        >>> sample = ImageParse(root, split="train")[0]
        >>> sample["image"].shape, sample["keypoints"].shape
        (torch.Size([3, 100, 120]), torch.Size([14, 2]))
    """

    skeleton = get_skeleton("lsp14")

    @explained
    def __init__(self, root: str | Path, *, split: str | None = None) -> None:
        if split not in ("train", "test", None):
            raise ValueError(f'split: expected "train", "test" or None, got {split!r}')
        self.root = Path(root)
        path = self.root / "labels.mat"
        keypoints = _read_labels(path)
        first, last = {"train": (1, NUM_TRAIN), "test": (NUM_TRAIN + 1, len(keypoints))}.get(
            split or "", (1, len(keypoints))
        )
        self.numbers = range(first, min(last, len(keypoints)) + 1)
        if not self.numbers:
            raise ValueError(
                f"{path} has {len(keypoints)} records, and the images for test begin with {first}; download it again"
            )
        self.keypoints = torch.from_numpy((keypoints[first - 1 : last] - 1).astype(np.float32))
        self.visible = torch.ones(self.keypoints.shape[:2], dtype=torch.bool)  # all are annotated
        missing = sorted(set(map(_file_name, self.numbers)) - file_names(self.root))
        if missing:
            raise ValueError(
                f"{self.root / missing[0]} is missing, like {len(missing)} of {len(self.numbers)} images for which "
                "labels.mat has a record; unpack the whole archive"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, keypoints, visible = self.numbers[index], self.keypoints[index], self.visible[index]
        return {
            "image": read_image(self.root / _file_name(number)),
            "keypoints": keypoints,
            "visible": visible,
            "box": tight_box(keypoints, visible),
            "index": number,
        }


def _file_name(number: int) -> str:
    return f"im{number:04d}.jpg"


def _read_labels(path: Path) -> np.ndarray:
    """`(N, 14, 2)` coordinates counted from 1."""
    hint = "root must be the folder people_all of the archive, with labels.mat in it"
    file = load_mat(path, hint, squeeze=False)
    if "ptsAll" not in file:
        raise ValueError(f"{path} has no array 'ptsAll'; is it the labels.mat of Image Parse?")
    points = file["ptsAll"]
    if points.ndim == 2:
        points = points[..., None]  # MATLAB drops the last axis of a single record
    if points.ndim != 3 or points.shape[:2] != (NUM_KEYPOINTS, 2) or points.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected ptsAll of numbers (14, 2, N), got {points.shape}")
    keypoints: np.ndarray = points.transpose(2, 0, 1).astype(np.float64)
    bad = ~np.isfinite(keypoints).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f"{path}: record {int(bad.argmax()) + 1} has a keypoint that is no number; download it again")
    return keypoints
