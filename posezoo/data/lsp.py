"""Leeds Sports Poses (Johnson & Everingham, BMVC 2010) and its extension LSPET (CVPR 2011).

Reads the archives as their authors distribute them: a folder with `joints.mat` and
`images/im0001.jpg …`. The two files differ in the order of their axes, the meaning of the third
row, and the names of their images:

    LSP    joints (3, 14, 2000)   third row 1 = *occluded*; the position is annotated nonetheless
    LSPET  joints (14, 3, N)      third column 1 = *visible*; an invisible joint has no usable
    position

Coordinates in both files count pixels from 1, as MATLAB does; here they count from 0.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from posezoo.arrays import explained
from posezoo.data.files import load_mat, read_image
from posezoo.geometry import tight_box
from posezoo.skeletons import get_skeleton

NUM_KEYPOINTS = 14
NUM_STICKS = 10  # limbs in the released stick files
TEST = slice(1000, 2000)  # rows of LSP's test images, 1001 to 2000


class LSP(Dataset[dict[str, Any]]):
    """LSP or LSPET, distinguished by the shape of `joints.mat`.

    Args:
        root: the unpacked folder, holding `joints.mat` and `images/`.
        images: first and last image number, both included, as in the file names. Defaults to all of
            `joints.mat`. LSP's own split is (1, 1000) for training and (1001, 2000) for test; LSPET
            has none.
        occluded: use of LSP's occluded joints. "keep": visible, as the papers train and evaluate on
            them. "mask": not visible. LSPET's invisible joints have no position and are never
            visible.

    Yields samples as `posezoo.data` describes, in person-centric LSP-14 order, with `index`, the
    image's number. The box is the tight box of the visible keypoints.

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.

    Examples:
        >>> import tempfile, scipy.io, numpy as np, PIL.Image
        >>> root = tempfile.mkdtemp()
        >>> joints = np.random.default_rng(0).uniform(1, 99, (14, 3, 1)); joints[:, 2] = 1
        >>> scipy.io.savemat(f"{root}/joints.mat", {"joints": joints})
        >>> _ = (Path(root) / "images").mkdir()
        >>> PIL.Image.new("RGB", (120, 100)).save(f"{root}/images/im00001.jpg")
        >>> sample = LSP(root)[0]
        >>> sample["image"].shape, sample["keypoints"].shape
        (torch.Size([3, 100, 120]), torch.Size([14, 2]))
    """

    skeleton = get_skeleton("lsp14")

    @explained
    def __init__(self, root: str | Path, *, images: tuple[int, int] | None = None, occluded: str = "keep") -> None:
        if occluded not in ("keep", "mask"):
            raise ValueError(f'occluded: expected "keep" or "mask", got {occluded!r}')
        self.root = Path(root)
        keypoints, third, self.extended = _read_joints(self.root / "joints.mat")
        visible = third > 0 if self.extended else (third == 0 if occluded == "mask" else np.ones_like(third, bool))
        visible &= np.isfinite(keypoints).all(axis=-1)
        first, last = images or (1, len(keypoints))
        if not 1 <= first <= last <= len(keypoints):
            raise ValueError(
                f"images: expected a first and last number within 1 and {len(keypoints)}, got ({first}, {last})"
            )
        self.numbers = range(first, last + 1)
        self.keypoints = torch.from_numpy((keypoints[first - 1 : last] - 1).astype(np.float32))
        self.visible = torch.from_numpy(visible[first - 1 : last])
        empty = ~self.visible.any(dim=1)
        if empty.any():
            raise ValueError(
                f"{self.root / 'joints.mat'}: record {first + int(empty.nonzero()[0])} has no visible joint, so there "
                "is no person to crop; choose images=(first, last) without it"
            )
        names = {path.name for path in (self.root / "images").glob("im*.jpg")}
        missing = next((name for name in map(self._file_name, self.numbers) if name not in names), None)
        if missing:
            raise ValueError(
                f"{self.root / 'images' / missing} is missing, though joints.mat has a record for it; "
                "unpack the whole archive, or choose images=(first, last)"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.numbers[index]
        keypoints, visible = self.keypoints[index], self.visible[index]
        return {
            "image": read_image(self.root / "images" / self._file_name(number)),
            "keypoints": torch.where(visible[:, None], keypoints, 0.0),
            "visible": visible,
            "box": tight_box(keypoints, visible),
            "index": number,
        }

    def _file_name(self, number: int) -> str:
        return f"im{number:05d}.jpg" if self.extended else f"im{number:04d}.jpg"


def read_lsp_evaluation(variables: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the arrays of a file of annotations or predictions of LSP or LSPET.

    The shape identifies the file:

    | `joints` or `pred` | file |
    |---|---|
    | (3, 14, N) | annotations of LSP, occluded keypoints included |
    | (14, 3, N) | annotations of LSPET |
    | (2, 14, N) | predicted keypoints |
    | (2, 20, N) | predicted limbs ("sticks"), as pairs of ends |

    Args:
        variables: arrays of a MATLAB file by name.

    Returns:
        `keypoints` `(N, 14, 2)`, or `(N, 10, 2, 2)` for limbs, in pixels counted from 1 as in the
        file; `visible` `(N, 14)` for LSPET; `test`, the slice of the test images, for annotations
        of LSP. Empty for other files.

    Examples:
        >>> arrays = read_lsp_evaluation({"joints": np.ones((3, 14, 2000))})
        >>> arrays["keypoints"][arrays["test"]].shape
        (1000, 14, 2)
    """
    array = np.asarray(variables.get("joints", variables.get("pred", ())))
    split = _split_joints(array)
    if split is not None:
        records, extended = split
        arrays: dict[str, Any] = {"keypoints": records[..., :2]}
        # only LSPET's flag says which keypoints exist; LSP's marks occluded ones, which are annotated
        return arrays | ({"visible": records[..., 2] > 0} if extended else {"test": TEST})
    if array.ndim == 3 and array.shape[:2] == (2, NUM_KEYPOINTS):
        return {"keypoints": array.transpose(2, 1, 0)}
    if array.ndim == 3 and array.shape[:2] == (2, 2 * NUM_STICKS):
        return {"keypoints": array.transpose(2, 1, 0).reshape(-1, NUM_STICKS, 2, 2)}
    return {}


