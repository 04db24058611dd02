"""Leases: one holder at a time, the dead are told from the living, and tokens only grow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from platemill.errors import LeaseHeld, LeaseLost
from platemill.lake import lease as leases
from platemill.lake.lease import Holder, Tokens, live_runs, spent_links
from platemill.lake.storage import LocalStorage

DAY = "day=2026-05-01"

HOLD = """
import sys, time
from pathlib import Path
from platemill.lake.lease import Holder
from platemill.lake.storage import LocalStorage
with Holder(LocalStorage(Path(sys.argv[1])), "child", float(sys.argv[2])) as holder:
    print(holder.acquire(sys.argv[3]).token, flush=True)
    sys.stdin.readline()
    holder.check()
    print("still held", flush=True)
"""


@dataclass
class Clock:
    """A clock that a test moves."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "lake")


def child(storage: LocalStorage, seconds: float = 60.0) -> subprocess.Popen[str]:
    """A process that holds the day's lease until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(storage.root), str(seconds), DAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "1"
    return process


def moved_away(storage: LocalStorage, **said: object) -> None:
    """Let every heart look as if it beat on another machine."""
    for name in storage.names("_live"):
        heart = json.loads(storage.read(name) or b"")
        heart["process"]["boot"] = "another machine"
        storage.replace(name, json.dumps({**heart, **said}).encode())


def test_a_free_lease_is_taken_and_let_go(storage: LocalStorage) -> None:
    lines: list[str] = []
    with Holder(storage, "a") as a:
        first = a.acquire(DAY, log=lines.append)
        assert (first.name, first.token) == (DAY, 1)
        assert a.tokens == Tokens("a", {DAY: 1})
        first.check()
        first.release()
        with pytest.raises(LeaseLost):
            first.check()
        with Holder(storage, "b") as b:
            # The link that let it go has a token, too.
            assert b.acquire(DAY, log=lines.append).token == 3
    assert storage.names("_live") == []
    assert lines == []


def test_leaving_lets_everything_go(storage: LocalStorage) -> None:
    with pytest.raises(ZeroDivisionError), Holder(storage, "a") as a:
        a.acquire(DAY)
        a.acquire("publish")
        raise ZeroDivisionError
    with Holder(storage, "b") as b:
        assert [b.acquire(DAY).token, b.acquire("publish").token] == [3, 3]


def test_a_held_lease_is_refused_with_its_holder(storage: LocalStorage) -> None:
    with Holder(storage, "a") as a, Holder(storage, "b") as b:
        a.acquire(DAY)
        ours = rf"day 2026-05-01 is held by run a on \S+ \(process {os.getpid()}\), token 1.*--wait"
        with pytest.raises(LeaseHeld, match=ours):
            b.acquire(DAY, 0)


def test_who_waits_says_so_once_and_gets_it(storage: LocalStorage) -> None:
    lines: list[str] = []
    ticks: list[str] = []
    with Holder(storage, "a", 0.2) as a, Holder(storage, "b", 0.2) as b:
        lease = a.acquire(DAY)

        def tick(text: str) -> None:
            ticks.append(text)
            if len(ticks) == 3:
                lease.release()

        assert b.acquire(DAY, 60, lines.append, tick).token == 3
    assert len(lines) == 1
    assert "run b waits up to 60 s" in lines[0]
    assert len(ticks) == 3
    assert "held by run a" in ticks[0]
    assert "waiting for 0 s" in ticks[0]


def test_a_killed_holder_is_followed_at_once(storage: LocalStorage) -> None:
    process = child(storage)
    assert live_runs(storage) == {"child"}
    process.kill()
    # Not waited for: it is still a line in the process table, and gone for all that.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    lines: list[str] = []
    with Holder(storage, "b") as b:
        assert b.acquire(DAY, 0, lines.append).token == 2
        assert live_runs(storage) == {"b"}
    process.communicate()
    assert len(lines) == 1
    assert "run b takes day=2026-05-01 over from run child" in lines[0]
    assert "has ended: token 2" in lines[0]


def test_a_stopped_holder_is_silent_and_loses_what_it_held(storage: LocalStorage) -> None:
    process = child(storage, seconds=0.5)
    process.send_signal(signal.SIGSTOP)
    lines: list[str] = []
    with Holder(storage, "b", 0.5) as b:
        assert b.acquire(DAY, 60, lines.append).token == 2
        process.send_signal(signal.SIGCONT)
        out, error = process.communicate("\n", timeout=60)
        b.check()
    assert "still held" not in out
    assert "LeaseLost: run child held day=2026-05-01 with token 1" in error
    assert "is silent: token 2" in lines[-1]


def test_a_stranger_is_dead_after_its_silence_by_the_watcher_s_clock(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: setattr(clock, "now", clock.now + 25))
    # Whatever the wall clock says: nothing asks it.
    monkeypatch.setattr(leases.time, "time", lambda: pytest.fail("the wall clock was asked"))
    with Holder(storage, "a", 3600) as a, Holder(storage, "b", 60, clock=clock) as b:
        a.acquire(DAY)
        moved_away(storage, seconds=60.0)
        with pytest.raises(LeaseHeld):
            b.acquire(DAY, 50)
        clock.now += 1000
        # Silence begins when it is first seen; the old look does not count for a new beat.
        moved_away(storage, seconds=60.0, beat=1)
        with pytest.raises(LeaseHeld):
            b.acquire(DAY, 50)
        assert b.acquire(DAY, 100).token == 2
        with pytest.raises(LeaseLost, match="taken over"):
            a.check()


def test_a_beating_stranger_is_waited_for(storage: LocalStorage) -> None:
    stop = threading.Event()
    with Holder(storage, "a", 0.3) as a, Holder(storage, "b", 0.3) as b:
        a.acquire(DAY)

        def disguise() -> None:
            while not stop.wait(0.01):
                moved_away(storage)

        # The heart is rewritten by both: its count moves on although its machine is unknown.
        thread = threading.Thread(target=disguise)
        thread.start()
        with pytest.raises(LeaseHeld):
            b.acquire(DAY, 2.0)
        stop.set()
        thread.join()


def test_of_many_one_takes_it(storage: LocalStorage) -> None:
    process = child(storage)
    process.kill()
    process.communicate()
    holders = [Holder(storage, f"r{n}") for n in range(8)]
    taken: list[int] = []
    barrier = threading.Barrier(len(holders))

    def take(holder: Holder) -> None:
        barrier.wait()
        try:
            taken.append(holder.acquire(DAY, 0).token)
        except LeaseHeld:
            return

    for holder in holders:
        holder.__enter__()
    threads = [threading.Thread(target=take, args=(holder,)) for holder in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [2]
    for holder in holders:
        holder.__exit__()


def test_a_number_that_was_swept_is_no_way_in(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Holder(storage, "slow") as slow, Holder(storage, "a") as a:
        real = storage.create

        def create(name: str, data: bytes) -> bool:
            if b'"slow"' in data and len(storage.names(f"_leases/{DAY}")) == 1:
                monkeypatch.setattr(storage, "create", real)
                # Between its look and its claim two others come and go, and sweep the numbers.
                a.acquire(DAY).release()
                a.acquire(DAY)
                assert storage.names(f"_leases/{DAY}") == [f"_leases/{DAY}/00000007.json"]
            return real(name, data)

        a.acquire(DAY).release()
        a.acquire(DAY).release()
        for name in storage.names(f"_leases/{DAY}")[:-1]:
            storage.remove(name)
        monkeypatch.setattr(storage, "create", create)
        with pytest.raises(LeaseHeld, match="held by run a"):
            slow.acquire(DAY, 0)
        a.check()


def test_the_ray_job_knows_the_tokens_from_the_folder(
    storage: LocalStorage, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    Tokens.load(run).check(storage)
    with Holder(storage, "a") as a:
        lease = a.acquire(DAY)
        a.tokens.save(run)
        tokens = Tokens.load(run)
        tokens.check(storage)
        lease.release()
        with Holder(storage, "b") as b:
            b.acquire(DAY)
            with pytest.raises(LeaseLost, match="the newest holder is run b with token 3"):
                tokens.check(storage)
            tokens.check(storage, ["day=2026-05-02"])
            with pytest.raises(LeaseLost):
                tokens.check(storage, [DAY])


def test_a_sweep_leaves_the_newest_link_and_the_living(storage: LocalStorage) -> None:
    process = child(storage)
    process.kill()
    process.communicate()
    with Holder(storage, "b") as b:
        b.acquire("publish").release()
        b.acquire("publish").release()
        spent = {entry.name for entry in spent_links(storage)}
        assert {name for name in spent if name.startswith("_leases")} == {
            "_leases/publish/00000003.json"
        }
        (dead,) = (name for name in spent if name.startswith("_live"))
        assert "child" in dead
