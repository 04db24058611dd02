"""A Triton server of one's own: started on loopback for a job or by hand, and gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from platemill.documents import write_json
from platemill.errors import ConfigurationError, PlatemillError, ServerUnavailable
from platemill.serving import regions
from platemill.serving.environment import TritonEnvironment, require
from platemill.serving.health import ModelState, model_states, server_name
from platemill.serving.supervisor import READY, Spec, launch
from platemill.serving.trouble import cure_for, last_lines, loaded_models, port_was_taken
from platemill.settings import Settings

__all__ = ["BACKENDS", "EmbeddedTriton", "RunningServer", "running_server"]

BACKENDS = Path("infra/triton/backends")
"""Where the project's own backends lie, below the project's folder."""

_GRACE_SECONDS = 5.0
_PORT_ATTEMPTS = 5
_KEPT_BYTES = 64 << 20
_STATE = "triton.json"
_ALONE = (
    "Look at it alone with `platemill doctor` and `platemill triton up`, then run again: what was "
    "recognised is kept"
)
_ASSEMBLED = "backends"


@dataclass(frozen=True)
class RunningServer:
    """A server that was started, as its state file describes it.

    http, grpc: ``127.0.0.1:PORT``. token: the server's id. supervisor: a process id.
    models_folder: the model repository. metrics: ``127.0.0.1:PORT``; None if it serves none.
    """

    token: str
    http: str
    grpc: str
    supervisor: int
    log: str
    models_folder: str
    metrics: str | None = None

    def alive(self) -> bool:
        """Whether the server's supervisor still stands."""
        return regions.is_held(self.token)

    def models(self) -> list[ModelState]:
        """The models and their states; empty if this server (not just any) does not answer."""
        return model_states(self.http) if server_name(self.http) == self.token else []

    def stop(self) -> None:
        """End the server, its stubs and its shared memory; its log stays. Fine if it has ended.

        Raises:
            ServerUnavailable: it does not end.
        """
        if self.alive() and not _end(self.supervisor, 4 * _GRACE_SECONDS):
            raise ServerUnavailable(
                f"Triton does not end: its supervisor is process {self.supervisor}, its log "
                f"{self.log}. End that process with `kill -9 {self.supervisor}`"
            )
        regions.remove(self.token)  # the supervisor did, unless it was killed
        workdir = Path(self.log).parent
        shutil.rmtree(workdir / _ASSEMBLED, ignore_errors=True)
        (workdir / _STATE).unlink(missing_ok=True)


