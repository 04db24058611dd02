"""Tiles: only what differs is new, and what was known before is kept for point-in-time joins."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from small_lake import NIGHT, Photo, at, draft_night, later, night, settings_for

from platemill.errors import CheckFailed, ConfigurationError
from platemill.lake import Generation, open_lake
from platemill.schema import DERIVED, TABLES, TILES, Period
from platemill.settings import Settings
from platemill.warehouse.draft import period_end, period_start
from platemill.warehouse.sql_files import read_sql

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9),))
B = Photo("file:///c1/b.jpg", "c1", at("2026-05-01 11:00"), (("B002BB77", 0.8),))
LATE = Photo("file:///c2/late.jpg", "c2", at("2026-05-01 12:00"), (("A001AA77", 0.5),))
OTHER = Photo("file:///c2/c.jpg", "c2", at("2026-05-20 09:00"), (("C003CC77", 0.7),))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


def rows_of(settings: Settings, generation: Generation, table: str) -> list[dict[str, Any]]:
    paths = [str(settings.lake / entry.path) for entry in generation.partitions(table).values()]
    found = duckdb.sql(
        "FROM read_parquet($files, hive_partitioning = false)", params={"files": paths}
    )
    return found.to_arrow_table().to_pylist()


def history_of(settings: Settings, generation: Generation, table: str) -> list[dict[str, Any]]:
    return [
        row
        for entries in generation.history.get(table, {}).values()
        for entry in entries
        for row in duckdb.sql(
            f"FROM read_parquet('{settings.lake / entry.path}', hive_partitioning = false)"
        )
        .to_arrow_table()
        .to_pylist()
    ]


@pytest.mark.parametrize(
    ("period", "day", "start", "end"),
    [
        (Period.DAY, "2028-02-29", "2028-02-29", "2028-03-01"),
        (Period.WEEK, "2027-01-01", "2026-12-28", "2027-01-04"),
        (Period.WEEK, "2026-12-28", "2026-12-28", "2027-01-04"),
        (Period.WEEK, "2027-01-03", "2026-12-28", "2027-01-04"),
        (Period.MONTH, "2028-02-29", "2028-02-01", "2028-03-01"),
        (Period.MONTH, "2026-12-31", "2026-12-01", "2027-01-01"),
    ],
)
def test_periods(period: Period, day: str, start: str, end: str) -> None:
    found = period_start(period, date.fromisoformat(day))
    assert found == date.fromisoformat(start)
    assert period_end(period, found) == date.fromisoformat(end)


def test_a_late_image_rebuilds_its_periods_and_nothing_else(settings: Settings) -> None:
    first = night(settings, [A, B, OTHER])
    second = night(settings, [LATE], "r2", now=later(1))
    for table in TILES:
        before, after = first.partitions(table.name), second.partitions(table.name)
        changed = {start for start in before | after if before.get(start) != after.get(start)}
        assert table.period is not None
        assert changed == {period_start(table.period, A.day)}, table.name


def test_a_row_that_comes_out_the_same_keeps_its_time(settings: Settings) -> None:
    night(settings, [A, B])
    second = night(settings, [LATE], "r2", now=later(1))
    known = {
        row["plate"]: row["created_timestamp"] for row in rows_of(settings, second, "plate_week_v1")
    }
    assert known == {"A001AA77": later(1), "B002BB77": NIGHT}


def test_a_corrected_row_is_remembered_as_it_was(settings: Settings) -> None:
    first = night(settings, [A, B])
    second = night(settings, [LATE], "r2", now=later(1))
    [remembered] = history_of(settings, second, "plate_day_v1")
    [was] = [r for r in rows_of(settings, first, "plate_day_v1") if r["plate"] == "A001AA77"]
    assert remembered == was
    assert history_of(settings, first, "plate_day_v1") == []


def test_a_key_without_a_row_leaves_a_tombstone(settings: Settings) -> None:
    night(settings, [A, B])
    second = night(settings, [replace(A, plates=())], "r2", now=later(1))
    was, gone = sorted(
        history_of(settings, second, "plate_day_v1"), key=lambda row: row["created_timestamp"]
    )
    assert (was["plate"], was["sightings"], was["created_timestamp"]) == ("A001AA77", 1, NIGHT)
    assert (gone["plate"], gone["sightings"], gone["created_timestamp"]) == (
        "A001AA77",
        None,
        later(1),
    )
    assert gone["event_timestamp"] == was["event_timestamp"]


def test_a_period_that_is_not_over_leaves_no_history(settings: Settings) -> None:
    # The month ends after both nights: no join at its end could see its first version.
    night(settings, [A, B], now=at("2026-05-02 03:00"))
    second = night(settings, [LATE], "r2", now=at("2026-05-03 03:00"))
    assert history_of(settings, second, "plate_month_v1") == []
    assert len(history_of(settings, second, "plate_day_v1")) == 1


def test_a_corrected_correction_keeps_both(settings: Settings) -> None:
    night(settings, [A])
    night(settings, [LATE], "r2", now=later(1))
    third = night(settings, [replace(LATE, plates=())], "r3", now=later(2))
    times = [row["created_timestamp"] for row in history_of(settings, third, "plate_day_v1")]
    assert sorted(times) == [NIGHT, later(1)]
    [now] = rows_of(settings, third, "plate_day_v1")
    assert (now["sightings"], now["created_timestamp"]) == (1, later(2))


def test_a_photo_under_two_names_counts_once(settings: Settings) -> None:
    copy = replace(A, uri="file:///c1/copy of a.jpg", image_id=A.content)
    generation = night(settings, [A, copy])
    assert generation.partitions("images")[A.day].rows == 2
    [camera] = rows_of(settings, generation, "camera_day_v1")
    assert (camera["images"], camera["plates"]) == (1, 1)
    [plate] = rows_of(settings, generation, "plate_week_v1")
    assert plate["sightings"] == 1
    [image] = rows_of(settings, generation, "image_recognitions_v1")
    assert (image["copies"], image["texts"]) == (2, ["A001AA77"])


def test_a_confidence_that_is_no_number_stops_the_night(settings: Settings) -> None:
    bad = replace(A, plates=(("A001AA77", float("nan")),))
    with pytest.raises(CheckFailed, match="plate_day_v1 of 2026-05-01 cannot be computed"):
        draft_night(settings, [bad])
    assert open_lake(settings).current() is None


def test_a_missing_sql_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"plate_day_v1/query.sql .*PLATEMILL_PROJECT"):
        read_sql(tmp_path, "plate_day_v1", "query.sql")


def test_every_sql_folder_is_a_table_and_every_table_has_one(settings: Settings) -> None:
    assert {path.name for path in settings.sql.iterdir()} == set(TABLES)
    for tables, name in ((TILES, "query.sql"), (DERIVED, "view.sql")):
        for table in tables:
            files = {path.name for path in (settings.sql / table.name).iterdir()}
            assert files == {name, "checks.sql", "README.md"}
