"""Files of Torch7, Caffe and TensorFlow, written as their programs write them, so that tests need
none of the three.

What this writes was read back with torchfile, OpenCV's readNetFromCaffe and TensorFlow 2.21 when it
was written.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# ---------------------------------------------------------------------------------------------------------------------
# Torch7


class Lua:
    """An object of a Torch7 class, or with no kind a table; entries may be changed later, which
    makes loops.
    """

    def __init__(self, kind: str = "", entries: dict[Any, Any] | None = None, **fields: Any) -> None:
        self.kind, self.entries = kind, {**(entries or {}), **fields}


def table(*values: Any) -> Lua:
    return Lua(entries=dict(enumerate(values, start=1)))


def module(kind: str, *children: Lua, **fields: Any) -> Lua:
    """An nn.Module, a container when it has children."""
    return Lua(kind, {**fields, **({"modules": table(*children)} if children else {})})


def convolution(weight: Tensor, bias: Tensor | None = None, kind: str = "cudnn.SpatialConvolution") -> Lua:
    return Lua(kind, weight=weight, **({} if bias is None else {"bias": bias}))


def node(content: Lua | None, *inputs: Lua) -> Lua:
    """The data of nngraph's node: its module, and the data of its inputs, by place and, as in
    nngraph, by itself.
    """
    places: dict[Any, Any] = dict(enumerate(inputs, start=1))
    places |= {data: place for place, data in enumerate(inputs, start=1)}
    return Lua(entries={**({} if content is None else {"module": content}), "mapindex": Lua(entries=places)})


def graph(*outputs: Lua) -> Lua:
    """An nn.gModule whose output depends on the nodes' data; `modules` is in an order of no
    meaning.
    """
    modules: list[Lua] = []
    waiting, seen = list(outputs), set()
    while waiting:
        data = waiting.pop()
        if id(data) in seen:
            continue
        seen.add(id(data))
        modules += [data.entries["module"]] if "module" in data.entries else []
        waiting += [value for key, value in data.entries["mapindex"].entries.items() if isinstance(key, int)]
    output = Lua("nngraph.Node", data=node(None, *outputs), id=1)
    return Lua("nn.gModule", modules=table(*modules), outnode=output, verbose=False)


def torch7(content: Any) -> bytes:
    """As torch.save of Torch7, binary, with longs of 8 bytes. Tensors that share memory share their
    storage.
    """
    parts: list[bytes] = []
    indices: dict[Any, int] = {}

    def reference(kind: int, key: Any) -> bool:
        """Write a value's index; whether the value itself has to follow."""
        new = key not in indices
        indices.setdefault(key, len(indices) + 1)
        parts.append(struct.pack("<ii", kind, indices[key]))
        return new

    def string(text: str) -> None:
        parts.append(struct.pack("<i", len(text)) + text.encode("latin-1"))

    def header(kind: str) -> None:
        string("V 1")
        string(kind)

    def write(value: Any) -> None:
        if value is None:
            parts.append(struct.pack("<i", 0))
        elif isinstance(value, bool):
            parts.append(struct.pack("<ii", 5, value))
        elif isinstance(value, int | float):
            parts.append(struct.pack("<id", 1, value))
        elif isinstance(value, str):
            parts.append(struct.pack("<i", 2))
            string(value)
        elif isinstance(value, bytes):  # a function's byte code, without upvalues
            if reference(8, ("function", value)):
                parts.append(struct.pack("<i", len(value)) + value)
                write(Lua())
        elif isinstance(value, Tensor):
            write_tensor(value)
        elif value.kind:
            if reference(4, id(value)):
                header(value.kind)
                # the fields are a table of their own
                parts.append(struct.pack("<ii", 3, indices.setdefault(("fields", id(value)), len(indices) + 1)))
                write_entries(value)
        elif reference(3, id(value)):
            write_entries(value)

    def write_entries(value: Lua) -> None:
        parts.append(struct.pack("<i", len(value.entries)))
        for key, entry in value.entries.items():
            write(key)
            write(entry)

    def write_tensor(value: Tensor) -> None:
        name = {
            **{torch.float32: "Float", torch.float64: "Double", torch.int64: "Long", torch.uint8: "Byte"},
            **{torch.int32: "Int", torch.float16: "Half", torch.int16: "Short"},
        }[value.dtype]
        if not reference(4, id(value)):
            return
        header(f"torch.{name}Tensor")
        parts.append(struct.pack(f"<i{2 * value.ndim}q", value.ndim, *value.shape, *value.stride()))
        parts.append(struct.pack("<q", value.storage_offset() + 1))
        memory = value.untyped_storage()
        if reference(4, ("storage", memory.data_ptr())):
            header(f"torch.{name}Storage")
            content = bytes(memory)
            parts.append(struct.pack("<q", len(content) // value.element_size()) + content)

    write(content)
    return b"".join(parts)


# ---------------------------------------------------------------------------------------------------------------------
# Protocol buffers, for Caffe and TensorFlow


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes | str) -> bytes:
    """A number, or a string, a message or a packed list."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(value: Tensor, *, legacy: bool = False, double: bool = False, packed: bool = True) -> bytes:
    numbers = value.detach().double().numpy() if double else value.detach().float().numpy()
    shape = field(7, field(1, b"".join(varint(size) for size in value.shape)))
    if legacy:
        sizes = [1] * (4 - value.ndim) + list(value.shape)
        shape = b"".join(field(number, size) for number, size in enumerate(sizes, start=1))
    if packed:
        return shape + field(8 if double else 5, numbers.tobytes())
    tag = varint(8 << 3 | 1) if double else varint(5 << 3 | 5)
    return shape + b"".join(tag + number.tobytes() for number in numbers.ravel())


def caffemodel(layers: dict[str, list[Tensor]], *, old: bool = False, **options: Any) -> bytes:
    """A NetParameter of layers with blobs, between layers that have none; `old` as Caffe wrote
    until 2015.
    """
    out = field(1, "net")
    for name, tensors in layers.items():
        connected = tensors[0].ndim == 2
        if old:
            content = field(2, "data") + field(3, name) + field(4, name) + field(5, 14 if connected else 4)
            content += b"".join(field(6, blob(value, legacy=True, **options)) for value in tensors)
        else:
            content = field(1, name) + field(2, "InnerProduct" if connected else "Convolution") + field(3, "data")
            content += field(4, name) + b"".join(field(7, blob(value, **options)) for value in tensors)
        out += field(2 if old else 100, content)
        relu = field(4, f"relu_{name}") + field(5, 18) if old else field(1, f"relu_{name}") + field(2, "ReLU")
        out += field(2 if old else 100, relu)
    return out


def crc32c(content: bytes) -> int:
    """Bit by bit, and masked as LevelDB masks it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def tensorflow(prefix: Path, variables: dict[str, np.ndarray], *, block: int = 20, restart: int = 4) -> Path:
    """A checkpoint of the second format: PREFIX.index and PREFIX.data-00000-of-00001; the first is
    returned.
    """
    kinds = {"f4": 1, "f8": 2, "i4": 3, "i8": 9, "f2": 19}
    data, entries = b"", {b"": field(1, 1) + field(3, field(1, 1))}
    for name, value in sorted(variables.items()):
        content = np.ascontiguousarray(value).tobytes()
        shape = b"".join(field(2, field(1, size)) for size in value.shape)
        parts = (
            *(field(1, kinds[value.dtype.str[1:]]), field(2, shape), field(4, len(data)), field(5, len(content))),
            varint(6 << 3 | 5) + struct.pack("<I", crc32c(content)),
        )
        entries[name.encode()] = b"".join(parts)
        data += content
    entries[b"a_string"] = field(1, 7) + field(2, b"") + field(4, 0) + field(5, 0)

    def encode(items: list[tuple[bytes, bytes]]) -> bytes:
        out, restarts, before = b"", [], b""
        for number, (key, value) in enumerate(items):
            shared = 0
            if number % restart == 0:
                restarts.append(len(out))
            else:
                while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                    shared += 1
            out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
            before = key
        return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))

    table, index = b"", []
    ordered = sorted(entries.items())
    for start in range(0, len(ordered), block):
        items = ordered[start : start + block]
        content = encode(items)
        index.append((items[-1][0], varint(len(table)) + varint(len(content))))
        table += content + b"\0" + struct.pack("<I", crc32c(content + b"\0"))
    handles = b""
    for content in (encode([]), encode(index)):
        handles += varint(len(table)) + varint(len(content))
        table += content + b"\0" + struct.pack("<I", crc32c(content + b"\0"))
    table += handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    path = prefix.with_name(f"{prefix.name}.index")
    path.write_bytes(table)
    return path
