"""Rollback and vacuum over real lakes: what is left is whole, whenever somebody was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from small_lake import NIGHT, PROJECT, Photo, at, draft_night, later, settings_for, stage

from platemill.errors import ConfigurationError, LeaseHeld, LeaseLost
from platemill.features.lookup import Lookup
from platemill.features.online import finish_online, stage_online
from platemill.features.stamp import read_stamp
from platemill.lake import Generation, open_lake
from platemill.lake.generation import Kind
from platemill.lake.intents import Aim, declare, intents
from platemill.lake.lease import PUBLISH, Holder, Lease
from platemill.launch.generations import list_generations, roll_back, vacuum
from platemill.settings import Settings
from platemill.warehouse.publish import finish_publish, publish
from platemill.warehouse.query import run_sql
from platemill.warehouse.rollback import draft_rollback

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9), ("", 0.4)))
B = Photo("file:///c2/b.jpg", "c2", at("2026-05-06 11:00"), (("B002BB77", 0.8),))
LATE = Photo("file:///c3/l.jpg", "c3", at("2026-05-01 12:00"), (("A001AA77", 0.5),))
NEWER = Photo("file:///c2/n.jpg", "c2", at("2026-05-20 11:00"), (("C003CC77", 0.7),))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home", lease_wait_seconds=60)


def quiet(_line: str) -> None:
    """Nobody listens."""


def whole_night(settings: Settings, photos: list[Photo], number: int) -> Generation:
    """A night with its online store."""
    draft = draft_night(settings, photos, f"r{number}", now=later(number))
    stage_online(settings, draft)
    generation = publish(settings, draft)
    finish_online(settings)
    return generation


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of three nights: A and B; a late image of A's day; a newer one."""
    settings = settings_for(tmp_path_factory.mktemp("pattern") / "home")
    for number, photos in enumerate(([A, B], [LATE], [NEWER])):
        whole_night(settings, photos, number)
    return settings.home


@pytest.fixture
def three(pattern: Path, settings: Settings) -> Settings:
    """A copy of it."""
    shutil.copytree(pattern, settings.home)
    finish_publish(settings)
    return settings


def back(settings: Settings, to: int) -> dict[str, Any]:
    return roll_back(settings, to, dry_run=False, log=quiet)


def clean(settings: Settings, keep: int = 2, **given: Any) -> dict[str, Any]:
    given = {"staged_days": 30.0, "dry_run": False, **given}
    return vacuum(settings, keep=keep, log=quiet, **given)


def uris(settings: Settings) -> set[str]:
    return {row["uri"] for row in run_sql(settings, "SELECT uri FROM images").to_pylist()}


def rows_of(settings: Settings, number: int) -> dict[str, list[tuple[Any, ...]]]:
    """A generation's rows, read file by file."""
    lake = open_lake(settings)
    with duckdb.connect() as connection:
        found: dict[str, list[tuple[Any, ...]]] = {}
        for name, entry in lake.generation(number).files().items():
            path = str(lake.storage.locate(name))
            rows = connection.execute("SELECT * FROM read_parquet(?)", [path]).fetchall()
            assert len(rows) == entry.rows
            found[name] = rows
    return found


def consistent(settings: Settings) -> None:
    """SQL and the online store show the current generation, and it is whole."""
    listed = list_generations(settings)
    assert listed["current"] == listed["sql"] == listed["online"]
    for row in listed["generations"]:
        rows_of(settings, row["generation"])
    broken = run_sql(
        settings,
        "SELECT day FROM images i GROUP BY day HAVING sum(plates) <> "
        "(SELECT count(*) FROM recognitions r WHERE r.day = i.day)",
    )
    assert broken.num_rows == 0


def test_a_rollback_brings_sql_and_online_back_together_and_is_undone(three: Settings) -> None:
    ask = Lookup(three, clock=NIGHT.timestamp)
    before = rows_of(three, 1)
    said = back(three, 1)
    assert {name: said[name] for name in ("from", "to", "generation", "changed", "images")} == {
        "from": 3,
        "to": 1,
        "generation": 4,
        "changed": True,
        "images": -2,
    }
    assert said["days"] == ["2026-05-01", "2026-05-20"]
    # The keys that differ: two plates, two cameras in three views each less c2's own …, two images.
    assert 0 < said["written"] + said["deleted"] < said["compared"] + said["deleted"]
    assert rows_of(three, 4) == before
    assert uris(three) == {A.uri, B.uri}
    newer, late = ask("plate", ["C003CC77", "A001AA77"])
    assert (newer["found"], late["generation"]) == (False, 4)
    assert late["plate_month_v1__sightings"] == 1
    consistent(three)

    assert back(three, 3)["generation"] == 5
    assert uris(three) == {A.uri, B.uri, LATE.uri, NEWER.uri}
    assert ask("plate", ["C003CC77"])[0]["found"]
    assert rows_of(three, 5) == rows_of(three, 3)
    consistent(three)
    kinds = [(row["kind"], row["restores"]) for row in list_generations(three)["generations"]]
    assert kinds == [("rollback", 3), ("rollback", 1), *[("night", None)] * 3]


