"""Feast's bytes come back as the values that Feast made them of, and no other bytes as any value.

The oracle is protobuf itself: bytes are a value if protobuf reads the expected field from them and
writes that field as just these bytes.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from feast import ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from platemill.errors import FeatureUnreadable
from platemill.features.decode import decode_column, decode_list, decode_value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", tz="UTC")
SECONDS = (-62_135_596_800, 253_402_300_799)

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32)
TIMES = st.integers(*SECONDS).map(lambda seconds: EPOCH + timedelta(seconds=seconds))

# Type, the oneof's field, Feast's type, and its values.
KINDS: dict[str, tuple[pa.DataType, ValueType, st.SearchStrategy[Any]]] = {
    "string_val": (pa.string(), ValueType.STRING, st.text(max_size=200)),
    "int32_val": (pa.int32(), ValueType.INT32, INT32),
    "int64_val": (pa.int64(), ValueType.INT64, INT64 | st.integers(0, 300)),
    "double_val": (pa.float64(), ValueType.DOUBLE, st.floats()),
    "float_val": (pa.float32(), ValueType.FLOAT, FLOAT),
    "unix_timestamp_val": (TIME, ValueType.UNIX_TIMESTAMP, TIMES),
    "string_list_val": (pa.list_(pa.string()), ValueType.STRING_LIST, st.lists(st.text())),
    "int64_list_val": (pa.list_(pa.int64()), ValueType.INT64_LIST, st.lists(INT64)),
    "float_list_val": (pa.list_(pa.float32()), ValueType.FLOAT_LIST, st.lists(FLOAT)),
}

WIDTHS = {"float_val": 4, "double_val": 8, "float_list_val": 4}


@st.composite
def columns(draw: st.DrawFn) -> tuple[str, list[Any]]:
    field = draw(st.sampled_from(sorted(KINDS)))
    return field, draw(st.lists(KINDS[field][2] | st.none(), max_size=12))


def written(field: str, value: Any) -> bytes:
    """The bytes of a value as protobuf writes them."""
    if value is None:
        return Value().SerializeToString()
    if isinstance(value, datetime):
        value = (value - EPOCH) // timedelta(seconds=1)
    return Value(
        **{field: {"val": value} if isinstance(value, list) else value}
    ).SerializeToString()


def canonical(field: str, data: bytes) -> bool:
    """Whether bytes are just those that protobuf writes for a value of the field, or null."""
    if not data:
        return True
    try:
        found = Value.FromString(data)
    except DecodeError:
        return False
    if found.WhichOneof("val") != field:
        return False
    only = getattr(found, field)
    if field in WIDTHS:
        # Python's floats do not keep every nan: the bytes around the numbers are compared.
        numbers = len(only.val) if field == "float_list_val" else 1
        pattern = written(field, [1.0] * numbers if field == "float_list_val" else 1.0)
        around = len(pattern) - WIDTHS[field] * numbers
        return len(data) == len(pattern) and data[:around] == pattern[:around]
    if hasattr(only, "val"):
        return written(field, list(only.val)) == data
    if field == "unix_timestamp_val" and not SECONDS[0] <= only <= SECONDS[1]:
        return False
    return written(field, only) == data


def same(left: Any, right: Any) -> bool:
    """Equal in value and type, and nan is nan."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right and type(left) is type(right))


@settings(deadline=None, max_examples=400)
@given(columns())
def test_what_was_written_is_read(column: tuple[str, list[Any]]) -> None:
    field, values = column
    kind = KINDS[field][0]
    data = [written(field, value) for value in values]
    assert same([decode_value(one, kind) for one in data], values)
    assert same(decode_list(data, kind), values)
    for form in (data, pa.array(data, pa.binary())):
        decoded = decode_column(form, kind)
        decoded.validate(full=True)
        assert decoded.type == kind
        assert same(decoded.to_pylist(), values)


@settings(deadline=None, max_examples=200)
@given(columns())
def test_feast_writes_the_bytes_that_are_read(column: tuple[str, list[Any]]) -> None:
    field, values = column
    for value in values:
        # Feast keeps a lone nan as null.
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            [message] = python_values_to_proto_values([value], KINDS[field][1])
            assert message.SerializeToString() == written(field, value)


@settings(deadline=None, max_examples=100)
@given(columns(), st.integers(0, 5), st.integers(0, 5))
def test_a_part_of_a_column_is_read(column: tuple[str, list[Any]], start: int, size: int) -> None:
    field, values = column
    data = pa.array([written(field, value) if value is not None else None for value in values])
    part = data.cast(pa.binary()).slice(start, size)
    decoded = decode_column(part, KINDS[field][0])
    assert same(decoded.to_pylist(), values[start : start + size])


