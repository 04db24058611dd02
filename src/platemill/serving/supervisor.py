"""The process that stands over an embedded Triton server and never outlives its reason.

A killed Triton leaves its stub processes and its shared memory behind, and a killed parent leaves
Triton. So the server gets a supervisor: it starts the server in a process group of its own, waits
until the server or one of its stubs ends, the parent ends (however it ended) or it is told to stop,
and then ends the whole group and removes its regions. It is a child of nobody, because Ray kills
the children of a worker that exits. If the supervisor itself is killed, the kernel kills the
server, the stubs notice within a second, and the next start sweeps the regions.

``python -m platemill.serving.supervisor SPEC`` prints the supervisor's process id and returns at
once. SPEC is a JSON object with the fields of `Spec`. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from platemill.processes import adopt_orphans, end_with_parent
from platemill.serving import regions

__all__ = ["READY", "Spec", "launch", "main"]

READY = signal.SIGUSR1
"""Sent to a supervisor when every model is ready: from then on no stub may end."""

PARENT = "the process that started it ended"
SIGNAL = "it was told to stop"
ENDED = "the server ended"


@dataclass(frozen=True)
class Spec:
    """What to run and for whom.

    parent: process to follow into death, or None for a server that is stopped by hand.
    grace_seconds: how long the server may take to end on SIGTERM before its group is killed.
    """

    token: str
    command: list[str]
    environment: dict[str, str]
    workdir: str
    log: str
    parent: int | None
    grace_seconds: float


def launch(spec: Spec) -> int:
    """Start a supervisor and its server; returns the supervisor's process id.

    Raises:
        OSError: the supervisor could not be started.
    """
    done = subprocess.run(
        [sys.executable, "-m", "platemill.serving.supervisor", json.dumps(asdict(spec))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise OSError(f"the supervisor of Triton did not start: {done.stderr.strip()}")
    return int(done.stdout)


def _start(spec: Spec, log: int) -> subprocess.Popen[bytes]:
    def die_with_supervisor() -> None:
        end_with_parent(signal.SIGKILL)

    return subprocess.Popen(
        spec.command,
        env=spec.environment,
        cwd=spec.workdir,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=die_with_supervisor,  # safe, for this process has one thread
    )


def _wait_for_reason(server: int, parent: int | None) -> str:
    """Block until there is a reason to end, in words."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, READY):
        signal.signal(number, lambda *_: None)
    poll = select.poll()
    reasons = {reader: SIGNAL, os.pidfd_open(server): ENDED}
    if parent is not None:
        try:
            reasons[os.pidfd_open(parent)] = PARENT
        except ProcessLookupError:
            return PARENT
    for descriptor in reasons:
        poll.register(descriptor, select.POLLIN)
    while True:
        descriptor = poll.poll()[0][0]
        if descriptor != reader:
            return reasons[descriptor]
        if any(number != READY for number in os.read(reader, 64)):
            return SIGNAL
        # Triton never starts a stub again and fails every later request. Better to end, and let
        # whoever needs the server start a new one.
        for stub in _children(server):
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(stub)
                reasons[descriptor] = f"model process {stub} ended"
                poll.register(descriptor, select.POLLIN)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        # "pid (name) state ppid ...", and the name may hold anything.
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


def _end_group(server: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End the server, then everything that is left of its group, and reap it all."""
    if grace_seconds > 0 and server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace_seconds)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        try:
            # As the subreaper this process inherits the stubs, so it sees the last one go.
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return


def _supervise(spec: Spec) -> None:
    adopt_orphans()
    log = os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        server = _start(spec, log)
    except OSError as error:
        os.write(log, f"supervisor: {spec.command[0]} did not start: {error}\n".encode())
        regions.remove(spec.token)
        return
    reason = _wait_for_reason(server.pid, spec.parent)
    if reason == ENDED:
        code = server.wait()
        reason += f" by signal {-code}" if code < 0 else f" with exit code {code}"
    os.write(log, f"supervisor: ending all of it: {reason}\n".encode())
    _end_group(server, spec.grace_seconds if reason == SIGNAL else 0.0)
    regions.remove(spec.token)


def main() -> None:
    """Detach, print the process id, supervise."""
    spec = Spec(**json.loads(sys.argv[1]))
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        # One byte says that the lock is held: from here on the token counts as alive.
        if os.read(reader, 1) != b"+":
            sys.exit("the supervisor ended before it could take its lock")
        print(child)
        return
    os.setsid()
    regions.hold(spec.token)
    os.write(writer, b"+")
    os.close(writer)
    os.close(reader)
    _supervise(spec)


if __name__ == "__main__":
    main()
