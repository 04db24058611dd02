"""The SQL files beside the tables: ``warehouse/sql/<table>/{query,view,checks}.sql``."""

from __future__ import annotations

from pathlib import Path

from platemill.errors import ConfigurationError
from platemill.schema import Table

__all__ = ["derived_sql", "read_sql"]


def read_sql(folder: Path, table: str, name: str) -> str:
    """An SQL file of a table.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    path = folder / table / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the SQL file {path} cannot be read ({error.strerror}); "
            "is PLATEMILL_PROJECT the project's folder?"
        ) from error


def derived_sql(folder: Path, table: Table, source: str, *, current: bool) -> str:
    """A SELECT of a derived table's rows, in the order of its schema's columns.

    It stands by itself: what the table is derived from is part of its text, not a name that
    somebody has to have made.

    Args:
        folder: where the SQL files are.
        table: one of ``DERIVED``.
        source: a SELECT of the rows of the table that it is derived from, in its columns.
        current: True for what is true now, up to now: a row a key. False for every version of
            every row, by ``created_timestamp``, future ones too; ``source`` has to give the
            superseded rows as well then.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    chosen = ""
    if current:
        key = ", ".join(f'"{name}"' for name in table.key)
        chosen = (
            " WHERE event_timestamp <= now() QUALIFY row_number() OVER "
            f"(PARTITION BY {key} ORDER BY created_timestamp DESC) = 1"
        )
    view = read_sql(folder, table.name, "view.sql")
    return (
        f'WITH "{table.derived_from}" AS NOT MATERIALIZED ({source}) '
        f"SELECT {columns} FROM (\n{view}\n){chosen}"
    )
