"""From the bytes that Feast keeps online back to Arrow columns, by array operations.

The same bytes are read, and the same are refused, as by ``decode_value``. Imports no Feast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from platemill.features.decode_value import (
    ELEMENT,
    FIRST_SECOND,
    LAST_SECOND,
    LONGEST_VARINT,
    MORE,
    SEVEN_BITS,
    TAGS,
    TIMESTAMP,
    decode_value,
    refuse,
    value_decoder,
)

__all__ = ["decode_column", "decode_list", "decode_value"]

_Bytes = npt.NDArray[np.uint8]
_Places = npt.NDArray[np.int64]

_MICROSECONDS = 1_000_000
# Fewer values are decoded faster one by one.
_FEW = 32


def decode_column(
    values: Sequence[bytes | None] | pa.BinaryArray, kind: pa.DataType
) -> pa.Array[Any]:
    """Decode a feature's values of many keys.

    Args:
        values: serialized ``Value`` messages, under 2 GiB; None and no bytes are null.
        kind: the feature's Arrow type: string, int32, int64, float32, float64, timestamp[us, UTC],
            or a list of string, int64 or float32.

    Returns:
        An array of that type, as long as ``values``.

    Raises:
        FeatureUnreadable: bytes that are no value of that type.
        KeyError: online values of that type are not known.
    """
    cells = _cells(values, kind)
    if pa.types.is_list(kind):
        return _list(cells)
    if pa.types.is_string(kind):
        starts = _payloads(cells)
        sizes = _scattered(cells, cells.ends - starts)
        return _texts(cells, None, _bytes_of(cells, starts, cells.ends), sizes, cells.valid)
    numbers = _scattered(cells, _numbers(cells))
    if kind == TIMESTAMP:
        numbers = numbers * _MICROSECONDS
    return pa.array(numbers, mask=None if cells.valid.all() else ~cells.valid).cast(kind)


def decode_list(values: Sequence[bytes | None], kind: pa.DataType) -> list[Any]:
    """Decode a feature's values of keys to Python's, many or few.

    Otherwise like ``decode_column``; times come as aware UTC datetimes.
    """
    if len(values) < _FEW:
        decode = value_decoder(kind)
        return [decode(value) for value in values]
    if pa.types.is_string(kind):
        texts: list[Any] = decode_column(values, kind).to_pylist()
        return texts
    cells = _cells(values, kind)
    if pa.types.is_list(kind):
        counts, items = _items(cells)
        flat = items.to_pylist() if isinstance(items, pa.Array) else items.tolist()
        ends = np.cumsum(counts).tolist()
        found = [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    else:
        found = cast("list[Any]", _numbers(cells).tolist())
        if kind == TIMESTAMP:
            found = list(map(datetime.fromtimestamp, found, repeat(UTC)))
    if len(found) == cells.rows:
        return found
    each = iter(found)
    return [next(each) if valid else None for valid in cells.valid.tolist()]


@dataclass(frozen=True)
class _Cells:
    """The values that are not null: where in ``data`` each lies, and which of the rows are null."""

    rows: int
    valid: npt.NDArray[np.bool_]
    data: _Bytes
    starts: _Places
    ends: _Places
    kind: pa.DataType

    def refuse(self, bad: npt.NDArray[np.bool_], why: str, owners: _Places | None = None) -> None:
        """Raise for the first that is bad, if there is one; ``owners`` says of which cells."""
        if bad.any():
            first = int(bad.argmax())
            cell = first if owners is None else int(owners[first])
            data = self.data[self.starts[cell] : self.ends[cell]].tobytes()
            refuse(data, self.kind, why, int(np.flatnonzero(self.valid)[cell]))


def _cells(values: Sequence[bytes | None] | pa.BinaryArray, kind: pa.DataType) -> _Cells:
    if kind not in TAGS:
        raise KeyError(f"online values of type {kind} are not known")
    array = values if isinstance(values, pa.Array) else pa.array(values, pa.binary())
    rows = len(array)
    if rows == 0:
        none = np.zeros(0, np.int64)
        return _Cells(0, none.astype(np.bool_), none.astype(np.uint8), none, none, kind)
    _, offsets_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32, rows + 1, array.offset * 4).astype(np.int64)
    data = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    starts, ends = offsets[:-1], offsets[1:]
    valid = starts < ends
    if array.null_count:
        valid &= array.is_valid().to_numpy(zero_copy_only=False)
    if not valid.all():
        starts, ends = starts[valid], ends[valid]
    return _Cells(rows, valid, data, starts, ends, kind)


def _scattered(cells: _Cells, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The cells' numbers at their rows' places, nought in the rows that are null."""
    if len(numbers) == cells.rows:
        return numbers
    placed = np.zeros(cells.rows, numbers.dtype)
    placed[cells.valid] = numbers
    return placed


