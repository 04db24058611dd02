"""The catalogue of a real home: everything is in it, nothing private is, and its snippets run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_homes import EVIL, LAST_DAY, NEXT_NIGHT, PLATES, published_home, sql_home
from pages_read import Page, read_pages
from small_lake import Photo, at, night, settings_for

from platemill.catalog import write_catalog
from platemill.errors import ConfigurationError, RetryableError
from platemill.features.catalog import (
    ENTITIES,
    OFFLINE_VIEWS,
    SERVICES,
    TRAINING_SERVICES,
    VIEWS,
    views_of,
)
from platemill.features.lookup import Lookup
from platemill.lake import open_lake
from platemill.lake.files import write_parquet
from platemill.pages.wording import capitalised
from platemill.schema import CHECK_RESULTS, TABLES, Period
from platemill.settings import QUIET_ENVIRONMENT, Settings
from platemill.warehouse.query import run_sql

# ibis 12 asks DuckDB 2.0 for Arrow by the name that 1.x had; Feast 0.67 wants that ibis.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


ALL = (*SERVICES, *TRAINING_SERVICES)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return published_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def out(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "pages"
    said = write_catalog(settings, folder)
    assert said["pages"] == len(list(folder.glob("*.html"))) == 2 + len(TABLES) + len(ALL)
    assert (said["generation"], said["tables"]) == (1, len(TABLES))
    assert said["bytes"] <= sum(path.stat().st_size for path in folder.iterdir())
    return folder


@pytest.fixture(scope="module")
def pages(out: Path) -> dict[str, Page]:
    return read_pages(out)


@pytest.fixture(scope="module")
def open_pages(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """The pages with the values of personal columns, whose snippets ask for somebody."""
    folder = tmp_path_factory.mktemp("open") / "pages"
    write_catalog(settings, folder, show_values=True)
    return read_pages(folder)


def test_every_table_view_field_service_and_entity_is_described(pages: dict[str, Page]) -> None:
    index = pages["index.html"].text
    for table in TABLES.values():
        page = pages[f"{table.name}.html"]
        assert capitalised(table.description) in page.text
        assert table.owner in page.text
        assert table.name in index
        for column in table.columns:
            assert column.name in page.ids
            assert capitalised(column.description) in page.text
            assert column.unit in page.text
            assert column.description in index
        if table in (*VIEWS, *OFFLINE_VIEWS):
            assert "time to live" in page.text
    for service in ALL:
        page = pages[f"{service.name}.html"]
        assert capitalised(service.description) in page.text
        assert service.owner in page.text
        for table in (*VIEWS, *OFFLINE_VIEWS):
            for column in table.features:
                is_in = f"{table.name}-{column.name}" in page.ids
                assert is_in == (table in views_of(service))
    for entity in ENTITIES:
        assert capitalised(entity.description) in index


def test_what_is_counted_is_what_sql_counts(settings: Settings, pages: dict[str, Page]) -> None:
    for table in TABLES.values():
        [rows] = run_sql(settings, f"SELECT count(*) AS n FROM {table.name}")["n"].to_pylist()
        text = pages[f"{table.name}.html"].text
        if table.derived_from is None:
            assert f"rows{rows:,}" in text.replace("\n", "")
    day = pages["plate_day_v1.html"].text.replace("\n", "")
    [least, newest] = run_sql(
        settings,
        "SELECT min(confidence_mean) AS n FROM plate_day_v1 UNION ALL "
        "SELECT avg(confidence_mean) FROM plate_day_v1 ORDER BY n",
    )["n"].to_pylist()
    assert f"min{least:.4g}" in day
    assert f"mean{newest:.4g}" in day
    assert LAST_DAY.isoformat() in day


def test_every_link_leads_somewhere_and_nothing_is_fetched(
    out: Path, pages: dict[str, Page]
) -> None:
    for name, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), name
        for link in page.links:
            target, _, place = link.partition("#")
            assert "//" not in target, f"{name}: {link}"
            file = out / (target or name)
            assert file.is_file(), f"{name}: {link}"
            if place and file.suffix == ".html":
                assert place in pages[file.name].ids, f"{name}: {link}"
    for path in (out / "catalog.css", out / "catalog.js"):
        text = path.read_text()
        assert "http" not in text.replace("Over plain http", "")
        assert "url(" not in text


def test_a_name_is_never_more_than_a_text(pages: dict[str, Page]) -> None:
    assert EVIL in pages["camera_day_v1.html"].text
    for page in pages.values():
        assert page.scripts == ["catalog.js"]
        assert not {name for name in page.attributes if name.startswith("on")}


def test_nobodys_plate_is_shown_unless_it_is_asked_for(
    out: Path, open_pages: dict[str, Page]
) -> None:
    for path in out.iterdir():
        text = path.read_text(encoding="utf-8")
        for plate in PLATES:
            assert plate not in text, path.name
    assert "No value of a column that is personal data is shown" in (
        out / "plate_day_v1.html"
    ).read_text(encoding="utf-8")
    shown = open_pages["plate_day_v1.html"].text
    assert all(plate in shown for plate in PLATES)


def test_the_same_generation_gives_the_same_bytes(settings: Settings, out: Path) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_catalog(settings.model_copy(update={"duckdb_threads": 2}), out)
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert [name for name in before if before[name] != after[name]] == []
    assert before.keys() == after.keys()


def test_a_later_night_replaces_the_pages(tmp_path: Path) -> None:
    settings = sql_home(tmp_path / "home")
    write_catalog(settings, tmp_path / "out")
    new = Photo("file:///n.jpg", "new", NEXT_NIGHT - timedelta(hours=5))
    night(settings, [new], "r2", now=NEXT_NIGHT)
    assert write_catalog(settings, tmp_path / "out")["generation"] == 2
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<dt>generation</dt><dd>2</dd>" in index
    assert new.day.isoformat() in index
    mark = json.loads((tmp_path / "out" / "catalog.json").read_text())
    assert mark["generation"] == 2


def test_a_home_without_photos_gets_the_schemas_pages(tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = write_catalog(settings_for(home), tmp_path / "out")
    assert said["generation"] is None
    assert not home.exists(), "a question makes no home"
    pages = read_pages(tmp_path / "out")
    assert "No photos yet" in pages["index.html"].text
    assert "sightings" in pages["plate_day_v1.html"].text
    assert "no night has been published" in pages["plate_day_v1.html"].text
    assert pages["lineage.html"].text
    for name, page in pages.items():
        for link in page.links:
            assert (tmp_path / "out" / (link.partition("#")[0] or name)).exists()


def test_a_home_without_a_plate(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    night(settings, [Photo("file:///e.jpg", "c", at("2026-05-01 10:00"))])
    said = write_catalog(settings, tmp_path / "out")
    assert said["rows"] > 0
    pages = read_pages(tmp_path / "out")
    assert "No row yet" in pages["index.html"].text
    assert "rows0" in pages["recognitions.html"].text.replace("\n", "")


def test_a_large_table_is_looked_at_in_part_and_says_so(settings: Settings, tmp_path: Path) -> None:
    said = write_catalog(settings, tmp_path / "out", sample_rows=8)
    assert {"images", "recognitions", "plate_day_v1"} <= set(said["sampled"])
    pages = read_pages(tmp_path / "out")
    assert "of a sample of" in pages["images.html"].text
    trailing = pages["plate_trailing_v1.html"].text
    assert "of 1 of 3 keys, chosen by a hash" in trailing
    assert "≈" in trailing


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    settings = sql_home(tmp_path / "home")
    write_catalog(settings, tmp_path / "out")
    before = (tmp_path / "out" / "index.html").read_bytes()
    generation = open_lake(settings).current()
    assert generation is not None
    entry = next(iter(generation.partitions("images").values()))
    (settings.lake / entry.path).unlink()
    with pytest.raises(RetryableError, match=r"generation 1 .* could not be read"):
        write_catalog(settings, tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_bytes() == before


def test_the_last_results_of_the_checks_are_shown(tmp_path: Path) -> None:
    settings = sql_home(tmp_path / "home")
    lake = open_lake(settings)
    first = lake.current()
    assert first is not None
    told = {
        "run_id": "r2",
        "checked_at": first.created_at,
        "day": first.created_at.date(),
        "table_name": "plate_day_v1",
        "severity": "warn",
        "value": None,
    }
    results = [
        {**told, "generation": 1, "check_name": "of_long_ago", "failed": 9, "detail": None},
        {**told, "generation": 2, "check_name": "keys_unique", "failed": 0, "detail": None},
        {
            **told,
            "generation": 2,
            "check_name": "confidence_drift",
            "failed": 3,
            "value": 0.4321,
            "detail": f"{PLATES[0]} drifts",
        },
    ]
    table = pa.Table.from_pylist(results, schema=CHECK_RESULTS.arrow)
    entry = write_parquet(
        lake.storage, "check_results/day=2026-06-01/2-", table.schema, table.to_batches()
    )
    assert entry is not None
    files = {**first.tables, CHECK_RESULTS.name: {told["day"]: entry}}
    later_one = replace(first, number=2, parent=1, run_id="r2", created_at=NEXT_NIGHT, tables=files)
    lake.commit(later_one)
    write_catalog(settings, tmp_path / "out")
    text = read_pages(tmp_path / "out")["plate_day_v1.html"].text
    assert "found in generation 2" in text
    assert "One of the rows is in check_results.detail" in text
    assert "of_long_ago" not in text
    shown = text.replace("\n", "")
    assert "keys_uniquewarnsnone–" in shown
    assert "confidence_driftwarns30.4321" in shown
    assert "Checks" not in read_pages(tmp_path / "out")["camera_day_v1.html"].text
    for path in (tmp_path / "out").iterdir():
        assert PLATES[0] not in path.read_text(encoding="utf-8"), path.name
    write_catalog(settings, tmp_path / "out", show_values=True)
    assert f"{PLATES[0]} drifts" in read_pages(tmp_path / "out")["plate_day_v1.html"].text


def test_it_refuses_before_it_has_looked_at_anything(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    said: list[str] = []
    with pytest.raises(ConfigurationError, match="is not a catalogue"):
        write_catalog(settings, tmp_path, log=said.append)
    assert said == []
    with pytest.raises(ConfigurationError, match="is not a catalogue"):
        write_catalog(settings, settings.home)


def test_the_sql_of_every_table_answers(settings: Settings, pages: dict[str, Page]) -> None:
    for table in TABLES.values():
        [sql] = [text for kind, text in pages[f"{table.name}.html"].snippets if kind == "sql"]
        answer = run_sql(settings, sql)
        if table.entity is not None and not table.column(table.entity).pii:
            assert answer.num_rows > 0, table.name


def test_the_python_of_every_table_answers(settings: Settings, pages: dict[str, Page]) -> None:
    for table in TABLES.values():
        [code] = [text for kind, text in pages[f"{table.name}.html"].snippets if kind == "python"]
        assert str(settings.home) in code
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        assert printed.getvalue().strip(), table.name


def test_a_services_sql_gives_what_a_lookup_gives(
    settings: Settings, open_pages: dict[str, Page]
) -> None:
    ask = Lookup(settings)
    for service in SERVICES:
        entity = next(kind for kind in ENTITIES if kind.service == service.name)
        [sql] = [
            text for kind, text in open_pages[f"{service.name}.html"].snippets if kind == "sql"
        ]
        with duckdb.connect(str(settings.warehouse_file), read_only=True) as warehouse:
            warehouse.execute("SET TimeZone = 'UTC'")
            [row] = warehouse.sql(sql).to_arrow_table().to_pylist()
        [looked_up] = ask(entity.name, [row[entity.join_key]])
        assert looked_up["found"]
        features = {name: value for name, value in row.items() if name != entity.join_key}
        assert features
        for name, value in features.items():
            # The online store keeps whole seconds.
            whole = value.replace(microsecond=0) if isinstance(value, datetime) else value
            assert looked_up[name] == whole, name


def test_a_services_python_gives_what_its_sql_gives(
    settings: Settings, open_pages: dict[str, Page]
) -> None:
    for service in ALL:
        snippets = open_pages[f"{service.name}.html"].snippets
        sql = next(text for kind, text in snippets if kind == "sql")
        codes = [text for kind, text in snippets if kind == "python"]
        assert len(codes) == (1 if service.offline else 2)
        [row] = run_sql(settings, sql).to_pylist()
        said: dict[str, Any] = {}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            for code in codes:
                exec(code, said)
        assert printed.getvalue()
        [made] = said["training"].to_dict("records")
        for table in views_of(service):
            name = f"{table.name}__{table.features[0].name}"
            if not service.offline:
                assert row[name] is not None
                assert said["answer"][name] == [row[name]]
            # A training set speaks of the night's time and of periods that were over then; SQL of
            # now. The newest days are the same.
            if table.derived_from is not None:
                assert made[name] > 0, name
            elif table.period is Period.DAY:
                assert str(made[name]) == str(row[name]), name


@pytest.mark.parametrize("page", ["camera_day_v1", "camera_load_v1", "camera_history_v1"])
def test_the_shells_lines_answer(
    settings: Settings, pages: dict[str, Page], page: str, tmp_path: Path
) -> None:
    lines = [text for kind, text in pages[f"{page}.html"].snippets if kind == "sh"]
    assert lines
    folder = Path(sys.executable).parent
    environment = {**os.environ, **QUIET_ENVIRONMENT, "PATH": f"{folder}:{os.environ['PATH']}"}
    for line in lines:
        done = subprocess.run(
            ["bash", "-euc", line],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    if TABLES.get(page) is None:
        [row] = pq.read_table(tmp_path / "training.parquet").to_pylist()
        assert row["camera_id"] in pages["camera_day_v1.html"].text
        assert row["camera_day_v1__images"] > 0


def test_the_command(settings: Settings, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "platemill", "catalog", "--home", str(settings.home)]
    out = tmp_path / "out"
    done = subprocess.run(
        [*command, "--out", str(out), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["out"] == str(out)
    assert said["generation"] == 1
    assert "looking at plate_day_v1" in done.stderr
    (out / "mine.txt").write_text("x")
    done = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not part of it, such as mine.txt" in done.stderr


def test_what_the_future_brings_does_not_change_the_pages(tmp_path: Path) -> None:
    """Trailing windows gain rows as days go by; the pages are of the night's time."""
    settings = settings_for(tmp_path / "home")
    now = at("2020-01-10 03:00")
    taken = now - timedelta(days=2)
    night(settings, [Photo("file:///a.jpg", "c", taken, (("A001AA77", 0.9),))], now=now)
    write_catalog(settings, tmp_path / "out")
    text = read_pages(tmp_path / "out")["plate_trailing_v1.html"].text.replace("\n", "")
    # Of the rows at day 0, 7, 28 and 90 only the first was over then.
    assert "rows1size" in text
