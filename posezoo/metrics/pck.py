"""Metrics of 2D keypoints: PCK, PCKh, PDJ, PCP, their curves, and distances in pixels.

A keypoint is correct when its distance to the annotation is within `threshold` times a length of
the person: chosen by the caller (`pck`), the head's (`pckh`, MPII), or the torso's diameter (`pdj`,
DeepPose and FLIC; LSP's PCK). A limb is correct when its ends lie within a fraction of its length
(`pcp`). All functions take NumPy arrays or torch tensors on any device and return the same kind.
Results are fractions, not percentages. `posezoo.metrics.tables` has the tables of the data sets.

A prediction that is not finite is a miss, with one warning per call that gives their number. Where
a distance is measured rather than compared it is infinite, because a mean over the other keypoints
would look better than it is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_tensor, check_number, explained, is_array, same_kind
from posezoo.geometry import precise
from posezoo.metrics.arrays import any_wrong, visible_mask, warn_not_finite
from posezoo.skeletons import Skeleton, get_skeleton

ROUNDING = 1e-12  # beyond which a quotient decides on which side of a threshold a distance lies
End = str | tuple[str, ...]  # of a limb: a keypoint, or several whose mean it is

# The ten limbs of PCP on LSP and Image Parse, in the order of the released stick files.
LSP_LIMBS: tuple[tuple[End, End], ...] = (
    ("right_ankle", "right_knee"), ("right_knee", "right_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("right_wrist", "right_elbow"), ("right_elbow", "right_shoulder"), ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"), ("neck", "head_top"),
    (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")),
)  # fmt: skip


@explained
def pck(
    pred: ArrayT, target: Array, normalizer: Array, *, visible: Array | None = None, threshold: float = 0.2,
    strict: bool = False,
) -> ArrayT:  # fmt: skip
    """Percentage of correct keypoints: fraction of people whose keypoint is correct, per keypoint.

    Args:
        pred: `(N, K, 2)` pixels. A NaN or infinite prediction is a miss, with a warning.
        target: `(N, K, 2)` pixels.
        normalizer: `(N,)` pixels, the length that `threshold` is a fraction of. A person whose
            length is NaN, for want of the keypoints it is measured between, does not count.
        visible: `(N, K)` bool mask of the annotated keypoints. Defaults to all.
        threshold: fraction of the normalizer.
        strict: count a distance `<` the limit. Defaults to `<=`.

    Returns:
        `(K,)` in [0, 1], NaN for a keypoint that no person has. `labelled_mean` pools it over
        keypoints.

    Raises:
        ValueError: shapes that do not match, an annotated keypoint that is NaN, or a normalizer
            that is zero or negative.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 2, 2)); pred = np.array([[[3.0, 0.0], [0.0, 9.0]]])
        >>> pck(pred, target, np.array([20.0]), threshold=0.2)
        array([1., 0.])
    """
    distance, length, counted = _measure(pred, target, normalizer, visible)
    return same_kind(pred, _fraction(_within(distance, length, threshold, strict), counted))


@explained
def pckh(
    pred: ArrayT, target: Array, head_size: Array, *, visible: Array | None = None, threshold: float = 0.5,
    strict: bool = False,
) -> ArrayT:  # fmt: skip
    """`pck` normalised by the head: MPII's measure, PCKh@0.5.

    Args:
        head_size: `(N,)` pixels; MPII's is 0.6 times the diagonal of the annotated head box
            (`mpii_head_size`).
        strict: two conventions are in use. `<=`, the default, is that of Simple Baselines, HRNet
            and mmpose, with a mean weighted by annotations. `<` is that of bearpaw's and anibali's
            hourglasses, with a plain mean.

    Other arguments, result and errors as for `pck`. `mpii_pckh` gives the table, whose mean leaves
    out pelvis and thorax.

    Examples:
        >>> import numpy as np
        >>> pckh(np.array([[[4.0, 0.0]]]), np.zeros((1, 1, 2)), np.array([10.0]))
        array([1.])
    """
    return pck(pred, target, head_size, visible=visible, threshold=threshold, strict=strict)


@explained
def pdj(
    pred: ArrayT, target: Array, skeleton: str | Skeleton, *, visible: Array | None = None, threshold: float = 0.2,
    strict: bool = False,
) -> ArrayT:  # fmt: skip
    """Percentage of detected joints: `pck` by the torso's diameter (DeepPose, section 4.1).

    Args:
        skeleton: names the keypoints, among them `left_shoulder` and `right_hip`.

    Other arguments, result and errors as for `pck`. People whose torso is not annotated do not
    count.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 14, 2)); target[:, 9] = (0, 100)
        >>> float(pdj(target + 15, target, "lsp14", threshold=0.25)[0])
        1.0
    """
    normalizer = torso_diameter(as_tensor(target), skeleton, visible=visible)
    return pck(pred, target, normalizer, visible=visible, threshold=threshold, strict=strict)


@explained
def torso_diameter(target: ArrayT, skeleton: str | Skeleton, *, visible: Array | None = None) -> ArrayT:
    """Distance in pixels from left shoulder to right hip, `(N,)`.

    NaN where either keypoint is missing or both coincide.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 14, 2)); target[:, 9] = (30, 40)
        >>> torso_diameter(target, "lsp14")
        array([50.])
    """
    named = get_skeleton(skeleton)
    shoulder, hip = named.index("left_shoulder"), named.index("right_hip")
    points = as_tensor(target)
    points = points if points.is_floating_point() else precise(points)
    if points.ndim != 3 or points.shape[1:] != (len(named), 2):
        raise ValueError(f"target: expected (N, {len(named)}, 2) of {named.name}, got {tuple(points.shape)}")
    diameter = (points[:, shoulder] - points[:, hip]).norm(dim=-1)
    known = diameter > 0
    if visible is not None:
        mask = as_tensor(visible).bool()
        known = known & mask[:, shoulder] & mask[:, hip]
    return same_kind(target, torch.where(known, diameter, torch.nan))


@explained
def labelled_mean(values: Array, visible: Array) -> float:
    """Mean of per-keypoint `values` `(K,)` over all annotated keypoints.

    Each keypoint weighs as often as it is `visible` `(N, K)`.

    People who did not count in `values`, for want of a length, must not be visible here either:
    `counted_keypoints` gives the mask.

    Examples:
        >>> import numpy as np
        >>> labelled_mean(np.array([1.0, 0.0]), np.array([[True, True], [True, False], [True, False]]))
        0.75
    """
    counts = precise(as_tensor(visible)).sum(dim=0)
    known = precise(as_tensor(values).to(counts.device))
    return float((torch.where(counts > 0, known, 0.0) * counts).sum() / counts.sum())


@explained
def counted_keypoints(target: ArrayT, normalizer: Array, *, visible: Array | None = None) -> ArrayT:
    """Mask `(N, K)` of the keypoints that count in `pck`: visible, with a finite normalizer.

    Args:
        target: `(N, K, 2)`, for its shape.
        normalizer: `(N,)`.
        visible: `(N, K)` bool. Defaults to all.

    Examples:
        >>> import numpy as np
        >>> counted_keypoints(np.zeros((2, 1, 2)), np.array([20.0, np.nan])).tolist()
        [[True], [False]]
    """
    points = as_tensor(target)
    length = as_tensor(normalizer, points)
    return same_kind(target, visible_mask(visible, points.shape[:2], points) & torch.isfinite(length)[:, None])


@explained
def pck_curve(
    pred: ArrayT, target: Array, normalizer: Array, thresholds: Sequence[float] | Array, *,
    visible: Array | None = None, strict: bool = False,
) -> ArrayT:  # fmt: skip
    """`pck` at several thresholds: `(S, K)`, one row per threshold.

    Args:
        thresholds: `(S,)` fractions of the normalizer. MPII's are the 51 from 0 to 0.5 in steps of
            0.01; "@0.1" is row 10. (Simple Baselines and HRNet print row 11, 0.11, under that
            name.)

    Other arguments, result and errors as for `pck`.

    Examples:
        >>> import numpy as np
        >>> pred = np.array([[[3.0, 0.0]], [[7.0, 0.0]]])
        >>> pck_curve(pred, np.zeros((2, 1, 2)), np.array([10.0, 10.0]), [0.1, 0.5, 1.0]).tolist()
        [[0.0], [0.5], [1.0]]
    """
    distance, length, counted = _measure(pred, target, normalizer, visible)
    # laid out keypoint by keypoint, because a sum along memory is much faster; infinity is within no threshold
    distance = torch.where(counted, distance, torch.inf).T.contiguous()
    length = torch.where(length.isfinite(), length, 1.0).T
    at = _floats(thresholds)
    for threshold in at:
        check_number(threshold, "threshold")
    hits = distance.new_zeros(len(at), len(distance), dtype=torch.long)
    doubtful: Any = range(len(at))
    if is_array(distance):  # NumPy's sort is much faster than a comparison for each threshold
        ratio = torch.from_numpy(np.sort((distance / length).numpy(), axis=1))
        edges = distance.new_tensor(at).expand(len(ratio), -1)
        sure = torch.searchsorted(ratio, edges * (1 - ROUNDING))
        possible = torch.searchsorted(ratio, edges * (1 + ROUNDING), right=True)
        hits, doubtful = sure.T, (sure < possible).any(dim=0).nonzero()[:, 0]
    for row in doubtful:
        hits[row] = _within(distance, length, at[row], strict).sum(dim=1)
    return same_kind(pred, precise(hits) / counted.sum(dim=0))


@explained
def auc(curve: ArrayT, thresholds: Sequence[float] | Array) -> ArrayT:
    """Area under a curve over thresholds, divided by their range: MPII's AUC, in [0, 1].

    Args:
        curve: `(S, ...)`, the result of `pck_curve`.
        thresholds: `(S,)`, those of the curve, in ascending order.

    Returns:
        `(...)`. `pose3d.auc3d`, of MPI-INF-3DHP, is a plain mean instead.

    Examples:
        >>> import numpy as np
        >>> float(auc(np.array([0.0, 1.0, 1.0]), [0.0, 0.25, 0.5]))
        0.75
    """
    values, at = precise(as_tensor(curve)), _floats(thresholds)
    if len(at) < 2 or len(at) != len(values) or sorted(set(at)) != at:
        raise ValueError(
            f"auc: expected two or more rising thresholds, one per row of the curve's {len(values)}, got {at}"
        )
    return same_kind(curve, torch.trapezoid(values, values.new_tensor(at), dim=0) / (at[-1] - at[0]))


@explained
def rmse(pred: ArrayT, target: Array, *, visible: Array | None = None) -> ArrayT:
    """Root of the mean squared distance in pixels, per keypoint: `(N, K, 2) -> (K,)`.

    The error is the distance of the two points, so the value is the root of 2 larger than an RMSE
    over coordinates. NaN for a keypoint that no person has; infinite, with a warning, where a
    prediction is not finite. `rmse_total` is the value over all keypoints.

    Examples:
        >>> import numpy as np
        >>> float(rmse(np.array([[[3.0, 4.0]], [[0.0, 5.0]]]), np.zeros((2, 1, 2)))[0])
        5.0
    """
    distance, counted = _distances(pred, target, visible)
    return same_kind(pred, _mean(distance.square(), counted).sqrt())


@explained
def rmse_total(pred: Array, target: Array, *, visible: Array | None = None) -> float:
    """Root mean square distance in pixels, over all visible keypoints of all people (PoseRNN).

    It is not the mean of `rmse` over keypoints, which is smaller or equal where all are visible.
    The pooled counterpart of `mean_pixel_error` is its `labelled_mean`. NaN where nothing is
    visible; infinite, with a warning, where a prediction is not finite.

    Examples:
        >>> import numpy as np
        >>> pred = np.array([[[0.0, 0.0], [6.0, 8.0]]])
        >>> float(rmse(pred, np.zeros((1, 2, 2))).mean()), round(rmse_total(pred, np.zeros((1, 2, 2))), 2)
        (5.0, 7.07)
    """
    distance, counted = _distances(pred, target, visible)
    return float(_mean(distance.square().flatten(), counted.flatten()).sqrt())


@explained
def mean_pixel_error(pred: ArrayT, target: Array, *, visible: Array | None = None) -> ArrayT:
    """Mean distance in pixels, per keypoint: `(N, K, 2) -> (K,)`. Missing and NaN as for `rmse`.

    `labelled_mean(values, visible)` pools it over all visible keypoints of all people.

    Examples:
        >>> import numpy as np
        >>> float(mean_pixel_error(np.array([[[3.0, 4.0]], [[0.0, 1.0]]]), np.zeros((2, 1, 2)))[0])
        3.0
    """
    distance, counted = _distances(pred, target, visible)
    return same_kind(pred, _mean(distance, counted))


@explained
def pcp(
    pred: ArrayT, target: Array, limbs: str | Skeleton | Sequence[tuple[Any, Any]] = "lsp14", *,
    visible: Array | None = None, threshold: float = 0.5, loose: bool = False,
) -> ArrayT:  # fmt: skip
    """Percentage of correct parts (Ferrari et al., CVPR 2008): fraction of correct limbs, per limb.

    Strict, the default: *both* ends are within `threshold` times the limb's length of their
    annotations (DeepPose, section 4.1; the LSP tables). Loose: the *mean* of the two ends' errors
    is within it, so that an accurate end compensates for the other. Both count `<=`. A limb
    annotated with length 0 counts and is never correct, since the published evaluations divide
    the error by the length; LSP has one.

    Args:
        pred: `(N, K, 2)` keypoints, or `(N, L, 2, 2)` limbs, each as its two ends; pixels.
        target: keypoints or limbs, independently of `pred`.
        limbs: "lsp14" (the ten limbs `LSP_LIMBS`), a skeleton, whose bones are the limbs, or pairs
            of ends. An end is an index, or a tuple of indices whose mean it is. Not used when both
            `pred` and `target` are limbs.
        visible: `(N, K)` bool, or `(N, L)` where `target` is given as limbs. A limb counts if all
            its keypoints are visible. Defaults to all.
        threshold: fraction of the annotated limb's length.
        loose: compare the mean of the two errors.

    Returns:
        `(L,)` in [0, 1], NaN for a limb that no person has.

    Raises:
        ValueError: shapes that do not match, limbs of unknown keypoints, an annotated keypoint that
            is NaN.

    Examples:
        >>> import numpy as np
        >>> target = np.array([[[0.0, 0.0], [10.0, 0.0]]]); pred = np.array([[[0.0, 1.0], [10.0, 7.0]]])
        >>> pcp(pred, target, [(0, 1)]).tolist(), pcp(pred, target, [(0, 1)], loose=True).tolist()
        ([0.0], [1.0])
    """
    if threshold != float("inf"):
        check_number(threshold, "threshold")
    points = as_tensor(pred)
    truth = as_tensor(target, points)
    by_limb = truth.ndim == 4
    count = None if points.ndim == truth.ndim == 4 else (truth if truth.ndim == 3 else points).shape[-2]
    pairs = [] if count is None else _limb_indices(limbs, count)
    ends, goals = _limb_ends(points, pairs, "pred"), _limb_ends(truth, pairs, "target")
    if ends.shape != goals.shape:
        raise ValueError(f"expected as many limbs in pred and target, got {tuple(ends.shape)} and {tuple(goals.shape)}")
    counted = visible_mask(visible, truth.shape[:2], points)
    if not by_limb and pairs:
        counted = torch.stack([counted[:, limb[0] + limb[1]].all(dim=1) for limb in pairs], dim=1)
    both = counted.repeat_interleave(2, dim=1)
    error, _ = _distances(ends.flatten(1, 2), goals.flatten(1, 2), both, "predicted ends of limbs")
    error = error.unflatten(1, (-1, 2))
    length = (precise(goals)[..., 0, :] - precise(goals)[..., 1, :]).norm(dim=-1)
    worst = error.mean(dim=-1) if loose else error.amax(dim=-1)
    # an exact prediction of a limb of length 0 is 0 / 0 in the published evaluations, which is not `<=` anything
    return same_kind(pred, _fraction((worst <= threshold * length) & (length > 0), counted))


@explained
def heatmap_accuracy(pred: ArrayT, target: Array, *, threshold: float = 0.5) -> ArrayT:
    """Training accuracy of heatmap networks: PCK between the peaks of two heatmaps, per keypoint.

    A keypoint is correct when the peaks are closer (`<`) than `threshold` tenths of the map. It
    counts if its target's peak has x > 1 and y > 1, as in every repository since the Stacked
    Hourglass. The tenths follow Simple Baselines and HRNet: x is divided by a tenth of the
    *height*, y by a tenth of the width; for square maps they are equal. A map without a positive
    value has its peak at (0, 0).

    Args:
        pred: `(N, K, h, w)` heatmaps.
        target: `(N, K, h, w)` heatmaps of the annotations.

    Returns:
        `(K,)`, NaN for a keypoint that does not count in this batch. Those repositories print the
        mean over the others.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 1, 20, 20)); target[0, 0, 10, 10] = 1
        >>> heatmap_accuracy(np.roll(target, 1, axis=-1), target).tolist(), heatmap_accuracy(-target, target).tolist()
        ([0.0], [0.0])
    """
    check_number(threshold, "threshold")
    maps = as_tensor(pred)
    truth = as_tensor(target, maps)
    if maps.ndim != 4 or maps.shape != truth.shape:
        raise ValueError(
            f"expected pred and target of one shape (N, K, h, w), got {tuple(maps.shape)} and {tuple(truth.shape)}"
        )
    height, width = maps.shape[-2:]
    # argmax would take a NaN for the peak
    broken = maps.isnan().flatten(2).any(dim=-1)
    found, wanted = _peaks(torch.where(broken[..., None, None], 0.0, maps)), _peaks(truth)
    counted = (wanted > 1).all(dim=-1)
    warn_not_finite(broken & counted, "predicted heatmaps")
    distance = ((found - wanted) / found.new_tensor([height / 10, width / 10])).norm(dim=-1)
    return same_kind(pred, _fraction((distance < threshold) & ~broken, counted))


def _measure(
    pred: Array, target: Array, normalizer: Array, visible: Array | None
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Distances `(N, K)`, normalizers `(N, 1)`, and the mask of keypoints that count `(N, K)`."""
    points = as_tensor(pred)
    truth, length = as_tensor(target, points), as_tensor(normalizer, points)
    _check_shapes(points, truth)
    if length.shape != points.shape[:1]:
        raise ValueError(f"normalizer: expected one length per person, ({len(points)},), got {tuple(length.shape)}")
    if any_wrong(length <= 0):
        bad = int((length <= 0).nonzero()[0])
        raise ValueError(
            f"normalizer: person {bad} has length {float(length[bad])}; expected pixels above 0, "
            "or NaN to leave the person out"
        )
    counted = counted_keypoints(points, length, visible=visible)
    distance, _ = _distances(points, truth, counted)
    return distance, precise(length)[:, None], counted


