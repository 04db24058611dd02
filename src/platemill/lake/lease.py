"""Leases: who works on a day, and who publishes. They save work; the commit alone keeps it safe.

A lease is a chain of small files, each created once and never changed::

    _leases/day=2026-05-01/00000007.json     run A holds it
    _leases/day=2026-05-01/00000008.json     run A let it go
    _leases/day=2026-05-01/00000009.json     run B holds it
    _live/<holder>.json                      a counter that a live holder moves on

The newest link says who holds the lease; its number is the token. To take a lease that is free, or
whose holder is dead, is to create the next number: of many callers one succeeds. Tokens only grow,
so a manifest can remember them, and refuse a run whose lease was taken over
(``generation.refuse_fenced``; docs/adr/0044).

A holder is dead when its counter stood still for the time that it asked to be believed, by the
clock of whoever watches, which nobody can set. On the same machine the kernel knows sooner.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Self

from platemill.documents import write_json
from platemill.errors import LeaseHeld, LeaseLost, RetryableError
from platemill.failpoints import failpoint
from platemill.lake.storage import Entry, Storage
from platemill.processes import ProcessIdentity

__all__ = [
    "PUBLISH",
    "Holder",
    "Lease",
    "Tokens",
    "day_lease",
    "live_runs",
    "spent_links",
]

_LOG = logging.getLogger(__name__)

PUBLISH = "publish"
"""The lease of whoever writes generations: nights, rollbacks and vacuums."""

_LEASES = "_leases"
_LIVE = "_live"
_BEATS = 6
_POLL_SECONDS = 1.0


def day_lease(day: object) -> str:
    """The name of the lease of a UTC day."""
    return f"day={day}"


@dataclass(frozen=True)
class _Heart:
    """What a holder says of itself with every beat."""

    holder: str
    run_id: str
    host: str
    process: ProcessIdentity
    seconds: float
    beat: int = 0

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        said: dict[str, Any] = json.loads(data)
        return cls(**{**said, "process": ProcessIdentity(**said["process"])})

    def __str__(self) -> str:
        return f"run {self.run_id} on {self.host} (process {self.process.pid})"


@dataclass(frozen=True)
class _Link:
    """The newest link of a lease's chain; ``holder`` is None if it was let go."""

    token: int
    holder: str | None
    run_id: str
    at: str


@dataclass
class _Watch:
    """Tells the dead from the living by their hearts, as this process sees them beat."""

    storage: Storage
    clock: Callable[[], float] = time.monotonic
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def heart(self, holder: str) -> _Heart | None:
        """What a holder said last; None if it has ended in order."""
        data = self.storage.read(_heart_name(holder))
        return None if data is None else _Heart.from_json(data)

    def is_dead(self, heart: _Heart | None) -> bool:
        if heart is None or heart.process.is_gone():
            return True
        beat, since = self.seen.get(heart.holder, (-1, 0.0))
        now = self.clock()
        if beat != heart.beat:
            self.seen[heart.holder] = (heart.beat, now)
            return False
        return now - since > heart.seconds


class Lease:
    """A lease that was taken. Ask ``check`` before anything that counts on it."""

    def __init__(self, holder: Holder, name: str, token: int) -> None:
        self._holder = holder
        self.name = name
        self.token = token

    def check(self) -> None:
        """Raise unless the lease is still held.

        Raises:
            LeaseLost: another run took it over.
        """
        _check(self._holder.storage, self._holder.run_id, self.name, self.token)

    def release(self) -> None:
        """Let it go; nothing happens if it was taken over already."""
        self._holder._release(self)


