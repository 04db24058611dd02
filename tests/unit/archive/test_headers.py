"""Where a JPEG's scan ends: found many bytes at a time, in pieces of any size."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemill.archive import headers

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
BYTES = st.lists(
    st.sampled_from([0xFF, 0xFF, 0xFF, 0x00, 0x00, 0xD0, 0xD7, 0xD8, 0xD9, 0xC4, 0x17]), max_size=40
).map(bytes)


@given(BYTES, st.integers(0, 3), st.integers(2, 12))
def test_a_scan_ends_at_the_first_marker(data: bytes, start: int, piece: int) -> None:
    found = MARKER.search(data, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headers, "_PIECE", piece)
        assert headers._end_of_scan(data, start) == (None if found is None else found.end())
