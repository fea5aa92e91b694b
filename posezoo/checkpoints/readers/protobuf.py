"""Read the wire format of protocol buffers, as far as the files of Caffe and TensorFlow use it."""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Value = int | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield the number and the value of each field of a message.

    A value is an int, or the bytes of a string, message, packed list or number of fixed width.

    Raises:
        ValueError: not a whole message.

    Examples:
        >>> [(number, bytes(value)) for number, value in fields(memoryview(bytes([0x0A, 2]) + b"hi"))]
        [(1, b'hi')]
    """
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = varint(message, at)
            yield number, value
            continue
        if kind == BYTES:
            length, at = varint(message, at)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if number == 0 or length > len(message) - at:
            raise ValueError(f"field {number} is of {length} bytes, and {len(message) - at} are left")
        yield number, message[at : at + length]
        at += length


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it and the position of the next field."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def varints(value: Value) -> list[int]:
    """Read a repeated number, packed or alone."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        numbers.append(number)
    return numbers


def text(value: Value) -> str:
    """Decode a string."""
    return bytes(_bytes(value)).decode("utf-8", "replace")


def message(value: Value) -> memoryview:
    """Return the bytes of a nested message, or of a packed list of numbers of fixed width."""
    return _bytes(value)


def fixed32(value: Value) -> int:
    """Read a number of four bytes."""
    content = _bytes(value)
    if len(content) != 4:
        raise ValueError(f"expected 4 bytes, got {len(content)}")
    return int.from_bytes(content, "little")


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where bytes are expected")
    return value
