"""The training and the export, for a few steps, in Triton's environment.

torch is not installed in the main environment, so every test runs a child process.
"""

import os
import subprocess
from pathlib import Path

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
    assert (
        (repository.parent / "reader" / "log.csv").read_text().startswith("step,seconds,rate,loss")
    )
    assert (repository / "yolo" / "1" / "detector.pt").stat().st_size < 5_000_000


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    code = """
import sys, torch
from platemill.training import detector, reader
out = sys.argv[1]
def weights(name, module, seed, *more):
    module.main(["--out", f"{out}/{name}", "--steps", "3", "--seed", str(seed), *more])
    return torch.load(f"{out}/{name}/last.pt", weights_only=True)["net"]
for module, *more in ((detector, "--batch", "2"), (reader, "--batch", "8", "--held", "8")):
    first, again, other = (
        weights(f"{module.__name__}-{n}", module, seed, *more) for n, seed in enumerate((5, 5, 6))
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
print("fine")
"""
    assert "fine" in run("-c", code, str(tmp_path))


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
    assert out.shape == (1, h * w // 64, 14) and out.dtype == torch.float32
print("fine")
"""
    assert "fine" in run("-c", code, str(repository))


@pytest.mark.parametrize("module", ["detector", "reader", "export", "judge", "curves"])
def test_help_explains(module: str) -> None:
    assert "usage: python -m platemill.training" in run(
        "-m", f"platemill.training.{module}", "--help"
    )
