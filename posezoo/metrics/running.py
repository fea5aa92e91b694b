"""Gather predictions batch by batch, from one or more processes, and compute a metric once.

The mean over batches is not the metric of the data set: batches differ in size and in annotated
keypoints. `Running` keeps the predictions, so that any function of `posezoo.metrics` returns its
value on the whole data set. The methods have torchmetrics' names; torchmetrics is not required.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from posezoo.arrays import Array, as_numpy


class Running(nn.Module):
    """Metric function of predictions that are gathered batch by batch.

    In a `MetricCollection` of torchmetrics all functions receive the positional arguments, and each
    receives the keyword arguments that it accepts. The collection flattens a result that is a dict.

    Args:
        function: any metric of `(pred, target, ...)`, such as `metrics.pdj`.
        options: keyword arguments of the function that are constant over batches.

    Examples:
        >>> from posezoo.metrics import pck
        >>> running = Running(pck, threshold=0.5)
        >>> for size in (2, 1):
        ...     target = torch.zeros(size, 14, 2)
        ...     running.update(target + size, target, torch.full((size,), 4.0))
        >>> running.compute()[:3]
        tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64)
    """

    _defaults: ClassVar[Mapping[str, Any]] = {}  # read by MetricCollection: no state to share with another metric

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        if not callable(function):
            raise ValueError(f"function: expected a metric such as posezoo.metrics.pck, got {function!r:.100}")
        self.function, self.options = function, options
        self._batches: list[_Batch] = []
        self._all: _Batch | None = None  # of all processes, until the next update
        # MetricCollection accepts only instances of its Metric, an abstract class; its users have imported it
        if "torchmetrics" in sys.modules:
            sys.modules["torchmetrics"].Metric.register(Running)

    def update(self, *arrays: Any, index: Array | None = None, **named: Any) -> None:
        """Add a batch.

        Args:
            arrays: positional arguments of the function: tensors, NumPy arrays or lists (of
                actions, of subjects), with one entry per sample. They are copied; tensors are
                detached and stay on their device.
            index: `(N,)` numbers of the samples in the data set, by which `compute` restores the
                order and drops repeated samples, such as those that pad the last batch of several
                processes. Defaults to the order of the updates, process by process.
            named: keyword arguments of the function, such as `visible`; None is passed on.

        Raises:
            ValueError: arguments of different lengths, or other ones than in the batches before.
        """
        if repeated := sorted(set(named) & set(self.options)):
            raise ValueError(f"{repeated[0]} is already an option of this Running; leave it out of update")
        batch = _Batch(
            tuple(_kept(array) for array in arrays),
            {name: _kept(array) for name, array in named.items()},
            None if index is None else as_numpy(index).reshape(-1),
        )
        _check(batch, self._batches[0] if self._batches else batch)
        self._batches.append(batch)
        self._all = None

    def compute(self) -> Any:
        """Call the function once on all samples of all processes; call it in every process.

        Raises:
            ValueError: there are no samples.
        """
        if self._all is None:
            self.sync()
        assert self._all is not None
        return self.function(*self._all.arrays, **self._all.named, **self.options)

    def sync(self) -> None:
        """Gather the batches of all processes for `compute`, which calls it in every process.

        Processes may have different numbers of batches, of different sizes. The gathered copy is on
        the CPU; this process keeps only its own batches, so that no sample counts twice after
        further updates. Without `torch.distributed` the batches of this process are concatenated
        on their device.

        Raises:
            ValueError: there are no samples in any process, or processes have different arguments.
        """
        batches = self._batches
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            shares: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(shares, [_on_cpu(batch) for batch in batches])
            batches = [batch for share in shares for batch in share]
        if not batches:
            raise ValueError("there is nothing to compute; call update with the predictions of a batch first")
        for batch in batches:
            _check(batch, batches[0])
        self._all = _joined(batches)

    def reset(self) -> None:
        """Remove all batches."""
        self._batches, self._all = [], None

    def forward(self, *arrays: Any, index: Array | None = None, **named: Any) -> Any:
        """Add a batch and return the metric of this batch alone, as torchmetrics does."""
        self.update(*arrays, index=index, **named)
        return self.function(*arrays, **named, **self.options)

    def _filter_kwargs(self, **named: Any) -> dict[str, Any]:
        # called by MetricCollection, whose keyword arguments are those of all its metrics
        parameters = inspect.signature(self.function).parameters.values()
        if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
            accepted = set(named)
        else:
            accepted = {parameter.name for parameter in parameters} | {"index"}
        return {name: value for name, value in named.items() if name in accepted - set(self.options)}


class _Batch(NamedTuple):
    arrays: tuple[Any, ...]
    named: dict[str, Any]
    numbers: np.ndarray | None  # of the samples in the data set


def _kept(values: Any) -> Any:
    """Copy an array, without its gradients: data loaders and buffers reuse their memory."""
    if isinstance(values, Tensor):
        return values.detach().clone()
    return values.copy() if isinstance(values, np.ndarray) else values


def _check(batch: _Batch, first: _Batch) -> None:
    described, expected = _described(batch), _described(first)
    if described != expected:
        raise ValueError(f"update: expected the arguments of the first batch, {expected}; got {described}")
    lengths: dict[str, int | None] = {}
    for name, values in (*enumerate(batch.arrays), *batch.named.items(), ("index", batch.numbers)):
        if values is not None:
            lengths[f"argument {name}"] = _length(values)
    if not lengths or None in lengths.values() or len(set(lengths.values())) > 1:
        raise ValueError(f"update: expected arrays or lists with one entry per sample, got lengths {lengths}")


def _described(batch: _Batch) -> str:
    given = [f"{len(batch.arrays)} positional", *sorted(batch.named), *(["index"] if batch.numbers is not None else [])]
    absent = [str(name) for name, values in (*enumerate(batch.arrays), *batch.named.items()) if values is None]
    return ", ".join(given) + (f" ({', '.join(absent)} None)" if absent else "")


def _length(values: Any) -> int | None:
    """Number of samples in an argument of a batch; None for a number or a text."""
    if isinstance(values, Tensor | np.ndarray):
        return len(values) if values.ndim else None
    return len(values) if isinstance(values, Sequence) and not isinstance(values, str) else None


def _on_cpu(batch: _Batch) -> _Batch:
    def moved(values: Any) -> Any:
        return values.cpu() if isinstance(values, Tensor) else values

    return _Batch(tuple(map(moved, batch.arrays)), {n: moved(v) for n, v in batch.named.items()}, batch.numbers)


def _joined(batches: list[_Batch]) -> _Batch:
    """Concatenate batches, in the order of the data set if there is an index."""
    numbers = [batch.numbers for batch in batches if batch.numbers is not None]
    order = np.unique(np.concatenate(numbers), return_index=True)[1] if numbers else None

    def joined(parts: list[Any]) -> Any:
        first = parts[0]
        if first is None:
            return None
        if isinstance(first, Tensor):
            tensor = torch.cat(parts)
            return tensor if order is None else tensor[torch.from_numpy(order).to(tensor.device)]
        if isinstance(first, np.ndarray):
            array = np.concatenate(parts)
            return array if order is None else array[order]
        entries = [entry for part in parts for entry in part]
        return entries if order is None else [entries[number] for number in order.tolist()]

    arrays = tuple(joined([batch.arrays[i] for batch in batches]) for i in range(len(batches[0].arrays)))
    return _Batch(arrays, {name: joined([batch.named[name] for batch in batches]) for name in batches[0].named}, None)