class Holder:
    """A process that holds leases for a run, alive as long as its heart beats.

    Use it as a context: at its end every lease is let go.

    Args:
        storage: the lake's files.
        run_id: the run that the leases are for.
        seconds: how long others are to believe in its life without a beat.
        clock: the clock that others' silence is measured with; steps of the wall clock must not
            move it.
    """

    def __init__(
        self,
        storage: Storage,
        run_id: str,
        seconds: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.storage = storage
        self.run_id = run_id
        process = ProcessIdentity.own()
        self.name = f"{run_id}-{process.pid}-{uuid.uuid4().hex[:8]}"
        self._heart = _Heart(self.name, run_id, socket.gethostname(), process, seconds)
        self._watch = _Watch(storage, clock)
        self._leases: dict[str, Lease] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="lease-heart", daemon=True)

    def __enter__(self) -> Self:
        self.storage.replace(_heart_name(self.name), self._heart.to_json())
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        # The heart beats to the end: what is not let go yet is still held.
        for lease in reversed(self.leases):
            try:
                self._release(lease)
            except (OSError, RetryableError) as error:
                _LOG.warning("%s of run %s is not let go: %s", lease.name, self.run_id, error)
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError, RetryableError):
            self.storage.remove(_heart_name(self.name))

    @property
    def leases(self) -> list[Lease]:
        """The leases that were taken and not let go, in the order they were taken."""
        return list(self._leases.values())

    @property
    def tokens(self) -> Tokens:
        """What is held, for processes that work for this one."""
        return Tokens(self.run_id, {lease.name: lease.token for lease in self.leases})

    def check(self) -> None:
        """Raise unless every lease is still held.

        Raises:
            LeaseLost: another run took one over.
        """
        for lease in self.leases:
            lease.check()

    def acquire(
        self,
        name: str,
        wait_seconds: float = 0.0,
        log: Callable[[str], object] | None = None,
        tick: Callable[[str], object] | None = None,
        *,
        above: int = 0,
    ) -> Lease:
        """Take a lease, from a dead holder too; wait while a live one has it. Once is enough.

        Take several in sorted order, and "publish" last: then nobody waits in a circle.

        Args:
            name: the lease.
            wait_seconds: how long to wait; 0 refuses at once.
            log: called with one line when it begins to wait, and when it takes over.
            tick: called again and again while it waits, with who holds it and for how long.
            above: the token is greater than this: the fence of the current generation, should the
                leases have been lost on the way to another disk.

        Raises:
            LeaseHeld: a live run had it all the time.
            LeaseLost: it was held already, and was taken over.
        """
        if name in self._leases:
            self._leases[name].check()
            return self._leases[name]
        say = log or _LOG.info
        started: float | None = None
        while True:
            top = _top(self.storage, name)
            heart = None if top is None or top.holder is None else self._watch.heart(top.holder)
            if top is None or top.holder is None or self._watch.is_dead(heart):
                lease = self._take(name, top, heart, say, above)
                if lease is not None:
                    return lease
                continue
            now = self._watch.clock()
            who = f"{name.replace('=', ' ')} is held by {heart}, token {top.token}, since {top.at}"
            if started is None:
                started = now
                if wait_seconds > 0:
                    say(f"{who}; run {self.run_id} waits up to {wait_seconds:g} s for it")
            waited = now - started
            if waited >= wait_seconds:
                raise LeaseHeld(
                    f"{who}; run {self.run_id} waited {waited:.0f} s for it. Run again when that "
                    "run has ended, or wait longer: --wait SECONDS"
                )
            if tick is not None:
                tick(f"{who}; waiting for {waited:.0f} s")
            time.sleep(min(_POLL_SECONDS, self._heart.seconds / _BEATS, wait_seconds - waited))

    def _take(
        self,
        name: str,
        top: _Link | None,
        heart: _Heart | None,
        say: Callable[[str], object],
        above: int,
    ) -> Lease | None:
        """Create the next link; None if somebody else was faster."""
        token = max(above, 0 if top is None else top.token) + 1
        failpoint("lease.take.before")
        if not self.storage.create(_link_name(name, token), self._link(token, self.name)):
            return None
        failpoint("lease.take.after")
        newest = _top(self.storage, name)
        if newest is None or newest.token != token:
            # The number was free since it had been swept: others have gone on from there.
            return None
        if top is not None and top.holder is not None:
            why = "has ended" if heart is None or heart.process.is_gone() else "is silent"
            who = str(heart or f"run {top.run_id}")
            say(f"run {self.run_id} takes {name} over from {who}, which {why}: token {token}")
        for old in self.storage.names(f"{_LEASES}/{name}"):
            if _token_of(old) < token:
                self.storage.remove(old)
        lease = self._leases[name] = Lease(self, name, token)
        return lease

    def _release(self, lease: Lease) -> None:
        if self._leases.pop(lease.name, None) is None:
            return
        top = _top(self.storage, lease.name)
        if top is not None and top.token == lease.token:
            token = lease.token + 1
            failpoint("lease.release.before")
            self.storage.create(_link_name(lease.name, token), self._link(token, None))
            failpoint("lease.release.after")

    def _link(self, token: int, holder: str | None) -> bytes:
        # ``by`` makes the bytes this holder's own. The time is for people: it decides nothing.
        at = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        said = {"token": token, "holder": holder, "run_id": self.run_id, "at": at, "by": self.name}
        return json.dumps(said).encode()

    def _live(self) -> None:
        heart = self._heart
        while not self._stop.wait(heart.seconds / _BEATS):
            heart = replace(heart, beat=heart.beat + 1)
            try:
                self.storage.replace(_heart_name(self.name), heart.to_json())
            except (OSError, RetryableError) as error:
                _LOG.warning("run %s cannot say that it is alive: %s", self.run_id, error)


