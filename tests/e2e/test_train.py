"""`platemill train` for a few steps: checkpoint, evaluation, curves; stopping and going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from platemill.render.kinds import DESIGNS

pytestmark = pytest.mark.timeout(300)

FEW = {
    "detector": ["--batch", "2", "--workers", "0", "--scenes", "3"],
    "reader": ["--batch", "8", "--workers", "0", "--crops", "2", "--held", "4"],
}


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "platemill", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal: what runs in a shell's background is made to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def done(*arguments: str, code: int = 0) -> tuple[str, str]:
    process = started(*arguments)
    said = process.communicate(timeout=200)
    assert process.returncode == code, said[1]
    return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of each, of two steps."""
    folder = tmp_path_factory.mktemp("runs")
    for what, few in FEW.items():
        out = folder / what
        said, _ = done(what, "--out", str(out), "--steps", "2", *few, "--json")
        assert said.count("\n") == 1
        found = json.loads(said)
        assert found["checkpoint"] == str(out / "last.pt")
        assert found["evaluation"] == json.loads((out / "evaluation.json").read_text())
        assert found["evaluation"]["step"] == 2
    return folder


def test_the_detector_is_measured_on_scenes_that_were_held_out(runs: Path) -> None:
    found = json.loads((runs / "detector" / "evaluation.json").read_text())["rendered scenes"]
    assert found["photos"] == 3
    assert set(found) >= {"plates", "recall", "precision", "false_positives_per_photo"}


def test_the_reader_is_measured_by_kind_of_plate(runs: Path) -> None:
    found = json.loads((runs / "reader" / "evaluation.json").read_text())
    assert set(found["kind"]) == {design.name for design in DESIGNS}
    for figures in (*found["kind"].values(), found["not to be read"]):
        assert figures["crops"] == 2
    assert all(0 <= figures["exact_rate"] <= 1 for figures in found["kind"].values())


def test_the_curves_are_a_picture(runs: Path) -> None:
    picture = cv2.imread(str(runs / "reader" / "curves.png"))
    assert picture is not None
    assert picture.shape[1] > 800
    assert (picture != 255).any(axis=2).mean() > 0.005, "something is drawn"


def test_a_training_is_gone_on_with_and_never_begun_over(runs: Path, tmp_path: Path) -> None:
    out = str(runs / "detector")
    _, said = done("detector", "--out", out, "--steps", "3", *FEW["detector"], code=2)
    assert "--resume" in said
    photos = labelled(tmp_path)
    done("detector", "--out", out, "--steps", "3", "--resume", "--photos", str(photos),
         *FEW["detector"])  # fmt: skip
    found = json.loads((runs / "detector" / "evaluation.json").read_text())
    assert found["step"] == 3
    assert (found["photos"]["photos"], found["photos"]["plates"]) == (1, 1)


def labelled(folder: Path) -> Path:
    cv2.imwrite(str(folder / "a.png"), np.full((96, 160, 3), 90, np.uint8))
    (folder / "labels.csv").write_text("file,plate,xmin,ymin,xmax,ymax\na.png,,10,10,60,22\n")
    return folder


def test_checkpoints_are_exported(runs: Path, tmp_path: Path) -> None:
    checkpoints = [f"--{what}={runs / what / 'last.pt'}" for what in FEW]
    said, _ = done("export", *checkpoints, "--repository", str(tmp_path))
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.pt")}
    assert written == {"yolo/1/detector.pt", "stn/1/model.pt", "lprnet/1/model.pt"}
    assert all(name in said for name in written)


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    _, said = done("detector", "--out", str(tmp_path / "a"), "--stepz", "3", code=2)
    assert "unrecognized arguments: --stepz" in said
    _, said = done("export", code=2)
    assert "--detector FILE" in said
    _, said = done("export", "--reader", str(tmp_path / "last.pt"), code=2)
    assert "no checkpoint" in said


def test_ctrl_c_ends_the_training_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = started("reader", "--out", str(out), "--steps", "100000", "--batch", "8")
    until(lambda: out.exists())
    assert workers(out)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert "stopped" in said
    until(lambda: not workers(out))


def until(true: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers(out: Path) -> list[int]:
    """Processes of Triton's environment that train into a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(out).encode() in words and b"platemill.training.reader" in words:
            found.append(int(entry.name))
    return found
