"""Lookups: every way to the same bytes, side by side, in SQLite and in Redis.

    python benchmarks/lookups.py --entities 100000 --out lookups.json

A store is filled with two services: ``ten``, one view of ten numbers, and ``plate_lookup_v1``, all
views of a plate as the schema has them. Then each way answers for 1, 10, 100 and 1,000 keys drawn
at random, in rounds that take turns:

- ``raw``: the bytes alone, SELECTs of the packed rows or a pipelined HMGET by redis-py;
- ``rows`` and ``table``: platemill's lookup, dictionaries or a table of Arrow, checked and aged;
- ``feast``: Feast's API over platemill's store; ``stock``: over Feast's own store as it comes;
- ``http`` and ``grpc``: ``feast serve`` and ``feast listen`` over platemill's store, asked for the
  features by their names; for the service by its name (``service http``, ``service grpc``); for the
  features by their names over Feast's own store (``stock http``, ``stock grpc``).

Before a time is taken, all ways have to answer the same values for the same keys. Printed are p50
and p99 of all rounds, in milliseconds, and where the time of platemill's rows and of Feast's API
goes. A redis-server is started on loopback. ``lookup_worker.py`` is what runs in the processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from lookup_worker import CASES, VARIANTS
from rich.console import Console
from rich.table import Table

from platemill.settings import QUIET_ENVIRONMENT

HERE = Path(__file__).parent
SAMPLES = {1: 2000, 10: 1000, 100: 500, 1000: 300}
START_SECONDS = 180.0
# Ways of a store, by the process that goes them.
WAYS = {
    "ours": ("raw", "rows", "table"),
    "feast": ("feast", "stock"),
    "client": ("grpc", "http", "service grpc", "service http", "stock grpc", "stock http"),
}


class Worker:
    """A process that is asked by lines of JSON and answers so."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "lookup_worker.py"), kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(folder),
        )

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended at {what}: exit code {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        **QUIET_ENVIRONMENT,
        "PLATEMILL_HOME": str(folder / "home"),
        "NO_PROXY": "127.0.0.1",
        # A worker is this machine's only other load: no threads of libraries beside it.
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextlib.contextmanager
def process(command: Sequence[str], port: int, folder: Path, log: str) -> Iterator[None]:
    """A server of its own, ended with all that it started."""
    with (folder / log).open("wb") as out:
        started = subprocess.Popen(
            list(command),
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(folder),
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if started.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not start:\n{(folder / log).read_text()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def feast_server(kind: str, variant: str, folder: Path, registry_seconds: int) -> Any:
    """``feast serve`` or ``feast listen`` of a variant; its port is noted for the client."""
    port = free_port()
    (folder / f"{kind}-{variant}.port").write_text(str(port))
    program = str(Path(sys.executable).parent / "feast")
    repository = ["--chdir", str(folder / variant)]
    if kind == "http":
        own = ["serve", "-h", "127.0.0.1", "-p", str(port), "--no-access-log"]
    else:
        own = ["listen", "-a", f"127.0.0.1:{port}"]
    own += ["-r", str(registry_seconds)]
    return process([program, *repository, *own], port, folder, f"{kind}-{variant}.log")


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return {
        "p50": statistics.median(ordered) * 1000,
        "p99": ordered[min(last, round(0.99 * last))] * 1000,
        "samples": len(ordered),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, nargs="*", default=list(SAMPLES))
    parser.add_argument("--part", type=float, default=1.0, help="part of the samples to take")
    parser.add_argument(
        "--slow-part",
        type=float,
        default=0.25,
        help="part of those that Feast's ways take of 100 keys and more, a second each at worst",
    )
    parser.add_argument("--stores", nargs="*", default=["sqlite", "redis"])
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--without-servers", action="store_true")
    parser.add_argument("--registry-seconds", type=int, default=60, help="servers' -r")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lookups-"))
    try:
        with contextlib.ExitStack() as stack:
            result = measure(arguments, folder, stack)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(arguments: Any, folder: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    port = free_port()
    (folder / "redis.port").write_text(str(port))
    redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    stack.enter_context(process(redis, port, folder, "redis.log"))
    with Worker("build", folder) as builder:
        built = builder.ask(entities=arguments.entities)
    workers = {"ours": Worker("ours", folder), "feast": Worker("feast", folder)}
    if not arguments.without_servers:
        for variant in VARIANTS:
            if variant.split("-")[1] in arguments.stores:
                for kind in ("grpc", "http"):
                    stack.enter_context(
                        feast_server(kind, variant, folder, arguments.registry_seconds)
                    )
        workers["client"] = Worker("client", folder)
    for worker in workers.values():
        stack.enter_context(worker)
    ways = [
        (kind, way) for kind, worker_ways in WAYS.items() if kind in workers for way in worker_ways
    ]
    taken: dict[tuple[str, str, str, int], list[float]] = {}
    for case in arguments.cases:
        for store in arguments.stores:
            said = {
                way: workers[kind].ask(check=True, case=case, store=store, way=way)
                for kind, way in ways
                if way != "raw"
            }
            if len({json.dumps(answer, sort_keys=True) for answer in said.values()}) != 1:
                raise SystemExit(f"{case} {store}: the ways do not answer the same: {said}")
    for number in range(arguments.rounds):
        began = time.monotonic()
        for case in arguments.cases:
            for store in arguments.stores:
                for keys in arguments.keys:
                    for kind, way in ways:
                        slow = kind != "ours" and keys >= 100
                        part = arguments.part * (arguments.slow_part if slow else 1)
                        samples = max(3, round(SAMPLES[keys] * part / arguments.rounds))
                        seconds = workers[kind].ask(
                            case=case, store=store, way=way, keys=keys, samples=samples, seed=number
                        )
                        taken.setdefault((case, store, way, keys), []).extend(seconds)
        spent = f"{time.monotonic() - began:.0f} s"
        print(f"round {number + 1} of {arguments.rounds}: {spent}", file=sys.stderr)
    parts = [
        {
            "case": case,
            "store": store,
            "keys": keys,
            "way": way,
            **workers[kind].ask(parts=True, case=case, store=store, way=way, keys=keys),
        }
        for case in arguments.cases
        for store in arguments.stores
        for keys in (1, 1000)
        for kind, way in (("ours", "rows"), ("ours", "table"), ("feast", "feast"))
    ]
    return {
        "machine": {
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("feast", "redis", "hiredis", "pyarrow", "numpy")},
            **built["versions"],
        },
        "entities": arguments.entities,
        "rounds": arguments.rounds,
        "registry_seconds": arguments.registry_seconds,
        "bytes": built["bytes"],
        "times": [
            {"case": case, "store": store, "way": way, "keys": keys, **percentiles(seconds)}
            for (case, store, way, keys), seconds in taken.items()
        ],
        "parts": parts,
    }


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def show(result: dict[str, Any]) -> None:
    console = Console(width=120)
    console.print(result["machine"], result["bytes"])
    times = result["times"]
    sizes = sorted({one["keys"] for one in times})
    for case, store in dict.fromkeys((one["case"], one["store"]) for one in times):
        table = Table("way", *(f"{keys} keys" for keys in sizes), title=f"{case}, {store}")
        chosen = [one for one in times if (one["case"], one["store"]) == (case, store)]
        for way in dict.fromkeys(one["way"] for one in chosen):
            by_keys = {one["keys"]: one for one in chosen if one["way"] == way}
            cells = [f"{by_keys[keys]['p50']:.3f} / {by_keys[keys]['p99']:.3f}" for keys in sizes]
            table.add_row(way, *cells)
        console.print(table)
    table = Table("", "keys", "way", "parts, median milliseconds", title="where the time goes")
    for part in result["parts"]:
        said = "  ".join(f"{name} {value:.3f}" for name, value in part["milliseconds"].items())
        table.add_row(f"{part['case']}, {part['store']}", str(part["keys"]), part["way"], said)
    console.print(table)


if __name__ == "__main__":
    main()
