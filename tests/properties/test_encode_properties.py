"""Encoded columns are, byte for byte, what Feast and protobuf write value by value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import (
    DoubleList,
    FloatList,
    Int32List,
    Int64List,
    StringList,
    Value,
)
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from platemill.features.encode import (
    encode_entity_key,
    encode_entity_keys,
    encode_timestamps,
    encode_values,
    whole_seconds,
)

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 62).map(lambda bits: 1 << bits)
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.just("ж" * 70) | st.just("x" * 20_000)
FLOAT = st.floats(width=32) | st.just(-0.0)
DOUBLE = st.floats() | st.just(-0.0)
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
UTC_TIME = pa.timestamp("us", tz="UTC")

# Arrow type, values, how protobuf writes one.
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any], Any]] = {
    "string": (pa.string(), TEXT, lambda v: Value(string_val=v)),
    "int32": (pa.int32(), INT32, lambda v: Value(int32_val=v)),
    "int64": (pa.int64(), INT64, lambda v: Value(int64_val=v)),
    "float": (pa.float32(), FLOAT, lambda v: Value(float_val=v)),
    "double": (pa.float64(), DOUBLE, lambda v: Value(double_val=v)),
    "time": (
        UTC_TIME,
        TIMES,
        lambda v: Value(unix_timestamp_val=(v - datetime(1970, 1, 1, tzinfo=UTC)) // SECOND),
    ),
    "strings": (
        pa.list_(pa.string()),
        st.lists(TEXT, max_size=5),
        lambda v: Value(string_list_val=StringList(val=v)),
    ),
    "int32s": (
        pa.list_(pa.int32()),
        st.lists(INT32),
        lambda v: Value(int32_list_val=Int32List(val=v)),
    ),
    "int64s": (
        pa.list_(pa.int64()),
        st.lists(INT64),
        lambda v: Value(int64_list_val=Int64List(val=v)),
    ),
    "floats": (
        pa.list_(pa.float32()),
        st.lists(FLOAT),
        lambda v: Value(float_list_val=FloatList(val=v)),
    ),
    "doubles": (
        pa.list_(pa.float64()),
        st.lists(DOUBLE),
        lambda v: Value(double_list_val=DoubleList(val=v)),
    ),
}
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_values_are_what_protobuf_writes(kind: str, data: st.DataObject) -> None:
    arrow, values, message = KINDS[kind]
    column = data.draw(st.lists(st.none() | values, max_size=30))
    wanted = [b"" if value is None else message(value).SerializeToString() for value in column]
    # A batch is often a slice of another.
    padding = data.draw(st.integers(0, 3))
    array = pa.array([None] * padding + column + [None] * padding, arrow)
    encoded = encode_values(array.slice(padding, len(column)))
    assert encoded.type == pa.binary()
    assert encoded.to_pylist() == wanted


@settings(deadline=None)
@given(st.lists(TEXT, max_size=30), st.sampled_from(["plate", "camera_id", "ключ"]))
@example([""], "plate")
def test_keys_are_what_feast_writes(keys: list[str], join_key: str) -> None:
    wanted = [
        serialize_entity_key(
            EntityKey(join_keys=[join_key], entity_values=[Value(string_val=key)]), 3
        )
        for key in keys
    ]
    assert encode_entity_keys(pa.array(keys, pa.string()), join_key).to_pylist() == wanted
    assert [encode_entity_key(key, join_key) for key in keys] == wanted


@settings(deadline=None)
@given(st.lists(TIMES, max_size=30))
@example([datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)])
def test_times_are_what_protobuf_writes(times: list[datetime]) -> None:
    wanted = []
    for time in times:
        message = Timestamp()
        message.FromDatetime(time)
        wanted.append(message)
    column = pa.array(times, UTC_TIME)
    assert encode_timestamps(column).to_pylist() == [m.SerializeToString() for m in wanted]
    assert whole_seconds(column).tolist() == [m.seconds for m in wanted]


def test_what_feast_has_no_bytes_for_is_refused() -> None:
    with pytest.raises(ValueError, match="a list has a null"):
        encode_values(pa.array([["a", None]], pa.list_(pa.string())))
    with pytest.raises(TypeError, match="date32"):
        encode_values(pa.array([], pa.date32()))
