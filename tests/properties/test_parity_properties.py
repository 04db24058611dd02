"""Two columns differ in just the rows in which their values do."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platemill.features.parity import differing

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32) | st.sampled_from([-0.0, 0.0, float("nan")])
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int64": (pa.int64(), INT64 | st.integers(0, 3)),
    "float": (pa.float32(), FLOAT),
    "string": (pa.string(), st.text(max_size=3)),
    "strings": (pa.list_(pa.string()), st.lists(st.text(max_size=2), max_size=3)),
    "floats": (pa.list_(pa.float32()), st.lists(FLOAT, max_size=3)),
    "int64s": (pa.list_(pa.int64()), st.lists(st.integers(0, 2), max_size=3)),
}


def bits(value: Any) -> Any:
    """A value that equals another only if it is the same to the bit."""
    if isinstance(value, list):
        return [bits(item) for item in value]
    return struct.pack("<f", value) if isinstance(value, float) else value


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_differences_are_found_to_the_bit(kind: str, data: st.DataObject) -> None:
    arrow, values = KINDS[kind]
    pairs = st.tuples(st.none() | values, st.none() | values)
    equal = (st.none() | values).map(lambda value: (value, value))
    rows = data.draw(st.lists(pairs | equal, max_size=20))
    one = pa.array([left for left, _ in rows], arrow)
    other = pa.array([right for _, right in rows], arrow)
    wanted = [bits(left) != bits(right) for left, right in rows]
    assert differing(one, other).tolist() == wanted
    padded = [pa.concat_arrays([array.slice(0, 0), array, array]) for array in (one, other)]
    sliced = [array.slice(len(rows), len(rows)) for array in padded]
    assert differing(*sliced).tolist() == wanted
