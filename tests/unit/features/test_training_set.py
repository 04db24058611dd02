"""Training sets at their edges: files that are wrong, times at the bounds, memory that is small."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_versions import Version, publish_versions, some_value
from small_lake import settings_for

from platemill.errors import ConfigurationError, RetryableError
from platemill.features.catalog import SERVICES, views_of
from platemill.features.training_file import beside
from platemill.features.training_set import TrainingRequest, build_training_set
from platemill.lake import open_lake
from platemill.schema import TABLES
from platemill.settings import Settings

PLATE = "A001AA77"
START = date(2026, 5, 1)
EVENT = datetime(2026, 5, 2, tzinfo=UTC)
KNOWN = EVENT + timedelta(hours=3)
TTL = timedelta(days=90)
DAY = ["plate_day_v1:sightings"]
TICK = timedelta(microseconds=1)
UTC_TIMES = pa.timestamp("us", tz="UTC")


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    settings = settings_for(tmp_path / "home")
    publish_versions(open_lake(settings), {"plate_day_v1": [Version(PLATE, START, KNOWN, 7)]})
    return settings


def write(path: Path, plates: Sequence[str | None], moments: Any, **more: Any) -> Path:
    columns = {"plate": pa.array(plates, pa.string()), "event_timestamp": moments, **more}
    pq.write_table(pa.table(columns), path)
    return path


def asked(path: Path, *moments: datetime | None) -> Path:
    return write(path, [PLATE] * len(moments), pa.array(moments, UTC_TIMES))


def build(home: Settings, entities: Path, **given: Any) -> tuple[pa.Table, dict[str, Any]]:
    out = entities.with_name("out.parquet")
    request = TrainingRequest(entities, out, **{"features": DAY, **given})
    said = build_training_set(home, request)
    return pq.read_table(out), said


@pytest.mark.parametrize(
    ("moment", "value"),
    [
        (EVENT, None),
        (KNOWN - TICK, None),
        (KNOWN, 7),
        (EVENT + TTL, 7),
        (EVENT + TTL + TICK, None),
        (EVENT + 2 * TTL, None),
        (datetime(1999, 1, 1, tzinfo=UTC), None),
        (None, None),
    ],
)
def test_a_single_row_at_every_bound(
    home: Settings, tmp_path: Path, moment: datetime | None, value: int | None
) -> None:
    found, _ = build(home, asked(tmp_path / "asked.parquet", moment))
    assert found["plate_day_v1__sightings"].to_pylist() == [value]


def test_the_corrected_past_shows_a_row_from_its_event_on(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", EVENT - TICK, EVENT)
    found, said = build(home, entities, corrected_past=True)
    assert found["plate_day_v1__sightings"].to_pylist() == [None, 7]
    assert said["past"] == "corrected"
    assert found.schema.metadata[b"platemill.past"] == b"corrected"


@pytest.mark.parametrize(
    "moments",
    [
        pa.array([datetime(2026, 5, 2, 3)], pa.timestamp("s")),
        pa.array([datetime(2026, 5, 2, 3)], pa.timestamp("ms")),
        pa.array([datetime(2026, 5, 2, 3)], pa.timestamp("us")),
        pa.array([datetime(2026, 5, 2, 3)], pa.timestamp("ns")),
        pa.array([KNOWN], pa.timestamp("ns", tz="UTC")),
        pa.array([KNOWN], pa.timestamp("us", tz="Asia/Tokyo")),
        pa.array([date(2026, 5, 3)], pa.date32()),
        pa.array(["2026-05-02 03:00:00"]),
        pa.array(["2026-05-02T05:00:00+02:00"]),
        pa.array(["2026-05-02T03:00:00Z"], pa.large_string()),
        pa.array(["2026-05-02T03:00:00Z"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_every_way_to_write_a_time(home: Settings, tmp_path: Path, moments: pa.Array) -> None:
    path = write(tmp_path / "asked.parquet", [PLATE], moments)
    found, said = build(home, path)
    assert found["plate_day_v1__sightings"].to_pylist() == [7]
    assert found["event_timestamp"].type == pq.read_schema(path).field("event_timestamp").type
    assert said["timeless"] == 0


def test_columns_of_ones_own_are_untouched(home: Settings, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "plate": [PLATE, PLATE],
            "event_timestamp": [KNOWN, EVENT],
            "Plate text": ["a", None],
            "weight": pd.array([1.5, None], dtype="Float32"),
            "small": pd.array([1, 2], dtype="uint8"),
            "kind": pd.Categorical(["x", "y"]),
            "nested": [[{"a": 1}], []],
        },
        index=pd.Index(["r1", "r2"], name="who"),
    )
    path = tmp_path / "asked.parquet"
    frame.to_parquet(path)
    found, _ = build(home, path)
    given = pq.read_table(path)
    assert found.select(given.column_names).equals(given)
    assert found.schema.metadata[b"platemill.generation"] == b"1"
    shown = found.to_pandas()
    assert list(shown.index) == ["r1", "r2"]
    assert shown["plate_day_v1__sightings"].tolist()[0] == 7


def test_a_csv_keeps_its_texts(home: Settings, tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text(
        "\ufeffplate,event_timestamp,code,count,weight,free\n"
        f'{PLATE},2026-05-02 03:00:00,007,12,0.5,"a, ""b"""\n'
        f"{PLATE},2026-05-02T05:00:00+02:00,7,,-1e3,\n"
        ",2026-05-02,1,-3,2,x\n"
    )
    found, said = build(home, path)
    assert found["plate_day_v1__sightings"].to_pylist() == [7, 7, None]
    assert found["code"].to_pylist() == ["007", "7", "1"]
    assert found["count"].to_pylist() == [12, None, -3]
    assert found["weight"].to_pylist() == [0.5, -1000.0, 2.0]
    assert found["free"].to_pylist() == ['a, "b"', None, "x"]
    assert found["event_timestamp"].to_pylist()[0] == "2026-05-02 03:00:00"
    assert said["rows"] == 3
    out = tmp_path / "out.csv"
    build_training_set(home, TrainingRequest(path, out, features=DAY))
    with out.open() as file:
        rows = list(csv.reader(file))
    assert rows[0][-1] == "plate_day_v1__sightings"
    assert rows[1] == [PLATE, "2026-05-02 03:00:00", "007", "12", "0.5", 'a, "b"', "7"]
    assert rows[2] == [PLATE, "2026-05-02T05:00:00+02:00", "7", "", "-1e3", "", "7"]
    assert len(rows) == 4


