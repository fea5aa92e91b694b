"""Percentage of correct keypoints, and its relatives PCKh and PDJ: one rule, three normalisers.

A keypoint is correct when its distance to the annotation is within `threshold` times a length of the person: of the
caller's choice (`pck`), the head's (`pckh`, MPII), or the torso's diameter (`pdj`, DeepPose and FLIC; LSP's PCK).
All functions take NumPy arrays or torch tensors on any device, and return the same kind.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.skeletons import Skeleton, get_skeleton

Array = Any  # np.ndarray or torch.Tensor; a result is of the kind of its first argument


def pck(
    pred: Array, target: Array, normalizer: Array, *, visible: Array | None = None, threshold: float = 0.2,
    strict: bool = False,
) -> Array:  # fmt: skip
    """Fraction of people whose keypoint is correct, per keypoint.

    Args:
        pred: `(N, K, 2)` pixels; a NaN or infinite prediction is a miss.
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
    hits, counted = _hits(pred, target, normalizer, visible, threshold, strict)
    return _like(pred, hits.double().sum(dim=0) / counted.sum(dim=0))


def pckh(
    pred: Array, target: Array, head_size: Array, *, visible: Array | None = None, threshold: float = 0.5,
    strict: bool = False,
) -> Array:  # fmt: skip
    """`pck` normalised by the head: MPII's measure, PCKh@0.5.

    Args:
        head_size: `(N,)` pixels; MPII's is 0.6 times the diagonal of the annotated head box.

    Others, result and errors as for `pck`. MPII's mean leaves out pelvis and thorax.

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
    points = points if points.is_floating_point() else points.double()
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
    counts = _tensor(visible).double().sum(dim=0)
    return float((torch.where(counts > 0, _tensor(values).double(), 0.0) * counts).sum() / counts.sum())


def _hits(
    pred: Array, target: Array, normalizer: Array, visible: Array | None, threshold: float, strict: bool
) -> tuple[Tensor, Tensor]:
    """Which keypoints are correct and which count, both `(N, K)` bool."""
    points, truth, length = _tensor(pred), _tensor(target), _tensor(normalizer)
    if points.ndim != 3 or points.shape != truth.shape:
        raise ValueError(
            f"expected pred and target of one shape (N, K, 2), got {tuple(points.shape)} and {tuple(truth.shape)}"
        )
    if length.shape != points.shape[:1]:
        raise ValueError(f"normalizer: expected one length per person, ({len(points)},), got {tuple(length.shape)}")
    if (length <= 0).any():
        bad = int((length <= 0).nonzero()[0])
        raise ValueError(
            f"normalizer: person {bad} has length {float(length[bad])}; expected pixels above 0, "
            "or NaN to leave the person out"
        )
    counted = torch.ones_like(points[..., 0], dtype=torch.bool) if visible is None else _tensor(visible).bool()
    if counted.shape != points.shape[:2]:
        raise ValueError(f"visible: expected (N, K) = {tuple(points.shape[:2])}, got {tuple(counted.shape)}")
    counted = counted & torch.isfinite(length)[:, None]
    if truth.is_floating_point() and truth[counted].isnan().any():
        person, keypoint = (truth.isnan().any(dim=-1) & counted).nonzero()[0].tolist()
        raise ValueError(f"target: keypoint {keypoint} of person {person} is NaN; mark missing ones in `visible`")
    distance = (points.double() - truth.double()).norm(dim=-1)
    limit = (threshold * length.double())[:, None]
    return ((distance < limit) if strict else (distance <= limit)) & counted, counted


def _tensor(array: Array) -> Tensor:
    # a copy, because torch refuses arrays that run backwards (`pred[:, ::-1]`) and warns about read-only ones
    return array if isinstance(array, Tensor) else torch.from_numpy(np.array(array, order="C"))


def _like(reference: Array, values: Tensor) -> Array:
    return values if isinstance(reference, Tensor) else values.numpy()
