"""What the embedded server is started with, without starting it."""

import json
import socket
from pathlib import Path

import pytest

from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.serving.embedded import (
    EmbeddedTriton,
    assemble_backends,
    free_ports,
    running_server,
    server_environment,
)
from platemill.serving.environment import TritonEnvironment


@pytest.fixture
def environment(tmp_path: Path) -> TritonEnvironment:
    package = tmp_path / "site" / "pytriton"
    made = TritonEnvironment(tmp_path / "bin" / "python", "3.11", package, None)
    for path in (made.stub, made.python_backend / "libtriton_python.so"):
        path.parent.mkdir(parents=True)
        path.write_text(path.name)
    return made


def test_the_backend_directory_holds_copies_and_a_stub_that_runs(
    tmp_path: Path, environment: TritonEnvironment
) -> None:
    own = tmp_path / "own" / "pytorch"
    own.mkdir(parents=True)
    (own / "model.py").touch()
    for _ in range(2):  # a second start finds the first one's folder
        target = assemble_backends(environment, own.parent, tmp_path / "backends")
    library = target / "python" / "libtriton_python.so"
    assert library.is_file()
    assert not library.is_symlink()
    assert (target / "python" / environment.stub.name).stat().st_mode & 0o111
    assert (target / "pytorch" / "model.py").is_file()


def test_missing_backends_name_the_setting(tmp_path: Path, environment: TritonEnvironment) -> None:
    with pytest.raises(ConfigurationError, match="PLATEMILL_PROJECT"):
        assemble_backends(environment, tmp_path / "nowhere", tmp_path / "backends")


def test_the_server_sees_its_own_environment_only(environment: TritonEnvironment) -> None:
    inherited = {
        "PATH": "/usr/bin",
        "PYTHONPATH": "/main",
        "OMP_NUM_THREADS": "1",
        "LD_LIBRARY_PATH": "/cuda",
        "HOME": "/home/me",
    }
    variables = server_environment(environment, inherited, 2)
    assert variables["PATH"] == f"{environment.python.parent}:/usr/bin"
    assert variables["LD_LIBRARY_PATH"].split(":")[-1] == "/cuda"
    assert "PYTHONPATH" not in variables
    assert "OMP_NUM_THREADS" not in variables
    assert variables["HOME"] == "/home/me"
    assert variables["MODEL_THREADS"] == "2"
    assert int(variables["MALLOC_MMAP_THRESHOLD_"]) >= 1920 * 1080 * 3
    assert "MODEL_THREADS" not in server_environment(environment, inherited, None)


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))


def test_an_address_before_the_start_is_an_error(tmp_path: Path) -> None:
    triton = EmbeddedTriton(tmp_path, tmp_path / "python", tmp_path / "work", 1)
    with pytest.raises(ServerUnavailable, match="not running"):
        _ = triton.grpc
    triton.stop()


def test_a_state_file_of_a_dead_server_is_no_server(tmp_path: Path) -> None:
    state = {
        "token": "feedfeedfeed",
        "http": "127.0.0.1:1",
        "grpc": "127.0.0.1:2",
        "supervisor": 1,
        "log": "x",
    }
    (tmp_path / "triton.json").write_text(json.dumps(state))
    assert running_server(tmp_path) is None
    (tmp_path / "triton.json").write_text("{")
    assert running_server(tmp_path) is None
    assert running_server(tmp_path / "nowhere") is None
