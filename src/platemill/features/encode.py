"""Columns as the bytes that Feast's online stores hold, a column at a time. Knows nothing of Feast.

Feast builds a protobuf message a value and serialises it: tens of microseconds a row. The messages
are few and flat, so that a whole column of them can be laid out by numpy and Arrow. What comes out
is, byte for byte, what protobuf writes:

- a value is a ``feast.types.Value`` with one field set: a tag, and a number, or a length and bytes;
  a null is the message without a field, no byte at all;
- an entity key is ``serialize_entity_key`` of version 3: little-endian 32-bit numbers and texts;
- a time is a ``google.protobuf.Timestamp``; inside a ``Value`` it is whole seconds.

See protobuf.dev/programming-guides/encoding. ``decode`` is the way back, written apart from this.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "encode_entity_key",
    "encode_entity_keys",
    "encode_timestamps",
    "encode_values",
    "join_bytes",
    "whole_seconds",
]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Fields of feast.types.Value: field number and how it is laid out.
_STRING, _INT32, _INT64, _DOUBLE, _FLOAT, _TIME = 2, 3, 4, 5, 6, 8
_LISTS = {pa.string(): 12, pa.int32(): 13, pa.int64(): 14, pa.float64(): 15, pa.float32(): 16}
# The only field of feast's lists and the first of a Timestamp is number 1.
_ITEM = 1
_FEAST_STRING = 2  # ValueType.STRING, which stands in entity keys
_MICROSECONDS = 1_000_000

_Ints = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


def encode_values(column: pa.Array) -> pa.BinaryArray:
    """Serialised ``Value`` messages of a column; none is null, a null value is no bytes.

    Args:
        column: string, int32, int64, float, double, timestamp[us] (whole seconds are kept, rounded
            down), or a list of string, int32, int64, float or double.

    Raises:
        TypeError: a column of another type.
        ValueError: a null inside a list, which Feast has no bytes for.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return _texts(_tag(_STRING, _BYTES), column)
    if pa.types.is_timestamp(kind):
        return _varints(whole_seconds(column), _valid(column), _tag(_TIME, _VARINT))
    if kind in (pa.int32(), pa.int64()):
        field = _INT32 if kind == pa.int32() else _INT64
        return _varints(_numbers(column, np.int64), _valid(column), _tag(field, _VARINT))
    if kind == pa.float32():
        return _fixed(_tag(_FLOAT, _FIXED32), _numbers(column, "<f4"), _valid(column))
    if kind == pa.float64():
        return _fixed(_tag(_DOUBLE, _FIXED64), _numbers(column, "<f8"), _valid(column))
    if pa.types.is_list(kind) and kind.value_type in _LISTS:
        return _list_values(column)
    raise TypeError(f"no online bytes are known for a column of {kind}")


def encode_entity_keys(keys: pa.Array, join_key: str) -> pa.BinaryArray:
    """Serialised entity keys, version 3, of one text join key.

    Args:
        keys: string, without nulls.
        join_key: the key's name.
    """
    texts = keys.cast(pa.binary())
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype("<u4")
    return join_bytes(_key_prefix(join_key), _equal_parts(lengths.view(np.uint8), 4), texts)


def encode_entity_key(key: str, join_key: str) -> bytes:
    """One serialised entity key, as ``encode_entity_keys`` gives many."""
    text = key.encode()
    return _key_prefix(join_key) + struct.pack("<I", len(text)) + text


def encode_timestamps(column: pa.Array) -> pa.BinaryArray:
    """Serialised ``Timestamp`` messages of a column of timestamp[us] without nulls."""
    seconds = whole_seconds(column)
    nanos = (_microseconds(column) - seconds * _MICROSECONDS) * 1000
    # A field that is zero is left out.
    return join_bytes(
        _varints(seconds, seconds != 0, _tag(1, _VARINT)),
        _varints(nanos, nanos != 0, _tag(2, _VARINT)),
    )


def whole_seconds(column: pa.Array) -> _Ints:
    """Seconds since 1970 of a column of timestamp[us], rounded down; a null is 0."""
    return _microseconds(column) // _MICROSECONDS


def join_bytes(*parts: pa.Array | bytes) -> pa.BinaryArray:
    """Concatenate binary arrays of one length, row by row; bytes stand for a constant column."""
    given = [pa.scalar(part, pa.binary()) if isinstance(part, bytes) else part for part in parts]
    return pc.binary_join_element_wise(*given, pa.scalar(b"", pa.binary()))


def _key_prefix(join_key: str) -> bytes:
    """All of an entity key that is the same for every key: one join key, its name, a text."""
    name = join_key.encode()
    head = struct.pack("<III", 1, _FEAST_STRING, len(name))
    return head + name + struct.pack("<I", _FEAST_STRING)


