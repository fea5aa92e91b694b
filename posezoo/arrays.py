"""NumPy arrays or torch tensors in, the same kind out: the conversions that all modules share.

A function takes `ArrayT`, computes on `as_floats(...)` or `as_tensor(...)` and returns
`same_kind(first_argument, result)`. A tensor passes through both unchanged.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray | Tensor
ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)  # a result has the kind of the argument

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
MOST_SIDE = 2**16 - 1  # pixels, of an image
LARGE = 2**25  # bytes; the C library returns larger memory to the system, so that each result needs new pages
FOREIGN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def explained(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a public function of arrays: its errors are ValueErrors that show the arguments.

    Errors that `function` or a function of this package raises as a ValueError pass through. Others
    come from NumPy or torch, where the arguments are not those that the documentation describes.

    Raises:
        ValueError: in place of errors of NumPy and torch.

    Examples:
        >>> @explained
        ... def total(points):
        ...     return points.sum()
        >>> total([1, 2])
        Traceback (most recent call last):
        ValueError: total: expected other arguments, see its documentation; got points=list [1, 2] (AttributeError: ...)
    """

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        except FOREIGN as error:
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            if last is None or last is error.__traceback__ or isinstance(error, torch.OutOfMemoryError):
                raise  # a wrong call, such as a missing argument, or none of the arguments' fault
            if isinstance(error, ValueError) and last.tb_frame.f_globals.get("__name__", "").startswith("posezoo."):
                raise
            given = {**dict(zip(inspect.signature(function).parameters, args, strict=False)), **kwargs}
            got = ", ".join(f"{name}={_described(value)}" for name, value in given.items())
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{function.__qualname__.rpartition('<locals>.')[2]}: expected other arguments, see its documentation; "
                f"got {got} ({type(error).__name__}: {reason})"
            ) from error

    return call


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray | Tensor):
        return f"{type(value).__name__} {tuple(value.shape)} of {value.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else type(value).__name__


def check_number(value: Any, name: str, low: float = 0.0, *, open: bool = False) -> None:
    """Check a number such as a threshold.

    Args:
        value: a number.
        name: for the message.
        low: lowest value.
        open: whether `low` itself is refused.

    Raises:
        ValueError: no finite number, or one below `low`.

    Examples:
        >>> check_number(0.5, "threshold")
        >>> check_number(float("nan"), "threshold")
        Traceback (most recent call last):
        ValueError: threshold: expected a finite number of at least 0, got nan
    """
    number = value.item() if isinstance(value, np.generic | Tensor) and np.size(value) == 1 else value
    right = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    if not right or number < low or (open and number == low):
        least = "above" if open else "of at least"
        raise ValueError(f"{name}: expected a finite number {least} {low:g}, got {value!r}")


def check_count(value: Any, name: str) -> None:
    """Check a number of things, such as the size of a batch.

    Raises:
        ValueError: anything but a whole number, 1 or more.

    Examples:
        >>> check_count(16, "batch_size")
        >>> check_count(2.5, "batch_size")
        Traceback (most recent call last):
        ValueError: batch_size: expected a whole number, 1 or more, got 2.5
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a whole number, 1 or more, got {value!r}")


def check_size(size: Any) -> None:
    """Check the height and width of an image or a heatmap.

    Raises:
        ValueError: anything but two whole numbers from 1 to 65,535.

    Examples:
        >>> check_size((256, 192))
    """
    sides = size if isinstance(size, tuple | list | torch.Size) and len(size) == 2 else [0]
    if not all(isinstance(side, int | np.integer) and 0 < side <= MOST_SIDE for side in sides):
        raise ValueError(f"size: expected (H, W), two whole numbers from 1 to {MOST_SIDE}, got {size!r}")


def check_device(device: str | torch.device | None, name: str = "device") -> None:
    """Check that a device is there; None is.

    Raises:
        ValueError: no such device here.

    Examples:
        >>> check_device("cpu")
    """
    try:
        torch.empty(0, device=device)
        if torch.device(device or "cpu").type == "meta":
            raise RuntimeError("the meta device has no memory")
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{name}: {device!r} is not available here; 'cpu' always is ({reason})") from error


def check_permutation(index: Any, count: int) -> None:
    """Check the order in which keypoints are exchanged, such as `Skeleton.flip_index`.

    Raises:
        ValueError: anything but all numbers from 0 to `count` - 1.

    Examples:
        >>> check_permutation((0, 2, 1), 3)
    """
    if sorted(index) != list(range(count)):
        raise ValueError(f"flip_index: expected all of 0..{count - 1}, each once, got {tuple(index)!r:.200}")


def as_tensor(array: Any, like: Tensor | None = None) -> Tensor:
    """Convert an array to a tensor, sharing its memory where possible; never write to the result.

    Args:
        array: NumPy array, tensor or list of numbers.
        like: move the tensor to the device of this one. Defaults to no move.

    Raises:
        ValueError: complex numbers.

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
    if tensor.is_complex():
        raise ValueError(f"expected real numbers, got {tensor.dtype}")
    return tensor if like is None else tensor.to(like.device)


def as_floats(array: Any, name: str, like: Tensor | None = None) -> Tensor:
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


def is_array(tensor: Tensor) -> bool:
    """Return whether NumPy can read a tensor: on the CPU, with values, and in no captured graph.

    Examples:
        >>> is_array(torch.ones(2)), is_array(torch.ones(2, device="meta"))
        (True, False)
    """
    if type(tensor) is not Tensor or not tensor.is_cpu or torch.compiler.is_compiling():
        return False
    try:
        tensor.data_ptr()
    except RuntimeError:  # of a tensor that stands for several, inside of torch.vmap
        return False
    return True


def large_empty(shape: Sequence[int], like: Tensor) -> Tensor | None:
    """Return memory for a large result on a CPU; None where torch allocates it as well itself.

    NumPy asks the system for pages of 2 MB where it can, torch for pages of 4 kB. Their first use
    takes longer than writing a large result.

    Args:
        shape: of the result.
        like: an operand, of the result's dtype.

    Examples:
        >>> large_empty((2, 3), torch.ones(1)) is None, large_empty((4000, 4000), torch.ones(1)).shape
        (True, torch.Size([4000, 4000]))
    """
    size = math.prod(shape) * like.element_size()
    if size < LARGE or not is_array(like) or like.requires_grad:
        return None
    return torch.from_numpy(np.empty(size, np.uint8)).view(like.dtype).view(*shape)


def as_numpy(values: Any) -> np.ndarray:
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
