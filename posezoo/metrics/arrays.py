"""Masks of keypoints and the warning about predictions that are not finite, for all metrics."""

import inspect
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from posezoo.arrays import Array, as_tensor, explained


def finite_points(keypoints: np.ndarray) -> np.ndarray:
    """Mask `(N, K)` of the keypoints `(N, K, 2 or 3)` whose x and y are finite.

    Examples:
        >>> finite_points(np.array([[[1.0, 2.0, 0.0], [np.nan, 2.0, 0.0]]]))
        array([[ True, False]])
    """
    mask: np.ndarray = np.isfinite(keypoints[..., 0])  # axis by axis, faster than `all` over two
    return mask & np.isfinite(keypoints[..., 1])


def any_wrong(mask: Tensor) -> bool:
    """Return whether any value of a mask is True; False on a device, which the host would wait for.

    Examples:
        >>> any_wrong(torch.tensor([True, False]))
        True
    """
    return mask.is_cpu and bool(mask.any())


def visible_mask(visible: Array | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """Convert `visible` to a bool tensor `(N, K)` on the device of `like`.

    Args:
        visible: `(N, K)` mask. Defaults, if None, to all True.
        shape: the expected (N, K).
        like: any tensor on the device wanted.

    Raises:
        ValueError: for another shape.

    Examples:
        >>> visible_mask(None, (1, 2), torch.zeros(1))
        tensor([[True, True]])
    """
    if visible is None:
        return torch.ones(tuple(shape), dtype=torch.bool, device=like.device)
    given = as_tensor(visible, like)
    if given.is_floating_point() and any_wrong(given.isnan()):
        raise ValueError("visible: expected a mask, got NaN in it")
    mask = given > 0
    if mask.shape != torch.Size(shape):
        raise ValueError(f"visible: expected (N, K) = {tuple(shape)}, got {tuple(mask.shape)}")
    return mask


def warn_not_finite(mask: Tensor, what: str) -> None:
    """Warn, at the line that called the metric, about the predictions in `mask`, if there are any.

    There is no warning on a device, because the host would wait for it.

    Args:
        mask: bool, True for predictions that count and are not finite.
        what: plural noun for the message, such as "predicted keypoints".

    Examples:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_not_finite(torch.tensor([True, False]), "predicted keypoints")
        >>> str(caught[0].message)
        '1 of the predicted keypoints are not finite and count as misses'
    """
    if mask.is_cpu and (count := int(mask.sum())):
        message = f"{count} of the {what} are not finite and count as misses"
        warnings.warn(message, UserWarning, stacklevel=_levels_to_caller())


def _levels_to_caller() -> int:
    """Stack level, for `warnings.warn`, of the innermost frame outside `posezoo.metrics`."""
    # metrics call each other at different depths, so that no constant level points at the user's line
    inside = (__name__.rpartition(".")[0], explained.__module__)
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith(inside):
        frame, level = frame.f_back, level + 1
    return level
