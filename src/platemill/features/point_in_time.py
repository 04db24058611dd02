"""The point-in-time join in SQL: what was the newest thing known about a key at a time.

For a key and a time *t*, Feast's join looks at the rows whose event is not after *t*, that were
created not after *t*, and that have not expired at *t*, and takes the latest event, of that the
latest created. Two inequalities at once are no ASOF join. They become one like this: a row is
*visible* from the later of its two times on. In the order in which a key's rows become visible, a
row of an event that is earlier than that of a row before it never answers and is left out. (Rows
of one event become visible in the order in which they were created.) Of the rest the last one that
is visible at *t* is the one to take. It has the latest event of them, so it expires last: whether
it has is asked of it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from platemill.features.versions import never_null
from platemill.schema import Table

__all__ = ["Found", "answer_sql"]


class Found(IntEnum):
    """What there was for a row of the entity file."""

    NOTHING = 0
    MATCHED = 1
    EXPIRED = 2
    DELETED = 3


def answer_sql(
    table: Table, features: Sequence[str], key: str, *, answer: str, corrected_past: bool
) -> str:
    """The statement that makes the table of answers of one view.

    It reads the view ``versions`` of the table's rows and the table ``asked`` (``n`` from 0, a key,
    ``moment``), and binds ``$pipeline``, ``$ttl``, and ``$first`` and ``$last``, the span of the
    moments.

    Args:
        table: the view's table.
        features: names of its features.
        key: the column of ``asked`` that holds the key.
        answer: the name of the table that is made: ``n``, ``found`` (a ``Found``) and ``f0``,
            ``f1`` … the features, all rows of ``asked`` in the order of ``n``.
        corrected_past: whether a row is visible before it was created.
    """
    visible = "event" if corrected_past else "greatest(event, created)"
    numbered = list(enumerate(features))
    chosen = ", ".join(f'"{name}" AS f{i}' for i, name in numbered)
    current = ", ".join(
        f"CASE WHEN event + $ttl >= moment THEN f{i} END AS f{i}" for i, _ in numbered
    )
    return f"""
CREATE TEMP TABLE {answer} AS
WITH version AS (
    SELECT "{table.entity}" AS key, event_timestamp AS event, created_timestamp AS created,
        "{never_null(table).name}" IS NULL AS gone, {chosen}
    FROM versions
    WHERE pipeline_version = $pipeline
        AND event_timestamp <= $last AND event_timestamp + $ttl >= $first
        AND "{table.entity}" IN (SELECT {key} FROM asked WHERE {key} IS NOT NULL)
), appearing AS (
    SELECT *, {visible} AS visible FROM version
), answering AS (
    SELECT * EXCLUDE (created) FROM appearing
    WINDOW appearance AS (PARTITION BY key ORDER BY visible, event, created)
    QUALIFY event = max(event) OVER (appearance ROWS UNBOUNDED PRECEDING)
        AND visible IS DISTINCT FROM lead(visible) OVER appearance
)
SELECT n,
    CASE WHEN event IS NULL THEN {Found.NOTHING:d} WHEN event + $ttl < moment THEN {Found.EXPIRED:d}
        WHEN gone THEN {Found.DELETED:d} ELSE {Found.MATCHED:d} END::TINYINT AS found,
    {current}
FROM asked ASOF LEFT JOIN answering
    ON asked.{key} = answering.key AND answering.visible <= asked.moment
ORDER BY n
"""