def _split_joints(joints: np.ndarray) -> tuple[np.ndarray, bool] | None:
    """Records `(N, 14, 3)` of `joints`, and whether it is LSPET's; None for another shape."""
    if joints.ndim == 3 and joints.shape[:2] == (NUM_KEYPOINTS, 3):
        return joints.transpose(2, 0, 1), True
    if joints.ndim == 3 and joints.shape[:2] == (3, NUM_KEYPOINTS):
        return joints.transpose(2, 1, 0), False
    return None


def _read_joints(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Read coordinates `(N, 14, 2)`, the third row `(N, 14)`, and whether the file is LSPET's."""
    file = load_mat(path, "root must be the unpacked folder of LSP or LSPET, with joints.mat in it", squeeze=False)
    if "joints" not in file:
        raise ValueError(f"{path} has no array 'joints'; is it the joints.mat of LSP or LSPET?")
    joints = file["joints"]
    split = _split_joints(joints)
    if split is None:
        raise ValueError(f"{path}: expected joints of shape (3, 14, N), LSP, or (14, 3, N), LSPET; got {joints.shape}")
    records, extended = split
    third = records[..., 2]
    bad = ~np.isin(third, (0, 1)).all(axis=1)
    if bad.any():
        raise ValueError(f"{path}: record {int(bad.argmax()) + 1} has a flag other than 0 and 1; download it again")
    return records[..., :2].astype(np.float64), third, extended
