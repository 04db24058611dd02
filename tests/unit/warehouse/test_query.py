"""The warehouse file and ad-hoc SQL: every table is there, nothing can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from small_lake import Photo, at, later, night, settings_for

from platemill.errors import ConfigurationError
from platemill.lake import open_lake
from platemill.schema import TABLES, TILES, Table
from platemill.settings import Settings
from platemill.warehouse.duck import connect, shown_generation, sql_type, write_warehouse
from platemill.warehouse.publish import finish_publish
from platemill.warehouse.query import run_sql
from platemill.warehouse.sql_files import read_sql

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9),))
B = Photo("file:///c1/b.jpg", "c1", at("2026-05-04 11:00"), (("B002BB77", 0.8),))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "it's a home")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with a night in it, for tests that only ask."""
    settings = settings_for(tmp_path_factory.mktemp("published") / "it's a home")
    night(settings, [A, B])
    return settings


def declared(table: Table) -> list[tuple[str, str]]:
    return [(column.name, sql_type(column.type)) for column in table.columns]


@pytest.mark.parametrize("nights", [0, 1])
def test_every_view_has_the_schema_s_columns(settings: Settings, nights: int) -> None:
    if nights:
        night(settings, [A, B])
    else:
        finish_publish(settings)
    with duckdb.connect(str(settings.warehouse_file), read_only=True) as connection:
        shown = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
        assert shown == {*TABLES, "generation"}
        for table in TABLES.values():
            rows = connection.execute(f"DESCRIBE {table.name}").fetchall()
            assert [(row[0], row[1]) for row in rows] == declared(table)


@pytest.mark.parametrize("table", TILES, ids=lambda table: table.name)
def test_every_query_gives_the_schema_s_columns(published: Settings, table: Table) -> None:
    query = read_sql(published.sql, table.name, "query.sql")
    with duckdb.connect(str(published.warehouse_file), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute(
            f"DESCRIBE {query}",
            {"period_start": A.day, "period_end": B.day, "created_timestamp": later(0)},
        ).fetchall()
    assert [(row[0], row[1]) for row in rows] == declared(table)


def test_columns_carry_their_descriptions(published: Settings) -> None:
    with duckdb.connect(str(published.warehouse_file), read_only=True) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() "
            "WHERE NOT internal AND table_name <> 'generation'"
        ).fetchall()
    comments = {(table, column): comment for table, column, comment in found}
    assert len(comments) == sum(len(table.columns) for table in TABLES.values())
    assert comments["images", "byte_size"] == "size of the encoded image [bytes]"
    assert all(comments.values())


def test_the_file_can_be_opened_by_older_duckdb_too(published: Settings) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH $${published.warehouse_file}$$ AS w (READ_ONLY)")
        [(tags,)] = connection.execute(
            "SELECT tags FROM duckdb_databases() WHERE database_name = 'w'"
        ).fetchall()
    assert tags["storage_version"].startswith("v1.5")


