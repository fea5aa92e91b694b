"""NumPy arrays or torch tensors in, the same kind out: the conversions that all metrics share."""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Any  # np.ndarray or torch.Tensor; a result is of the kind of its first argument


def as_tensor(array: Array, like: Tensor | None = None) -> Tensor:
    """Convert an array to a tensor, sharing its memory where possible; never write to the result.

    Args:
        array: NumPy array, tensor or list of numbers.
        like: move the tensor to the device of this one. Defaults to no move.

    Example:
        >>> as_tensor(np.zeros((2, 3))[:, ::-1]).shape
        torch.Size([2, 3])
    """
    if isinstance(array, Tensor):
        tensor = array
    elif isinstance(array, np.ndarray) and array.flags.carray and array.dtype.isnative:
        tensor = torch.from_numpy(array)
    else:  # torch refuses reversed arrays (`pred[:, ::-1]`) and warns about read-only ones
        tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor if like is None else tensor.to(like.device)


def as_numpy(values: Array) -> np.ndarray:
    """Convert an array, a tensor on any device or a list to a NumPy array.

    Example:
        >>> as_numpy(torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def same_kind(reference: Array, values: Tensor) -> Array:
    """Return `values` as a tensor if `reference` is one, else as a NumPy array.

    Example:
        >>> same_kind(np.zeros(1), torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    return values if isinstance(reference, Tensor) else values.cpu().numpy()


def finite_points(keypoints: np.ndarray) -> np.ndarray:
    """Mask `(N, K)` of the keypoints `(N, K, 2 or 3)` whose x and y are finite.

    Example:
        >>> finite_points(np.array([[[1.0, 2.0, 0.0], [np.nan, 2.0, 0.0]]]))
        array([[ True, False]])
    """
    mask: np.ndarray = np.isfinite(keypoints[..., 0])  # axis by axis, faster than `all` over two
    return mask & np.isfinite(keypoints[..., 1])


def in_fractions(points: np.ndarray) -> bool:
    """Whether points `(..., 2)` in pixels are fractions of an image instead.

    No person, box or video is smaller than a pixel. Equal points are no fractions: zeros stand for
    missing ones.

    Example:
        >>> in_fractions(np.array([[0.1, 0.2], [0.5, 0.9]])), in_fractions(np.zeros((17, 2)))
        (True, False)
    """
    flat = points.reshape(-1, 2)
    flat = flat[np.isfinite(flat).all(axis=1)]
    return len(flat) > 1 and bool(np.abs(flat).max() <= 1 and np.ptp(flat, axis=0).any())


def visible_mask(visible: Array | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """Convert `visible` to a bool tensor `(N, K)` on the device of `like`.

    Args:
        visible: `(N, K)` mask. Defaults, if None, to all True.
        shape: the expected (N, K).
        like: any tensor on the device wanted.

    Raises:
        ValueError: for another shape.

    Example:
        >>> visible_mask(None, (1, 2), torch.zeros(1))
        tensor([[True, True]])
    """
    if visible is None:
        return torch.ones(tuple(shape), dtype=torch.bool, device=like.device)
    mask = as_tensor(visible, like).bool()
    if mask.shape != torch.Size(shape):
        raise ValueError(f"visible: expected (N, K) = {tuple(shape)}, got {tuple(mask.shape)}")
    return mask


def warn_not_finite(mask: Tensor, what: str) -> None:
    """Warn, at the line that called the metric, about the predictions in `mask`, if there are any.

    Args:
        mask: bool, True for predictions that count and are not finite.
        what: plural noun for the message, such as "predicted keypoints".

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_not_finite(torch.tensor([True, False]), "predicted keypoints")
        >>> str(caught[0].message)
        '1 of the predicted keypoints are not finite and count as misses'
    """
    if count := int(mask.sum()):
        message = f"{count} of the {what} are not finite and count as misses"
        warnings.warn(message, UserWarning, stacklevel=_levels_to_caller())


def _levels_to_caller() -> int:
    """Stack level, for `warnings.warn`, of the innermost frame outside `posezoo.metrics`."""
    # metrics call each other at different depths, so that no constant level points at the user's line
    package = __name__.rpartition(".")[0]
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith(package):
        frame, level = frame.f_back, level + 1
    return level
