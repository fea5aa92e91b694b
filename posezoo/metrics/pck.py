"""Metrics of 2D keypoints: PCK, PCKh, PDJ, PCP, their curves, distances in pixels, and the benchmarks' own tables.

A keypoint is correct when its distance to the annotation is within `threshold` times a length of the person: of the
caller's choice (`pck`), the head's (`pckh`, MPII), or the torso's diameter (`pdj`, DeepPose and FLIC; LSP's PCK).
A limb is correct when its ends lie within a fraction of its length (`pcp`). `mpii_pckh`, `lsp_pck`, `lsp_pcp`,
`parse_pcp` and `flic_pck` give the rows of those data sets' tables. All take NumPy arrays or torch tensors on any
device and return the same kind; tables are dicts of floats. Results are fractions, not percentages.

A prediction that is not finite is a miss, with one warning per call that says how many there were. Where a distance is
measured rather than compared, it is infinite: a mean that silently ran over fewer keypoints would look better.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.geometry import precise as _precise
from posezoo.skeletons import Skeleton, get_skeleton

Array = Any  # np.ndarray or torch.Tensor; a result is of the kind of its first argument
End = str | tuple[str, ...]  # of a limb: a keypoint, or several whose mean it is

# The ten limbs of PCP on LSP and Image Parse, in the order of the released stick files.
LSP_LIMBS: tuple[tuple[End, End], ...] = (
    ("right_ankle", "right_knee"), ("right_knee", "right_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("right_wrist", "right_elbow"), ("right_elbow", "right_shoulder"), ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"), ("neck", "head_top"),
    (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")),
)  # fmt: skip
_SIDED = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_MPII_UNSCORED = ("pelvis", "thorax")
_MPII_CONVENTIONS = {  # name -> (strict, how the total is taken)
    "weighted": (False, "labelled"),
    "unweighted": (True, "mean"),
    "all16": (True, "all"),
}
_FLIC_BACK_FACING = ("shoulders", "hips")


def pck(
    pred: Array, target: Array, normalizer: Array, *, visible: Array | None = None, threshold: float = 0.2,
    strict: bool = False,
) -> Array:  # fmt: skip
    """Fraction of people whose keypoint is correct, per keypoint.

    Args:
        pred: `(N, K, 2)` pixels; a NaN or infinite prediction is a miss, with a warning.
        target: `(N, K, 2)` pixels.
        normalizer: `(N,)` pixels, the length that `threshold` is a fraction of; people whose length is NaN, because
            the keypoints it is measured between are missing, do not count.
        visible: `(N, K)` bool, the annotated keypoints; None: all.
        threshold: fraction of the normalizer.
        strict: count `<`; the default counts `<=`.

    Returns:
        `(K,)` in [0, 1], NaN for a keypoint that nobody has. `labelled_mean` pools it over keypoints.

    Raises:
        ValueError: shapes that do not match, an annotated keypoint that is NaN, or a normalizer that is zero or
            negative.

    Example:
        >>> target = np.zeros((1, 2, 2)); pred = np.array([[[3.0, 0.0], [0.0, 9.0]]])
        >>> pck(pred, target, np.array([20.0]), threshold=0.2)
        array([1., 0.])
    """
    distance, length, counted = _measure(pred, target, normalizer, visible)
    return _like(pred, _fraction(_within(distance, length, threshold, strict), counted))


def pckh(
    pred: Array, target: Array, head_size: Array, *, visible: Array | None = None, threshold: float = 0.5,
    strict: bool = False,
) -> Array:  # fmt: skip
    """`pck` normalised by the head: MPII's measure, PCKh@0.5.

    Args:
        head_size: `(N,)` pixels; MPII's is 0.6 times the diagonal of the annotated head box (`mpii_head_size`).
        strict: two conventions are in use. `<=`, the default, is that of Simple Baselines, HRNet and mmpose, which go
            on to a mean weighted by annotations; `<` that of bearpaw's and anibali's hourglasses, with a plain mean.

    Others, result and errors as for `pck`. `mpii_pckh` gives the table; MPII's mean leaves out pelvis and thorax.

    Example:
        >>> pckh(np.array([[[4.0, 0.0]]]), np.zeros((1, 1, 2)), np.array([10.0]))
        array([1.])
    """
    return pck(pred, target, head_size, visible=visible, threshold=threshold, strict=strict)


def pdj(
    pred: Array, target: Array, skeleton: str | Skeleton, *, visible: Array | None = None, threshold: float = 0.2,
    strict: bool = False,
) -> Array:  # fmt: skip
    """Percentage of detected joints: `pck` normalised by the torso's diameter (DeepPose, section 4.1).

    Args:
        skeleton: says which keypoints are the left shoulder and the right hip.

    Others, result and errors as for `pck`. People whose torso is not annotated do not count.

    Example:
        >>> target = np.zeros((1, 14, 2)); target[:, 9] = (0, 100)
        >>> float(pdj(target + 15, target, "lsp14", threshold=0.25)[0])
        1.0
    """
    normalizer = torso_diameter(target, skeleton, visible=visible)
    return pck(pred, target, normalizer, visible=visible, threshold=threshold, strict=strict)


def torso_diameter(target: Array, skeleton: str | Skeleton, *, visible: Array | None = None) -> Array:
    """Distance in pixels from left shoulder to right hip, `(N,)`; NaN where either is missing or both coincide.

    Example:
        >>> target = np.zeros((1, 14, 2)); target[:, 9] = (30, 40)
        >>> torso_diameter(target, "lsp14")
        array([50.])
    """
    named = get_skeleton(skeleton)
    shoulder, hip = named.index("left_shoulder"), named.index("right_hip")
    points = _tensor(target)
    points = points if points.is_floating_point() else _precise(points)
    diameter = (points[:, shoulder] - points[:, hip]).norm(dim=-1)
    known = diameter > 0
    if visible is not None:
        seen = _tensor(visible).bool()
        known = known & seen[:, shoulder] & seen[:, hip]
    return _like(target, torch.where(known, diameter, torch.nan))


def labelled_mean(values: Array, visible: Array) -> float:
    """Mean of per-keypoint `values` `(K,)` over all labelled keypoints: each weighs as often as it is `visible`
    `(N, K)`.

    People who did not count in `values`, for want of a torso, must not be `visible` here either.

    Example:
        >>> labelled_mean(np.array([1.0, 0.0]), np.array([[True, True], [True, False], [True, False]]))
        0.75
    """
    counts = _precise(_tensor(visible)).sum(dim=0)
    known = _precise(_tensor(values).to(counts.device))
    return float((torch.where(counts > 0, known, 0.0) * counts).sum() / counts.sum())


def pck_curve(
    pred: Array, target: Array, normalizer: Array, thresholds: Sequence[float] | Array, *,
    visible: Array | None = None, strict: bool = False,
) -> Array:  # fmt: skip
    """`pck` at several thresholds: `(S, K)`, one row per threshold.

    Args:
        thresholds: `(S,)` fractions of the normalizer. MPII draws 0 to 0.5 in steps of 0.01; there are 51 of them, and
            "@0.1" is row 10. (Simple Baselines and HRNet print row 11 under that name: it is 0.11.)

    Others, result and errors as for `pck`.

    Example:
        >>> pred = np.array([[[3.0, 0.0]], [[7.0, 0.0]]])
        >>> pck_curve(pred, np.zeros((2, 1, 2)), np.array([10.0, 10.0]), [0.1, 0.5, 1.0]).tolist()
        [[0.0], [0.5], [1.0]]
    """
    distance, length, counted = _measure(pred, target, normalizer, visible)
    rows = [_fraction(_within(distance, length, at, strict), counted) for at in _floats(thresholds)]
    return _like(pred, torch.stack(rows))


def auc(curve: Array, thresholds: Sequence[float] | Array) -> Array:
    """Area under a curve over thresholds, divided by their range: MPII's AUC, in [0, 1] (trapezoidal rule).

    Args:
        curve: `(S, ...)`, as `pck_curve` returns it.
        thresholds: `(S,)` rising, the ones of the curve.

    Returns:
        `(...)`. `pose3d.auc3d`, of MPI-INF-3DHP, is a plain mean instead.

    Example:
        >>> float(auc(np.array([0.0, 1.0, 1.0]), [0.0, 0.25, 0.5]))
        0.75
    """
    values, at = _precise(_tensor(curve)), _floats(thresholds)
    if len(at) < 2 or len(at) != len(values) or sorted(set(at)) != at:
        raise ValueError(
            f"auc: expected two or more rising thresholds, one per row of the curve's {len(values)}, got {at}"
        )
    return _like(curve, torch.trapezoid(values, values.new_tensor(at), dim=0) / (at[-1] - at[0]))


def rmse(pred: Array, target: Array, *, visible: Array | None = None) -> Array:
    """Root of the mean squared distance in pixels, per keypoint: `(N, K, 2) -> (K,)`.

    The distance is that of the two points, so the value is the root of 2 larger than one over coordinates. NaN for a
    keypoint that nobody has; infinite, with a warning, where a prediction is not finite.

    Example:
        >>> float(rmse(np.array([[[3.0, 4.0]], [[0.0, 5.0]]]), np.zeros((2, 1, 2)))[0])
        5.0
    """
    distance, counted = _distances(pred, target, visible)
    return _like(pred, _mean(distance.square(), counted).sqrt())


def mean_pixel_error(pred: Array, target: Array, *, visible: Array | None = None) -> Array:
    """Mean distance in pixels, per keypoint: `(N, K, 2) -> (K,)`. Missing and NaN as for `rmse`.

    Example:
        >>> float(mean_pixel_error(np.array([[[3.0, 4.0]], [[0.0, 1.0]]]), np.zeros((2, 1, 2)))[0])
        3.0
    """
    distance, counted = _distances(pred, target, visible)
    return _like(pred, _mean(distance, counted))


def pcp(
    pred: Array, target: Array, limbs: str | Skeleton | Sequence[tuple[Any, Any]] = "lsp14", *,
    visible: Array | None = None, threshold: float = 0.5, loose: bool = False,
) -> Array:  # fmt: skip
    """Percentage of correct parts: fraction of people whose limb is correct, per limb (Ferrari et al., CVPR 2008).

    Strict, the default: *both* ends are within `threshold` times the limb's length of their annotations (DeepPose,
    section 4.1; the LSP tables). Loose: the *mean* of the two ends' errors is, which lets a good end pay for a bad one.
    Both count `<=`. A limb that is annotated with length 0 counts, and only an exact prediction hits it; LSP has one.

    Args:
        pred: `(N, K, 2)` keypoints, or `(N, L, 2, 2)` limbs, each as its two ends; pixels.
        target: the same, independently of `pred`.
        limbs: "lsp14" (the ten limbs `LSP_LIMBS`), a skeleton, whose bones they are, or pairs of ends, an end being
            an index or a tuple of indices whose mean it is. Not used when both are given as limbs.
        visible: `(N, K)` bool, or `(N, L)` where `target` is given as limbs; a limb counts if all its keypoints do.
        threshold: fraction of the annotated limb's length.
        loose: compare the mean of the two errors.

    Returns:
        `(L,)` in [0, 1], NaN for a limb that nobody has.

    Raises:
        ValueError: shapes that do not match, limbs of unknown keypoints, an annotated keypoint that is NaN.

    Example:
        >>> target = np.array([[[0.0, 0.0], [10.0, 0.0]]]); pred = np.array([[[0.0, 1.0], [10.0, 7.0]]])
        >>> pcp(pred, target, [(0, 1)]).tolist(), pcp(pred, target, [(0, 1)], loose=True).tolist()
        ([0.0], [1.0])
    """
    points = _tensor(pred)
    truth = _tensor(target, points)
    by_limb = truth.ndim == 4
    count = None if points.ndim == truth.ndim == 4 else (truth if truth.ndim == 3 else points).shape[-2]
    pairs = [] if count is None else _limb_indices(limbs, count)
    ends, goals = _limb_ends(points, pairs, "pred"), _limb_ends(truth, pairs, "target")
    if ends.shape != goals.shape:
        raise ValueError(f"expected as many limbs in pred and target, got {tuple(ends.shape)} and {tuple(goals.shape)}")
    counted = _mask(visible, truth.shape[:2], points)
    if not by_limb and pairs:
        counted = torch.stack([counted[:, [*first, *second]].all(dim=1) for first, second in pairs], dim=1)
    both = counted.repeat_interleave(2, dim=1)
    error, _ = _distances(ends.flatten(1, 2), goals.flatten(1, 2), both, "predicted ends of limbs")
    error = error.unflatten(1, (-1, 2))
    length = (_precise(goals)[..., 0, :] - _precise(goals)[..., 1, :]).norm(dim=-1)
    worst = error.mean(dim=-1) if loose else error.amax(dim=-1)
    return _like(pred, _fraction(worst <= threshold * length, counted))


def heatmap_accuracy(pred: Array, target: Array, *, threshold: float = 0.5) -> Array:
    """The accuracy that heatmap networks print while they train: PCK between highest pixels, per keypoint.

    A keypoint is correct when the highest pixels of both heatmaps are closer (`<`) than `threshold` tenths of the
    map. A keypoint counts if its target's highest pixel has x > 1 and y > 1, as in every repository since the Stacked
    Hourglass. The tenths follow Simple Baselines and HRNet: x is divided by a tenth of the *height*, y by one of the
    width; for square maps that is the same. A map without a positive value has its highest pixel at (0, 0).

    Args:
        pred: `(N, K, h, w)` heatmaps.
        target: `(N, K, h, w)` heatmaps of the annotations.

    Returns:
        `(K,)`, NaN for a keypoint that does not count in this batch. The mean over the others is what is printed.

    Example:
        >>> target = np.zeros((1, 1, 20, 20)); target[0, 0, 10, 10] = 1
        >>> heatmap_accuracy(np.roll(target, 1, axis=-1), target).tolist(), heatmap_accuracy(-target, target).tolist()
        ([0.0], [0.0])
    """
    maps = _tensor(pred)
    truth = _tensor(target, maps)
    if maps.ndim != 4 or maps.shape != truth.shape:
        raise ValueError(
            f"expected pred and target of one shape (N, K, h, w), got {tuple(maps.shape)} and {tuple(truth.shape)}"
        )
    height, width = maps.shape[-2:]
    broken = maps.isnan().flatten(2).any(dim=-1)
    found, wanted = _peaks(torch.where(broken[..., None, None], 0.0, maps)), _peaks(truth)
    counted = (wanted > 1).all(dim=-1)
    _warn_of(broken & counted, "predicted heatmaps")
    distance = ((found - wanted) / found.new_tensor([height / 10, width / 10])).norm(dim=-1)
    return _like(pred, _fraction((distance < threshold) & ~broken, counted))


# ------------------------------------------------------------------------------------------- the benchmarks' own tables


def mpii_head_size(headboxes: Array) -> Array:
    """MPII's head sizes, 0.6 times the diagonal of the head's box: `(N, 2, 2)` corners or `(N, 4)` xyxy -> `(N,)`.

    MATLAB files hold corners first, `(2, 2, N)`: move the last axis to the front.

    Raises:
        ValueError: another shape, or a box whose corners coincide.

    Example:
        >>> mpii_head_size(np.array([[0.0, 0.0, 30.0, 40.0]]))
        array([30.])
    """
    boxes = _tensor(headboxes)
    if boxes.shape[1:] not in ((2, 2), (4,)):
        raise ValueError(
            f"headboxes: expected (N, 2, 2) corners or (N, 4) as (x1, y1, x2, y2), got {tuple(boxes.shape)}; an array "
            "(2, 2, N) out of a MATLAB file needs np.moveaxis(array, -1, 0)"
        )
    corners = _precise(boxes).reshape(-1, 2, 2)
    size = 0.6 * (corners[:, 1] - corners[:, 0]).norm(dim=-1)
    if (size == 0).any():
        raise ValueError(f"headboxes: the box of person {int((size == 0).nonzero()[0])} has no extent; leave it out")
    return _like(headboxes, size)


def mpii_pckh(
    pred: Array, target: Array, head_size: Array, *, visible: Array | None = None, threshold: float = 0.5,
    convention: str = "weighted",
) -> dict[str, float]:  # fmt: skip
    """The MPII table: PCKh of Head, Shoulder, ... Ankle, and Total, as fractions (Andriluka et al., CVPR 2014).

    Args:
        pred: `(N, 16, 2)` pixels in MPII's order.
        target: `(N, 16, 2)`.
        head_size: `(N,)`, `mpii_head_size(headboxes)`.
        visible: `(N, 16)` bool; in MPII's files the joints that are not `jnt_missing`.
        convention: which of three that circulate, never to be compared with each other:

            - "weighted": `<=`; the total pools all annotations of 14 joints, without pelvis and thorax (MPII's
              evaluation, Simple Baselines, HRNet, mmpose);
            - "unweighted": `<`; the total is the plain mean of those 14 (bearpaw's and anibali's hourglasses);
            - "all16": `<`; the total pools all 16 joints (the PyTorch hourglass of Princeton), about one point more.

    Returns:
        Head (the top of the head alone) and six classes that are means of left and right; Total.

    Errors as for `pck`, and an unknown convention. MPII's AUC is `auc(pck_curve(...))` over 0 to 0.5.

    Example:
        >>> table = mpii_pckh(np.zeros((1, 16, 2)), np.zeros((1, 16, 2)), np.array([20.0]))
        >>> table["Head"], table["Total"]
        (1.0, 1.0)
    """
    if convention not in _MPII_CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; expected one of {', '.join(_MPII_CONVENTIONS)}")
    strict, total = _MPII_CONVENTIONS[convention]
    skeleton = get_skeleton("mpii16")
    _check_keypoints(pred, skeleton)
    distance, length, counted = _measure(pred, target, head_size, visible)
    values = _fraction(_within(distance, length, threshold, strict), counted)
    scored = [i for i, name in enumerate(skeleton.keypoints) if total == "all" or name not in _MPII_UNSCORED]
    mean = float(values[scored].mean()) if total == "mean" else labelled_mean(values[scored], counted[:, scored])
    return {**_groups(values, skeleton, {"Head": ("head_top",)}), "Total": mean}


def lsp_pck(
    pred: Array, target: Array, *, visible: Array | None = None, threshold: float = 0.2
) -> dict[str, float]:  # fmt: skip
    """The LSP table of PCK@0.2: Head, Shoulder, ... Ankle, and Total, as fractions.

    `<=` 0.2 times the annotated torso, left shoulder to right hip. Head is the mean of neck and head top; the total
    pools the annotations of all 14 keypoints. Published with person-centric labels (left is the person's left) on the
    images 1001 to 2000. The third row of LSP's `joints.mat` says which are occluded, and those count: it is not
    `visible`, as it is in LSPET.

    Args:
        pred: `(N, 14, 2)` pixels in LSP's order.
        target: `(N, 14, 2)`.

    Others and errors as for `pdj`.

    Example:
        >>> target = np.zeros((1, 14, 2)); target[:, 9] = (0, 100)
        >>> lsp_pck(target + 10, target)["Total"]
        1.0
    """
    skeleton = get_skeleton("lsp14")
    _check_keypoints(pred, skeleton)
    torso = torso_diameter(target, skeleton, visible=visible)
    distance, length, counted = _measure(pred, target, torso, visible)
    values = _fraction(_within(distance, length, threshold), counted)
    return {**_groups(values, skeleton, {"Head": ("neck", "head_top")}), "Total": labelled_mean(values, counted)}


def lsp_pcp(
    pred: Array, target: Array, *, visible: Array | None = None, threshold: float = 0.5, loose: bool = False
) -> dict[str, float]:
    """The LSP table of PCP: Torso, Upper leg, Lower leg, Upper arm, Forearm, Head, and Total, as fractions.

    The total is the plain mean of the ten limbs, so that legs and arms weigh four times the torso. The torso joins the
    middle of the hips with the middle of the shoulders. Strict unless `loose`; see `pcp`, whose arguments these are:
    `pred` and `target` are `(N, 14, 2)` in LSP's order, or `(N, 10, 2, 2)` limbs in the order of `LSP_LIMBS`.

    Example:
        >>> rng = np.random.default_rng(0); target = rng.uniform(0, 100, (5, 14, 2))
        >>> lsp_pcp(target, target)["Total"]
        1.0
    """
    values = _tensor(pcp(pred, target, "lsp14", visible=visible, threshold=threshold, loose=loose))
    if len(values) != len(LSP_LIMBS):
        raise ValueError(f"expected the {len(LSP_LIMBS)} limbs of LSP, got {len(values)}")
    rows = {
        "Torso": [9], "Upper leg": [1, 2], "Lower leg": [0, 3], "Upper arm": [5, 6], "Forearm": [4, 7], "Head": [8],
    }  # fmt: skip
    table = {group: float(values[limbs].mean()) for group, limbs in rows.items()}
    return {**table, "Total": float(values.mean())}


def parse_pcp(
    pred: Array, target: Array, *, visible: Array | None = None, threshold: float = 0.5, loose: bool = False
) -> dict[str, float]:
    """The table of PCP on Image Parse, which has the keypoints, the limbs and the rows of LSP: `lsp_pcp`.

    Example:
        >>> target = np.random.default_rng(0).uniform(0, 100, (5, 14, 2))
        >>> parse_pcp(target, target)["Torso"]
        1.0
    """
    return lsp_pcp(pred, target, visible=visible, threshold=threshold, loose=loose)


def flic_pck(
    pred: Array, target: Array, *, torso_box: Array | None = None, skeleton: str | Skeleton = "flic11",
    visible: Array | None = None, threshold: float = 0.2, back_facing: str | None = None,
) -> dict[str, float]:  # fmt: skip
    """The FLIC table of PCK@0.2: Shoulder, Elbow and Wrist, each the mean of left and right, as fractions.

    Two normalisers circulate, both with `<=`: the diagonal of the annotated torso box (the rows published for MODEC
    and for Chen & Yuille; pass `torso_box`), and the annotated distance from left shoulder to right hip (Convolutional
    Pose Machines; the default).

    Args:
        pred: `(N, K, 2)` pixels in the order of `skeleton`.
        target: `(N, K, 2)`.
        torso_box: `(N, 2)` width and height of the torso box.
        skeleton: "flic11", "flic9", or another with shoulders, elbows, wrists and, without `torso_box`, hips.
        back_facing: exchange the annotated left and right of people seen from behind, found by their "shoulders": the
            right one has the larger x (Convolutional Pose Machines), or by their "hips": the left one has the smaller
            x (Tompson et al.). None: take the annotations as they are.

    Others and errors as for `pck`; an unknown `back_facing`.

    Example:
        >>> target = np.random.default_rng(0).uniform(0, 100, (5, 11, 2))
        >>> flic_pck(target, target, torso_box=np.full((5, 2), 50.0))
        {'Shoulder': 1.0, 'Elbow': 1.0, 'Wrist': 1.0}
    """
    named = get_skeleton(skeleton)
    _check_keypoints(pred, named)
    points = _tensor(pred)
    truth = _tensor(target, points)
    _check_shapes(points, truth)
    seen = _mask(visible, truth.shape[:2], points)
    if back_facing is not None:
        if back_facing not in _FLIC_BACK_FACING:
            raise ValueError(f"unknown back_facing {back_facing!r}; expected {' or '.join(_FLIC_BACK_FACING)}, or None")
        joint = back_facing.removesuffix("s")
        left, right = (truth[:, named.index(f"{side}_{joint}"), 0] for side in ("left", "right"))
        behind, mirror = right > left, list(named.flip_index)
        truth = torch.where(behind[:, None, None], truth[:, mirror], truth)
        seen = torch.where(behind[:, None], seen[:, mirror], seen)
    if torso_box is None:
        torso = torso_diameter(truth, named, visible=seen)
    else:
        box = _precise(_tensor(torso_box, points))
        if box.shape != (len(points), 2):
            raise ValueError(
                f"torso_box: expected (N, 2) = ({len(points)}, 2) width and height, got {tuple(box.shape)}"
            )
        torso = box.norm(dim=-1)
    distance, length, counted = _measure(points, truth, torso, seen)
    values = _fraction(_within(distance, length, threshold), counted)
    return _groups(values, named, {}, ("shoulder", "elbow", "wrist"))


# -------------------------------------------------------------------------------------------------------------- inside


def _measure(
    pred: Array, target: Array, normalizer: Array, visible: Array | None
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Distances `(N, K)`, the lengths `(N, 1)` that they are measured in, and which keypoints count `(N, K)`."""
    points = _tensor(pred)
    truth, length = _tensor(target, points), _tensor(normalizer, points)
    _check_shapes(points, truth)
    if length.shape != points.shape[:1]:
        raise ValueError(f"normalizer: expected one length per person, ({len(points)},), got {tuple(length.shape)}")
    if (length <= 0).any():
        bad = int((length <= 0).nonzero()[0])
        raise ValueError(
            f"normalizer: person {bad} has length {float(length[bad])}; expected pixels above 0, "
            "or NaN to leave the person out"
        )
    counted = _mask(visible, points.shape[:2], points) & torch.isfinite(length)[:, None]
    distance, _ = _distances(points, truth, counted)
    return distance, _precise(length)[:, None], counted


def _within(distance: Tensor, length: Tensor, threshold: float, strict: bool = False) -> Tensor:
    # not divided by the length: `<=` must not depend on how a quotient was rounded
    return distance < threshold * length if strict else distance <= threshold * length


def _distances(
    pred: Array, target: Array, visible: Array | None, what: str = "predicted keypoints"
) -> tuple[Tensor, Tensor]:
    """Distances `(N, K)`, infinite where a prediction is not finite, and which keypoints count; warns and checks."""
    points = _tensor(pred)
    truth = _tensor(target, points)
    _check_shapes(points, truth)
    counted = _mask(visible, points.shape[:2], points)
    unknown = ~torch.isfinite(truth).all(dim=-1) & counted
    if unknown.any():
        person, keypoint = unknown.nonzero()[0].tolist()
        raise ValueError(
            f"target: keypoint {keypoint} of person {person} is NaN or infinite; mark missing ones in `visible`"
        )
    lost = ~torch.isfinite(points).all(dim=-1)
    _warn_of(lost & counted, what)
    distance = (_precise(points) - _precise(truth)).norm(dim=-1)
    return torch.where(lost, torch.inf, distance), counted


def _warn_of(lost: Tensor, what: str) -> None:
    if count := int(lost.sum()):
        warnings.warn(f"{count} of the {what} are not finite and count as misses", UserWarning, stacklevel=5)


def _check_shapes(points: Tensor, truth: Tensor) -> None:
    if points.ndim != 3 or points.shape != truth.shape:
        raise ValueError(
            f"expected pred and target of one shape (N, K, 2), got {tuple(points.shape)} and {tuple(truth.shape)}"
        )


def _check_keypoints(pred: Array, skeleton: Skeleton) -> None:
    if len(pred.shape) != 3 or pred.shape[1] != len(skeleton):
        raise ValueError(
            f"pred: expected (N, {len(skeleton)}, 2) in the order of {skeleton.name!r}, got {tuple(pred.shape)}; "
            "posezoo.skeletons.convert reorders"
        )


def _mask(visible: Array | None, shape: Sequence[int], like: Tensor) -> Tensor:
    if visible is None:
        return torch.ones(tuple(shape), dtype=torch.bool, device=like.device)
    mask = _tensor(visible, like).bool()
    if mask.shape != torch.Size(shape):
        raise ValueError(f"visible: expected (N, K) = {tuple(shape)}, got {tuple(mask.shape)}")
    return mask


def _fraction(hits: Tensor, counted: Tensor) -> Tensor:
    return _precise((hits & counted).sum(dim=0)) / counted.sum(dim=0)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, values, 0.0).sum(dim=0) / counted.sum(dim=0)


