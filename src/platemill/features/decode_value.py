"""From the bytes that Feast keeps online back to one value of Python's.

A feature's value is a serialized ``feast.types.Value``: one field of a oneof, or no bytes at all
for null. Only the bytes that protobuf itself writes for a value are read: a field that is another
one, cut off, doubled, or written in a longer form than need be is refused, so that bytes which are
no value of the feature's type never become one. Imports no Feast.

Source: Protocol Buffers, "Encoding" (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NoReturn

import pyarrow as pa

from platemill.errors import FeatureUnreadable

__all__ = ["decode_value", "value_decoder"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND = -62_135_596_800
LAST_SECOND = 253_402_300_799
TIMESTAMP = pa.timestamp("us", tz="UTC")

# A varint: seven bits a byte, the lowest first; the eighth says that another byte follows.
MORE = 0x80
SEVEN_BITS = 0x7F
LONGEST_VARINT = 10

# The key of the oneof's field, as it stands before the value: number << 3 | wire type.
TAGS: dict[pa.DataType, bytes] = {
    pa.string(): b"\x12",
    pa.int32(): b"\x18",
    pa.int64(): b"\x20",
    pa.float64(): b"\x29",
    pa.float32(): b"\x35",
    TIMESTAMP: b"\x40",
    pa.list_(pa.string()): b"\x62",
    pa.list_(pa.int64()): b"\x72",
    pa.list_(pa.float32()): b"\x82\x01",
}
# The key of a list's elements.
ELEMENT = 0x0A

_Decoder = Callable[[bytes | None], Any]


def decode_value(data: bytes | None, kind: pa.DataType) -> Any:
    """Decode a feature's value.

    Args:
        data: a serialized ``Value`` message; None and no bytes are null.
        kind: the feature's Arrow type: string, int32, int64, float32, float64, timestamp[us, UTC],
            or a list of string, int64 or float32.

    Returns:
        The value, None for null; a time as an aware UTC datetime.

    Raises:
        FeatureUnreadable: bytes that are no value of that type.
        KeyError: online values of that type are not known.
    """
    return value_decoder(kind)(data)


@cache
def value_decoder(kind: pa.DataType) -> _Decoder:
    """The function that decodes values of a type. See ``decode_value``."""
    if kind not in TAGS:
        raise KeyError(f"online values of type {kind} are not known")
    if pa.types.is_list(kind):
        return _list_decoder(kind)
    if pa.types.is_floating(kind):
        return _float_decoder(kind)
    if pa.types.is_string(kind):
        return _text_decoder(kind)
    return _time_decoder(kind) if kind == TIMESTAMP else _integer_decoder(kind)


def refuse(data: bytes, kind: pa.DataType, why: str, row: int | None = None) -> NoReturn:
    """Raise the error about bytes that are no value of a type."""
    shown = data[:24].hex() + ("…" if len(data) > 24 else "")
    where = "" if row is None else f" in row {row}"
    raise FeatureUnreadable(
        f"the online store holds {len(data)} bytes{where} that are no value of type {kind}: {why} "
        f"({shown}). They were written by something else or are damaged; written again from the "
        "tiles, the store is right"
    )


def _integer_decoder(kind: pa.DataType) -> _Decoder:
    tag = TAGS[kind][0]
    bits = 31 if kind == pa.int32() else 63

    def decode(data: bytes | None) -> int | None:
        if not data:
            return None
        # Most are counts, of a byte.
        if len(data) == 2 and data[0] == tag and data[1] < MORE:
            return data[1]
        value = _signed(data, tag, kind)
        if value >> bits not in (0, -1):
            refuse(data, kind, "a number of more than 32 bits")
        return value

    return decode


def _time_decoder(kind: pa.DataType) -> _Decoder:
    tag = TAGS[kind][0]

    def decode(data: bytes | None) -> datetime | None:
        if not data:
            return None
        seconds = _seconds(data, tag)
        if seconds is None:
            seconds = _signed(data, tag, kind)
        if not FIRST_SECOND <= seconds <= LAST_SECOND:
            refuse(data, kind, "a time outside the years 1 to 9999")
        return EPOCH + timedelta(0, seconds)

    return decode


def _seconds(data: bytes, tag: int) -> int | None:
    """The seconds of a time between 1978 and 3058, which are five bytes; otherwise None."""
    if len(data) != 6 or data[0] != tag:
        return None
    joined = int.from_bytes(data, "little")
    if joined & 0x8080_8080_8000 != 0x0080_8080_8000 or joined < 1 << 40:
        return None
    return (
        joined >> 8 & 0x7F
        | joined >> 9 & 0x3F80
        | joined >> 10 & 0x1F_C000
        | joined >> 11 & 0xFE0_0000
        | joined >> 12 & 0x7_F000_0000
    )


def _float_decoder(kind: pa.DataType) -> _Decoder:
    tag = TAGS[kind][0]
    form = struct.Struct("<Bd" if kind == pa.float64() else "<Bf")

    def decode(data: bytes | None) -> float | None:
        if not data:
            return None
        if len(data) != form.size:
            refuse(data, kind, "another length")
        found, value = form.unpack(data)
        if found != tag:
            refuse(data, kind, "another field")
        number: float = value
        return number

    return decode


def _text_decoder(kind: pa.DataType) -> _Decoder:
    tag = TAGS[kind]

    def decode(data: bytes | None) -> str | None:
        if not data:
            return None
        # Most texts are short: their length is a byte.
        size = len(data) - 2
        if 0 <= size < MORE and data[0] == tag[0] and data[1] == size:
            return _text(data, 2, len(data), kind)
        return _text(data, _payload(data, tag, kind), len(data), kind)

    return decode


def _list_decoder(kind: pa.DataType) -> _Decoder:
    tag = TAGS[kind]
    element = kind.value_type
    texts, floats = pa.types.is_string(element), pa.types.is_floating(element)

    def decode(data: bytes | None) -> list[Any] | None:
        if not data:
            return None
        at = _payload(data, tag, kind)
        if texts:
            return list(_texts(data, at, kind))
        if at == len(data):
            return []
        start, end = _element(data, at, kind)
        if end != len(data) or start == end:
            refuse(data, kind, "the numbers are not in one block")
        if not floats:
            numbers = data[start:]
            # Small counts are a byte each.
            return list(numbers if numbers.isascii() else _integers(data, start, kind))
        count, rest = divmod(end - start, 4)
        if rest:
            refuse(data, kind, "a number is cut off")
        return list(struct.unpack_from(f"<{count}f", data, start))

    return decode


def _payload(data: bytes, tag: bytes, kind: pa.DataType) -> int:
    """Where the content begins of a field that holds a length; it fills the rest."""
    if not data.startswith(tag):
        refuse(data, kind, "another field")
    size, start = _varint(data, len(tag), kind)
    if start + size != len(data):
        refuse(data, kind, "cut off, or bytes follow the value")
    return start


def _texts(data: bytes, at: int, kind: pa.DataType) -> Iterator[str]:
    while at < len(data):
        start, at = _element(data, at, kind)
        yield _text(data, start, at, kind)


def _integers(data: bytes, at: int, kind: pa.DataType) -> Iterator[int]:
    while at < len(data):
        value, at = _varint(data, at, kind)
        yield value - (1 << 64) if value >> 63 else value


def _element(data: bytes, at: int, kind: pa.DataType) -> tuple[int, int]:
    if data[at] != ELEMENT:
        refuse(data, kind, "another field in the list")
    size, start = _varint(data, at + 1, kind)
    if start + size > len(data):
        refuse(data, kind, "an element is cut off")
    return start, start + size


def _text(data: bytes, start: int, end: int, kind: pa.DataType) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        refuse(data, kind, "text that is not UTF-8")


def _signed(data: bytes, tag: int, kind: pa.DataType) -> int:
    """The number of a field that holds one, and nothing after it."""
    if data[0] != tag:
        refuse(data, kind, "another field")
    value, end = _varint(data, 1, kind)
    if end != len(data):
        refuse(data, kind, "bytes follow the value")
    return value - (1 << 64) if value >> 63 else value


def _varint(data: bytes, at: int, kind: pa.DataType) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it."""
    value = shift = 0
    for place in range(at, min(len(data), at + LONGEST_VARINT)):
        byte = data[place]
        value |= (byte & SEVEN_BITS) << shift
        if byte < MORE:
            if (byte == 0 and shift) or value >> 64:
                refuse(data, kind, "a number that is not in its shortest form")
            return value, place + 1
        shift += 7
    refuse(data, kind, "a number that does not end")
