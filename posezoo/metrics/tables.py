"""The published tables of MPII, LSP, Image Parse and FLIC, as dicts of fractions.

The rows are plain means of left and right; each function names its rule, its normalizer and its
total. All take NumPy arrays or torch tensors on any device. `posezoo.metrics.pck` defines the
metrics and treats predictions that are not finite.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_tensor, explained, same_kind
from posezoo.geometry import precise
from posezoo.metrics.arrays import visible_mask
from posezoo.metrics.pck import (
    LSP_LIMBS,
    counted_keypoints,
    labelled_mean,
    pck,
    pckh,
    pcp,
    pdj,
    torso_diameter,
)
from posezoo.skeletons import Skeleton, get_skeleton

SIDED_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
MPII_UNSCORED = ("pelvis", "thorax")
MPII_CONVENTIONS = {  # name -> (strict, kind of total)
    "weighted": (False, "labelled"),
    "unweighted": (True, "mean"),
    "all16": (True, "all"),
}
FLIC_BACK_FACING = ("shoulders", "hips")
LSP_ROWS = {  # name -> indices into LSP_LIMBS
    "Torso": [9], "Upper leg": [1, 2], "Lower leg": [0, 3], "Upper arm": [5, 6], "Forearm": [4, 7], "Head": [8],
}  # fmt: skip


@explained
def mpii_head_size(headboxes: ArrayT) -> ArrayT:
    """Head sizes of MPII `(N,)`: 0.6 times the diagonal of boxes `(N, 2, 2)` or `(N, 4)`, corners.

    MATLAB files hold the corners first, `(2, 2, N)`: move the last axis to the front.

    Raises:
        ValueError: another shape, or a box whose corners coincide.

    Examples:
        >>> import numpy as np
        >>> mpii_head_size(np.array([[0.0, 0.0, 30.0, 40.0]]))
        array([30.])
    """
    boxes = as_tensor(headboxes)
    if boxes.shape[1:] not in ((2, 2), (4,)):
        raise ValueError(
            f"headboxes: expected (N, 2, 2) corners or (N, 4) as (x1, y1, x2, y2), got {tuple(boxes.shape)}; an array "
            "(2, 2, N) out of a MATLAB file needs np.moveaxis(array, -1, 0)"
        )
    corners = precise(boxes).reshape(-1, 2, 2)
    size = 0.6 * (corners[:, 1] - corners[:, 0]).norm(dim=-1)
    if (size == 0).any():
        raise ValueError(f"headboxes: the box of person {int((size == 0).nonzero()[0])} has no extent; leave it out")
    return same_kind(headboxes, size)


@explained
def mpii_pckh(
    pred: ArrayT, target: Array, head_size: Array, *, visible: Array | None = None, threshold: float = 0.5,
    convention: str = "weighted",
) -> dict[str, float]:  # fmt: skip
    """PCKh table of MPII (Andriluka et al., CVPR 2014): Head, ... Ankle, Total, as fractions.

    Args:
        pred: `(N, 16, 2)` pixels in the order of MPII.
        target: `(N, 16, 2)` pixels.
        head_size: `(N,)` pixels, `mpii_head_size(headboxes)`.
        visible: `(N, 16)` bool; in MPII's files the joints that are not `jnt_missing`. Defaults to
            all.
        threshold: fraction of the head size.
        convention: one of three in use, whose results must not be compared with each other:

            - "weighted": `<=`; the total pools all annotations of 14 joints, without pelvis and
              thorax (MPII's evaluation, Simple Baselines, HRNet, mmpose);
            - "unweighted": `<`; the total is the plain mean of those 14 (bearpaw's and anibali's
              hourglasses);
            - "all16": `<`; the total pools all 16 joints (the PyTorch hourglass of Princeton),
              about one point more.

    Returns:
        Head (the head top alone), six classes that are means of left and right, and Total.

    Raises:
        ValueError: an unknown convention, and the errors of `pck`.

    MPII's AUC is `auc(pck_curve(...))` over 0 to 0.5.

    Examples:
        >>> import numpy as np
        >>> table = mpii_pckh(np.zeros((1, 16, 2)), np.zeros((1, 16, 2)), np.array([20.0]))
        >>> table["Head"], table["Total"]
        (1.0, 1.0)
    """
    if convention not in MPII_CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; expected one of {', '.join(MPII_CONVENTIONS)}")
    strict, total = MPII_CONVENTIONS[convention]
    skeleton = get_skeleton("mpii16")
    _check_keypoints(pred, target, skeleton)
    values = as_tensor(pckh(pred, target, head_size, visible=visible, threshold=threshold, strict=strict))
    scored = [i for i, name in enumerate(skeleton.keypoints) if total == "all" or name not in MPII_UNSCORED]
    if total == "mean":
        mean = float(values[scored].mean())
    else:
        counted = counted_keypoints(as_tensor(pred), head_size, visible=visible)
        mean = labelled_mean(values[scored], counted[:, scored])
    return {**_rows(values, skeleton, {"Head": ("head_top",)}), "Total": mean}


@explained
def lsp_pck(
    pred: ArrayT, target: Array, *, visible: Array | None = None, threshold: float = 0.2
) -> dict[str, float]:  # fmt: skip
    """PCK@0.2 table of LSP: Head, Shoulder, ... Ankle, and Total, as fractions.

    The limit is `<=` 0.2 times the annotated torso, left shoulder to right hip. Head is the mean of
    neck and head top. The total pools the annotations of all 14 keypoints. The published numbers
    use person-centric labels (left is the person's left) and the images 1001 to 2000. The third row
    of LSP's `joints.mat` marks occluded keypoints, which count: it is not `visible`, as it is in
    LSPET.

    Args:
        pred: `(N, 14, 2)` pixels in the order of LSP.
        target: `(N, 14, 2)` pixels.
        visible: `(N, 14)` bool. Defaults to all.
        threshold: fraction of the torso.

    Errors as for `pdj`.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 14, 2)); target[:, 9] = (0, 100)
        >>> lsp_pck(target + 10, target)["Total"]
        1.0
    """
    skeleton = get_skeleton("lsp14")
    _check_keypoints(pred, target, skeleton)
    values = as_tensor(pdj(pred, target, skeleton, visible=visible, threshold=threshold))
    torso = torso_diameter(as_tensor(target), skeleton, visible=visible)
    counted = counted_keypoints(as_tensor(pred), torso, visible=visible)
    return {**_rows(values, skeleton, {"Head": ("neck", "head_top")}), "Total": labelled_mean(values, counted)}


@explained
def lsp_pcp(
    pred: ArrayT, target: Array, *, visible: Array | None = None, threshold: float = 0.5, loose: bool = False
) -> dict[str, float]:
    """PCP table of LSP and Image Parse: Torso, four rows of limbs, Head, and Total, as fractions.

    The total is the plain mean of the ten limbs, so that legs and arms weigh four times the torso.
    The torso joins the middle of the hips with the middle of the shoulders. Image Parse has the
    same keypoints, limbs and rows.

    Args:
        pred: `(N, 14, 2)` pixels in the order of LSP, or `(N, 10, 2, 2)` limbs in the order of
            `LSP_LIMBS`.
        target: keypoints or limbs, independently of `pred`.
        visible: `(N, 14)` bool, or `(N, 10)` where `target` is given as limbs. Defaults to all.
        threshold: fraction of the annotated limb's length.
        loose: compare the mean of a limb's two errors. Defaults to both ends (strict).

    Raises:
        ValueError: another number of limbs, and the errors of `pcp`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0); target = rng.uniform(0, 100, (5, 14, 2))
        >>> lsp_pcp(target, target)["Total"]
        1.0
    """
    values = as_tensor(pcp(pred, target, "lsp14", visible=visible, threshold=threshold, loose=loose))
    if len(values) != len(LSP_LIMBS):
        raise ValueError(f"expected the {len(LSP_LIMBS)} limbs of LSP, got {len(values)}")
    table = {name: float(values[limbs].mean()) for name, limbs in LSP_ROWS.items()}
    return {**table, "Total": float(values.mean())}


@explained
def flic_pck(
    pred: ArrayT, target: Array, *, torso_box: Array | None = None, skeleton: str | Skeleton = "flic11",
    visible: Array | None = None, threshold: float = 0.2, back_facing: str | None = None,
) -> dict[str, float]:  # fmt: skip
    """PCK@0.2 table of FLIC: Shoulder, Elbow and Wrist, means of left and right, as fractions.

    Two normalizers are in use, both with `<=`: the diagonal of the annotated torso box (the numbers
    published for MODEC and for Chen & Yuille; pass `torso_box`), and the annotated distance from
    left shoulder to right hip (Convolutional Pose Machines; the default).

    Args:
        pred: `(N, K, 2)` pixels in the order of `skeleton`.
        target: `(N, K, 2)` pixels.
        torso_box: `(N, 2)` width and height of the torso box in pixels. Defaults to the distance
            from left shoulder to right hip.
        skeleton: "flic11", "flic9", or another with shoulders, elbows, wrists and, without
            `torso_box`, hips.
        visible: `(N, K)` bool. Defaults to all.
        threshold: fraction of the normalizer.
        back_facing: exchange the annotated left and right of people seen from behind. "shoulders"
            finds them by a right shoulder with the larger x (Convolutional Pose Machines), "hips"
            by a left hip with the smaller x (Tompson et al.). Defaults to the annotations as they
            are.

    Raises:
        ValueError: an unknown `back_facing`, and the errors of `pck`.

    Examples:
        >>> import numpy as np
        >>> target = np.random.default_rng(0).uniform(0, 100, (5, 11, 2))
        >>> flic_pck(target, target, torso_box=np.full((5, 2), 50.0))
        {'Shoulder': 1.0, 'Elbow': 1.0, 'Wrist': 1.0}
    """
    named = get_skeleton(skeleton)
    _check_keypoints(pred, target, named)
    points = as_tensor(pred)
    truth = as_tensor(target, points)
    mask = visible_mask(visible, truth.shape[:2], points)
    if back_facing is not None:
        if back_facing not in FLIC_BACK_FACING:
            raise ValueError(f"unknown back_facing {back_facing!r}; expected {' or '.join(FLIC_BACK_FACING)}, or None")
        joint = back_facing.removesuffix("s")
        left, right = (truth[:, named.index(f"{side}_{joint}"), 0] for side in ("left", "right"))
        behind, mirror = right > left, list(named.flip_index)
        truth = torch.where(behind[:, None, None], truth[:, mirror], truth)
        mask = torch.where(behind[:, None], mask[:, mirror], mask)
    if torso_box is None:
        torso = torso_diameter(truth, named, visible=mask)
    else:
        box = precise(as_tensor(torso_box, points))
        if box.shape != (len(points), 2):
            raise ValueError(
                f"torso_box: expected (N, 2) = ({len(points)}, 2) width and height, got {tuple(box.shape)}"
            )
        torso = box.norm(dim=-1)
    values = pck(points, truth, torso, visible=mask, threshold=threshold)
    return _rows(values, named, {}, ("shoulder", "elbow", "wrist"))


def _check_keypoints(pred: Array, target: Array, skeleton: Skeleton) -> None:
    if len(pred.shape) != 3 or pred.shape[1] != len(skeleton):
        raise ValueError(
            f"pred: expected (N, {len(skeleton)}, 2) in the order of {skeleton.name!r}, got {tuple(pred.shape)}; "
            "posezoo.skeletons.convert reorders"
        )
    if tuple(target.shape) != tuple(pred.shape):
        raise ValueError(
            f"expected pred and target of one shape (N, K, 2), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )


def _rows(
    values: Tensor, skeleton: Skeleton, first: Mapping[str, Sequence[str]], sided: Sequence[str] = SIDED_JOINTS
) -> dict[str, float]:
    """Means by row: the keypoints of each in `first`, then left and right of each in `sided`."""
    names = {**first, **{joint.capitalize(): (f"right_{joint}", f"left_{joint}") for joint in sided}}
    return {row: float(values[[skeleton.index(name) for name in members]].mean()) for row, members in names.items()}
