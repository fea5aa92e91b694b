"""Read Torch7's binary files (.t7): their values, and the tensors of a network in the order of use.

All numbers are little-endian: an int has 4 bytes, a long 8, a number is a double. A value is an
int, its kind, followed by

    nil       nothing
    number    a double
    boolean   an int
    string    an int, as many bytes
    table     index; an int, as many keys and values
    object    index; strings "V 1" and class; of a tensor: dimensions, sizes, strides, offset + 1,
              storage; of a storage: a long, as many elements; of other classes: a table
    function  index; byte code, which is skipped; a table

An index that occurred before stands for the same value, so that values can be shared and have
loops. Written from torch/torch7's File.lua, Tensor.c and Storage.c. Nothing in a file is run.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

NIL, NUMBER, STRING, TABLE, OBJECT, BOOLEAN, FUNCTION, OLD_FUNCTION, NEW_FUNCTION = range(9)
ELEMENTS = {
    **{"Byte": "u1", "Char": "i1", "Short": "<i2", "Int": "<i4", "Long": "<i8"},
    **{"Half": "<f2", "Float": "<f4", "Double": "<f8"},
}
STORAGES = {f"torch.{cuda}{name}Storage": kind for name, kind in ELEMENTS.items() for cuda in ("", "Cuda")}
STORAGES |= {"torch.CudaStorage": "<f4"}
TENSORS = {name.replace("Storage", "Tensor") for name in STORAGES}
MAX_DIMENSIONS = 16
PARAMETERS = ("weight", "bias", "running_mean", "running_var")


class _Broken(Exception):
    """The reason why a file cannot be read."""


@dataclass(eq=False)
class Table:
    """A Lua table, or the fields of an object of some class; equal only to itself, as in Lua."""

    kind: str = ""
    entries: dict[Any, Any] = field(default_factory=dict)

    def get(self, key: Any) -> Any:
        return self.entries.get(key)

    def sequence(self) -> list[Any]:
        """Return the values of the keys 1, 2, 3 and so on."""
        values, index = [], 1
        while index in self.entries:
            values.append(self.entries[index])
            index += 1
        return values


@dataclass(eq=False)
class _Pending:
    """A value that has begun: a table without all keys and values, a tensor without its storage."""

    value: Any
    index: int
    left: int
    key: Any = None
    has_key: bool = False
    view: tuple[list[int], list[int], int] = ([], [], 0)


def read(path: str | Path) -> Any:
    """Read the value that `torch.save` wrote: a number, string, table or tensor.

    Args:
        path: a binary file with longs of 8 bytes.

    Raises:
        ValueError: not such a file, cut off, or one that claims more than it holds.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "number.t7")
        >>> _ = path.write_bytes(struct.pack("<id", NUMBER, 2.5))
        >>> read(path)
        2.5
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            return _Reader(file, path.stat().st_size).value()
        except _Broken as error:
            raise ValueError(
                f"{path} is not a whole binary Torch7 file (at byte {file.tell()}: {error}); get it again, or write it "
                "anew in Torch7 with torch.save(name, object:float())"
            ) from error


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters of a network, named like `0.SpatialConvolution.weight`.

    Modules with parameters are numbered in the order of the forward pass: containers from first to
    last, a graph backwards from its outputs, the inputs of a node in their order.

    Raises:
        ValueError: as `read`; no network in the file.
    """
    content = read(path)
    tensors = {}
    try:
        modules = list(_modules(content))
    except _Broken as error:
        raise ValueError(f"{path}: {error}") from error
    for number, module in enumerate(modules):
        kind = module.kind.rpartition(".")[2].removesuffix("MM")
        for name, value in _parameters(module).items():
            tensors[f"{number}.{kind}.{name}"] = value.float().clone()
    if not tensors:
        kind = content.kind if isinstance(content, Table) else type(content).__name__
        raise ValueError(f"{path}: expected a network of Torch7, found {kind or 'a table'} without modules")
    return tensors


def _parameters(module: Table) -> dict[str, Tensor]:
    """Return the tensors of a module, under the names of its class since 2016."""
    values = {name: module.get(name) for name in (*PARAMETERS, "running_std")}
    found = {name: value for name, value in values.items() if isinstance(value, Tensor) and value.numel()}
    if "running_std" in found:  # of 2015, and 1 / sqrt(var + eps)
        eps = module.get("eps")
        found["running_var"] = found.pop("running_std").float() ** -2 - (eps if isinstance(eps, float) else 1e-5)
    kernel = [module.get(size) for size in ("nOutputPlane", "nInputPlane", "kH", "kW")]
    weight = found.get("weight")
    known = all(isinstance(size, int) and size > 0 for size in kernel)
    if weight is not None and weight.ndim == 2 and known and weight.numel() == math.prod(kernel):
        found["weight"] = weight.reshape(kernel)  # a convolution kept as a matrix
    return found


def _modules(root: Any) -> Iterator[Table]:
    """Yield modules with parameters, each once, in the order of use; networks one by one."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        module = waiting.pop()
        if not isinstance(module, Table) or id(module) in seen:
            continue
        seen.add(id(module))
        if module.kind == "nn.gModule":
            children = _in_graph(module)
        elif isinstance(module.get("modules"), Table):
            children = module.get("modules").sequence()
        else:
            children = [module.get("module")] if module.kind else list(module.entries.values())
        if any(isinstance(module.get(name), Tensor) for name in PARAMETERS):
            yield module
        waiting += reversed(children)


