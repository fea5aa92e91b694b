"""Object keypoint similarity (OKS) and its non-maximum suppression.

OKS of a pose and an annotated person is the mean over the labelled keypoints of
`exp(-d² / (2 s² k²))`: d the distance in pixels, s² the person's area, k = 2 sigma the spread of
that keypoint among annotators (COCO keypoint evaluation; sigmas belong to a skeleton). It is for
poses what IoU is for boxes; `posezoo.metrics.coco` computes AP and AR from it.

The functions take NumPy arrays or torch tensors on any device and return the same kind. A predicted
keypoint that is not finite counts as infinitely far away, with one warning per call.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_numpy, as_tensor, check_number, explained, same_kind
from posezoo.geometry import precise
from posezoo.metrics.arrays import any_wrong, warn_not_finite
from posezoo.skeletons import Skeleton, get_skeleton

EPS = np.spacing(1)  # pycocotools adds it to areas, so that an area of 0 can be divided by


@explained
def oks(
    pred: ArrayT, target: Array, areas: Array, sigmas: str | Skeleton | Sequence[float] | Array, *,
    visible: Array | None = None, boxes: Array | None = None,
) -> ArrayT:  # fmt: skip
    """Object keypoint similarity of N predicted poses with N annotated people, pair by pair.

    Args:
        pred: `(N, K, 2)` pixels; a NaN or infinite keypoint has similarity 0, with a warning.
        target: `(N, K, 2)` pixels.
        areas: `(N,)` square pixels. COCO's are the areas of the segments, a little over half of the
            areas of the boxes.
        sigmas: `(K,)`, or a skeleton that has them, such as "coco17".
        visible: `(N, K)` bool or COCO's flags; keypoints above 0 are labelled and count. Defaults
            to all.
        boxes: `(N, 4)` xyxy pixels. For a person without labelled keypoints, as in COCO's crowds,
            the distance of a predicted keypoint is measured to this box, enlarged by its own width
            and height on every side. Defaults to NaN for such people.

    Returns:
        `(N,)` in [0, 1].

    Raises:
        ValueError: shapes that do not match, a labelled keypoint or an area that is not finite, a
            negative area.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 17, 2)); pred = target + [3.0, 4.0]
        >>> oks(pred, target, np.array([5000.0]), "coco17").round(4)
        array([0.7764])
    """
    points = as_tensor(pred)
    truth = as_tensor(target, points)
    if points.ndim != 3 or points.shape[-1] != 2 or points.shape != truth.shape:
        raise ValueError(
            f"expected pred and target of one shape (N, K, 2), got {tuple(points.shape)} and {tuple(truth.shape)}"
        )
    warn_not_finite(~torch.isfinite(points).all(dim=-1), "predicted keypoints")
    return same_kind(pred, _similarity(points, *_people(points, truth, areas, sigmas, visible, boxes)))


@explained
def oks_matrix(
    pred: ArrayT, target: Array, areas: Array, sigmas: str | Skeleton | Sequence[float] | Array, *,
    visible: Array | None = None, boxes: Array | None = None,
) -> ArrayT:  # fmt: skip
    """`oks` of every prediction with every person: `(D, K, 2), (G, K, 2) -> (D, G)`.

    Args:
        areas: `(G,)` of the people; `visible` is `(G, K)` and `boxes` `(G, 4)`.

    Other arguments and errors as for `oks`.

    Examples:
        >>> import numpy as np
        >>> people = np.random.default_rng(0).uniform(0, 200, (3, 17, 2))
        >>> oks_matrix(people[:2], people, np.full(3, 4000.0), "coco17").round(2)
        array([[1.  , 0.  , 0.05],
               [0.  , 1.  , 0.  ]])
    """
    points = as_tensor(pred)
    truth = as_tensor(target, points)
    if points.ndim != 3 or points.shape[-1] != 2 or truth.shape[1:] != points.shape[1:]:
        raise ValueError(
            f"expected pred (D, K, 2) and target (G, K, 2) with the same K, got {tuple(points.shape)} and "
            f"{tuple(truth.shape)}"
        )
    warn_not_finite(~torch.isfinite(points).all(dim=-1), "predicted keypoints")
    return same_kind(pred, _similarity(points[:, None], *_people(points, truth, areas, sigmas, visible, boxes)))


@explained
def oks_nms(
    keypoints: ArrayT, scores: Array, areas: Array, sigmas: str | Skeleton | Sequence[float] | Array, *,
    threshold: float = 0.9,
) -> ArrayT:  # fmt: skip
    """OKS-based non-maximum suppression of the poses of one image.

    Greedy, from the highest score down: a pose is suppressed if its OKS with a pose that was kept
    is above (`>`) the threshold. The area is the mean of the two poses' areas, and all keypoints
    count. Simple Baselines, HRNet and mmpose apply it before they write COCO results.

    Args:
        keypoints: `(N, K, 2)` pixels, of one image only. A NaN keypoint has similarity 0.
        scores: `(N,)`; equal scores keep their order. Those papers multiply the box's score by the
            mean of the keypoints' scores above 0.2.
        areas: `(N,)` square pixels. Those papers use the areas of the cropped boxes, padding
            included.
        sigmas: `(K,)`, or a skeleton that has them.
        threshold: OKS above which a pose is suppressed.

    Returns:
        Indices of the poses that are kept, `(M,)`, highest score first.

    Raises:
        ValueError: shapes that do not match, a score that is NaN, an area that is negative or not
            finite.

    Examples:
        >>> import numpy as np
        >>> poses = np.random.default_rng(0).uniform(0, 200, (2, 17, 2))
        >>> oks_nms(np.stack([poses[0] + 1, poses[0], poses[1]]), np.array([0.3, 0.9, 0.5]), np.full(3, 4e3), "coco17")
        array([1, 2])
    """
    check_number(threshold, "threshold")
    points = as_tensor(keypoints)
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"keypoints: expected (N, K, 2), got {tuple(points.shape)}")
    spread = _spread(sigmas, points)
    ranking, sizes = (_per_person(values, name, points) for values, name in ((scores, "scores"), (areas, "areas")))
    if ranking.isnan().any():
        raise ValueError(f"scores: the one of pose {int(ranking.isnan().nonzero()[0])} is NaN; leave such poses out")
    _check_areas(sizes)
    warn_not_finite(~torch.isfinite(points).all(dim=-1), "predicted keypoints")
    exact = precise(points)
    remaining = ranking.argsort(descending=True, stable=True)
    kept = []
    while len(remaining):  # a loop over the kept poses, as each decides which of the others remain
        best, others = remaining[0], remaining[1:]
        kept.append(best)
        alike = _similarity(exact[others], exact[best], (sizes[others] + sizes[best]) / 2, spread, None, None)
        remaining = others[~(alike > threshold)]
    return same_kind(keypoints, torch.stack(kept) if kept else remaining)


@explained
def oks_sigmas(sigmas: str | Skeleton | Sequence[float] | Array) -> np.ndarray:
    """Return the per-keypoint constants of OKS as an array `(K,)`, those of a skeleton or as given.

    Raises:
        ValueError: for a skeleton without sigmas, or numbers that are not positive.

    Examples:
        >>> oks_sigmas("coco17")[:3]
        array([0.026, 0.025, 0.025])
    """
    if isinstance(sigmas, str | Skeleton):
        named = get_skeleton(sigmas)
        if named.sigmas is None:
            raise ValueError(f"sigmas: the skeleton {named.name!r} has none; pass one per keypoint")
        sigmas = named.sigmas
    values = as_numpy(sigmas).astype(float)
    if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"sigmas: expected positive numbers, one per keypoint, got {values.tolist()}")
    return values


def _people(
    points: Tensor, truth: Tensor, areas: Array, sigmas: Any, visible: Array | None, boxes: Array | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Check the annotations of people `(N, K, 2)` and return them in double precision."""
    size = _per_person(areas, "areas", truth)
    _check_areas(size)
    mask = None
    if visible is not None:
        mask = as_tensor(visible, points) > 0
        if mask.shape != truth.shape[:2]:
            raise ValueError(f"visible: expected (N, K) = {tuple(truth.shape[:2])}, got {tuple(mask.shape)}")
    unknown = ~torch.isfinite(truth).all(dim=-1)
    unknown = unknown if mask is None else unknown & mask
    if any_wrong(unknown):
        person, keypoint = unknown.nonzero()[0].tolist()
        raise ValueError(
            f"target: keypoint {keypoint} of person {person} is NaN or infinite; mark missing ones in `visible`"
        )
    around = None
    if boxes is not None:
        around = precise(as_tensor(boxes, points))
        if around.shape != (len(truth), 4):
            raise ValueError(f"boxes: expected (N, 4) = ({len(truth)}, 4) xyxy, got {tuple(around.shape)}")
    return precise(truth), size, _spread(sigmas, truth), mask, around