@st.composite
def doubtful(draw: st.DrawFn) -> bytes:
    """Bytes of a value that were changed a little, or of another field, or of none."""
    field = draw(st.sampled_from(sorted(KINDS)))
    data = bytearray(written(field, draw(KINDS[field][2])))
    place = draw(st.integers(0, len(data)))
    match draw(st.sampled_from(["change", "cut", "insert", "anything", "nothing"])):
        case "change":
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        case "cut":
            del data[place:]
        case "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=3))
        case "anything":
            data = bytearray(draw(st.binary(max_size=30)))
        case "nothing":
            pass
    return bytes(data)


@settings(deadline=None, max_examples=2000)
@given(columns(), doubtful(), st.integers(0, 12))
def test_other_bytes_are_never_a_value(
    column: tuple[str, list[Any]], data: bytes, place: int
) -> None:
    field, values = column
    kind = KINDS[field][0]
    whole: list[bytes | None] = [written(field, value) for value in values]
    whole.insert(place, data)
    place = min(place, len(values))
    if canonical(field, data):
        one = decode_value(data, kind)
        assert (one is None) == (data == b"")
        if one is not None and field not in WIDTHS:
            assert written(field, one) == data
        assert same(decode_column(whole, kind).to_pylist()[place], one)
        assert same(decode_list(whole, kind)[place], one)
    else:
        with pytest.raises(FeatureUnreadable, match="no value of type"):
            decode_value(data, kind)
        with pytest.raises(FeatureUnreadable, match=f"in row {place} that"):
            decode_column(whole, kind)
        with pytest.raises(FeatureUnreadable, match="no value of type"):
            decode_list(whole, kind)


@pytest.mark.parametrize(
    ("field", "data", "why"),
    [
        ("int64_val", "20", "cut off|does not end"),
        ("int64_val", "2080", "does not end"),
        ("int64_val", "208000", "shortest form"),
        ("int64_val", "20ffffffffffffffffff02", "shortest form"),
        ("int64_val", "20ffffffffffffffffff8101", "shortest form|does not end"),
        ("int64_val", "2001 2002", "bytes follow"),
        ("int32_val", "18ffffffff0f", "32 bits"),
        ("int32_val", "2005", "another field"),
        ("double_val", "290000000000000000 00", "another length"),
        ("float_val", "2900000000", "another field"),
        ("unix_timestamp_val", "40ffffffffffffffffff01 40", "bytes follow"),
        ("unix_timestamp_val", "40ffffffffffff3f", "years 1 to 9999"),
        ("string_val", "1201ff", "UTF-8"),
        ("string_val", "120261", "cut off"),
        ("string_list_val", "6203 0a01ff", "UTF-8"),
        ("string_list_val", "6203 0a0261", "an element is cut off"),
        ("string_list_val", "6203 120161", "another field in the list"),
        ("int64_list_val", "7204 0801 0802", "another field in the list"),
        ("int64_list_val", "7206 0a0101 0a0102", "not in one block"),
        ("int64_list_val", "7202 0a00", "not in one block"),
        ("int64_list_val", "7203 0a0180", "does not end"),
        ("float_list_val", "8201 05 0a03000000", "a number is cut off"),
        ("float_list_val", "8200 00", "another field"),
        ("float_list_val", "82", "another field|cut off"),
    ],
)
def test_what_is_wrong_is_said(field: str, data: str, why: str) -> None:
    kind = KINDS[field][0]
    bad = bytes.fromhex(data)
    with pytest.raises(FeatureUnreadable, match=why):
        decode_value(bad, kind)
    with pytest.raises(FeatureUnreadable, match=why) as told:
        decode_column([None, b"", bad], kind)
    assert "in row 2 that" in str(told.value)


def test_long_values_are_read() -> None:
    texts = [f"{number}" for number in range(5000)]
    column: dict[str, list[Any]] = {
        "string_val": ["x" * size for size in (127, 128, 16383, 16384, 300_000)],
        "string_list_val": [texts, [], texts[:3]],
        "int64_list_val": [list(range(-3000, 3000)), [], [2**62]],
        "float_list_val": [[0.5] * 40_000, [], [1.5]],
    }
    for field, values in column.items():
        data = [written(field, value) for value in values]
        assert decode_column(data, KINDS[field][0]).to_pylist() == values
        assert [decode_value(one, KINDS[field][0]) for one in data] == values


def test_a_type_that_is_not_kept_online_is_said() -> None:
    for decode in (decode_column, decode_list):
        with pytest.raises(KeyError, match="online values of type bool are not known"):
            decode([], pa.bool_())
    with pytest.raises(KeyError, match="online values of type bool are not known"):
        decode_value(None, pa.bool_())