def _tag(field: int, wire: int) -> bytes:
    number = field << 3 | wire
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])


def _valid(column: pa.Array) -> _Flags:
    flags: _Flags = column.is_valid().to_numpy(zero_copy_only=False)
    return flags


def _numbers(column: pa.Array, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    filled = column.fill_null(0) if column.null_count else column
    return np.ascontiguousarray(filled.to_numpy(zero_copy_only=False), dtype)


def _microseconds(column: pa.Array) -> _Ints:
    return _numbers(column.cast(pa.int64()), np.int64).astype(np.int64)


def _varints(
    numbers: npt.NDArray[np.generic], present: _Flags | None = None, tag: bytes = b""
) -> pa.BinaryArray:
    """A tag and a varint a number; where one is not present, no bytes.

    A negative number is its 64-bit two's complement, ten bytes, for int32 too.
    """
    rest = numbers.astype(np.int64).view(np.uint64)
    lengths = np.ones(len(rest), np.int64)
    for shift in range(7, 64, 7):
        longer = rest >= np.uint64(1) << np.uint64(shift)
        if not longer.any():
            break
        lengths += longer
    width = int(lengths.max(initial=1))
    table = np.empty((len(rest), len(tag) + width), np.uint8)
    table[:, : len(tag)] = np.frombuffer(tag, np.uint8)
    for place in range(width):
        shifted = rest >> np.uint64(7 * place)
        table[:, len(tag) + place] = shifted.astype(np.uint8) | np.uint8(0x80)
    lengths += len(tag)
    table[np.arange(len(rest)), lengths - 1] &= 0x7F
    if present is not None:
        lengths[~present] = 0
    chosen = table[np.arange(table.shape[1]) < lengths[:, None]]
    return _cut(chosen, _offsets(lengths))


def _fixed(tag: bytes, numbers: npt.NDArray[np.generic], present: _Flags) -> pa.BinaryArray:
    """A tag and the little-endian bytes of a number; where one is not present, no bytes."""
    size = numbers.dtype.itemsize
    width = len(tag) + size
    table = np.empty((len(numbers), width), np.uint8)
    table[:, : len(tag)] = np.frombuffer(tag, np.uint8)
    table[:, len(tag) :] = numbers.view(np.uint8).reshape(len(numbers), size)
    return _cut(table[present].reshape(-1), _offsets(np.where(present, width, 0)))


def _texts(tag: bytes, column: pa.Array) -> pa.BinaryArray:
    """A tag, a length and the text's bytes; for a null no bytes."""
    texts = column.fill_null("").cast(pa.binary())
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    return join_bytes(_varints(lengths, _valid(column), tag), texts)


def _list_values(column: pa.Array) -> pa.BinaryArray:
    """The messages of a column of lists: a tag, a length and Feast's list message."""
    items, present = column.flatten(), _valid(column)
    if items.null_count:
        raise ValueError("a list has a null in it, which Feast has no bytes for")
    counts = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    ends = _offsets(counts.astype(np.int64))
    kind = items.type
    packed = not pa.types.is_string(kind)
    if kind in (pa.float32(), pa.float64()):
        width = kind.bit_width // 8
        body = _cut(_numbers(items, f"<f{width}").view(np.uint8), ends * width)
    else:
        encoded = (
            _varints(_numbers(items, np.int64)) if packed else _texts(_tag(_ITEM, _BYTES), items)
        )
        starts, data = _parts(encoded)
        body = _cut(data, starts[ends])
    if packed:
        # Numbers lie together under one tag and one length, if there are any.
        lengths = pc.binary_length(body).to_numpy(zero_copy_only=False)
        body = join_bytes(_varints(lengths, counts > 0, _tag(_ITEM, _BYTES)), body)
    lengths = pc.binary_length(body).to_numpy(zero_copy_only=False)
    return join_bytes(_varints(lengths, present, _tag(_LISTS[kind], _BYTES)), body)


def _offsets(lengths: npt.NDArray[np.generic]) -> _Ints:
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def _cut(data: npt.NDArray[np.uint8], offsets: _Ints) -> pa.BinaryArray:
    """Bytes as a binary array, cut at offsets."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _equal_parts(data: npt.NDArray[np.uint8], width: int) -> pa.BinaryArray:
    return _cut(data, np.arange(0, len(data) + 1, width))


def _parts(array: pa.BinaryArray) -> tuple[_Ints, npt.NDArray[np.uint8]]:
    """The offsets and the bytes of a binary array that was made here: it begins at 0."""
    _, offsets, data = array.buffers()
    starts = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4).astype(np.int64)
    held = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return starts, held
