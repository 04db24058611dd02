"""A Parquet file's footer as a tree that can be changed, in Thrift's compact protocol.

pyarrow writes row groups and reads them; it does not move one from file to file as it is. What that
takes is a footer with other offsets. Source of the layout: ``parquet.thrift`` of the format, and
"Thrift compact protocol encoding" of Apache Thrift.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Footer", "Struct", "read_footer"]

MAGIC: Final = b"PAR1"
_TAIL: Final = 8

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS: Final = (_I16, _I32, _I64)

# FileMetaData, RowGroup, ColumnChunk and ColumnMetaData of parquet.thrift: field numbers.
_NUM_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _ORDINAL = 1, 3, 5, 7
_CHUNK_OFFSET, _CHUNK_METADATA, _PAGE_INDEX = 2, 3, (4, 5, 6, 7)
_COMPRESSED_SIZE, _OFFSETS, _BLOOM_FILTER = 7, (9, 10, 11), (14, 15)


@dataclass
class Struct:
    """A Thrift struct: field number → (type, value), in the order in which it was written."""

    fields: dict[int, tuple[int, Any]] = field(default_factory=dict)

    def get(self, number: int) -> Any:
        """The value of a field; None if it is not there."""
        return self.fields[number][1] if number in self.fields else None

    def set(self, number: int, value: Any) -> None:
        """Another value for a field that is there; one that is not stays away."""
        if number in self.fields:
            self.fields[number] = (self.fields[number][0], value)


@dataclass
class RowGroup:
    """A row group of a file: where its bytes are, and what the footer says of it."""

    said: Struct
    start: int
    size: int
    rows: int

    def moved(self, start: int, ordinal: int) -> Struct:
        """What a footer says of it after its bytes were copied to another place."""
        by = start - self.start
        group = Struct(dict(self.said.fields))
        group.set(_GROUP_OFFSET, start)
        group.set(_ORDINAL, ordinal)
        kind, (element, chunks) = group.fields[_COLUMNS]
        moved = []
        for chunk in chunks:
            # Indexes and filters lie apart from the row group and are left behind.
            kept = {n: value for n, value in chunk.fields.items() if n not in _PAGE_INDEX}
            column = Struct(kept)
            metadata = Struct(
                {
                    n: v
                    for n, v in column.get(_CHUNK_METADATA).fields.items()
                    if n not in _BLOOM_FILTER
                }
            )
            for number in _OFFSETS:
                metadata.set(number, (metadata.get(number) or 0) + by)
            column.set(_CHUNK_METADATA, metadata)
            if column.get(_CHUNK_OFFSET):
                column.set(_CHUNK_OFFSET, column.get(_CHUNK_OFFSET) + by)
            moved.append(column)
        group.fields[_COLUMNS] = (kind, (element, moved))
        return group


@dataclass
class Footer:
    """What a file's footer says."""

    said: Struct

    def row_groups(self) -> list[RowGroup]:
        """The row groups, each with the place of its bytes.

        Raises:
            ValueError: a row group's columns do not lie one after another.
        """
        found = []
        for group in self.said.get(_ROW_GROUPS)[1]:
            at = start = None
            for chunk in group.get(_COLUMNS)[1]:
                metadata = chunk.get(_CHUNK_METADATA)
                first = min(metadata.get(number) or 1 << 62 for number in _OFFSETS)
                start = first if start is None else start
                if at is not None and at != first:
                    raise ValueError("a row group with a gap")
                at = first + metadata.get(_COMPRESSED_SIZE)
            assert start is not None and at is not None
            found.append(RowGroup(group, start, at - start, group.get(_GROUP_ROWS)))
        return found

    def with_row_groups(self, groups: list[Struct]) -> bytes:
        """The end of a file that has these row groups: footer, its length, magic."""
        said = Struct(dict(self.said.fields))
        said.set(_NUM_ROWS, sum(group.get(_GROUP_ROWS) for group in groups))
        said.set(_ROW_GROUPS, (_STRUCT, groups))
        out = bytearray()
        _write_struct(out, said)
        return bytes(out) + len(out).to_bytes(4, "little") + MAGIC


def read_footer(file: Any) -> Footer:
    """The footer of a Parquet file that is open for reading.

    Raises:
        ValueError: it is no Parquet file, or an encrypted one.
    """
    file.seek(-_TAIL, 2)
    tail = file.read(_TAIL)
    if tail[4:] != MAGIC:
        raise ValueError("not a Parquet file")
    size = int.from_bytes(tail[:4], "little")
    file.seek(-_TAIL - size, 2)
    return Footer(_Reader(file.read(size)).struct())


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> Struct:
        read = Struct()
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return read
            kind = head & 0x0F
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            read.fields[number] = (kind, self._value(kind))

    def _value(self, kind: int, *, element: bool = False) -> Any:
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if element else kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 != 0x0F else self._varint()
            inner = head & 0x0F
            return inner, [self._value(inner, element=True) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct()
        raise ValueError(f"a Thrift type that Parquet does not use: {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _write_struct(out: bytearray, said: Struct) -> None:
    before = 0
    for number, (kind, value) in said.fields.items():
        written = (_TRUE if value else _FALSE) if kind in (_TRUE, _FALSE) else kind
        if 0 < number - before <= 0x0F:
            out.append((number - before) << 4 | written)
        else:
            out.append(written)
            _write_zigzag(out, number)
        if kind not in (_TRUE, _FALSE):
            _write_value(out, kind, value)
        before = number
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in (_TRUE, _FALSE):
        out.append(_TRUE if value else _FALSE)
    elif kind == _BYTE:
        out.append(value)
    elif kind in _INTEGERS:
        _write_zigzag(out, value)
    elif kind == _DOUBLE:
        out += value
    elif kind == _BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind in (_LIST, _SET):
        inner, values = value
        if len(values) < 0x0F:
            out.append(len(values) << 4 | inner)
        else:
            out.append(0xF0 | inner)
            _write_varint(out, len(values))
        for item in values:
            _write_value(out, inner, item)
    else:
        _write_struct(out, value)


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_zigzag(out: bytearray, value: int) -> None:
    _write_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)