def test_every_service_gives_all_its_features_with_what_the_schema_says(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    versions = {
        table.name: [Version("k", START, KNOWN + timedelta(days=60), 5)]
        for service in SERVICES
        for table in views_of(service)
    }
    publish_versions(open_lake(settings), versions)
    keys = {service.join_key: pa.array(["k"]) for service in SERVICES}
    moments = pa.array([KNOWN + timedelta(days=61)], UTC_TIMES)
    pq.write_table(pa.table({**keys, "event_timestamp": moments}), tmp_path / "asked.parquet")
    names = [service.name for service in SERVICES]
    found, said = build(settings, tmp_path / "asked.parquet", services=names, features=())
    assert set(said["views"]) == set(versions)
    for view in versions:
        for column in TABLES[view].features:
            name = f"{view}__{column.name}"
            assert found[name].to_pylist() == [
                pa.scalar(some_value(column.type, 5), column.type).as_py()
            ]
            field = found.schema.field(name)
            assert field.metadata[b"description"].decode() == column.description
            assert field.metadata[b"unit"].decode() == column.unit


def test_short_names_are_for_views_that_do_not_clash(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", KNOWN)
    found, _ = build(home, entities, full_names=False)
    assert found.column_names == ["plate", "event_timestamp", "sightings"]
    with pytest.raises(ConfigurationError, match="called sightings: ask for --full-feature-names"):
        build(home, entities, full_names=False, features=[*DAY, "plate_week_v1:sightings"])


def test_a_feature_that_is_asked_for_twice_comes_once(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", KNOWN)
    found, _ = build(home, entities, features=[*DAY, *DAY], services=["plate_lookup_v1"])
    assert found.column_names.count("plate_day_v1__sightings") == 1


def test_twice_is_the_same_bytes_and_replaces_the_file(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", KNOWN, EVENT)
    build(home, entities)
    out = tmp_path / "out.parquet"
    first = out.read_bytes()
    build(home, entities)
    assert out.read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "asked.parquet",
        "home",
        "out.parquet",
    ]
    assert not list((home.lake / "_tmp").iterdir())


def test_a_dry_run_says_what_would_be_read_and_writes_nothing(
    home: Settings, tmp_path: Path
) -> None:
    entities = asked(tmp_path / "asked.parquet", KNOWN, None)
    request = TrainingRequest(entities, tmp_path / "out.parquet", features=DAY)
    said = build_training_set(home, request, dry_run=True)
    assert said["views"]["plate_day_v1"]["stored_rows"] == 1
    assert said["rows"] == 2
    assert said["timeless"] == 1
    assert not (tmp_path / "out.parquet").exists()


def test_files_of_other_times_are_not_read(home: Settings, tmp_path: Path) -> None:
    versions = [
        Version(PLATE, START + timedelta(days=days), KNOWN + timedelta(days=days), days)
        for days in range(0, 400, 10)
    ]
    publish_versions(open_lake(home), {"plate_day_v1": versions})
    entities = asked(tmp_path / "asked.parquet", EVENT + timedelta(days=200, hours=3))
    found, said = build(home, entities)
    assert found["plate_day_v1__sightings"].to_pylist() == [200]
    assert said["views"]["plate_day_v1"]["files"] == 10


def test_an_empty_entity_file_gives_an_empty_training_set(home: Settings, tmp_path: Path) -> None:
    found, said = build(home, asked(tmp_path / "asked.parquet"))
    assert found.num_rows == said["rows"] == 0
    assert found.column_names == ["plate", "event_timestamp", "plate_day_v1__sightings"]


def test_rows_that_are_later_than_the_night_are_counted(home: Settings, tmp_path: Path) -> None:
    future = datetime(2101, 1, 1, tzinfo=UTC)
    _, said = build(home, asked(tmp_path / "asked.parquet", KNOWN, future))
    assert said["rows_after_generation"] == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"event_timestamp": pa.array([KNOWN])}, "has no column plate"),
        ({"plate": ["A"]}, "has no column event_timestamp"),
        ({"plate": [1], "event_timestamp": pa.array([KNOWN])}, "plate is int64, and keys are text"),
        ({"plate": ["A"], "event_timestamp": [1777777777]}, "int64, which is no time"),
        ({"plate": ["A"], "event_timestamp": ["4 May"]}, "of row 1 is '4 May', which is no time"),
        (
            {"plate": ["A"], "PLATE": ["B"], "event_timestamp": pa.array([KNOWN])},
            "rename the column PLATE",
        ),
        (
            {
                "plate": ["A"],
                "event_timestamp": pa.array([KNOWN]),
                "plate_day_v1__sightings": [1],
            },
            "two columns would be called plate_day_v1__sightings",
        ),
    ],
)
def test_a_wrong_file_is_told_with_its_cure(
    home: Settings, tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "asked.parquet")
    with pytest.raises(ConfigurationError, match=said):
        build(home, tmp_path / "asked.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("asked.parquet", b"PAR1 and then nothing", "is no whole Parquet file"),
        ("asked.parquet", b"", "is neither Parquet nor named .csv"),
        ("asked.xlsx", b"PK\x03\x04", "is neither Parquet nor named .csv"),
        ("asked.csv", b"", "has no column plate, event_timestamp"),
        ("asked.csv", b"plate;event_timestamp\nA;2026-05-02\n", "has: plate;event_timestamp"),
        ("asked.csv", b"plate,event_timestamp\nA,2026-05-02,extra\n", "no CSV with a header"),
        ("asked.csv", b"plate,event_timestamp\n\xff\xfe,2026-05-02\n", "no CSV"),
        ("asked.csv", b"plate,event_timestamp\nA,yesterday\n", "'yesterday', which is no time"),
        ("asked.csv", b"plate,event_timestamp,a,A\nA,2026-05-02,1,2\n", "a name of its own"),
    ],
)
def test_garbage_is_refused(
    home: Settings, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        build(home, tmp_path / name)


def test_a_parquet_file_that_is_cut_short_is_refused(home: Settings, tmp_path: Path) -> None:
    path = asked(tmp_path / "asked.parquet", *[KNOWN] * 1000)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ConfigurationError, match="is no whole Parquet file"):
        build(home, path)


