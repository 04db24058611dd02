"""The training, the export and the evaluation, for a few steps, in Triton's environment.

torch is not installed in the main environment, so every test runs a child process.
"""

import csv
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON = Path(os.environ.get("PLATEMILL_TRITON_PYTHON", ROOT / ".venv-triton" / "bin" / "python"))

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"Triton's environment is not built: no {PYTHON}"
)


def run(*arguments: str) -> str:
    """Run Python in Triton's environment and return what it printed."""
    done = subprocess.run(
        [str(PYTHON), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


TRAIN = """
import sys
from platemill.training import detector, export, reader
out = sys.argv[1]
few = ["--workers", "0", "--out"]
detector.main([*few, f"{out}/detector", "--steps", "1", "--batch", "2"])
detector.main([*few, f"{out}/detector", "--steps", "2", "--batch", "2", "--resume"])
reader.main([*few, f"{out}/reader", "--steps", "2", "--batch", "8", "--held", "8"])
checkpoints = ["--detector", f"{out}/detector/last.pt", "--reader", f"{out}/reader/last.pt"]
export.main([*checkpoints, "--repository", f"{out}/models"])
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with networks of a few steps' training."""
    out = tmp_path_factory.mktemp("training")
    run("-c", TRAIN, str(out))
    return out / "models"


def test_training_logs_and_resumes(repository: Path) -> None:
    assert (repository.parent / "reader" / "log.csv").read_text().startswith("step,seconds,loss")
    assert (repository / "yolo" / "1" / "detector.pt").stat().st_size < 5_000_000


def test_exported_networks_have_the_contracts_shapes(repository: Path) -> None:
    code = """
import sys, torch
root = sys.argv[1]
load = lambda name: torch.jit.load(f"{root}/{name}")
stn, reader = load("stn/1/model.pt"), load("lprnet/1/model.pt")
detector = load("yolo/1/detector.pt")
crops = torch.rand(7, 3, 24, 94) * 2 - 1
straight = stn(crops)
assert straight.shape == crops.shape and straight.dtype == torch.float32
logits = reader(straight)
assert logits.shape == (7, 23, 18) and logits.dtype == torch.float32
last = crops.contiguous(memory_format=torch.channels_last)
assert torch.allclose(reader(stn(last)), logits, atol=1e-3)
for row in range(7):
    alone = reader(stn(crops[row : row + 1]))
    assert torch.allclose(alone[0], logits[row], atol=1e-3), "depends on the batch"
for h, w in ((32, 32), (384, 640), (640, 96)):
    out = detector(torch.rand(1, 3, h, w))
    assert out.shape == (1, h * w // 64, 5) and out.dtype == torch.float32
print("fine")
"""
    assert "fine" in run("-c", code, str(repository))


def test_the_evaluation_counts(repository: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((120, 200, 3), 90, np.uint8))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "plate", "xmin", "ymin", "xmax", "ymax", "country", "note"])
        writer.writerow(["a.jpg", "A123BC77", 20, 20, 120, 42, "RU", ""])
        writer.writerow(["a.jpg", "", 130, 60, 180, 72, "RU", "ignore"])
    said = json.loads(
        run(
            "-m",
            "platemill.training.evaluate",
            "--photos",
            str(tmp_path),
            "--repository",
            str(repository),
            "--json",
        )
    )
    assert said["photos"] == said["plates"] == said["texts"] == 1
    assert said["exact"] == 0
    assert {"recall", "precision", "char_error_rate", "ms_detector"} <= set(said)


def test_the_loss_of_a_perfect_detector_is_small() -> None:
    code = """
import torch
from platemill.training.detector import assign, loss_of, overlap
from platemill.training.nets import candidates
boxes = torch.zeros(1, 12, 4)
boxes[0, 0] = torch.tensor([40.0, 40.0, 120.0, 60.0])
chosen, ignored, targets = assign(boxes, 16, 24)
assert (chosen >= 0).any() and not ((chosen >= 0) & ignored).any()
y = ((torch.arange(16) + 0.5) * 8).view(16, 1)
x = ((torch.arange(24) + 0.5) * 8).view(1, 24)
sides = [x - 40 + 0 * y, y - 40 + 0 * x, 120 - x + 0 * y, 60 - y + 0 * x]
maps = torch.full((1, 5, 16, 24), -12.0)
maps[0, 1:] = torch.stack([side.clamp(min=0.1) / 8 for side in sides]).log()
maps[0, 0].view(-1)[chosen[0] >= 0] = 12.0
score, place = loss_of(maps, boxes)
assert score < 0.01 and place < 0.01, (score, place)
same, _ = overlap(boxes[0, :1], boxes[0, :1])
assert abs(float(same) - 1) < 1e-5
assert candidates(maps).shape == (1, 384, 5)
print("fine")
"""
    assert "fine" in run("-c", code)


@pytest.mark.parametrize("module", ["detector", "reader", "export", "evaluate"])
def test_help_explains(module: str) -> None:
    assert "usage: python -m platemill.training" in run(
        "-m", f"platemill.training.{module}", "--help"
    )