def _numbers(cells: _Cells) -> npt.NDArray[Any]:
    """The cells' values; of a timestamp its seconds."""
    cells.refuse(cells.data[cells.starts] != TAGS[cells.kind][0], "another field")
    if pa.types.is_floating(cells.kind):
        form = np.dtype("<f8" if cells.kind == pa.float64() else "<f4")
        cells.refuse(cells.ends - cells.starts != 1 + form.itemsize, "another length")
        return _bytes_of(cells, cells.starts + 1, cells.ends).view(form)
    values, ends = _varints(cells, cells.starts + 1)
    cells.refuse(ends != cells.ends, "bytes follow the value")
    signed = values.view(np.int64)
    if cells.kind == pa.int32():
        small = signed.astype(np.int32)
        cells.refuse(small != signed, "a number of more than 32 bits")
        return small
    if cells.kind == TIMESTAMP:
        outside = (signed < FIRST_SECOND) | (signed > LAST_SECOND)
        cells.refuse(outside, "a time outside the years 1 to 9999")
    return signed


def _varints(
    cells: _Cells, at: _Places, owners: _Places | None = None
) -> tuple[npt.NDArray[np.uint64], _Places]:
    """The numbers that begin at places, and the places behind them."""
    limits = cells.ends if owners is None else cells.ends[owners]
    cells.refuse(at >= limits, "cut off", owners)
    byte = cells.data[at]
    values = (byte & SEVEN_BITS).astype(np.uint64)
    ends = at + 1
    going = np.flatnonzero(byte >= MORE)
    for length in range(1, LONGEST_VARINT):
        if not len(going):
            break
        places = ends[going]
        whose = going if owners is None else owners[going]
        cells.refuse(places >= limits[going], "a number that does not end", whose)
        byte = cells.data[places]
        longer = byte > 1 if length == LONGEST_VARINT - 1 else byte == 0
        cells.refuse(longer | (byte == 0), "a number that is not in its shortest form", whose)
        values[going] |= (byte & SEVEN_BITS).astype(np.uint64) << np.uint64(7 * length)
        ends[going] = places + 1
        going = going[byte >= MORE]
    return values, ends


def _payloads(cells: _Cells) -> _Places:
    """Where the contents of cells begin that hold a length; they fill the cells to their ends."""
    tag = TAGS[cells.kind]
    for place, byte in enumerate(tag):
        cells.refuse(cells.starts + place >= cells.ends, "cut off")
        cells.refuse(cells.data[cells.starts + place] != byte, "another field")
    sizes, starts = _varints(cells, cells.starts + len(tag))
    wrong = sizes != (cells.ends - starts).astype(np.uint64)
    cells.refuse(wrong, "cut off, or bytes follow the value")
    return starts


def _list(cells: _Cells) -> pa.Array[Any]:
    counts, items = _items(cells)
    offsets = _offsets(_scattered(cells, counts.astype(np.int64)))
    mask = None if cells.valid.all() else pa.array(~cells.valid)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(items), type=cells.kind, mask=mask)


