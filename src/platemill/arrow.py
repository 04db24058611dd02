"""Arrow without pandas, for processes that never need it."""

from __future__ import annotations

import sys

import pyarrow as pa

__all__ = ["keep_pandas_out"]


def keep_pandas_out() -> None:
    """Let Arrow believe that there is no pandas, which its first conversion would import: 0.5 s.

    Who calls ``to_pandas`` gets it all the same. Not for a process that gives Arrow pandas' own
    arrays, as Feast does: it would take them for lists.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"{name} is not wanted here", name=name)
        return