def _within(distance: Tensor, length: Tensor, threshold: float, strict: bool = False) -> Tensor:
    check_number(threshold, "threshold")
    # not divided by the length: `<=` must not depend on how a quotient was rounded
    return distance < threshold * length if strict else distance <= threshold * length


def _distances(
    pred: Array, target: Array, visible: Array | None, what: str = "predicted keypoints"
) -> tuple[Tensor, Tensor]:
    """Distances `(N, K)` and the mask of keypoints that count.

    Predictions that are not finite have an infinite distance, with a warning. Annotations that are
    not finite are an error.
    """
    points = as_tensor(pred)
    truth = as_tensor(target, points)
    _check_shapes(points, truth)
    counted = visible_mask(visible, points.shape[:2], points)
    unknown = ~torch.isfinite(truth).all(dim=-1) & counted
    if any_wrong(unknown):
        person, keypoint = unknown.nonzero()[0].tolist()
        raise ValueError(
            f"target: keypoint {keypoint} of person {person} is NaN or infinite; mark missing ones in `visible`"
        )
    lost = ~torch.isfinite(points).all(dim=-1)
    warn_not_finite(lost & counted, what)
    distance = (precise(points) - precise(truth)).norm(dim=-1)
    return torch.where(lost, torch.inf, distance), counted


