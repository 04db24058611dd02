"""Ad-hoc SQL over the current generation, which can read its tables and do nothing else."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from platemill.errors import ConfigurationError
from platemill.lake import open_lake
from platemill.settings import Settings
from platemill.warehouse.duck import connect, show_generation, text_literal
from platemill.warehouse.publish import finish_publish

__all__ = ["run_sql"]


def run_sql(settings: Settings, sql: str) -> pa.Table:
    """Answer one SELECT (or DESCRIBE, SHOW, SUMMARIZE, EXPLAIN) about the current generation.

    Every statement sees one whole generation, also while a run publishes the next. Before the
    first night the tables are there and empty.

    Raises:
        ConfigurationError: the SQL is wrong, is more than one statement, or would write, or read
            files outside the lake.
    """
    lake = open_lake(settings)
    if settings.home.is_dir():
        finish_publish(settings)
    generation = lake.current()
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        show_generation(connection, lake, generation, settings.sql)
        connection.execute(f"SET allowed_directories = [{text_literal(str(lake.root))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            _refuse_writes(connection, sql)
            answer: pa.Table = connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise ConfigurationError(f"DuckDB refuses this SQL: {error}") from error
    return answer


def _refuse_writes(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise ConfigurationError(f"one SQL statement is answered at a time, not {len(statements)}")
    kind = statements[0].type
    text = sql
    if kind == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs what it explains, a COPY too.
        text = _explained(sql)
        inner = connection.extract_statements(text)
        kind = inner[0].type if len(inner) == 1 else kind
    if kind != duckdb.StatementType.SELECT:
        raise ConfigurationError(
            f"only SELECT, DESCRIBE, SHOW, SUMMARIZE and EXPLAIN of a SELECT are answered, not "
            f"{kind.name}. To write tables of your own, open warehouse.duckdb read-only in DuckDB "
            "and ATTACH a database of yours"
        )


def _explained(sql: str) -> str:
    words = sql.split(None, 1)
    rest = words[1] if len(words) == 2 and words[0].lower() == "explain" else ""
    head = rest.split(None, 1)
    if head and head[0].lower() == "analyze":
        rest = head[1] if len(head) == 2 else ""
    return rest
