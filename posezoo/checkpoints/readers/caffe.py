"""Read Caffe's binary files (.caffemodel): the tensors of each layer.

A file is one NetParameter message of Caffe's `caffe.proto`. Its layers are field 100, or field 2 in
files older than 2015. A layer holds its name and its blobs, a blob its shape and its numbers.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from posezoo.checkpoints.readers.protobuf import Value, fields, message, text, varints

LAYER = {"field": 100, "name": 1, "type": 2, "blobs": 7}
OLD_LAYER = {"field": 2, "name": 4, "type": 5, "blobs": 6}
FULLY_CONNECTED = ("InnerProduct", 14)  # by name, and by number in the old files
NUMBERS = {5: "<f4", 8: "<f8"}  # the blob's fields for its data, single and double
LEGACY_SIZES = (1, 2, 3, 4)  # its fields for number, channels, height, width, before there were shapes
SHAPE = 7
MAX_DIMENSIONS = 32  # Caffe's limit
LEAVES = ("weight", "bias")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a .caffemodel: `layer.weight`, `layer.bias`, and further tensors as `layer.2` and on.

    Raises:
        ValueError: not such a file, cut off, or a blob whose shape and numbers disagree.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "tiny.caffemodel")
        >>> blob = bytes.fromhex("3a 03 0a 01 01  2a 04") + np.float32(0.5).tobytes()  # of shape (1,)
        >>> _ = path.write_bytes(bytes.fromhex("a2 06 13  0a 04") + b"conv" + bytes([0x3A, len(blob)]) + blob)
        >>> read_tensors(path)
        {'conv.weight': tensor([0.5000])}
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    try:
        for number, value in fields(memoryview(path.read_bytes())):
            for kind in (LAYER, OLD_LAYER):
                if number == kind["field"]:
                    tensors |= _layer(message(value), kind, tensors)
    except ValueError as error:
        raise ValueError(f"{path} is not a whole .caffemodel ({error}); get it again") from error
    if not tensors:
        raise ValueError(f"{path} is no .caffemodel with weights: no layer in it holds any; a .prototxt has none")
    return tensors


def _layer(layer: memoryview, kind: dict[str, int], before: dict[str, Tensor]) -> dict[str, Tensor]:
    name, type_, blobs = "", None, []
    for number, value in fields(layer):
        if number == kind["name"]:
            name = text(value)
        elif number == kind["type"]:
            type_ = value if isinstance(value, int) else text(value)
        elif number == kind["blobs"]:
            blobs.append(message(value))
    tensors = {}
    for index, blob in enumerate(blobs):
        key = f"{name}.{LEAVES[index] if index < len(LEAVES) else index}"
        if key in before:
            raise ValueError(f"two layers are called {name!r}")
        try:
            tensors[key] = _blob(blob, len_of_shape=1 if index else 2 if type_ in FULLY_CONNECTED else 4)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error
    return tensors


def _blob(blob: memoryview, len_of_shape: int) -> Tensor:
    """Read the numbers and the shape of a blob.

    Files older than 2015 give four sizes for every blob, of which the last `len_of_shape` count.
    """
    shape: list[int] | None = None
    sizes = [1, 1, 1, 1]
    numbers: list[np.ndarray] = []
    for number, value in fields(blob):
        if number in NUMBERS:
            numbers.append(_numbers(value, np.dtype(NUMBERS[number])))
        elif number == SHAPE:
            shape = [size for field, dim in fields(message(value)) if field == 1 for size in varints(dim)]
        elif number in LEGACY_SIZES:
            (sizes[number - 1],) = varints(value)
    if len(shape or ()) > MAX_DIMENSIONS:
        raise ValueError(f"a blob of {len(shape or ())} dimensions")
    if shape is None:
        shape = sizes[4 - len_of_shape :] if math.prod(sizes[: 4 - len_of_shape]) == 1 else sizes
    count = sum(len(part) for part in numbers)
    if count != math.prod(shape):
        raise ValueError(f"a blob of shape {tuple(shape)} has {count} numbers")
    content = np.concatenate(numbers) if numbers else np.zeros(0, "<f4")
    return torch.from_numpy(content.astype(np.float32)).reshape(shape)


def _numbers(value: Value, kind: np.dtype) -> np.ndarray:
    content = message(value)
    if len(content) % kind.itemsize:
        raise ValueError(f"{len(content)} bytes are no whole list of numbers of {kind.itemsize}")
    return np.frombuffer(content, kind)
