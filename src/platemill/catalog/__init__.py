"""The feature catalogue as static pages: what there is, how fresh it is, and how to take it.

Everything that the pages say is derived from ``schema.py``, ``features.catalog``, the SQL files and
the current generation.
"""

from platemill.catalog.pages import write_catalog

__all__ = ["write_catalog"]