def test_it_opens_from_any_folder_in_any_process(published: Settings, tmp_path: Path) -> None:
    code = (
        "import duckdb, sys\n"
        "with duckdb.connect(sys.argv[1], read_only=True) as connection:\n"
        "    print(connection.sql('SELECT count(*) FROM images').fetchall()[0][0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(published.warehouse_file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2\n"


def test_a_reader_keeps_the_night_it_opened(settings: Settings) -> None:
    night(settings, [A])
    with duckdb.connect(str(settings.warehouse_file), read_only=True) as reader:
        night(settings, [B], "r2", now=later(1))
        assert reader.sql("SELECT count(*) FROM images").fetchall() == [(1,)]
        assert reader.sql("SELECT generation FROM generation").fetchall() == [(1,)]
    assert shown_generation(settings.warehouse_file) == (2, str(settings.lake))


def test_who_has_followed_the_link_can_still_open_what_it_showed(settings: Settings) -> None:
    night(settings, [A])
    followed = settings.warehouse_file.resolve()
    os.utime(followed.parent, (0, 0))  # published long ago, replaced just now
    night(settings, [B], "r2", now=later(1))
    assert shown_generation(followed) == (1, str(settings.lake))
    assert shown_generation(settings.warehouse_file) == (2, str(settings.lake))


def test_a_file_that_was_shown_goes_an_hour_after_it_was_replaced(settings: Settings) -> None:
    first = night(settings, [A])
    replaced = settings.warehouse_file.resolve()
    night(settings, [B], "r2", now=later(1))
    os.utime(replaced.parent, (0, 0))
    write_warehouse(open_lake(settings), first, settings.warehouse_file, settings.sql)
    assert not replaced.parent.exists()
    assert shown_generation(settings.warehouse_file) == (1, str(settings.lake))


def test_the_same_process_sees_the_new_night_when_it_opens_the_file_again(
    settings: Settings,
) -> None:
    night(settings, [A])
    with duckdb.connect(str(settings.warehouse_file), read_only=True) as before:
        night(settings, [B], "r2", now=later(1))
        with duckdb.connect(str(settings.warehouse_file), read_only=True) as after:
            assert after.sql("SELECT count(*) FROM images").fetchall() == [(2,)]
        assert before.sql("SELECT count(*) FROM images").fetchall() == [(1,)]


def test_the_database_is_named_warehouse(published: Settings) -> None:
    with duckdb.connect(str(published.warehouse_file), read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM warehouse.images").fetchall() == [(2,)]


def test_what_a_killed_writer_left_is_swept(settings: Settings) -> None:
    files = settings.home / ".warehouse"
    old_file, old_link = files / "1" / "warehouse.duckdb", settings.home / ".warehouse.duckdb.1"
    young_file, young_link = files / "2" / "warehouse.duckdb", settings.home / ".warehouse.duckdb.2"
    for file, link in ((old_file, old_link), (young_file, young_link)):
        file.parent.mkdir(parents=True)
        file.touch()
        link.symlink_to(file)
    os.utime(old_file.parent, (0, 0))
    os.utime(old_link, (0, 0), follow_symlinks=False)
    night(settings, [A])
    assert not old_file.parent.exists()
    assert not old_link.is_symlink()
    assert young_file.exists()
    assert young_link.is_symlink()


def test_a_lost_or_stale_or_moved_file_is_written_again(settings: Settings) -> None:
    first = night(settings, [A])
    assert not finish_publish(settings)
    settings.warehouse_file.unlink()
    assert finish_publish(settings)
    settings.warehouse_file.unlink()
    settings.warehouse_file.write_bytes(b"not a database, and not a link")
    assert finish_publish(settings)
    night(settings, [B], "r2", now=later(1))
    write_warehouse(open_lake(settings), first, settings.warehouse_file, settings.sql)
    assert finish_publish(settings)
    moved = settings.home.rename(settings.home.with_name("moved"))
    there = settings_for(moved)
    assert run_sql(there, "SELECT count(*) AS n FROM images").to_pylist() == [{"n": 2}]
    assert shown_generation(there.warehouse_file) == (2, str(there.lake))


def test_tables_are_empty_before_the_first_night(settings: Settings) -> None:
    for table in TABLES.values():
        answer = run_sql(settings, f"FROM {table.name}")
        assert answer.num_rows == 0
        assert answer.column_names == table.arrow.names
    assert not settings.warehouse_file.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM images",
        "WITH a AS (FROM images) SELECT * FROM a",
        "FROM plate_day_v1",
        "DESCRIBE images",
        "SHOW TABLES",
        "SUMMARIZE images",
        "EXPLAIN SELECT * FROM images",
        "EXPLAIN ANALYZE SELECT * FROM images",
        "SELECT 1;",
        "SELECT run_id FROM generation WHERE generation = 1",
    ],
)
def test_questions_are_answered(published: Settings, sql: str) -> None:
    answer = run_sql(published, sql)
    assert answer.num_columns > 0
    assert answer.num_rows > 0


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nonsense FROM images", "nonsense"),
        ("FROM no_such_table", "no_such_table"),
        ("", "one SQL statement"),
        ("SELECT 1; SELECT 2", "one SQL statement"),
        ("CREATE TABLE t (a INT)", "only SELECT"),
        ("INSERT INTO images SELECT * FROM images", "only SELECT"),
        ("DELETE FROM images", "only SELECT"),
        ("DROP VIEW images", "only SELECT"),
        ("WITH x AS (DELETE FROM images RETURNING *) SELECT * FROM x", "refuses"),
        ("SET memory_limit = '1TB'", "only SELECT"),
        ("INSTALL httpfs", "only SELECT"),
        ("ATTACH 'x.db'", "only SELECT"),
        ("COPY (SELECT 1) TO '{lake}/x.csv'", "only SELECT"),
        ("EXPLAIN COPY (SELECT 1) TO '{lake}/x.csv'", "only SELECT"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/x.csv'", "only SELECT"),
        ("EXPLAIN /* */ ANALYZE COPY (SELECT 1) TO '{lake}/x.csv'", "refuses|only SELECT"),
        ("EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{lake}/x.csv'", "refuses|only SELECT"),
        ("/* */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/x.csv'", "refuses|only SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Permission"),
        ("SELECT * FROM read_text('{home}/../secret.txt')", "Permission"),
        ("SELECT * FROM 'https://example.com/a.parquet'", "refuses"),
    ],
)
def test_anything_else_is_refused(published: Settings, sql: str, text: str) -> None:
    (published.home.parent / "secret.txt").write_text("secret")
    before = sorted(published.lake.rglob("*"))
    home = str(published.home).replace("'", "''")
    with pytest.raises(ConfigurationError, match=text):
        run_sql(published, sql.format(lake=f"{home}/lake", home=home))
    assert sorted(published.lake.rglob("*")) == before


def test_a_wrong_limit_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="duckdb_memory='lots'"):
        run_sql(settings_for(tmp_path, duckdb_memory="lots"), "SELECT 1")


def test_nothing_is_left_in_the_spill_folder(settings: Settings) -> None:
    night(settings, [A])
    run_sql(settings, "SELECT 1")
    assert not list((settings.lake / "_tmp").iterdir())


def test_a_long_answer_draws_nothing_on_stdout(settings: Settings) -> None:
    # DuckDB's bar would be in the JSON that --json prints, and in a CSV.
    with connect(open_lake(settings)) as connection:
        asked = "SELECT current_setting('enable_progress_bar')"
        assert connection.execute(asked).fetchall() == [(False,)]