def _similarity(
    points: Tensor, truth: Tensor, areas: Tensor, spread: Tensor, mask: Tensor | None, boxes: Tensor | None
) -> Tensor:
    """OKS `(...)` of poses `(..., K, 2)`, areas `(...)`, spread `(K,)`, boxes `(..., 4)`."""
    points = precise(points)
    # infinitely far, so that exp gives 0; NaN would spread to the means
    points = torch.where(torch.isfinite(points).all(dim=-1, keepdim=True), points, torch.inf)
    scale = spread * (areas[..., None] + float(EPS)) * 2
    alike = torch.exp(-(points - truth).square().sum(dim=-1) / scale)
    if mask is None:
        return alike.mean(dim=-1)
    labelled = mask.sum(dim=-1)
    result = torch.where(mask, alike, 0.0).sum(dim=-1) / labelled
    if boxes is None:
        return result
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    width = high - low
    # pycocotools: without labels, distances to a box of three times the size around the annotated one
    beyond = (low - width - points).clamp(min=0) + (points - high - width).clamp(min=0)
    return torch.where(labelled > 0, result, torch.exp(-beyond.square().sum(dim=-1) / scale).mean(dim=-1))


def _spread(sigmas: Any, points: Tensor) -> Tensor:
    values = oks_sigmas(sigmas)
    if len(values) != points.shape[-2]:
        raise ValueError(f"sigmas: expected {points.shape[-2]}, one per keypoint, got {len(values)}")
    # COCO's k_i is twice its sigma
    return precise(torch.from_numpy((values * 2) ** 2).to(points.device))


def _per_person(values: Array, name: str, people: Tensor) -> Tensor:
    found = precise(as_tensor(values, people))
    if found.shape != people.shape[:1]:
        raise ValueError(f"{name}: expected one per person, ({len(people)},), got {tuple(found.shape)}")
    return found


def _check_areas(areas: Tensor) -> None:
    wrong = ~((areas >= 0) & torch.isfinite(areas))
    if any_wrong(wrong):
        at = int(wrong.nonzero()[0])
        raise ValueError(f"areas: person {at} has {float(areas[at])}; expected square pixels, 0 or more")
