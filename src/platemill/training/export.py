r"""Export trained networks as frozen TorchScript into a Triton model repository.

    python -m platemill.training.export --detector runs/detector/last.pt \
        --reader runs/reader/last.pt --repository model_repository

writes `yolo/1/detector.pt`, `stn/1/model.pt` and `lprnet/1/model.pt` (fp32), each checked
against the network it came from.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from platemill.training.nets import Detector, DetectorCandidates, Reader, Stn

DETECTOR_FILE = Path("yolo/1/detector.pt")
STN_FILE = Path("stn/1/model.pt")
READER_FILE = Path("lprnet/1/model.pt")

_TOLERANCE = 1e-3


def export_detector(detector: Detector, repository: Path) -> Path:
    """Write the detector: float32 [1, 3, h, w] to candidates float32 [1, M, 5]."""
    example = torch.rand(1, 3, 96, 160)
    return _write(DetectorCandidates(detector), [example], repository / DETECTOR_FILE)


def export_stn(stn: Stn, repository: Path) -> Path:
    """Write the STN: float32 [N, 3, 24, 94] to the same shape."""
    return _write(stn, _crops(), repository / STN_FILE)


def export_reader(reader: Reader, repository: Path) -> Path:
    """Write the reader: float32 [N, 3, 24, 94] to logits float32 [N, 23, 18]."""
    return _write(reader, _crops(), repository / READER_FILE)


def _crops() -> list[Tensor]:
    crops = torch.rand(5, 3, 24, 94) * 2.0 - 1.0
    return [crops, crops.contiguous(memory_format=torch.channels_last), crops[:1]]


def _write(net: nn.Module, examples: list[Tensor], path: Path) -> Path:
    """Script, freeze, write, read back and compare on every example."""
    net = net.eval().float().to(memory_format=torch.channels_last)
    frozen = torch.jit.freeze(torch.jit.script(net))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    frozen.save(str(unfinished))
    unfinished.replace(path)
    written = torch.jit.load(str(path))
    with torch.no_grad():
        for example in examples:
            difference = (written(example) - net(example)).abs().max().item()
            if not difference <= _TOLERANCE:
                raise RuntimeError(
                    f"{path} differs from its network by {difference:.2g}; not exported rightly"
                )
    return path


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Read a training checkpoint (tensors and plain values only)."""
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return state


def main(arguments: list[str] | None = None) -> None:
    """Command line of the export."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.training.export",
        description="Export checkpoints of the detector and the reader as TorchScript files "
        "that Triton serves. What is not named is left as it is.",
    )
    parser.add_argument("--detector", type=Path, help="checkpoint of training.detector")
    parser.add_argument("--reader", type=Path, help="checkpoint of training.reader (STN too)")
    parser.add_argument("--repository", type=Path, required=True, help="Triton's model repository")
    parser.add_argument(
        "--untrained",
        action="store_true",
        help="export random weights of the right shapes (to try the serving without training)",
    )
    options = parser.parse_args(arguments)
    if not (options.detector or options.reader or options.untrained):
        parser.error("name a checkpoint: --detector FILE, --reader FILE or both")
    torch.manual_seed(0)
    written = []
    if options.detector or options.untrained:
        detector = Detector()
        if options.detector:
            detector.load_state_dict(load_state(options.detector)["average"])
        written.append(export_detector(detector, options.repository))
    if options.reader or options.untrained:
        stn, reader = Stn(), Reader()
        if options.reader:
            average = load_state(options.reader)["average"]
            nn.Sequential(stn, reader).load_state_dict(average)
        written.append(export_stn(stn, options.repository))
        written.append(export_reader(reader, options.repository))
    for path in written:
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
