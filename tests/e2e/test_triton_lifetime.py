"""A server is started safely and leaves nothing behind, however it ends. A small model will do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from small_models import write_echo

from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.serving import embedded, regions
from platemill.serving.embedded import EmbeddedTriton, RunningServer, running_server
from platemill.settings import Settings

pytestmark = [pytest.mark.triton, pytest.mark.timeout(120)]

PYTHON = Settings(home=".").triton_interpreter


def triton_over(models: Path, workdir: Path, seconds: float = 60) -> EmbeddedTriton:
    return EmbeddedTriton(models, PYTHON, workdir, seconds)


def processes_of(server: RunningServer) -> list[psutil.Process]:
    """The supervisor, the server and its stubs."""
    supervisor = psutil.Process(server.supervisor)
    found = [supervisor, *supervisor.children(recursive=True)]
    assert len(found) >= 3
    return found


def works(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # one that its new parent has yet to reap
    except psutil.NoSuchProcess:
        return False


def assert_gone(server: RunningServer, processes: list[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, timeout=10)
    assert left == []
    assert not server.alive()
    assert regions.regions(server.token) == []


def echo(address: str) -> np.ndarray:
    import tritonclient.grpc as grpc

    with grpc.InferenceServerClient(address) as client:
        given = grpc.InferInput("input__0", [3], "FP32")
        given.set_data_from_numpy(np.array([1, 2, 3], np.float32))
        return client.infer("echo", [given]).as_numpy("output__0")


def test_stop_leaves_no_process_and_no_shared_memory(tmp_path: Path) -> None:
    triton = triton_over(write_echo(tmp_path / "models"), tmp_path / "work")
    with triton:
        assert echo(triton.grpc).tolist() == [1, 2, 3]
        server, processes = triton.server, processes_of(triton.server)
        assert regions.regions(server.token), "the stub's region carries the server's token"
        sockets = [c for p in processes for c in p.net_connections("tcp")]
        listening = {c.laddr.ip.removeprefix("::ffff:") for c in sockets if c.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
    assert not any(works(process) for process in processes), "when stop returns, all is over"
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["triton.log"]
    assert_gone(server, processes)
    triton.stop()


def test_an_error_inside_stops_the_server_too(tmp_path: Path) -> None:
    triton = triton_over(write_echo(tmp_path / "models"), tmp_path / "work")
    with pytest.raises(ZeroDivisionError), triton:
        server, processes = triton.server, processes_of(triton.server)
        _ = 1 / 0
    assert_gone(server, processes)


@pytest.fixture
def orphan(tmp_path: Path) -> Callable[[], tuple[subprocess.Popen[str], RunningServer]]:
    """Starts a process that starts a server and waits."""
    write_echo(tmp_path / "models")
    code = (
        "import sys, time; from pathlib import Path;"
        "from platemill.serving.embedded import EmbeddedTriton;"
        "m, p, w = map(Path, sys.argv[1:]); EmbeddedTriton(m, p, w, 60).start();"
        "print('ready', flush=True); time.sleep(100)"
    )

    def start() -> tuple[subprocess.Popen[str], RunningServer]:
        work = tmp_path / "work"
        parent = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "models"), str(PYTHON), str(work)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        server = running_server(work)
        assert server is not None
        return parent, server

    return start


@pytest.mark.parametrize("victim", ["parent", "supervisor", "server", "stub"])
def test_a_kill_leaves_no_process_and_no_shared_memory(
    victim: str,
    orphan: Callable[[], tuple[subprocess.Popen[str], RunningServer]],
) -> None:
    parent, server = orphan()
    processes = processes_of(server)
    target = dict(zip(("supervisor", "server", "stub"), (p.pid for p in processes), strict=False))
    target["parent"] = parent.pid
    os.kill(target[victim], signal.SIGKILL)
    _, left = psutil.wait_procs(processes, timeout=10)
    assert left == []
    regions.sweep()  # what a killed supervisor cannot do, the next start does
    assert_gone(server, processes)
    parent.kill()
    with parent:
        pass


def test_a_port_that_is_taken_costs_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = embedded.free_ports, []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        def first_taken(count: int) -> list[int]:
            tries.append(count)
            ports = real(count)
            return [ports[0], taken.getsockname()[1]] if len(tries) == 1 else ports

        monkeypatch.setattr(embedded, "free_ports", first_taken)
        with triton_over(write_echo(tmp_path / "models"), tmp_path / "work") as triton:
            assert echo(triton.grpc).tolist() == [1, 2, 3]
    assert len(tries) == 2


def test_a_second_server_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    models = write_echo(tmp_path / "models")
    with triton_over(models, tmp_path / "work") as triton:
        with pytest.raises(ConfigurationError, match="already runs"):
            triton_over(models, tmp_path / "work").start()
        assert echo(triton.grpc).tolist() == [1, 2, 3]


def test_two_servers_stand_side_by_side(tmp_path: Path) -> None:
    models = write_echo(tmp_path / "models")
    with triton_over(models, tmp_path / "one") as one:
        with triton_over(models, tmp_path / "two") as two:
            assert one.grpc != two.grpc
        assert echo(one.grpc).tolist() == [1, 2, 3]


def test_a_model_that_fails_is_told_with_its_log_and_leaves_nothing(tmp_path: Path) -> None:
    models = write_echo(tmp_path / "models", code="import no_such_module\n")
    triton = triton_over(models, tmp_path / "work")
    with pytest.raises(ConfigurationError, match="lacks no_such_module") as caught:
        triton.start()
    assert "triton.log, ends:" in str(caught.value)
    assert running_server(tmp_path / "work") is None


def test_missing_weights_are_told_with_their_path(tmp_path: Path) -> None:
    models = tmp_path / "models"
    source = Settings(home=".").models / "stn" / "config.pbtxt"
    (models / "stn" / "1").mkdir(parents=True)
    (models / "stn" / "config.pbtxt").write_text(source.read_text())
    with pytest.raises(ConfigurationError, match=r"put the weights at .*/stn/1/model\.pt"):
        triton_over(models, tmp_path / "work").start()


def test_a_start_that_takes_too_long_names_the_setting(tmp_path: Path) -> None:
    slow = "import time\ntime.sleep(30)\n"
    triton = triton_over(write_echo(tmp_path / "models", code=slow), tmp_path / "work", seconds=2)
    began = time.monotonic()
    with pytest.raises(ServerUnavailable, match="PLATEMILL_TRITON_START_SECONDS"):
        triton.start()
    assert time.monotonic() - began < 20
    assert running_server(tmp_path / "work") is None


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no models in"):
        triton_over(tmp_path, tmp_path / "work").start()


def platemill(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "platemill", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
        timeout=100,
    )


def test_up_status_and_down_from_the_command_line(tmp_path: Path) -> None:
    models = str(write_echo(tmp_path / "models"))
    home = tmp_path / "home"

    def triton(command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return platemill(
            "triton", command, "--home", home, *options, PLATEMILL_TRITON_MODELS=models
        )

    absent = triton("status")
    assert absent.returncode == 4
    assert "platemill triton up" in absent.stderr
    try:
        first, second = triton("up", "--json"), triton("up", "--json")
        assert first.returncode == second.returncode == 0, first.stderr + second.stderr
        told = json.loads(first.stdout)
        assert json.loads(second.stdout) == told, "up is idempotent"
        assert told["models"] == [{"name": "echo", "version": "1", "state": "READY"}]
        assert echo(told["grpc"]).tolist() == [1, 2, 3], "it outlives the command"
        server = running_server(home / "triton")
        assert server is not None
        processes = processes_of(server)
        assert json.loads(triton("status", "--json").stdout) == told
        table = triton("status").stdout
        assert "echo" in table
        assert "READY" in table
    finally:
        down = triton("down")
    assert down.returncode == 0, down.stderr
    assert_gone(server, processes)
    assert triton("down").returncode == 0
    assert triton("status").returncode == 4
