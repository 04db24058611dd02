r"""Export trained networks as TorchScript into a Triton model repository.

    python -m platemill.training.export --detector runs/detector/last.pt \
        --reader runs/reader/last.pt --repository model_repository

writes `yolo/1/detector.pt`, `stn/1/model.pt` and `lprnet/1/model.pt`, each checked against the
network it came from. The files hold fp32 weights, batch norms folded into the convolutions, and
are not frozen: who loads one may convert it first, and the mark it carries says to what.
"""

from __future__ import annotations

import argparse
import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from platemill.serving.torchscript import MARK_FILE, PRECISIONS, Mark, Network
from platemill.training.nets import Detector, DetectorCandidates, Reader, Stn

DETECTOR_FILE = Path("yolo/1/detector.pt")
STN_FILE = Path("stn/1/model.pt")
READER_FILE = Path("lprnet/1/model.pt")

_TOLERANCE = 1e-3
_HALF_TOLERANCE = 0.05  # mean difference in bf16, of the answers' standard deviation
_Norm = nn.modules.batchnorm._BatchNorm

# What gives coordinates stays in fp32: half the digits would move a plate by half a pixel, and
# change what is read on it (docs/adr/0014).
_DETECTOR = Mark(tuple(PRECISIONS), kept=("detector.score.", "detector.place."))
_STN = Mark(("fp32",))
_READER = Mark(tuple(PRECISIONS))


def export_detector(detector: Detector, repository: Path) -> Path:
    """Write the detector: float32 [1, 3, h, w] to candidates float32 [1, M, columns]."""
    example = torch.rand(1, 3, 96, 160)
    return _write(DetectorCandidates(detector), _DETECTOR, [example], repository / DETECTOR_FILE)


def export_stn(stn: Stn, repository: Path) -> Path:
    """Write the STN: float32 [N, 3, 24, 94] to the same shape."""
    return _write(stn, _STN, _crops(), repository / STN_FILE)


def export_reader(reader: Reader, repository: Path) -> Path:
    """Write the reader: float32 [N, 3, 24, 94] to logits float32 [N, 23, 18]."""
    return _write(reader, _READER, _crops(), repository / READER_FILE)


def _crops() -> list[Tensor]:
    crops = torch.rand(5, 3, 24, 94) * 2.0 - 1.0
    return [crops, crops.contiguous(memory_format=torch.channels_last), crops[:1]]


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """A copy of a network, for use only, whose batch norms have gone into the convolutions.

    Raises:
        ValueError: a batch norm does not follow a convolution in a ``Sequential``.
    """
    folded = copy.deepcopy(net).eval()
    _fold(folded)
    left = [name for name, module in folded.named_modules() if isinstance(module, _Norm)]
    if left:
        raise ValueError(f"batch norms without a convolution before them: {', '.join(left)}")
    return folded


def _fold(parent: nn.Module) -> None:
    if isinstance(parent, nn.Sequential):
        for (name, module), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(module, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(module, norm))
                setattr(parent, after, nn.Identity())
    for child in parent.children():
        _fold(child)


def _write(net: nn.Module, mark: Mark, examples: list[Tensor], path: Path) -> Path:
    """Fold, script, write, read back and compare on every example."""
    names = [name for name, _ in net.named_parameters()]
    if unknown := [k for k in mark.kept if not any(name.startswith(k) for name in names)]:
        raise ValueError(f"{path.name} is to keep {', '.join(unknown)}, which it does not have")
    net = net.eval().float()
    script = torch.jit.script(fold_batch_norms(net))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    torch.jit.save(script, str(unfinished), {MARK_FILE: mark.to_json()})
    try:
        _check(net, mark, unfinished, examples)
    except BaseException:
        unfinished.unlink()
        raise
    unfinished.replace(path)
    return path


def _check(net: nn.Module, mark: Mark, written: Path, examples: list[Tensor]) -> None:
    """Raise RuntimeError unless the file answers as the network does, as it is and as served."""
    script = torch.jit.load(str(written))
    served = [
        Network(written, {"model_name": written.stem, "model_config": _config(precision)})
        for precision in mark.precisions
        if precision != "fp16"  # for a GPU
    ]
    for example in examples:
        with torch.no_grad():
            wanted, answer = net(example), script(example)
        difference = (answer - wanted).abs().max().item()
        if not difference <= _TOLERANCE * max(1.0, wanted.abs().max().item()):
            raise RuntimeError(
                f"{written} differs from its network by {difference:.2g}; not exported rightly"
            )
        for network in served:
            astray = np.abs(network(example.numpy()) - wanted.numpy()).mean()
            if not astray <= _HALF_TOLERANCE * wanted.std().item():
                raise RuntimeError(f"{written} differs by {astray:.2g} in {network.precision}")


def _config(precision: str) -> str:
    parameters = {"PRECISION": {"string_value": precision}}
    return json.dumps({"parameters": parameters})


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