def test_the_next_night_goes_on_from_what_was_restored(three: Settings) -> None:
    back(three, 2)
    waiting = open_lake(three).shard(open_lake(three).generation(3).shards[0])
    assert waiting is not None, "what the rolled-back night recognised is still there"
    whole_night(three, [NEWER], 4)
    assert uris(three) == {A.uri, B.uri, LATE.uri, NEWER.uri}
    current = open_lake(three).current()
    assert current is not None
    assert current.kind is Kind.NIGHT
    assert waiting.key in current.shards
    consistent(three)


def test_times_go_on_although_the_clock_went_back(three: Settings) -> None:
    lake = open_lake(three)
    current, target = lake.generation(3), lake.generation(1)
    draft = draft_rollback(current, target, run_id="r", now=NIGHT - timedelta(days=400))
    assert draft.generation.created_at > current.created_at


def test_a_rollback_to_what_there_is_changes_nothing(three: Settings) -> None:
    assert not back(three, 3)["changed"]
    back(three, 1)
    said = back(three, 1)
    assert (said["changed"], said["generation"]) == (False, 4)
    assert open_lake(three).numbers() == [1, 2, 3, 4]


def test_a_dry_run_says_what_would_be_and_touches_nothing(three: Settings) -> None:
    before = sorted(path for path in three.home.rglob("*"))
    said = roll_back(three, 1, dry_run=True, log=quiet)
    assert (said["changed"], said["images"], said["generation"]) == (True, -2, 4)
    dry = clean(three, dry_run=True)
    assert (dry["removed"], dry["files"] > 0) == ([1], True)
    assert sorted(path for path in three.home.rglob("*")) == before
    done = clean(three)
    dry_kinds = {row["kind"]: (row["files"], row["bytes"]) for row in dry["kinds"]}
    done_kinds = {row["kind"]: (row["files"], row["bytes"]) for row in done["kinds"]}
    assert {kind: done_kinds[kind] for kind in dry_kinds if kind not in ("leases", "intents")} == {
        kind: dry_kinds[kind] for kind in dry_kinds if kind not in ("leases", "intents")
    }


