"""Nights, rollbacks and vacuums in any order, each stopped for as long as one likes at its worst
moment and going on afterwards without looking: no generation that is left lacks a file."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from platemill.errors import GenerationConflict, LeaseLost
from platemill.lake import FileEntry, Generation, Lake
from platemill.lake.intents import Aim, declare, intents, withdraw
from platemill.lake.lease import PUBLISH, Holder
from platemill.lake.storage import LocalStorage
from platemill.lake.vacuum import Waste, doomed_generations, find_waste, remove_waste
from platemill.schema import SCHEMA_VERSION
from platemill.warehouse.rollback import draft_rollback

# Nothing here asks what a disk keeps when the power goes; waiting for it takes minutes.
MEMORY = Path("/dev/shm")
START = datetime(2026, 5, 1, tzinfo=UTC)
DAYS = st.sets(st.integers(1, 4), min_size=1, max_size=3)
KEEP = st.integers(2, 4)


class Publishers(RuleBasedStateMachine):
    """The model is the lake itself; what is stopped waits in two lists."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.lake = Lake(LocalStorage(self.folder))
        self.turn = itertools.count(1)
        self.tokens: list[int] = []
        self.commits: list[Generation] = []
        self.removals: list[list[Waste]] = []
        self.newest = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def holder(self) -> Holder:
        return Holder(self.lake.storage, f"r{next(self.turn)}")

    def draft(self, token: int, days: set[int]) -> Generation:
        """A night's manifest and its files; some of them hold what a file before held."""
        parent = self.lake.current()
        turn = next(self.turn)
        tables = dict(parent.tables) if parent else {}
        images = dict(tables.get("images", {}))
        begun = Generation(
            number=parent.number + 1 if parent else 1,
            parent=parent.number if parent else None,
            run_id=f"r{turn}",
            created_at=START + timedelta(seconds=turn),
            pipeline_version="p1",
            schema_version=SCHEMA_VERSION,
            history=parent.history if parent else {},
            fences={**(parent.fences if parent else {}), PUBLISH: token},
        )
        for number in days:
            day = date(2026, 5, number)
            name = begun.prefix(f"images/day={day}") + f"{turn % 3}.parquet"
            self.lake.storage.create(name, b"rows")
            images[day] = FileEntry(name, 1, 4)
        return replace(begun, tables={**tables, "images": images})

    @initialize()
    def first_night(self) -> None:
        self.night({1, 2})

    @rule(days=DAYS)
    def night(self, days: set[int]) -> None:
        with self.holder() as holder:
            self.commit(self.draft(holder.acquire(PUBLISH).token, days))

    @rule(days=DAYS)
    def night_that_is_stopped_before_its_commit(self, days: set[int]) -> None:
        with self.holder() as holder:
            self.commits.append(self.draft(holder.acquire(PUBLISH).token, days))

    @rule()
    def night_that_is_stopped_with_its_lease(self) -> None:
        with self.holder() as holder:
            self.tokens.append(holder.acquire(PUBLISH).token)

    @precondition(lambda self: self.tokens)
    @rule(days=DAYS)
    def it_goes_on_and_is_stopped_before_its_commit(self, days: set[int]) -> None:
        self.commits.append(self.draft(self.tokens.pop(0), days))

    @rule(choice=st.integers(0, 9), stopped=st.booleans())
    def rollback(self, choice: int, stopped: bool) -> None:
        numbers = self.lake.numbers()
        to = numbers[choice % len(numbers)]
        with self.holder() as holder:
            lease = holder.acquire(PUBLISH)
            intent = declare(self.lake.storage, lease, Aim.RESTORE, [to])
            if any(i.aim is Aim.REMOVE and to in i.generations for i in intents(self.lake.storage)):
                withdraw(self.lake.storage, intent)
                return
            current = self.lake.current()
            assert current is not None
            target = self.lake.generation(to)
            draft = draft_rollback(
                current, target, run_id=holder.run_id, fences={PUBLISH: lease.token}
            )
            if stopped:
                self.commits.append(draft.generation)
                return
            self.commit(draft.generation)
            withdraw(self.lake.storage, intent)

    @precondition(lambda self: self.commits)
    @rule(choice=st.integers(0, 9))
    def a_stopped_publisher_goes_on(self, choice: int) -> None:
        manifest = self.commits.pop(choice % len(self.commits))
        try:
            self.commit(manifest)
        except (GenerationConflict, LeaseLost):
            return

    @rule(keep=KEEP, stopped=st.booleans())
    def vacuum(self, keep: int, stopped: bool) -> None:
        with self.holder() as holder:
            lease = holder.acquire(PUBLISH)
            doomed = doomed_generations(self.lake, keep)
            intent = declare(self.lake.storage, lease, Aim.REMOVE, doomed)
            found = find_waste(self.lake, doomed, staged_before=START, planned=set())
            if stopped:
                self.removals.append(found)
                return
            remove_waste(self.lake, found, lease.check)
            withdraw(self.lake.storage, intent)

    @precondition(lambda self: self.removals)
    @rule(choice=st.integers(0, 9), share=st.floats(0, 1))
    def a_stopped_vacuum_goes_on(self, choice: int, share: float) -> None:
        """It removes what it had found, without looking, and may be killed on the way."""
        found = self.removals.pop(choice % len(self.removals))
        names = [entry.name for waste in found for entry in waste.entries]
        for name in names[: int(share * len(names)) + 1]:
            # Its leases are not what this is about: they are swept by what is seen, not by a plan.
            if not name.startswith(("_leases", "_live")):
                self.lake.storage.remove(name)

    def commit(self, manifest: Generation) -> None:
        self.lake.commit(manifest)
        self.newest = manifest.number

    @invariant()
    def every_generation_that_is_left_is_whole(self) -> None:
        for number in self.lake.numbers():
            for name in self.lake.generation(number).files():
                assert self.lake.storage.exists(name), (number, name)

    @invariant()
    def the_newest_two_are_left(self) -> None:
        numbers = self.lake.numbers()
        assert numbers[-1:] == ([self.newest] if self.newest else [])
        assert self.newest < 2 or numbers[-2] == self.newest - 1


Publishers.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestPublishers = Publishers.TestCase
