"""The point-in-time join in SQL: what was the newest thing known about a key at a time.

For a key and a time *t*, Feast's join looks at the rows whose event is not after *t*, that were
created not after *t*, and that have not expired at *t*, and takes the latest event, of that the
latest created. Two inequalities at once are no ASOF join. They become one like this: a row is
*visible* from the later of its two times on. In the order in which a key's rows become visible, a
row of an event that is earlier than that of a row before it never answers and is left out. (Rows
of one event become visible in the order in which they were created.) Of the rest the last one that
is visible at *t* is the one to take. It has the latest event of them, so it expires last: whether
it has is asked of it alone.

The join is narrow: it knows of a row its key, its times and its ``id``, where its features are.
"""

from __future__ import annotations

from enum import IntEnum

from platemill.features.versions import never_null
from platemill.schema import Table

__all__ = ["Found", "hits_sql", "picked_sql"]


class Found(IntEnum):
    """What there was for a row of the entity file."""

    NOTHING = 0
    MATCHED = 1
    EXPIRED = 2
    DELETED = 3


def hits_sql(table: Table, versions: str, number: int, *, hits: str, corrected_past: bool) -> str:
    """The statement that makes the table of what was found in one view.

    It reads the tables of ``load_asked``, and binds ``$pipeline``, ``$ttl`` in microseconds, and
    ``$earliest`` and ``$latest``, the first and last event that can answer.

    Args:
        table: the view's table.
        versions: a SELECT of all versions of its rows, with their ``id``.
        number: which of the keys it is of.
        hits: the name of the table that is made: ``n``, ``found`` (a ``Found``), ``id``; a row for
            each of ``asked``, in no promised order.
        corrected_past: whether a row is visible before it was created.
    """
    visible = "event" if corrected_past else "greatest(event, created)"
    return f"""
CREATE TABLE {hits} AS
WITH version AS (
    SELECT keys.code AS key, epoch_us(event_timestamp) AS event,
        epoch_us(created_timestamp) AS created,
        "{never_null(table).name}" IS NULL AS gone, versions.id
    FROM ({versions}) AS versions JOIN keys{number} AS keys ON versions."{table.entity}" = keys.key
    WHERE pipeline_version = $pipeline AND event_timestamp BETWEEN $earliest AND $latest
), appearing AS (
    SELECT *, {visible} AS visible FROM version
), answering AS (
    SELECT * EXCLUDE (created) FROM appearing
    WINDOW appearance AS (PARTITION BY key ORDER BY visible, event, created)
    QUALIFY event = max(event) OVER (appearance ROWS UNBOUNDED PRECEDING)
        AND visible IS DISTINCT FROM lead(visible) OVER appearance
)
SELECT n,
    CASE WHEN event IS NULL THEN {Found.NOTHING:d}
        WHEN event + $ttl < moment THEN {Found.EXPIRED:d}
        WHEN gone THEN {Found.DELETED:d} ELSE {Found.MATCHED:d} END::TINYINT AS found,
    id
FROM asked ASOF LEFT JOIN answering
    ON asked.k{number} = answering.key AND answering.visible <= asked.moment
"""


def picked_sql(versions: str, features: tuple[str, ...], hits: str) -> str:
    """A SELECT of the features of the versions that were found, and their ``id``, each once."""
    chosen = ", ".join(f'"{name}"' for name in features)
    return (
        f"SELECT {chosen}, id FROM ({versions}) "
        f"WHERE id IN (SELECT id FROM {hits} WHERE found = {Found.MATCHED:d})"
    )