@dataclass(frozen=True)
class Tokens:
    """A run's leases as its Ray job knows them, from the run's folder.

    Attributes:
        run_id: the run.
        tokens: lease → token; empty if the run holds none.
    """

    run_id: str
    tokens: Mapping[str, int] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``leases.json`` into a run's folder."""
        write_json(folder / "leases.json", {"run_id": self.run_id, "tokens": dict(self.tokens)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it back; without the file nothing is held and nothing is checked."""
        try:
            said = json.loads((folder / "leases.json").read_text())
        except FileNotFoundError:
            return cls(folder.name)
        return cls(said["run_id"], said["tokens"])

    def check(self, storage: Storage, names: Iterable[str] | None = None) -> None:
        """Raise unless the leases are still held.

        Args:
            storage: the lake's files.
            names: only these leases, as far as the run has them; default: all.

        Raises:
            LeaseLost: another run took one over.
        """
        for name in self.tokens if names is None else names:
            if name in self.tokens:
                _check(storage, self.run_id, name, self.tokens[name])


def live_runs(storage: Storage, *, clock: Callable[[], float] = time.monotonic) -> set[str]:
    """The runs that hold leases or are about to, and are not known to be dead.

    Of a run on another machine this waits for a beat, as long as that run asked to be believed.
    """
    return {heart.run_id for heart in _living(storage, clock)}


def spent_links(storage: Storage) -> list[Entry]:
    """The hearts of dead holders, and the links of leases that others follow.

    The newest link of a lease is never among them: tokens do not begin again.
    """
    living = {_heart_name(heart.holder) for heart in _living(storage, time.monotonic)}
    spent = [entry for entry in storage.entries(_LIVE) if entry.name not in living]
    links = sorted(storage.entries(_LEASES), key=lambda entry: entry.name)
    for link, follower in pairwise(links):
        if PurePosixPath(link.name).parent == PurePosixPath(follower.name).parent:
            spent.append(link)
    return spent


def _living(storage: Storage, clock: Callable[[], float]) -> list[_Heart]:
    watch = _Watch(storage, clock)
    first = [watch.heart(Path(name).stem) for name in storage.names(_LIVE)]
    waiting = [heart for heart in first if not watch.is_dead(heart) and heart is not None]
    living: list[_Heart] = []
    while waiting:
        # A neighbour's life needs no proof; a stranger's is its next beat.
        doubtful = []
        for heart in waiting:
            now = watch.heart(heart.holder)
            if now is None or watch.is_dead(now):
                continue
            if now.beat != heart.beat or now.process.is_here():
                living.append(now)
            else:
                doubtful.append(heart)
        waiting = doubtful
        if waiting:
            time.sleep(min(_POLL_SECONDS, min(heart.seconds for heart in waiting) / _BEATS))
    return living


def _check(storage: Storage, run_id: str, name: str, token: int) -> None:
    top = _top(storage, name)
    if top is None or top.token != token:
        now = "nobody" if top is None else f"run {top.run_id} with token {top.token}"
        raise LeaseLost(
            f"run {run_id} held {name} with token {token} and was silent for too long: it was "
            f"taken over, the newest holder is {now}. This run records and commits nothing any "
            "more; run again if anything is left to do"
        )


def _top(storage: Storage, name: str) -> _Link | None:
    """The newest link of a lease; None if it was never taken."""
    while names := storage.names(f"{_LEASES}/{name}"):
        data = storage.read(names[-1])
        if data is not None:
            said = json.loads(data)
            return _Link(said["token"], said["holder"], said["run_id"], said["at"])
        # It was swept between the two requests: there is a newer one.
    return None


def _token_of(link: str) -> int:
    return int(Path(link).stem)


def _link_name(name: str, token: int) -> str:
    return f"{_LEASES}/{name}/{token:08d}.json"


def _heart_name(holder: str) -> str:
    return f"{_LIVE}/{holder}.json"
