"""Where cells run: one Ray cluster, one folder, readers that never stop; a cell at a time.

Paths are part of the rows, so every night of a lane sees the same home and archive; what lies
there is put there anew for every cell.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from fake_models import write_fake_models

from chaos.cells import Cell
from chaos.contents import Contents, contents_of, differences, generations_of, lies
from chaos.nights import NightServer
from chaos.reader import UNCOUNTED, Reader, Seen
from chaos.world import Fact, World
from platemill.launch.clusters.private import PrivateCluster
from platemill.schema import TABLES
from platemill.serving import regions
from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import load_settings

__all__ = ["Lane", "Outcome", "Prepared"]

_PROJECT = Path(__file__).parents[3]
_KILLED = -int(signal.SIGKILL)
_RETRYABLE = 4
_HIT_BYTES = 12
# What is run from a start; where it differs, the home that it starts with.
_COMMANDS = {"base": "night", "recognised": "night", "rollback": "rollback", "vacuum": "vacuum"}
_HOMES = {"rollback": "published", "vacuum": "published"}
_OF_TRITON = ("server", "stub")
_NIGHT_SECONDS = 150.0
_PAUSED_SECONDS = 90.0
_QUIET_SECONDS = 60.0
# A seed that these divide has no night before: its first generation is the one that is disturbed.
_FIRST_NIGHT = 3


@dataclass(frozen=True)
class Undisturbed:
    """What comes of a start when nobody is hit.

    Attributes:
        hits: point → passes.
        contents: what the tables hold afterwards.
        facts: what they must hold.
        generations: the numbers of the generations there are afterwards.
        states: what a reader may see: the state before and the one after.
    """

    hits: Mapping[str, int]
    contents: Contents
    facts: Mapping[str, Fact]
    generations: tuple[int, ...]
    states: tuple[Any, ...]


@dataclass(frozen=True)
class Prepared:
    """A world whose undisturbed nights have been; start → what came of it."""

    seed: int
    starts: Mapping[str, Undisturbed]

    @property
    def hits(self) -> dict[str, Mapping[str, int]]:
        """Start → point → passes."""
        return {start: undisturbed.hits for start, undisturbed in self.starts.items()}


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        cell: which.
        problems: what did not hold; empty: it passed.
        seconds: how long it took, putting everything in place included.
        codes: exit codes of the disturbed night and of the rerun.
        reads: how often the reader counted meanwhile.
    """

    cell: Cell
    problems: tuple[str, ...]
    seconds: float
    codes: tuple[int | None, ...]
    reads: int