def _in_graph(network: Table) -> list[Any]:
    """Return the modules of nngraph's nodes, each behind those it depends on."""
    outputs = network.get("outnode")
    if not isinstance(outputs, Table) or not isinstance(outputs.get("data"), Table):
        raise _Broken("an nn.gModule without its output node; the order of its modules is unknown")
    modules: list[Any] = []
    seen: set[int] = set()
    waiting = [(outputs.get("data"), False)]
    while waiting:
        data, done = waiting.pop()
        if done:
            modules.append(data.get("module"))
        elif id(data) not in seen:
            seen.add(id(data))
            inputs = data.get("mapindex")
            before = inputs.sequence() if isinstance(inputs, Table) else []
            waiting.append((data, True))
            waiting += [(node, False) for node in reversed(before) if isinstance(node, Table)]
    return modules


class _Reader:
    """A reader of one value, without recursion: graphs nest deeper than Python's stack."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.known: dict[int, Any] = {}

    def value(self) -> Any:
        waiting: list[_Pending] = []
        while True:
            value = self.begin()
            if isinstance(value, _Pending):
                if value.left:
                    waiting.append(value)
                    continue
                value = value.value  # an empty table
            while waiting:
                top = waiting[-1]
                self.give(top, value)
                if top.left:
                    break
                value = waiting.pop().value
            else:
                return value

    def begin(self) -> Any:
        """Read a whole value, or the beginning of one."""
        kind = self.integer()
        if kind == NIL:
            return None
        if kind == NUMBER:
            number = struct.unpack("<d", self.bytes(8))[0]
            return int(number) if number.is_integer() else number
        if kind == STRING:
            return self.string()
        if kind == BOOLEAN:
            return bool(self.integer())
        if kind not in (TABLE, OBJECT, FUNCTION, OLD_FUNCTION, NEW_FUNCTION):
            raise _Broken(f"no value is of kind {kind}")
        index = 0 if kind == FUNCTION else self.integer()
        if index in self.known and kind != FUNCTION:
            if self.known[index] is None:
                raise _Broken("a tensor that holds itself")
            return self.known[index]
        if kind == TABLE:
            return self.table(Table(), index)
        if kind == OBJECT:
            return self.object(index)
        self.string()  # byte code
        return _Pending(self.remember(Table("function"), index), index, 1)

    def object(self, index: int) -> Any:
        version = self.string()
        name = self.string() if version.startswith("V ") else version
        if name in STORAGES:
            kind = np.dtype(STORAGES[name])
            count = self.long()
            if count < 0 or count * kind.itemsize > self.left():
                raise _Broken(f"a storage of {count} elements, where {self.left()} bytes are left")
            content = np.frombuffer(bytearray(self.bytes(count * kind.itemsize)), kind)
            return self.remember(torch.from_numpy(content), index)
        if name in TENSORS:
            dimensions = self.integer()
            if not 0 <= dimensions <= MAX_DIMENSIONS:
                raise _Broken(f"a tensor of {dimensions} dimensions")
            sizes, strides = ([self.long() for _ in range(dimensions)] for _ in range(2))
            self.known[index] = None
            return _Pending(None, index, 1, view=(sizes, strides, self.long() - 1))
        # the fields of an object are a table behind its name
        return _Pending(self.remember(Table(name), index), index, 1)

    def table(self, table: Table, index: int) -> _Pending:
        count = self.integer()
        if count < 0 or 8 * count > self.left():
            raise _Broken(f"a table of {count} entries, where {self.left()} bytes are left")
        return _Pending(self.remember(table, index), index, count)

    def give(self, pending: _Pending, value: Any) -> None:
        """Add a value to one that has begun."""
        if not isinstance(pending.value, Table):
            pending.value = self.remember(self.tensor(pending.view, value), pending.index)
        elif not pending.value.kind:
            if not pending.has_key:
                if value is None:
                    raise _Broken("a table with a key that is nil")
                pending.key, pending.has_key = value, True
                return
            pending.value.entries[pending.key] = value
            pending.has_key = False
        elif pending.value.kind != "function":
            if not isinstance(value, Table) or value.kind:
                raise _Broken(f"{pending.value.kind!r} does not keep itself as a table, and is not known here")
            pending.value.entries = value.entries
        pending.left -= 1

    def tensor(self, view: tuple[list[int], list[int], int], storage: Any) -> Tensor:
        sizes, strides, offset = view
        if storage is None or not sizes or 0 in sizes:
            return torch.empty(0)
        if not isinstance(storage, Tensor) or storage.ndim != 1:
            raise _Broken("a tensor whose storage is something else")
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        count = 1
        for size in sizes:
            count *= size
        if min(sizes) < 0 or min(strides) < 0 or offset < 0 or last >= len(storage) or count > len(storage):
            raise _Broken(f"a tensor {tuple(sizes)} that reaches beyond its storage of {len(storage)}")
        return storage.as_strided(sizes, strides, offset)

    def remember(self, value: Any, index: int) -> Any:
        self.known[index] = value
        return value

    def integer(self) -> int:
        return int(struct.unpack("<i", self.bytes(4))[0])

    def long(self) -> int:
        return int(struct.unpack("<q", self.bytes(8))[0])

    def string(self) -> str:
        return self.bytes(self.integer()).decode("latin-1")

    def left(self) -> int:
        return self.size - self.file.tell()

    def bytes(self, count: int) -> bytes:
        if not 0 <= count <= self.left():
            raise _Broken(f"{count} bytes are asked for, and {self.left()} are left")
        return self.file.read(count)