def test_there_is_no_way_back_to_what_was_removed(three: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no generation 9 .* there are: 1, 2, 3"):
        back(three, 9)
    assert clean(three)["removed"] == [1]
    assert [row["generation"] for row in list_generations(three)["generations"]] == [3, 2]
    with pytest.raises(ConfigurationError, match=r"there is no generation 1 .* there are: 2, 3"):
        back(three, 1)
    back(three, 2)
    consistent(three)


def test_a_vacuum_removes_what_nobody_needs_and_says_how_much(three: Settings) -> None:
    lake = open_lake(three)
    only_first = set(lake.generation(1).files()) - set(lake.generation(2).files())
    size = sum(lake.generation(1).files()[name].bytes for name in only_first)
    said = clean(three, keep=2)
    kinds = {row["kind"]: row for row in said["kinds"]}
    assert kinds["generations"]["files"] == 1
    assert sum(kinds[k]["files"] for k in ("images", "recognitions", "tiles")) == len(only_first)
    assert sum(kinds[k]["bytes"] for k in ("images", "recognitions", "tiles")) == size
    assert not any(lake.storage.exists(name) for name in only_first)
    consistent(three)
    again = clean(three, keep=2)
    assert (again["removed"], again["kept"]) == ([], [2, 3])
    assert sum(row["files"] or 0 for row in again["kinds"] if row["kind"] != "leases") == 0


def test_files_of_a_night_that_died_go_once_another_has_published(three: Settings) -> None:
    lake = open_lake(three)
    dead = draft_night(three, [Photo("file:///d.jpg", "c9", at("2026-05-02 10:00"))], "dead")
    orphans = set(dead.generation.files()) - set(lake.generation(3).files())
    clean(three)
    # Whoever was stopped there may still commit it: its token is the newest.
    assert all(lake.storage.exists(name) for name in orphans)
    whole_night(three, [Photo("file:///e.jpg", "c9", at("2026-05-03 10:00"))], 9)
    with pytest.raises(LeaseLost, match="was taken over"):
        # Even were its number free: the fence of the generation below refuses it.
        number = lake.numbers()[-1] + 1
        lake.commit(Generation(**{**vars(dead.generation), "number": number}))
    clean(three)
    assert not any(lake.storage.exists(name) for name in orphans)
    consistent(three)


def test_shards_that_were_never_published_stay_for_a_while(three: Settings) -> None:
    lake = open_lake(three)
    (record,) = stage(lake, [Photo("file:///d.jpg", "c9", at("2026-05-02 10:00"))], "dead")
    clean(three)
    assert lake.shard(record.key) == record
    assert lake.storage.exists(record.images_path)
    kinds = {row["kind"]: row["files"] for row in clean(three, staged_days=0)["kinds"]}
    assert (kinds["shards"], kinds["staged rows"]) == (1, 2)
    assert lake.shard(record.key) is None
    assert lake.staged(record.key) == []


def test_a_record_without_rows_stands_in_nobody_s_way(three: Settings) -> None:
    lake = open_lake(three)
    (record,) = stage(lake, [Photo("file:///d.jpg", "c9", at("2026-05-02 10:00"))], "dead")
    lake.storage.remove(record.images_path)
    clean(three)
    assert lake.shard(record.key) is None


def test_a_vacuum_waits_for_who_publishes(three: Settings) -> None:
    impatient = three.model_copy(update={"lease_wait_seconds": 0})
    lake = open_lake(three)
    with Holder(lake.storage, "night") as holder:
        holder.acquire(PUBLISH)
        with pytest.raises(LeaseHeld, match="publish is held by run night"):
            clean(impatient)
        with pytest.raises(LeaseHeld, match="publish is held by run night"):
            back(impatient, 1)
    assert lake.numbers() == [1, 2, 3]


def test_a_stopped_vacuum_and_a_stopped_rollback_never_meet(three: Settings) -> None:
    lake = open_lake(three)
    with Holder(lake.storage, "stopped") as stopped, Holder(lake.storage, "next") as after:
        restoring = declare(lake.storage, stopped.acquire(PUBLISH), Aim.RESTORE, [1])
        # The lease is taken over from a rollback that may go on at any time: 1 is left alone.
        stopped.leases[0].release()
        lease = after.acquire(PUBLISH)
        with pytest.raises(LeaseLost):
            declare(lake.storage, Lease(stopped, PUBLISH, restoring.token), Aim.RESTORE, [1])
        lease.release()
        assert clean(three)["removed"] == []
    # A night commits: who held a smaller token cannot any more, and is forgotten.
    whole_night(three, [Photo("file:///e.jpg", "c9", at("2026-05-03 10:00"))], 5)
    assert clean(three, keep=3)["removed"] == [1]
    assert intents(lake.storage) == []
    with Holder(lake.storage, "stopped") as stopped:
        # And a vacuum that may go on removing 2.
        declare(lake.storage, stopped.acquire(PUBLISH), Aim.REMOVE, [2])
    with pytest.raises(ConfigurationError, match=r"generation 2 .* is being removed by a vacuum"):
        back(three, 2)
    assert clean(three, keep=7)["removed"] == [2]
    consistent(three)


VACUUM = """
import sys
from pathlib import Path
sys.path.insert(0, {support!r})
from small_lake import settings_for
from platemill.launch.generations import roll_back, vacuum
settings = settings_for(Path(sys.argv[1]), lease_wait_seconds=60)
if sys.argv[2] == "vacuum":
    vacuum(settings, keep=2, staged_days=0, dry_run=False, log=print)
else:
    roll_back(settings, int(sys.argv[2]), dry_run=False, log=print)
""".format(support=str(PROJECT / "tests" / "support"))


def killed_at(settings: Settings, what: str, point: str, hit: int) -> bool:
    """Run a vacuum or rollback in a process that is killed there; False if it never came there."""
    folder = settings.home.parent / f"failpoints-{point}-{hit}"
    folder.mkdir()
    (folder / f"{point}.json").write_text(json.dumps({"action": "kill", "hit": hit}))
    environment = {**os.environ, "PLATEMILL_FAILPOINTS": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", VACUUM, str(settings.home), what],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def left_over(settings: Settings) -> set[str]:
    """Data files that no generation names."""
    lake = open_lake(settings)
    there = {entry.name for entry in lake.storage.entries() if not entry.name.startswith("_")}
    return there - {name for n in lake.numbers() for name in lake.generation(n).files()}


class Stopped(BaseException):
    """The process is gone, as far as the lake can tell."""


def test_a_vacuum_may_stop_at_every_file(three: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(open_lake(three), [Photo("file:///d.jpg", "c9", at("2026-05-02 10:00"))], "dead")
    rows = {number: rows_of(three, number) for number in (2, 3)}
    stops = 0

    def stop(name: str) -> None:
        if name == "vacuum.file.after":
            raise Stopped

    while True:
        try:
            with monkeypatch.context() as patched:
                patched.setattr("platemill.lake.vacuum.failpoint", stop)
                clean(three, staged_days=0)
            break
        except Stopped:
            stops += 1
        for number in open_lake(three).numbers():
            rows_of(three, number)
    assert stops > 10
    assert open_lake(three).numbers() == [2, 3]
    assert {number: rows_of(three, number) for number in (2, 3)} == rows
    assert left_over(three) == set()
    consistent(three)


@pytest.mark.timeout(600)
def test_a_vacuum_that_is_killed_is_simply_run_again(three: Settings) -> None:
    kills = 0
    while killed_at(three, "vacuum", "vacuum.file.after", 1 + 4 * kills):
        kills += 1
        for number in open_lake(three).numbers():
            rows_of(three, number)
    assert kills > 1
    assert open_lake(three).numbers() == [2, 3]
    assert left_over(three) == set()
    consistent(three)


@pytest.mark.parametrize(
    "point",
    [
        "rollback.draft.after",
        "features.stage.after",
        "publish.commit.before",
        "publish.commit.after",
        "publish.store.after",
    ],
)
def test_a_rollback_that_is_killed_anywhere_is_simply_run_again(
    three: Settings, point: str
) -> None:
    assert killed_at(three, "1", point, 1)
    number = open_lake(three).numbers()[-1]
    assert number == (4 if point.startswith("publish.") and point != "publish.commit.before" else 3)
    said = back(three, 1)
    assert open_lake(three).numbers() == [1, 2, 3, 4]
    assert said["generation"] == 4
    assert uris(three) == {A.uri, B.uri}
    assert rows_of(three, 4) == rows_of(three, 1)
    consistent(three)
    clean(three, keep=2)
    assert not list((three.features / "_staged").iterdir())
    assert intents(open_lake(three).storage) == []


class Readers:
    """Count in a loop, in threads; any error or half state is kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self.wrong: list[Any] = []
        self.seen: set[tuple[int, int]] = set()
        self.looked_up: set[int] = set()
        ask = Lookup(settings, clock=NIGHT.timestamp)
        self._threads = [
            threading.Thread(target=self._loop, args=(look,))
            for look in (self._count, self._open, lambda: self._look_up(ask))
        ]

    def _loop(self, look: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                look()
            except Exception as error:
                self.wrong.append(error)
                return

    QUERY = (
        "SELECT (SELECT count(*) FROM images) AS images, (SELECT count(*) FROM recognitions) AS "
        "plates, (SELECT sum(plates) FROM images) AS said, "
        "(SELECT sum(images) FROM camera_day_v1) AS tiled"
    )

    def _note(self, images: int, plates: int, said: int, tiled: int) -> None:
        self.seen.add((images, plates))
        if plates != said or images != tiled:
            self.wrong.append((images, plates, said, tiled))

    def _count(self) -> None:
        (row,) = run_sql(self._settings, self.QUERY).to_pylist()
        self._note(**row)

    def _open(self) -> None:
        with duckdb.connect(str(self._settings.warehouse_file), read_only=True) as connection:
            row = connection.execute(self.QUERY).fetchone()
        assert row is not None
        self._note(*row)

    def _look_up(self, ask: Lookup) -> None:
        rows = ask("plate", ["A001AA77", "C003CC77"])
        assert rows[0]["found"]
        assert rows[0]["generation"] == rows[1]["generation"]
        self.looked_up.add(rows[0]["generation"])
        kind = (rows[0]["plate_month_v1__sightings"], rows[1]["found"])
        if kind not in {(1, False), (2, False), (2, True)}:
            self.wrong.append(kind)

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_readers_see_whole_generations_through_commits_rollbacks_and_vacuums(
    three: Settings,
) -> None:
    with Readers(three) as readers:
        back(three, 1)
        clean(three, keep=3)
        whole_night(three, [LATE], 10)
        whole_night(three, [NEWER], 11)
        clean(three, keep=3)
        back(three, open_lake(three).numbers()[0])
    assert readers.wrong == []
    assert {(2, 3), (4, 5)} <= readers.seen <= {(2, 3), (3, 4), (4, 5)}
    assert len(readers.looked_up) > 1
    consistent(three)


def test_stamps_say_which_generation(three: Settings) -> None:
    back(three, 2)
    stamp = read_stamp(three.features / "online_store.db")
    current = open_lake(three).current()
    assert stamp is not None
    assert stamp.is_of(current)
