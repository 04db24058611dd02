"""`platemill profile` and `--profile`, as far as no network is run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platemill.cli import app
from platemill.cli import triton as triton_command
from platemill.errors import ConfigurationError
from platemill.serving.embedded import RunningServer
from platemill.vision.profile import BUILT_IN
from platemill.vision.profile_file import load_profile


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    import cv2
    import numpy as np

    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return path


def platemill(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, ConfigurationError):
        raise result.exception
    return result.exit_code, result.stdout


def test_show_prints_a_profile_to_start_from(tmp_path: Path) -> None:
    code, shown = platemill("profile", "show")
    path = tmp_path / "my.toml"
    path.write_text(shown, encoding="utf-8")
    assert code == 0
    assert load_profile(path) == BUILT_IN


def test_show_fills_in_what_a_profile_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('[detector]\nfile = "best.onnx"\noutput = "yolov8"\n')
    _, shown = platemill("profile", "show", path)
    assert "long_side = 640" in shown
    assert str(tmp_path / "best.onnx") in shown


def test_a_wrong_profile_ends_the_check_with_2(tmp_path: Path, photo: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[detector]\nthreshold = 0.5\n")
    code, answer = platemill("profile", "check", path, "--photo", photo, "--json")
    found = json.loads(answer)
    assert code == 2
    assert not found["ok"]
    assert "did you mean iou_threshold or score_threshold?" in found["checks"][0]["seen"]
    code, text = platemill("profile", "check", path, "--photo", photo)
    assert code == 2
    assert text.startswith("wrong profile:")


def test_a_photo_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        platemill("profile", "check", path, "--photo", tmp_path / "none.jpg")
    with pytest.raises(ConfigurationError, match="is no photo to recognise"):
        platemill("profile", "check", path, "--photo", path)


def test_a_server_of_another_profile_is_not_taken_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = RunningServer("token", "127.0.0.1:1", "127.0.0.1:2", 1, "log", "/other/models")
    monkeypatch.setattr(triton_command, "running_server", lambda _: running)
    path = tmp_path / "my.toml"
    path.write_text("[detector]\nscore_threshold = 0.6\n")
    with pytest.raises(ConfigurationError, match="already serves /other/models"):
        platemill("triton", "up", "--home", tmp_path / "home", "--profile", path)
