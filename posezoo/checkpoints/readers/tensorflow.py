"""Read TensorFlow's checkpoints of 2016 and later: `NAME.index` and `NAME.data-00000-of-00001`.

The index is a LevelDB table: blocks of sorted keys, each stored without the prefix that it shares
with the key before, and one last block with the positions of the others. A value is the message
BundleEntryProto: the type, shape, data file and offset of a tensor. TensorFlow is not needed.
"""

import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from posezoo.checkpoints.readers.protobuf import fields, fixed32, message, varint

MAGIC, FOOTER = 0xDB4775248B80FB57, 48  # of a table, in its last 8 bytes; bytes of its end
BLOCK_END = 5  # a byte for the compression, and a checksum
KINDS = {  # TensorFlow's numbers for its types
    **{1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2", 22: "<u4"},
}
STRING, BIG_ENDIAN = 7, 1
MAX_DIMENSIONS = 254  # TensorFlow's limit
CRC_POLYNOMIAL, CRC_MASK = 0x82F63B78, 0xA282EAD8
CRC_START = np.frombuffer(bytes.fromhex("54641f64"), np.uint8)  # these take a sum from 0 to all ones, where it starts


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the variables of a checkpoint under their names, without strings.

    Args:
        path: the .index file, a file beside it, or the checkpoint's name without an ending.

    Raises:
        ValueError: not such a checkpoint, cut off, a missing data file, or a variable in several
            slices.
    """
    prefix = name_of(path)
    index = prefix.with_name(f"{prefix.name}.index")
    if not index.is_file():
        raise ValueError(f"there is no file {index}; a TensorFlow checkpoint has one beside its .data files")
    try:
        entries = dict(_entries(memoryview(index.read_bytes())))
        header = dict(fields(entries.pop(b"", memoryview(b""))))
        shards = header.get(1, 1)
        if not isinstance(shards, int) or not 0 < shards < 10**5 or header.get(2) == BIG_ENDIAN:
            raise ValueError("it is of a big-endian machine, or of no number of data files")
        variables = {key.decode("utf-8", "replace"): _Variable(value) for key, value in entries.items()}
    except ValueError as error:
        raise ValueError(
            f"{index} is not the whole index of a TensorFlow checkpoint ({error}); get it again"
        ) from error

    tensors, files = {}, {}
    for name, variable in variables.items():
        if variable.kind == STRING:
            continue
        if variable.kind not in KINDS:
            raise ValueError(f"{index}: {name} is of TensorFlow's type {variable.kind}, which is not read here")
        file = prefix.with_name(f"{prefix.name}.data-{variable.shard:05}-of-{shards:05}")
        if file not in files:
            if not file.is_file():
                raise ValueError(f"there is no file {file}, which holds the values of {index}")
            files[file] = np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)
        tensors[name] = variable.tensor(name, files[file], file)
    return tensors


def name_of(path: str | Path) -> Path:
    """Return the name of a checkpoint, from any of its files.

    Examples:
        >>> name_of("checkpoint-17.data-00000-of-00001").name
        'checkpoint-17'
    """
    path = Path(path)
    return path.with_name(re.sub(r"\.(?:index|meta|data-\d{5}-of-\d{5})$", "", path.name))


class _Variable:
    """The entry of a variable in the index, a BundleEntryProto."""

    def __init__(self, entry: memoryview) -> None:
        numbers = {1: 0, 3: 0, 4: 0, 5: 0}
        self.shape: list[int] = []
        self.checksum = 0
        for number, value in fields(entry):
            if number in numbers and isinstance(value, int):
                numbers[number] = value
            elif number == 2:
                for field, dimension in fields(message(value)):
                    if len(self.shape) > MAX_DIMENSIONS:
                        raise ValueError(f"a variable of more than {MAX_DIMENSIONS} dimensions")
                    if field == 2:
                        sizes = [size for number, size in fields(message(dimension)) if number == 1]
                        self.shape += [size for size in sizes or [0] if isinstance(size, int)]
            elif number == 6:
                self.checksum = fixed32(value)
            elif number == 7:
                raise ValueError("a variable in several slices; save it whole")
        self.kind, self.shard, self.offset, self.size = numbers.values()

    def tensor(self, name: str, content: np.ndarray, file: Path) -> Tensor:
        kind = np.dtype(KINDS[self.kind])
        if self.size != math.prod(self.shape) * kind.itemsize:
            raise ValueError(f"{name}: the index gives {self.size} bytes to a variable of shape {tuple(self.shape)}")
        if self.offset + self.size > len(content):
            raise ValueError(
                f"{file} is cut off: {name} ends at byte {self.offset + self.size} of {len(content)}; get it again"
            )
        values = np.array(content[self.offset : self.offset + self.size])
        if _checksum(values) != self.checksum:
            raise ValueError(f"{file} is damaged: the checksum of {name} is wrong; get it again")
        return torch.from_numpy(values.view(kind).reshape(self.shape))


def _entries(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys and values of a LevelDB table."""
    if len(table) < FOOTER or int.from_bytes(table[-8:], "little") != MAGIC:
        raise ValueError("it does not end as one")
    _, at = _handle(table[-FOOTER:], 0)
    where, _ = _handle(table[-FOOTER:], at)
    for _, handle in _block(table, where):
        yield from _block(table, _handle(handle, 0)[0])


def _handle(content: memoryview, at: int) -> tuple[tuple[int, int], int]:
    """Read the offset and the size of a block; return them and the next position."""
    offset, at = varint(content, at)
    size, at = varint(content, at)
    return (offset, size), at


def _block(table: memoryview, where: tuple[int, int]) -> Iterator[tuple[bytes, memoryview]]:
    offset, size = where
    if size < 4 or offset + size + BLOCK_END > len(table):
        raise ValueError(f"a block of {size} bytes at {offset}, in {len(table)}")
    block, compression = table[offset : offset + size], table[offset + size]
    if compression:
        raise ValueError("its blocks are compressed, which TensorFlow's are not")
    end = offset + size + 1
    if _checksum(np.frombuffer(table[offset:end], np.uint8)) != int.from_bytes(table[end : end + 4], "little"):
        raise ValueError("a checksum is wrong")
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise ValueError(f"a block of {size} bytes with {restarts} restarts")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + own + length > end:
            raise ValueError("an entry that reaches beyond its block")
        key = key[:shared] + bytes(block[at : at + own])
        yield key, block[at + own : at + own + length]
        at += own + length


def _checksum(content: np.ndarray) -> int:
    """Compute the CRC-32C of bytes, masked as in LevelDB.

    The checksum is linear. The pieces of the content are summed up in parallel, then joined: a sum
    is advanced over as many zeros as the next piece has bytes.
    """
    table = _crc_table()
    content = np.concatenate([CRC_START, content])
    length = math.isqrt(len(content))
    pieces = np.zeros((-(-len(content) // length), length), np.uint8)
    pieces.ravel()[pieces.size - len(content) :] = content  # zeros in front do nothing
    sums = np.zeros(len(pieces), np.uint32)
    zeros = np.arange(256, dtype=np.uint32) << 8 * np.arange(4, dtype=np.uint32)[:, None]  # from each value of a byte
    for column in np.ascontiguousarray(pieces.T):
        sums = table[(sums ^ column) & 0xFF] ^ sums >> 8
        zeros = table[zeros & 0xFF] ^ zeros >> 8
    crc = 0
    for part in sums.tolist():
        for byte in range(4):
            part ^= int(zeros[byte, crc >> 8 * byte & 0xFF])
        crc = part
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + CRC_MASK) & 0xFFFFFFFF


@cache
def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ np.where(table & 1, np.uint32(CRC_POLYNOMIAL), np.uint32(0))
    return table
