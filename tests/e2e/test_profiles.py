"""Networks and a plate format of one's own, through `profile check` and a real Triton."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from own_networks import ALPHABET, STEPS, photo, write_onnx, write_torchscript
from typer.testing import CliRunner

from platemill.cli import app
from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.serving.repository import repository_of
from platemill.settings import Settings, load_settings

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

OWN = f"""
[detector]
file = "DETECTOR"
output = "FORM"
long_side = 320
score_threshold = 0.9
[crop]
width = 64
height = 32
margin_x = 0.0
margin_y = 0.0
[reader]
file = "reader.pt"
alphabet = "{ALPHABET}"
blank = 0
time_steps = {STEPS}
[plates]
kinds = ["LLDD"]
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_torchscript(folder, Settings(home=folder).triton_interpreter)
    write_onnx(folder / "yolov8.onnx")
    write_onnx(folder / "classes.onnx", classes=3)
    cv2.imwrite(str(folder / "photo.png"), photo((2, 4), (7, 5)))
    cv2.imwrite(str(folder / "empty.png"), photo())
    return folder


def write(networks: Path, text: str = OWN, **changes: str) -> Path:
    """A profile beside the networks; `changes` are texts and what they become."""
    for before, after in {"DETECTOR": "yolov8.pt", "FORM": "yolov8", **changes}.items():
        assert before in text
        text = text.replace(before, after)
    path = networks / "my.toml"
    path.write_text(text)
    return path


def check(path: Path, photo: str = "photo.png") -> tuple[int, dict[str, Any]]:
    arguments = ["profile", "check", str(path), "--photo", str(path.parent / photo), "--json"]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize(
    ("detector", "form"),
    [("yolov8.pt", "yolov8"), ("yolov5.pt", "yolov5"), ("yolov8.onnx", "yolov8")],
)
def test_a_profile_of_one_s_own_networks_reads_a_photo(
    networks: Path, detector: str, form: str
) -> None:
    code, found = check(write(networks, DETECTOR=detector, FORM=form))
    assert found["ok"], found
    assert code == 0
    whats = [row["what"] for row in found["checks"]]
    assert whats == ["profile", "detector", "reader", "Triton", "photo"]
    plates = sorted(found["plates"], key=lambda plate: plate["box"][0])
    assert [plate["box"] for plate in plates] == [[64, 96, 256, 160], [384, 160, 576, 224]]
    assert [plate["plate"] for plate in plates] == ["AB12", "AB12"]
    assert all(plate["confidence"] > 0.99 for plate in plates)
    assert all(plate["detection_score"] == 1 for plate in plates)


def test_a_server_with_an_stn_of_one_s_own_and_without_any(networks: Path, tmp_path: Path) -> None:
    texts = {}
    for name, stn in (("with", '[stn]\nfile = "stn.pt"\n'), ("without", "")):
        profile = write(networks, OWN + stn)
        settings = load_settings(home=tmp_path / name, profile=profile)
        repository = repository_of(settings)
        with (
            EmbeddedTriton.of(settings, repository, settings.home / "triton") as server,
            PlateClient(server.grpc, slots=1) as client,
        ):
            reading = client(photo((3, 4)))
            assert len(client(photo())) == 0
        texts[name] = reading.texts, reading.raw_texts
    assert texts == {"with": (["CD34"], ["CD34"]), "without": (["AB12"], ["AB12"])}


@pytest.mark.parametrize(
    ("changes", "what", "said", "cure"),
    [
        ({"DETECTOR": "classes.onnx"}, "detector", "3 classes", "detector.plate_class"),
        ({"FORM": "yolov5"}, "detector", "[1, 5, 100]", "output = 'yolov8'"),
        (
            {"DETECTOR": "yolov8.onnx", "long_side = 320": "long_side = 640"},
            "detector",
            "its input is [1, 3, 320, 320], sent was [1, 3, 640, 640]",
            "detector.long_side",
        ),
        ({"reader.pt": "reader_of_12.pt"}, "reader", "12 classes", "reader.alphabet"),
        ({"reader.pt": "reader_of_one.pt"}, "reader", "one crop", "reader.rows_at_once = 1"),
        ({"reader.pt": "checkpoint.pt"}, "profile", "is no TorchScript", ""),
        ({'"LLDD"': '"LLDX"'}, "profile", "there is no kind 'LLDX'", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(
    networks: Path, changes: dict[str, str], what: str, said: str, cure: str
) -> None:
    code, found = check(write(networks, **changes))
    assert code == 2
    assert not found["ok"]
    last = found["checks"][-1]
    assert last["what"] == what
    assert said in last["seen"]
    assert cure in last["cure"]
    assert [row["ok"] for row in found["checks"]] == [True] * (len(found["checks"]) - 1) + [False]


def test_a_photo_without_a_plate_shows_nothing(networks: Path) -> None:
    code, found = check(write(networks), "empty.png")
    assert code == 2
    assert found["checks"][-1]["what"] == "photo"
    assert "no plate was found" in found["checks"][-1]["seen"]
    assert found["plates"] == []