class Lane:
    """Runs cells. The cluster is shared by all of them, and a Triton by those that do not hit it.

    Use it in a ``with``.

    Args:
        root: a folder of its own.
        settings: settings of every night besides the lane's own.
    """

    def __init__(self, root: Path, **settings: object) -> None:
        self.root = root
        self.home = root / "home"
        self.archive = root / "archive"
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self._cluster: PrivateCluster | None = None
        self._points = root / "failpoints"
        self._token = secrets.token_hex(32)

    def __enter__(self) -> Self:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self._models = write_fake_models(self.root / "models")
        # The job's shell command begins with "python".
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._before_path = os.environ["PATH"]
        os.environ["PATH"] = path
        self._start_cluster()
        assert self._cluster is not None
        # Ray looks at the token's variables when it is imported, and a cluster may have to be
        # started again under these nights: all of them have one token.
        environment = {**self._cluster.environment, "PATH": path}
        settings = load_settings(home=self.home, project=_PROJECT)
        self._triton = EmbeddedTriton.of(settings, self._models, self.root / "triton")
        self._stack.enter_context(self._triton)
        self._nights = self._stack.enter_context(NightServer(environment, self.root / "nights.log"))
        self._loop = self._stack.enter_context(Reader("loop"))
        self._old = self._stack.enter_context(Reader("keep"))
        return self

    def __exit__(self, *_why: object) -> None:
        self._stack.close()
        if self._cluster is not None:
            self._cluster.stop()
        os.environ["PATH"] = self._before_path

    def prepare(self, seed: int) -> Prepared:
        """Let the undisturbed nights of a world run, and keep what they leave."""
        self._clear()
        shutil.rmtree(self.archive, ignore_errors=True)
        world = World(self.archive, seed)
        world.first_night()
        first_facts = dict(world.facts)
        self.home.mkdir()
        starts: dict[str, Undisturbed] = {}
        has_first = seed % _FIRST_NIGHT != 0
        if has_first:
            self._undisturbed("base", first_facts)
        # Before the first night there may be no file to open, and then one that shows no row.
        counted = sorted(TABLES.keys() - {UNCOUNTED})
        first = self._state() if has_first else [None, [[name, 0] for name in counted], True]
        first_contents = contents_of(self.home) if has_first else {}
        self._keep(seed, "base")
        world.second_night(photographed=has_first)
        self._put(self.archive, self._kept(seed, "archive"))
        starts["base"] = self._undisturbed("base", world.facts, first)
        self._keep(seed, "published")
        if has_first:
            second = self._state()
            starts["rollback"] = self._undisturbed("rollback", first_facts, second)
            # What was corrected in between stays in the history, for training sets.
            differ = differences(_tables(first_contents), _tables(contents_of(self.home)))
            assert not differ, f"a rollback of seed {seed}: {differ}"
            self.place(seed, "vacuum")
            starts["vacuum"] = self._undisturbed("vacuum", world.facts, second)
        self.place(seed, "base")
        assert self.order("recognise") == _KILLED, self._last_words(3000)
        self.quiet()
        self._keep(seed, "recognised")
        starts["recognised"] = self._undisturbed("recognised", world.facts, first)
        differ = differences(starts["base"].contents, starts["recognised"].contents)
        assert not differ, f"two undisturbed nights of seed {seed} differ: {differ}"
        return Prepared(seed, starts)

    def _undisturbed(self, start: str, facts: Mapping[str, Fact], *states: Any) -> Undisturbed:
        self._arm_nothing()
        code = self.order(_COMMANDS[start])
        assert code == 0, f"undisturbed, {start} ended with {code}: {self._last_words(3000)}"
        self.quiet()
        wrong = lies(self.home, facts)
        assert not wrong, f"undisturbed, {start} left: {wrong}"
        hits = {p.stem: p.stat().st_size // _HIT_BYTES for p in self._points.glob("*.hits")}
        contents, numbers = contents_of(self.home), tuple(generations_of(self.home))
        return Undisturbed(hits, contents, dict(facts), numbers, (*states, self._state()))

    def run(self, cell: Cell, prepared: Prepared) -> Outcome:
        """Run a cell: disturb a night, run it again, look at everything."""
        started = time.monotonic()
        problems: list[str] = []
        codes: list[int | None] = []
        reads = 0
        self.place(cell.seed, cell.start)
        (self._points / f"{cell.point}.json").write_text(json.dumps(cell.order()))
        with self.reading(problems, prepared.starts[cell.start].states) as seen:
            try:
                codes.append(self._disturbed(cell, problems))
                self._start_cluster()
                codes.append(self.order(_COMMANDS[cell.start], cell.victim))
                if codes[-1] != 0:
                    problems.append(f"the rerun ended with {codes[-1]}: {self._last_words()}")
                self._go_on(cell)
                self.quiet()
            except TimeoutError as error:
                problems.append(str(error))
                self._restart_cluster()
        reads = seen[0].reads
        if not problems:
            problems += self._look(cell, prepared)
        seconds = round(time.monotonic() - started, 2)
        return Outcome(cell, tuple(problems), seconds, tuple(codes), reads)

    def order(self, command: str, victim: str = "", clock: float = 0.0) -> int | None:
        """Run a command to its end; its exit code. See ``begin``."""
        return self.ended(self.begin(command, victim, clock))

    def begin(self, command: str, victim: str = "", clock: float = 0.0) -> int:
        """Start a command; its process id.

        Args:
            command: see ``chaos.nights``.
            victim: Triton is the job's own if the victim is of it.
            clock: seconds that the process's clock jumps by, back and forth.
        """
        assert self._cluster is not None
        given = {
            "home": str(self.home),
            "project": str(_PROJECT),
            "triton_models": str(self._models),
            "ray_address": self._cluster.jobs_address,
            "failpoints": str(self._points),
            "shard_images": 8,
            "images_in_flight": 4,
            **({} if victim in _OF_TRITON else {"triton_address": self._triton.grpc}),
            **self._settings,
        }
        return self._nights.start(
            command=command,
            settings=given,
            archive=str(self.archive),
            clock=clock,
            environment=self._cluster.environment,
        )

    def ended(self, pid: int, seconds: float = _NIGHT_SECONDS) -> int | None:
        """Wait for a command's end; its exit code.

        Raises:
            TimeoutError: it did not end in time and was killed.
        """
        code = self._nights.wait(pid, seconds)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            self._nights.wait(pid, 10)
            raise TimeoutError(f"a night did not end within {seconds:g} s: {self._last_words()}")
        return code

    def _disturbed(self, cell: Cell, problems: list[str]) -> int | None:
        """The night in which somebody is hit; its exit code."""
        pid = self.begin(_COMMANDS[cell.start], cell.victim)
        if cell.paused:
            paused = self._points / f"{cell.point}.paused"
            ended = _wait_for(
                lambda: paused.exists() or self._nights.wait(pid, 0) is not None, _PAUSED_SECONDS
            )
            if not ended or not paused.exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                problems.append(f"the point was not reached: {self._last_words()}")
                return None
            victim = self._victim(cell.victim, pid, json.loads(paused.read_text())["pid"])
            os.kill(victim, signal.SIGKILL)
            if cell.how != "zombie":
                time.sleep(0.05)
                paused.unlink()
        code = self.ended(pid)
        if not (self._points / f"{cell.point}.taken").exists():
            problems.append("the point was not reached")
        allowed = {_KILLED} if cell.victim == "flow" and cell.how != "error" else {0, _RETRYABLE}
        if cell.how == "error":
            allowed = {0, _RETRYABLE, 70}
        if code not in allowed:
            problems.append(f"the disturbed night ended with {code}: {self._last_words()}")
        return code

    def _go_on(self, cell: Cell) -> None:
        """Let a worker go on that was held while everybody else went past it."""
        (self._points / f"{cell.point}.paused").unlink(missing_ok=True)

    def _victim(self, victim: str, flow: int, passing: int) -> int:
        if victim == "flow":
            return flow
        if victim == "worker":
            return passing
        if victim == "driver":
            [driver] = self._drivers()
            return driver.pid
        if victim == "raylet":
            [raylet] = [p for p in self._family() if _name(p) == "raylet"]
            return raylet.pid
        if victim == "server":
            [server] = [p for p in self._family() if _name(p) == "tritonserver"]
            return server.pid
        stubs = [p for p in self._family() if "plate_recognition" in " ".join(_command(p))]
        return min(p.pid for p in stubs if "stub" in _name(p))

    def _family(self) -> list[psutil.Process]:
        """The cluster's processes and all that came of them."""
        assert self._cluster is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._cluster.keeper_pid).children(recursive=True)
        return []

    def _drivers(self) -> list[psutil.Process]:
        return [
            process
            for process in self._family()
            if "ray_jobs.recognize" in _command(process) and "python" in _name(process)
        ]

    def _at_work(self) -> list[str]:
        """Processes of jobs and servers that are still there."""
        found = []
        for process in self._family():
            title = " ".join(_command(process))
            if (
                "ray_jobs.recognize" in title
                or title.startswith(("ray::Worker", "ray::TritonNode"))
                or "tritonserver" in title
                or "platemill.serving.supervisor" in title
            ):
                found.append(f"{process.pid} {title[:80]}")
        return found

    def quiet(self) -> None:
        """Wait until nothing of any night is left running."""
        if not _wait_for(lambda: not self._at_work(), _QUIET_SECONDS):
            raise TimeoutError(f"still running after {_QUIET_SECONDS:g} s: {self._at_work()}")

    def _look(self, cell: Cell, prepared: Prepared) -> list[str]:
        """Everything that must hold when the rerun has ended."""
        wanted = prepared.starts[cell.start]
        problems = lies(self.home, wanted.facts)
        problems += differences(wanted.contents, contents_of(self.home))
        found = tuple(generations_of(self.home))
        if found != wanted.generations:
            problems.append(f"the generations are {found}, expected {wanted.generations}")
        problems += self._left_in_memory()
        if self.order("compare") != 0:
            problems.append(f"the online store is not the tiles: {self._last_words()}")
        return problems

    def _left_in_memory(self) -> list[str]:
        left = []
        for log in self.home.glob("runs/*/triton-*/triton.log"):
            for token in set(re.findall(r"server_id\s*\|\s*([0-9a-f]+)", log.read_text())):
                left += [str(path) for path in regions.regions(token)]
        for hits in self._points.glob("*.hits"):
            for pid in set(hits.read_text().split()):
                left += [str(p) for p in regions.SHM.glob(f"platemill-frames-{pid}-*")]
        return [f"left in shared memory: {', '.join(left[:3])}"] if left else []

    @contextlib.contextmanager
    def reading(self, problems: list[str], states: Sequence[Any]) -> Iterator[list[Seen]]:
        """Read all the while, from a file opened again and again and from one opened before."""
        warehouse = self.home / "warehouse.duckdb"
        self._old.start(warehouse)
        self._loop.start(warehouse)
        seen: list[Seen] = []
        try:
            yield seen
        finally:
            seen.append(self._loop.stop())
            kept = self._old.stop()
        for what, one in (("reader", seen[0]), ("reader of the old generation", kept)):
            problems += [f"{what}: {error}" for error in one.errors]
            strange = [state for state in one.states if state not in states]
            problems += [f"{what} saw a half state: {state}" for state in strange[:2]]
        if len(kept.states) > 1:
            problems.append(f"who had the old generation open sees another: {kept.states}")

    def _state(self) -> Any:
        self._loop.start(self.home / "warehouse.duckdb")
        states = self._loop.stop().states
        return states[-1] if states else None

    def _arm_nothing(self) -> None:
        shutil.rmtree(self._points, ignore_errors=True)
        self._points.mkdir()

    def _clear(self) -> None:
        self._arm_nothing()
        shutil.rmtree(self.home, ignore_errors=True)

    def place(self, seed: int, start: str) -> None:
        """Put a kept home and archive in place."""
        self._clear()
        self._put(self._kept(seed, _HOMES.get(start, start)), self.home)
        shutil.rmtree(self.archive, ignore_errors=True)
        self._put(self._kept(seed, "archive"), self.archive)

    def _keep(self, seed: int, home: str) -> None:
        self._put(self.home, self._kept(seed, home))

    def _kept(self, seed: int, what: str) -> Path:
        return self.root / f"seed-{seed}" / what

    @staticmethod
    def _put(source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)

    def _start_cluster(self) -> None:
        """Start the cluster unless it is whole."""
        if self._cluster is not None and self._cluster_is_whole():
            return
        if self._cluster is not None:
            self._cluster.stop()
        self._cluster = PrivateCluster(self.root / "ray", 120, 6, cwd=_PROJECT)
        self._cluster._token = self._token
        self._cluster.start()

    def _restart_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()
            self._cluster = None
        self._start_cluster()

    def _cluster_is_whole(self) -> bool:
        names = {_name(process) for process in self._family()}
        return {"raylet", "gcs_server"} <= names

    def _last_words(self, characters: int = 600) -> str:
        text = (self.root / "nights.log").read_text(errors="replace")
        return text[-characters:].strip().replace("\n", " | ")


def _tables(contents: Contents) -> Contents:
    """What SQL shows: neither history nor inventory."""
    return {name: rows for name, rows in contents.items() if name in TABLES}


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return str(process.name())
    return ""


def _command(process: psutil.Process) -> Iterable[str]:
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return list(process.cmdline())
    return []


def _wait_for(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
