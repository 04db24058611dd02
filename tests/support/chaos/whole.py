"""Whole nights, ``platemill run`` with everything it starts, hit and run again.

``python -m chaos.whole --out build/chaos`` appends a line of JSON a cell to ``OUT/whole.jsonl``.
Prefect with its retries, the private Ray cluster and the job's own Triton are those of a real
night; only the networks are not. Nothing is shared, so a cell takes a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from fake_models import write_fake_models

from chaos.contents import Contents, contents_of, differences, generations_of, lies
from chaos.world import World

__all__ = ["WHOLE", "Whole", "WholeNights", "main"]

_PROJECT = Path(__file__).parents[3]
_MARK = "NIGHT_UNDER_TEST"
_SECONDS = 240.0


@dataclass(frozen=True)
class Whole:
    """A cell: where, who, and what the disturbed run may end with.

    ``two``: nobody is hit, but two runs are started together.
    """

    point: str
    victim: str
    codes: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"whole {self.point} {self.victim}"


_KILLED = -int(signal.SIGKILL)
WHOLE = (
    Whole("shard.record.before", "worker", (0,)),
    Whole("shard.rows.after", "driver", (0, 4)),
    Whole("shard.record.after", "raylet", (0, 4)),
    Whole("shard.rows.before", "server", (0,)),
    Whole("shard.rows.before", "stub", (0,)),
    Whole("shard.record.before", "flow", (4,)),
    Whole("shard.record.before", "command", (_KILLED,)),
    Whole("facts.day.after", "flow", (4,)),
    Whole("publish.commit.after", "flow", (4,)),
    Whole("publish.store.after", "command", (_KILLED,)),
    Whole("", "two", (0,)),
)
"""The cells that ``make chaos`` runs."""


class WholeNights:
    """Runs whole nights over one archive.

    Args:
        root: a folder of its own; it must not exist.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._models = write_fake_models(root / "models")
        world = World(root / "archive", 1)
        world.first_night()
        world.second_night(photographed=False)
        self._facts = world.facts
        self._wanted: Contents | None = None

    def undisturbed(self) -> Contents:
        """What the tables hold when nobody was hit."""
        if self._wanted is None:
            home = self._home("undisturbed")
            with self._run(home, "") as process:
                code = process.wait(_SECONDS)
            assert code == 0, (home / "run.log").read_text()[-3000:]
            wrong = lies(home, self._facts)
            assert not wrong, f"an undisturbed night left: {wrong}"
            self._wanted = contents_of(home)
        return self._wanted

    def run(self, cell: Whole) -> list[str]:
        """Run a cell; what did not hold."""
        wanted = self.undisturbed()
        home = self._home(cell.name.replace(" ", "-"))
        mark = secrets.token_hex(8)
        problems = self._two(home, mark) if cell.victim == "two" else self._hit(home, mark, cell)
        if not _wait_for(lambda: not _marked(mark), 60):
            problems.append(f"left running: {_titles(mark)}")
            for pid in _marked(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with self._run(home, "") as process:
            code = process.wait(_SECONDS)
        if code != 0:
            problems.append(f"the rerun ended with {code}: {_end_of(home)}")
            return problems
        problems += lies(home, self._facts)
        problems += differences(wanted, contents_of(home))
        if generations_of(home) != [1]:
            problems.append(f"the generations are {generations_of(home)}, expected [1]")
        return problems

    def _hit(self, home: Path, mark: str, cell: Whole) -> list[str]:
        points = home / "failpoints"
        points.mkdir()
        (points / f"{cell.point}.json").write_text('{"action": "pause"}')
        paused = points / f"{cell.point}.paused"
        problems: list[str] = []
        with self._run(home, mark, points) as process:
            reached = _wait_for(lambda: paused.exists() or process.poll() is not None, _SECONDS)
            if not reached or not paused.exists():
                process.kill()
                return [f"the point was not reached: {_end_of(home)}"]
            victim = _victim(cell.victim, process.pid, json.loads(paused.read_text())["pid"], mark)
            os.kill(victim, signal.SIGKILL)
            paused.unlink()
            code = process.wait(_SECONDS)
        if code not in cell.codes:
            problems.append(f"the disturbed run ended with {code}: {_end_of(home)}")
        return problems

    def _two(self, home: Path, mark: str) -> list[str]:
        with self._run(home, mark) as first, self._run(home, mark) as second:
            codes = [first.wait(_SECONDS), second.wait(_SECONDS)]
        return [] if codes == [0, 0] else [f"two runs ended with {codes}: {_end_of(home)}"]

    def _home(self, name: str) -> Path:
        home = self._root / "homes" / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        return home

    @contextlib.contextmanager
    def _run(
        self, home: Path, mark: str, points: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            _MARK: mark,
            "PLATEMILL_TRITON_MODELS": str(self._models),
            "PLATEMILL_SHARD_IMAGES": "8",
        }
        if points is not None:
            environment["PLATEMILL_FAILPOINTS"] = str(points)
        command = [sys.executable, "-m", "platemill", "run", "--json"]
        command += ["--home", str(home), "--archive", str(self._root / "archive")]
        with (home / "run.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=_PROJECT, env=environment, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _victim(victim: str, command: int, passing: int, mark: str) -> int:
    if victim == "command":
        return command
    if victim == "worker":
        return passing
    needles: dict[str, Callable[[str, Sequence[str]], bool]] = {
        "flow": lambda _name, words: "flows.nightly" in words,
        "driver": lambda name, words: "ray_jobs.recognize" in words and "python" in name,
        "raylet": lambda name, _words: name == "raylet",
        "server": lambda name, _words: name == "tritonserver",
        "stub": lambda name, words: "stub" in name and "plate_recognition" in " ".join(words),
    }
    for pid in _marked(mark):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if needles[victim](process.name(), process.cmdline()):
                return pid
    raise LookupError(f"there is no {victim}")


def _marked(mark: str) -> list[int]:
    """Processes that a run started, by the mark in their environment."""
    found = []
    for process in psutil.process_iter(["pid"]):
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return sorted(found)


def _titles(mark: str) -> list[str]:
    """The same processes as a person knows them."""
    found = []
    for pid in _marked(mark):
        with contextlib.suppress(psutil.Error):
            found.append(f"{pid} {' '.join(psutil.Process(pid).cmdline())[:100]}")
    return found


def _end_of(home: Path) -> str:
    return (home / "run.log").read_text(errors="replace")[-800:].strip().replace("\n", " | ")


def _wait_for(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def main() -> int:
    """Run the cells that have not passed yet; the exit code says whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--only", default="", help="only cells whose name contains this")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    results = given.out / "whole.jsonl"
    lines: list[dict[str, Any]] = []
    if results.exists():
        lines = [json.loads(line) for line in results.read_text().splitlines()]
    done = {line["name"] for line in lines if not line["problems"]}
    root = (given.out / "whole").absolute()
    shutil.rmtree(root, ignore_errors=True)
    nights = WholeNights(root)
    failed = 0
    for cell in WHOLE:
        if cell.name in done or given.only not in cell.name:
            continue
        started = time.monotonic()
        problems = nights.run(cell)
        seconds = round(time.monotonic() - started, 1)
        failed += bool(problems)
        line = {
            "name": cell.name,
            "point": cell.point,
            "victim": cell.victim,
            "problems": problems,
            "seconds": seconds,
        }
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{'FAILED' if problems else 'passed'} {seconds:6.1f} s  {cell.name}", flush=True)
        for problem in problems:
            print(f"       {problem[:400]}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
