"""Ready-to-paste SQL, Python and commands for a table or a service of one home."""

from __future__ import annotations

import csv
import io
import json
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from platemill.features.catalog import ENTITIES, Service, views_of
from platemill.schema import Table
from platemill.settings import Settings
from platemill.warehouse.duck import text_literal

__all__ = ["Snippet", "service_snippets", "table_snippets"]

_MOST_COLUMNS = 8


@dataclass(frozen=True)
class Snippet:
    """A text to paste: its title, its language (``sql``, ``python`` or ``sh``) and a hint."""

    title: str
    language: str
    text: str
    hint: str = ""


def table_snippets(settings: Settings, table: Table, key: str | None) -> list[Snippet]:
    """SQL for the shell and for Python.

    Args:
        settings: the home that they ask.
        table: the table that they ask for.
        key: a value of the table's entity, or of the first column of its key; None asks for any.
    """
    sql = _table_sql(table, key)
    return [
        Snippet("SQL", "sql", sql, "for platemill sql, or for DuckDB with warehouse.duckdb open"),
        Snippet("From the shell", "sh", _ask(settings, sql)),
        Snippet(
            "Python",
            "python",
            f'import duckdb\n\nsql = """\n{_in_quotes(sql)}\n"""\n'
            f"warehouse = {_text(str(settings.warehouse_file))}\n"
            "with duckdb.connect(warehouse, read_only=True) as connection:\n"
            "    connection.execute(\"SET TimeZone = 'UTC'\")\n"
            "    print(connection.sql(sql).df())",
            "opens read-only at any moment, also while a night runs",
        ),
    ]


def service_snippets(settings: Settings, service: Service, key: str, at: datetime) -> list[Snippet]:
    """SQL, Feast and commands that all give a service's features.

    Args:
        settings: the home that they ask.
        service: the service.
        key: a key of its entity.
        at: the time for which a training set is made.
    """
    entity = next(kind for kind in ENTITIES if kind.join_key == service.join_key)
    home = shlex.quote(str(settings.home))
    moment = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
    online = [
        Snippet(
            "Look one up",
            "sh",
            f"platemill lookup --home {home} {entity.name} {shlex.quote(key)}",
            "what the online store holds",
        ),
        Snippet(
            "Python: online features",
            "python",
            f"{_open(settings, service)}\n"
            "answer = store.get_online_features(\n"
            f'    features=service, entity_rows=[{{"{entity.join_key}": {_text(key)}}}], '
            "full_feature_names=True\n"
            ").to_dict()\n"
            "for name, [value] in answer.items():\n"
            "    print(name, value)",
            "keep the store open: opening takes seconds, a lookup a millisecond or two",
        ),
    ]
    return [
        *([] if service.offline else online),
        Snippet(
            "Make a training set",
            "sh",
            f"cat > entities.csv <<'END'\n{_csv(service.join_key, key, moment)}END\n"
            f"platemill training-set --home {home} --service {service.name} "
            "--entities entities.csv --out training.parquet",
            "a row an entity and time; correct in time, and streamed to the file",
        ),
        Snippet(
            "Python: a training set",
            "python",
            f"import pandas as pd\n{_open(settings, service)}\n"
            "entities = pd.DataFrame(\n"
            f'    {{"{entity.join_key}": [{_text(key)}], '
            f'"event_timestamp": pd.to_datetime(["{moment}"])}}\n'
            ")\n"
            "training = store.get_historical_features(\n"
            "    entity_df=entities,\n"
            "    features=service,\n"
            "    full_feature_names=True,\n"
            "    filter_by_created_timestamp=True,\n"
            ").to_df()\n"
            "print(training.T)",
            "correct in time: what was known at each row's event_timestamp, and nothing later",
        ),
        Snippet(
            "SQL",
            "sql",
            _service_sql(service, key),
            "the newest row of each view"
            + ("" if service.offline else ", as long as it may answer: what is served online"),
        ),
    ]


def _text(value: str) -> str:
    """A text as Python writes it, in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def _open(settings: Settings, service: Service) -> str:
    bucket = "" if settings.lake_url is None else f", lake_url={_text(settings.lake_url)}"
    return (
        "from platemill.features.store import open_store\n"
        "from platemill.settings import load_settings\n\n"
        f"store = open_store(load_settings(home={_text(str(settings.home))}{bucket}))\n"
        f'service = store.get_feature_service("{service.name}")'
    )


def _csv(join_key: str, key: str, moment: str) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([(join_key, "event_timestamp"), (key, moment)])
    return lines.getvalue()


def _ask(settings: Settings, sql: str) -> str:
    return f"platemill sql --home {shlex.quote(str(settings.home))} {shlex.quote(sql)}"


def _in_quotes(sql: str) -> str:
    """An SQL text as it stands between three double quotes in Python."""
    return sql.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def _table_sql(table: Table, key: str | None) -> str:
    by = _asked_by(table)
    names = [*table.key, *table.feature_names]
    names = [name for name in dict.fromkeys(names) if name != "pipeline_version"]
    if not table.features:
        names = [name for name in table.arrow.names if name != "pipeline_version"]
    lines = _wrapped("SELECT", names[:_MOST_COLUMNS])
    lines.append(f"FROM {table.name}")
    if key is not None and by is not None:
        lines.append(f"WHERE {by} = {text_literal(key)}")
    lines.append(f"ORDER BY {table.partition} DESC")
    lines.append("LIMIT 10")
    return "\n".join(lines)


def _asked_by(table: Table) -> str | None:
    """The column by which one asks for rows, if it is an entity's."""
    keys = {entity.join_key for entity in ENTITIES}
    if table.entity is not None:
        return table.entity
    return next((name for name in table.key if name in keys), None)


def _service_sql(service: Service, key: str) -> str:
    """The latest row of each view, in one row, with the names that Feast gives."""
    selected = [service.join_key]
    joins = []
    for table in views_of(service):
        selected += [f"{table.name}.{c.name} AS {table.name}__{c.name}" for c in table.features]
        current = ""
        if table.ttl is not None and not service.offline:
            current = f"        AND event_timestamp >= now() - INTERVAL {table.ttl.days} DAY\n"
        joins.append(
            f"LEFT JOIN (\n"
            f"    SELECT * FROM {table.name}\n"
            f"    WHERE {service.join_key} = {text_literal(key)}\n"
            "        AND pipeline_version = (SELECT pipeline_version FROM generation)\n"
            f"{current}"
            "    ORDER BY event_timestamp DESC, created_timestamp DESC\n"
            "    LIMIT 1\n"
            f") AS {table.name} USING ({service.join_key})"
        )
    columns = ",\n    ".join(selected)
    start = f"(SELECT {text_literal(key)} AS {service.join_key}) AS asked"
    return f"SELECT\n    {columns}\nFROM {start}\n" + "\n".join(joins)


def _wrapped(head: str, names: Sequence[str]) -> list[str]:
    wrapped = textwrap.wrap(", ".join(names), 76 - len(head))
    return [f"{head} {wrapped[0]}", *(f"{' ' * len(head)} {line}" for line in wrapped[1:])]