def _items(cells: _Cells) -> tuple[npt.NDArray[Any], pa.Array[Any] | npt.NDArray[Any]]:
    """How many elements the list of each cell has, and all elements."""
    starts = _payloads(cells)
    if not pa.types.is_string(cells.kind.value_type):
        return _packed(cells, starts)
    owners, begins, ends = _elements(cells, starts)
    items = _texts(cells, owners, _bytes_of(cells, begins, ends), ends - begins, None)
    return np.bincount(owners, minlength=len(starts)), items


def _elements(cells: _Cells, starts: _Places) -> tuple[_Places, _Places, _Places]:
    """Each text of each list: its cell, where it begins and ends; in the lists' order."""
    places = starts.copy()
    going = np.flatnonzero(places < cells.ends)
    found = [(going[:0], going[:0], going[:0])]
    while len(going):
        at = places[going]
        cells.refuse(cells.data[at] != ELEMENT, "another field in the list", going)
        sizes, begins = _varints(cells, at + 1, going)
        left = (cells.ends[going] - begins).astype(np.uint64)
        cells.refuse(sizes > left, "an element is cut off", going)
        ends = begins + sizes.astype(np.int64)
        found.append((going, begins, ends))
        places[going] = ends
        going = going[ends < cells.ends[going]]
    owners, begins, ends = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(owners, kind="stable")
    return owners[order], begins[order], ends[order]


def _packed(cells: _Cells, starts: _Places) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """How many numbers each list has, and the numbers."""
    some = np.flatnonzero(starts < cells.ends)
    at = starts[some]
    cells.refuse(cells.data[at] != ELEMENT, "another field in the list", some)
    sizes, begins = _varints(cells, at + 1, some)
    ends = cells.ends[some]
    whole = (sizes == (ends - begins).astype(np.uint64)) & (sizes > 0)
    cells.refuse(~whole, "the numbers are not in one block", some)
    counts = np.zeros(len(starts), np.int64)
    counts[some] = ends - begins
    if pa.types.is_floating(cells.kind.value_type):
        cells.refuse(sizes % 4 != 0, "a number is cut off", some)
        return counts // 4, _bytes_of(cells, begins, ends).view("<f4")
    cells.refuse(cells.data[ends - 1] >= MORE, "a number that does not end", some)
    places = _ranges(begins, ends)
    bytes_ = cells.data[places]
    last = bytes_ < MORE
    if last.all():
        # Small counts are a byte each.
        return counts, bytes_.astype(np.int64)
    first = np.concatenate(([True], last[:-1]))
    owners = np.repeat(some, ends - begins)[first]
    values, _ = _varints(cells, places[first], owners)
    return np.bincount(owners, minlength=len(starts)), values.view(np.int64)


def _texts(
    cells: _Cells,
    owners: _Places | None,
    data: _Bytes,
    sizes: _Places,
    valid: npt.NDArray[np.bool_] | None,
) -> pa.Array[Any]:
    bitmap = None if valid is None or valid.all() else pa.array(valid).buffers()[1]
    buffers = [bitmap, pa.py_buffer(_offsets(sizes)), pa.py_buffer(data)]
    texts = pa.Array.from_buffers(pa.binary(), len(sizes), buffers)
    try:
        return texts.cast(pa.string())
    except pa.ArrowInvalid:
        bad = [not _is_utf8(text) for text in texts.to_pylist()]
        wrong = np.array(bad) if owners is not None else np.array(bad)[cells.valid]
        cells.refuse(wrong, "text that is not UTF-8", owners)
        raise


def _is_utf8(text: bytes | None) -> bool:
    try:
        (text or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _offsets(sizes: _Places) -> npt.NDArray[np.int32]:
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def _bytes_of(cells: _Cells, starts: _Places, ends: _Places) -> _Bytes:
    """The bytes of some ranges, joined."""
    return cells.data[_ranges(starts, ends)]


def _ranges(starts: _Places, ends: _Places) -> _Places:
    """All places of some ranges, one after another."""
    sizes = ends - starts
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(int(sizes.sum()))