def _limb_indices(limbs: str | Skeleton | Sequence[tuple[Any, Any]], count: int) -> list[tuple[list[int], list[int]]]:
    """Each limb's two ends as lists of the keypoints whose mean they are."""
    pairs: Sequence[tuple[Any, Any]]
    if isinstance(limbs, str | Skeleton):
        skeleton = get_skeleton(limbs)
        pairs = skeleton.bones
        if skeleton.name == "lsp14":  # by name, so that the preset can be read
            names = [[(end,) if isinstance(end, str) else end for end in limb] for limb in LSP_LIMBS]
            pairs = [tuple(tuple(map(skeleton.index, end)) for end in limb) for limb in names]  # type: ignore[misc]
        if not pairs:
            raise ValueError(f"limbs: the skeleton {skeleton.name!r} has no bones; pass pairs of keypoints")
    else:
        pairs = limbs
    found = []
    for limb in pairs:
        ends = [[int(i) for i in end] if isinstance(end, Sequence) else [int(end)] for end in limb]
        if len(ends) != 2 or not all(end and all(0 <= i < count for i in end) for end in ends):
            raise ValueError(f"limbs: expected pairs of keypoints in 0..{count - 1}, got {limb!r}")
        found.append((ends[0], ends[1]))
    return found


def _limb_ends(points: Tensor, pairs: list[tuple[list[int], list[int]]], name: str) -> Tensor:
    """`(N, K, 2)` keypoints or `(N, L, 2, 2)` limbs as `(N, L, 2, 2)`; the loop is over limbs, never over people."""
    if points.ndim == 4 and points.shape[2:] == (2, 2):
        return points
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"{name}: expected (N, K, 2) keypoints or (N, L, 2, 2) limbs, got {tuple(points.shape)}")
    exact = _precise(points)
    return torch.stack([torch.stack([exact[:, end].mean(dim=1) for end in limb], dim=1) for limb in pairs], dim=1)