def running_server(workdir: Path) -> RunningServer | None:
    """The server that was started in that folder, if it is still alive."""
    try:
        server = RunningServer(**json.loads((workdir / _STATE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return server if server.alive() else None


class EmbeddedTriton:
    """A server over a model repository, ready when every model of it is.

    It listens on free ports of loopback only, writes its log to ``WORKDIR/triton.log`` and dies
    with the process that started it, however that ends; ``detached=True`` makes it stay until
    `RunningServer.stop`.

    Args:
        models: the model repository.
        python: interpreter of Triton's environment.
        workdir: a folder of this server alone; made if it is missing.
        start_seconds: how long it may take to have every model ready.
        detached: outlive this process.
        backends: folder of backends written in Python; default: the project's, `BACKENDS`.
        threads: threads of each model; default: one.
        metrics: serve Prometheus metrics, on loopback, too.
    """

    def __init__(
        self,
        models: Path,
        python: Path,
        workdir: Path,
        start_seconds: float,
        *,
        detached: bool = False,
        backends: Path | None = None,
        threads: int | None = None,
        metrics: bool = False,
    ) -> None:
        self._models = models.absolute()
        self._python = python.absolute()
        self._workdir = workdir.absolute()
        self._start_seconds = start_seconds
        self._detached = detached
        self._backends = (backends or _own_backends(models.absolute())).absolute()
        self._threads = threads
        self._metrics = metrics
        self._server: RunningServer | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        models: Path,
        workdir: Path,
        *,
        detached: bool = False,
        threads: int | None = None,
    ) -> Self:
        """A server of a deployment: all that is not said here are its settings'."""
        return cls(
            models,
            settings.triton_interpreter,
            workdir,
            settings.triton_start_seconds,
            detached=detached,
            backends=settings.project / BACKENDS,
            threads=threads,
            metrics=settings.triton_metrics,
        )

    @property
    def server(self) -> RunningServer:
        """The running server.

        Raises:
            ServerUnavailable: it was not started or has been stopped.
        """
        if self._server is None:
            raise ServerUnavailable("Triton is not running: call start() first")
        return self._server

    @property
    def http(self) -> str:
        """``127.0.0.1:PORT`` of the HTTP API."""
        return self.server.http

    @property
    def grpc(self) -> str:
        """``127.0.0.1:PORT`` of the gRPC API."""
        return self.server.grpc

    @property
    def metrics(self) -> str | None:
        """``127.0.0.1:PORT`` of the metrics, at ``/metrics``; None if it serves none."""
        return self.server.metrics

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._workdir / "triton.log"

    def start(self) -> None:
        """Start the server and wait until every model is ready.

        Raises:
            ConfigurationError: the environment or the model repository cannot serve.
            ServerUnavailable: it ended or was not ready in time; the text ends with its log.
        """
        if (running := running_server(self._workdir)) is not None:
            raise ConfigurationError(
                f"a Triton server already runs in {self._workdir} (gRPC {running.grpc}): use it, "
                "stop it, or start this one in another folder"
            )
        environment = require(self._python)
        wanted = _wanted_models(self._models)
        self._workdir.mkdir(parents=True, exist_ok=True)
        regions.sweep()
        deadline = time.monotonic() + self._start_seconds
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            # Again for every attempt, for the end of an attempt removes it.
            target = self._workdir / _ASSEMBLED
            directory = assemble_backends(environment, self._backends, target)
            self._server = self._launch(environment, directory)
            try:
                self._wait_until_ready(wanted, deadline)
                return
            except BaseException as error:
                self.stop()
                again = isinstance(error, PlatemillError) and port_was_taken(self.log)
                if not again or attempt == _PORT_ATTEMPTS:
                    raise

    def stop(self) -> None:
        """End the server, its stubs and its shared memory. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop()

    def _launch(self, environment: TritonEnvironment, directory: Path) -> RunningServer:
        token = secrets.token_hex(6)
        http, grpc, *more = free_ports(3 if self._metrics else 2)
        metrics = f"127.0.0.1:{more[0]}" if more else None
        self.log.write_bytes(b"")
        spec = Spec(
            token=token,
            command=[
                str(environment.server),
                f"--id={token}",
                f"--model-repository={self._models}",
                f"--backend-directory={directory}",
                # Left out, every model is started once more, only to complete its config.
                "--disable-auto-complete-config",
                f"--backend-config=python,shm-region-prefix-name={regions.region_prefix(token)}",
                "--http-address=127.0.0.1",
                f"--http-port={http}",
                "--grpc-address=127.0.0.1",
                f"--grpc-port={grpc}",
                *(
                    ["--metrics-address=127.0.0.1", f"--metrics-port={more[0]}"]
                    if more
                    else ["--allow-metrics=false"]
                ),
                "--exit-timeout-secs=2",
            ],
            environment=server_environment(environment, dict(os.environ), self._threads),
            workdir=str(self._workdir),
            log=str(self.log),
            parent=None if self._detached else os.getpid(),
            grace_seconds=_GRACE_SECONDS,
        )
        try:
            supervisor = launch(spec)
        except OSError as error:
            raise ServerUnavailable(str(error)) from None
        server = RunningServer(
            token,
            f"127.0.0.1:{http}",
            f"127.0.0.1:{grpc}",
            supervisor,
            str(self.log),
            str(self._models),
            metrics,
        )
        write_json(self._workdir / _STATE, asdict(server))
        return server

    def _wait_until_ready(self, wanted: set[str], deadline: float) -> None:
        while True:
            ready = {m.name for m in self.server.models() if m.state == "READY"}
            if wanted <= ready:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.server.supervisor, READY)
                return
            if not self.server.alive():
                missing = self._missing(wanted)
                raise self._failed(f"Triton ended before it was ready (waiting for {missing})")
            if time.monotonic() > deadline:
                missing = self._missing(wanted)
                raise self._failed(
                    f"Triton was not ready after {self._start_seconds:.0f} s (waiting for "
                    f"{missing}); PLATEMILL_TRITON_START_SECONDS gives it longer"
                )
            time.sleep(0.1)

    def _missing(self, wanted: set[str]) -> str:
        """The models that are not loaded: a server that starts names none before all are."""
        return ", ".join(sorted(wanted - loaded_models(self.log) or wanted))

    def _failed(self, what: str) -> ConfigurationError | ServerUnavailable:
        cure = cure_for(self.log)
        text = "\n".join([f"{what}. Its log, {self.log}, ends:", *last_lines(self.log)])
        if cure is None:
            return ServerUnavailable(f"{text}\n{_ALONE}")
        return ConfigurationError(f"{text}\nLikely cure: {cure}")


def assemble_backends(environment: TritonEnvironment, own: Path, target: Path) -> Path:
    """Make the server's backend directory: the Python backend, its stub, the project's backends.

    Raises:
        ConfigurationError: there are no backends at `own`.
    """
    if not own.is_dir():
        raise ConfigurationError(
            f"no folder of Triton backends at {own}: set PLATEMILL_PROJECT to the project's folder"
        )
    shutil.rmtree(target, ignore_errors=True)
    python = target / "python"
    python.mkdir(parents=True)
    # Copies: a library behind a link "escapes the backend directory" and is refused.
    for path in environment.python_backend.iterdir():
        if path.is_file():
            shutil.copyfile(path, python / path.name)
    stub = python / environment.stub.name
    shutil.copyfile(environment.stub, stub)
    stub.chmod(0o755)
    for backend in sorted(path for path in own.iterdir() if path.is_dir()):
        shutil.copytree(backend, target / backend.name)
    return target


def server_environment(
    environment: TritonEnvironment, inherited: dict[str, str], threads: int | None
) -> dict[str, str]:
    """The variables that the server and its stubs see.

    What points Python at another environment is taken out, and so is Ray's OMP_NUM_THREADS=1.
    """
    foreign = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")
    variables = {name: value for name, value in inherited.items() if name not in foreign}
    folders = [str(folder) for folder in environment.libraries]
    if before := inherited.get("LD_LIBRARY_PATH"):
        folders.append(before)
    variables |= {
        "LD_LIBRARY_PATH": os.pathsep.join(folders),
        # The stub's Python finds its environment through the first python3 on the path.
        "PATH": os.pathsep.join([str(environment.python.parent), inherited.get("PATH", "")]),
        # Three models share the cores: a thread that waits must sleep, not spin.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        # A picture's memory is used again for the next one instead of going back to the kernel,
        # which would clear every page of it anew.
        "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),
        "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
    }
    if threads is not None:
        variables["MODEL_THREADS"] = str(threads)
    return variables


def _own_backends(models: Path) -> Path:
    """The project's backends: of the project the models belong to, else of this library's."""
    beside = models.parent / BACKENDS
    return beside if beside.is_dir() else Path(__file__).parents[3] / BACKENDS


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now; another process may still be faster."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wanted_models(models: Path) -> set[str]:
    wanted = {path.parent.name for path in models.glob("*/config.pbtxt")}
    if not wanted:
        raise ConfigurationError(
            f"no models in {models}: a model repository holds NAME/config.pbtxt and NAME/1/. "
            "Set PLATEMILL_PROJECT or PLATEMILL_TRITON_MODELS"
        )
    return wanted


def _end(process: int, seconds: float) -> bool:
    """Ask a process to end and wait for it; whether it is gone."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(descriptor)
