"""NumPy arrays or torch tensors in, the same kind out: the conversions that all rooms share.

A function takes `ArrayT`, computes on `as_floats(...)` or `as_tensor(...)` and returns
`same_kind(first_argument, result)`. A tensor passes through both unchanged.
"""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Array = Any  # np.ndarray or torch.Tensor; a result is of the kind of its first argument
ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)  # the same, for type checkers: results have the kind of the argument


def as_tensor(array: Array, like: Tensor | None = None) -> Tensor:
    """Convert an array to a tensor, sharing its memory where possible; never write to the result.

    Args:
        array: NumPy array, tensor or list of numbers.
        like: move the tensor to the device of this one. Defaults to no move.

    Examples:
        >>> as_tensor(np.zeros((2, 3))[:, ::-1]).shape
        torch.Size([2, 3])
    """
    if isinstance(array, Tensor):
        tensor = array
    elif isinstance(array, np.ndarray) and array.flags.carray and array.dtype.isnative:
        tensor = torch.from_numpy(array)
    else:  # torch refuses reversed arrays (`pred[:, ::-1]`) and foreign byte orders, and warns about read-only arrays
        copy = np.array(array, order="C")
        tensor = torch.from_numpy(copy.astype(copy.dtype.newbyteorder("="), copy=False))
    return tensor if like is None else tensor.to(like.device)


def as_floats(array: Array, name: str, like: Tensor | None = None) -> Tensor:
    """Convert an array to a tensor of reals: floats keep their dtype, integers become float32.

    Args:
        array: NumPy array or tensor.
        name: of the argument, for the message.
        like: move the tensor to the device of this one. Defaults to no move.

    Raises:
        ValueError: anything but an array of real numbers.

    Examples:
        >>> as_floats(np.array([1, 2]), "boxes")
        tensor([1., 2.])
    """
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiu":
        # torch has no long double, and hardly any arithmetic for unsigned integers of more than 8 bits
        known = array.dtype.kind == "f" and array.dtype.itemsize <= 8
        array = as_tensor(array if known else array.astype(np.float32))
    elif isinstance(array, np.ndarray) or (
        isinstance(array, Tensor) and (array.is_complex() or array.dtype == torch.bool)
    ):
        raise ValueError(f"{name}: expected real numbers, got {array.dtype}")
    elif not isinstance(array, Tensor):
        raise ValueError(
            f"{name}: expected a NumPy array or a torch tensor, got {type(array).__name__}; np.asarray makes one"
        )
    tensor: Tensor = array if array.is_floating_point() else array.float()
    return tensor if like is None else tensor.to(like.device)


def as_numpy(values: Array) -> np.ndarray:
    """Convert an array, a tensor on any device or a list to a NumPy array.

    Examples:
        >>> as_numpy(torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def same_kind(reference: ArrayT, values: Any) -> ArrayT:
    """Return the tensor `values` unchanged if `reference` is a tensor, else as a NumPy array.

    Examples:
        >>> same_kind(np.zeros(1), torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    return values if isinstance(reference, Tensor) else values.detach().cpu().numpy()


def in_fractions(points: np.ndarray) -> bool:
    """Return whether points `(..., 2)`, expected in pixels, are fractions of an image.

    No person, box or video is smaller than a pixel. Equal points are no fractions: zeros stand for
    missing ones.

    Examples:
        >>> in_fractions(np.array([[0.1, 0.2], [0.5, 0.9]])), in_fractions(np.zeros((17, 2)))
        (True, False)
    """
    flat = points.reshape(-1, 2)
    flat = flat[np.isfinite(flat).all(axis=1)]
    return len(flat) > 1 and bool(np.abs(flat).max() <= 1 and np.ptp(flat, axis=0).any())