def _groups(
    values: Tensor, skeleton: Skeleton, first: Mapping[str, Sequence[str]], sided: Sequence[str] = _SIDED
) -> dict[str, float]:
    """Means of per-keypoint values over the classes of a table, the two sides of a joint being one."""
    names = {**first, **{joint.capitalize(): (f"right_{joint}", f"left_{joint}") for joint in sided}}
    return {group: float(values[[skeleton.index(name) for name in members]].mean()) for group, members in names.items()}


def _peaks(heatmaps: Tensor) -> Tensor:
    """Where each map is highest, `(N, K, 2)` as (x, y); (0, 0) where nothing is positive."""
    highest, where = heatmaps.flatten(2).max(dim=-1)
    width = heatmaps.shape[-1]
    peaks = _precise(torch.stack([where % width, where.div(width, rounding_mode="floor")], dim=-1))
    return torch.where((highest > 0)[..., None], peaks, 0.0)


def _floats(values: Sequence[float] | Array) -> list[float]:
    return [float(value) for value in values]


def _tensor(array: Array, like: Tensor | None = None) -> Tensor:
    if isinstance(array, Tensor):
        tensor = array
    elif isinstance(array, np.ndarray) and array.flags.carray and array.dtype.isnative:
        tensor = torch.from_numpy(array)  # shared, so never written to
    else:  # torch refuses arrays that run backwards (`pred[:, ::-1]`) and warns about read-only ones
        tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor if like is None else tensor.to(like.device)


def _like(reference: Array, values: Tensor) -> Array:
    return values if isinstance(reference, Tensor) else values.cpu().numpy()
