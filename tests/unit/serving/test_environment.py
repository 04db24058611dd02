"""What is missing in Triton's environment is said with its cure, before anything is started."""

import json
import stat
import sys
from pathlib import Path

import pytest

from platemill.errors import ConfigurationError
from platemill.serving.environment import examine, require


@pytest.fixture
def whole(tmp_path: Path) -> dict:
    """What the probe of a whole environment answers, over a package made of empty files."""
    package = tmp_path / "site" / "pytriton"
    for part in (
        "tritonserver/bin/tritonserver",
        "tritonserver/python_backend_stubs/3.11/triton_python_backend_stub",
        "tritonserver/backends/python/libtriton_python.so",
    ):
        (package / part).parent.mkdir(parents=True)
        (package / part).touch()
    return {
        "version": "3.11",
        "package": str(package),
        "versions": {
            "numpy": "1.26.4",
            "nvidia-pytriton": "0.7.0",
            "torch": "2.13.0",
            "opencv-python-headless": "4.11.0.86",
            "platemill": "0.1.0",
        },
        "library": "libpython3.11.so.1.0",
        "library_found": True,
        "library_folder": None,
    }


def interpreter(folder: Path, answer: dict) -> Path:
    """A program in the place of the interpreter that answers the probe."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_whole_environment_is_taken(tmp_path: Path, whole: dict) -> None:
    environment = require(interpreter(tmp_path, whole))
    assert environment.stub.is_file()
    assert environment.server.is_file()
    assert environment.libraries == [tmp_path / "site" / "nvidia_pytriton.libs"]


def test_a_libpython_that_lies_beside_the_interpreter_is_put_on_the_path(
    tmp_path: Path, whole: dict
) -> None:
    environment = require(interpreter(tmp_path, whole | {"library_folder": "/opt/python/lib"}))
    assert environment.libraries[-1] == Path("/opt/python/lib")


def test_a_missing_interpreter_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no interpreter at .*nowhere.*make setup"):
        require(tmp_path / "nowhere")


def test_an_interpreter_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho broken pipe dream >&2\nexit 1\n")
    path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="broken pipe dream"):
        require(path)


def test_a_missing_libpython_names_the_package_to_install(tmp_path: Path, whole: dict) -> None:
    python = interpreter(tmp_path, whole | {"library_found": False})
    with pytest.raises(ConfigurationError, match=r"sudo apt-get install -y libpython3\.11"):
        require(python)


def test_numpy_2_is_refused(tmp_path: Path, whole: dict) -> None:
    whole["versions"]["numpy"] = "2.4.0"
    with pytest.raises(ConfigurationError, match=r"numpy in Triton's environment: 2\.4\.0.*<2"):
        require(interpreter(tmp_path, whole))


@pytest.mark.parametrize("name", ["torch", "nvidia-pytriton", "platemill"])
def test_a_missing_package_is_named(tmp_path: Path, whole: dict, name: str) -> None:
    whole["versions"][name] = None
    with pytest.raises(ConfigurationError, match=f"{name} in Triton's environment: not installed"):
        require(interpreter(tmp_path, whole))


def test_a_python_without_a_stub_names_those_that_have_one(tmp_path: Path, whole: dict) -> None:
    with pytest.raises(ConfigurationError, match=r"stub for Python 3\.14.*that has a stub: 3\.11"):
        require(interpreter(tmp_path, whole | {"version": "3.14"}))


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path, whole: dict) -> None:
    whole["versions"]["torch"] = None
    with pytest.raises(ConfigurationError) as caught:
        require(interpreter(tmp_path, whole | {"library_found": False}))
    assert "torch" in str(caught.value)
    assert "libpython3.11" in str(caught.value)


def test_the_real_probe_runs_under_any_python() -> None:
    environment, findings = examine(Path(sys.executable))
    assert environment is None, "the main environment must not hold Triton's server"
    problems = " ".join(f.what for f in findings if not f.ok)
    assert "nvidia-pytriton" in problems
    assert "numpy" in problems