def test_wrong_wishes_are_told_with_their_cure(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", KNOWN)

    def refused(said: str, out: Path, settings: Settings = home, **given: Any) -> None:
        with pytest.raises(ConfigurationError, match=said):
            build_training_set(settings, TrainingRequest(entities, out, **given))

    out = tmp_path / "out.parquet"
    refused("name a service or a feature", out)
    refused("no service 'x'; there are: plate_lookup_v1", out, services=["x"])
    refused("named view:feature", out, features=["sightings"])
    refused("no view 'plate'; there are: plate_day_v1", out, features=["plate:sightings"])
    refused("no feature 'x'; it has: sightings", out, features=["plate_day_v1:x"])
    refused("ends in neither of .parquet, .csv", tmp_path / "out", features=DAY)
    refused("lies inside", home.lake / "tiles" / "out.parquet", features=DAY)
    refused("there is no folder", tmp_path / "nowhere" / "out.parquet", features=DAY)
    refused("is the entity file itself", entities, features=DAY)
    (tmp_path / "folder.parquet").mkdir()
    refused("is a folder", tmp_path / "folder.parquet", features=DAY)
    refused("no published night", out, settings_for(tmp_path / "other"), features=DAY)
    assert entities.is_file()


def test_a_tile_that_a_vacuum_removed_is_a_retry(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", KNOWN)
    for path in home.lake.glob("tiles/**/*.parquet"):
        path.unlink()
    with pytest.raises(RetryableError, match="run again"):
        build(home, entities)
    assert not (tmp_path / "out.parquet").exists()


def test_much_with_little_memory(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    versions = [
        Version(f"P{key:05}", START + timedelta(days=day), KNOWN + timedelta(days=day), key + day)
        for key in range(0, 2000)
        for day in range(3)
    ]
    publish_versions(open_lake(settings), {"plate_day_v1": versions})
    path = tmp_path / "asked.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "COPY (SELECT format('P{:05d}', (i * 7919) % 2500) AS plate, "
            f"'{KNOWN}'::TIMESTAMPTZ + to_hours((i % 90)::INT) AS event_timestamp, i "
            f"FROM range(300_000) t(i)) TO '{path}' (FORMAT parquet)"
        )
    request = {"services": ["plate_lookup_v1"], "features": ()}
    found, roomy = build(settings, path, **request)
    small = settings.model_copy(update={"duckdb_memory": "48MB"})
    again, tight = build(small, path, **request)
    assert again.equals(found)
    assert tight["views"] == roomy["views"]
    assert tight["memory_limit"] == "48MB"
    column = found["plate_day_v1__sightings"].to_pylist()
    for i in (0, 1, 150_001, 299_999):
        key, day = (i * 7919) % 2500, min((i % 90) // 24, 2)
        assert column[i] == (key + day if key < 2000 else None)


def test_too_little_memory_is_told_with_its_cure(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", *[KNOWN] * 200_000)
    tiny = home.model_copy(update={"duckdb_memory": "1MB"})
    with pytest.raises(ConfigurationError, match="PLATEMILL_DUCKDB_MEMORY"):
        build(tiny, entities)
    assert not beside(tmp_path / "out.parquet").exists()


_SLOW = """
import sys, time
from pathlib import Path
import pyarrow as pa
from platemill.features.training_file import write_rows

schema = pa.schema([("a", pa.int64())])

def batches():
    yield pa.record_batch({"a": list(range(50_000))}, schema=schema)
    print("half", flush=True)
    sys.stdin.readline()
    yield pa.record_batch({"a": [1]}, schema=schema)

write_rows(Path(sys.argv[1]), schema, batches())
print("done", flush=True)
"""


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_killed_half_way_leaves_the_old_file_and_the_next_one_goes_on(
    home: Settings, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    out.write_text("the old one")
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        assert out.read_text() == "the old one"
        entities = asked(tmp_path / "asked.parquet", KNOWN)
        request = TrainingRequest(entities, out, features=DAY)
        with pytest.raises(ConfigurationError, match="another process is writing"):
            build_training_set(home, request)
        os.kill(child.pid, signal.SIGKILL)
    assert out.read_text() == "the old one"
    assert beside(out).exists()
    said = build_training_set(home, request)
    assert out.stat().st_size == said["bytes"]
    assert not beside(out).exists()


def test_an_error_half_way_leaves_nothing(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("answers are out of order")

    monkeypatch.setattr("platemill.features.training_set._check_order", broken)
    entities = asked(tmp_path / "asked.parquet", KNOWN)
    with pytest.raises(RuntimeError, match="out of order"):
        build(home, entities)
    assert not (tmp_path / "out.parquet").exists()
    assert not beside(tmp_path / "out.parquet").exists()


def test_progress_is_told(home: Settings, tmp_path: Path) -> None:
    entities = asked(tmp_path / "asked.parquet", KNOWN)
    told: list[tuple[str, int, int]] = []
    said = build_training_set(
        home,
        TrainingRequest(entities, tmp_path / "out.parquet", features=DAY),
        progress=lambda *words: told.append(words),
    )
    assert [what for what, _, _ in told] == ["entities", "plate_day_v1", "writing", "done"]
    assert told[-1][1] == told[-1][2]
    assert said["seconds"] > 0