def _check_shapes(points: Tensor, truth: Tensor) -> None:
    if points.ndim != 3 or points.shape != truth.shape or points.shape[-1] != 2:
        raise ValueError(
            f"expected pred and target of one shape (N, K, 2), got {tuple(points.shape)} and {tuple(truth.shape)}; "
            "scores go apart, pred[..., :2]"
        )


def _fraction(hits: Tensor, counted: Tensor) -> Tensor:
    return precise((hits & counted).sum(dim=0)) / counted.sum(dim=0)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, values, 0.0).sum(dim=0) / counted.sum(dim=0)


def _limb_indices(limbs: str | Skeleton | Sequence[tuple[Any, Any]], count: int) -> list[tuple[list[int], list[int]]]:
    """The two ends of each limb, as lists of the keypoints whose mean they are."""
    pairs: Sequence[tuple[Any, Any]]
    if isinstance(limbs, str | Skeleton):
        skeleton = get_skeleton(limbs)
        pairs = skeleton.bones
        if skeleton.name == "lsp14":  # the published limbs, which are not the skeleton's bones
            names = [[(end,) if isinstance(end, str) else end for end in limb] for limb in LSP_LIMBS]
            pairs = [tuple(tuple(map(skeleton.index, end)) for end in limb) for limb in names]  # type: ignore[misc]
        if not pairs:
            raise ValueError(f"limbs: the skeleton {skeleton.name!r} has no bones; pass pairs of keypoints")
        if len(skeleton) != count:
            raise ValueError(
                f"limbs: expected pairs of keypoints in 0..{count - 1}, {skeleton.name} has {len(skeleton)}"
            )
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
    """Convert `(N, K, 2)` keypoints or `(N, L, 2, 2)` limbs to `(N, L, 2, 2)`."""
    if points.ndim == 4 and points.shape[2:] == (2, 2):
        return points
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"{name}: expected (N, K, 2) keypoints or (N, L, 2, 2) limbs, got {tuple(points.shape)}")
    exact = precise(points)
    # the loop is over limbs, never over people
    return torch.stack([torch.stack([exact[:, end].mean(dim=1) for end in limb], dim=1) for limb in pairs], dim=1)


def _peaks(heatmaps: Tensor) -> Tensor:
    """Peak of each map, `(N, K, 2)` as (x, y); (0, 0) where no value is positive."""
    highest, where = heatmaps.flatten(2).max(dim=-1)
    width = heatmaps.shape[-1]
    peaks = precise(torch.stack([where % width, where.div(width, rounding_mode="floor")], dim=-1))
    return torch.where((highest > 0)[..., None], peaks, 0.0)


def _floats(values: Sequence[float] | Array) -> list[float]:
    return [float(value) for value in values]
