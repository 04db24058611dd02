"""What `Network` does with files of several kinds, as JSON; runs in Triton's environment.

python network_cases.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from platemill.serving import torchscript
from platemill.serving.torchscript import (
    MARK_FILE,
    Mark,
    Network,
    multiplies_bf16,
    precision_for,
)
from platemill.training import export
from platemill.training.export import READER_FILE, STN_FILE
from platemill.training.nets import Detector, Reader, Stn

CROP = (3, 24, 94)
LOGITS = (23, 18)
ALL = ("fp32", "bf16", "fp16")


class Mixing(nn.Module):
    """A user's own: it divides by a mean over the whole batch, as a common LPRNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)

    def forward(self, crops: Tensor) -> Tensor:
        out: Tensor = self.body(crops)
        return out / out.abs().mean()


class Viewing(nn.Module):
    """A user's own: it fails on strides that are not the plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3 * 24 * 94, 2)

    def forward(self, crops: Tensor) -> Tensor:
        out: Tensor = self.body(crops.view(crops.shape[0], -1))
        return out


def args(**parameters: str) -> dict[str, str]:
    """What Triton hands to a model."""
    given = {key: {"string_value": value} for key, value in parameters.items()}
    config = {"name": "one", "parameters": {"THREADS": {"string_value": "1"}, **given}}
    return {"model_name": "one", "model_config": json.dumps(config)}


def lively(net: nn.Module) -> nn.Module:
    """The net with random batch norms and no weights of zero: every layer has its say."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, 0.0, 0.05)
    return net.eval()


def written(net: nn.Module, path: Path, *, frozen: bool = False) -> Path:
    """A user's own file."""
    script = torch.jit.script(net.eval())
    (torch.jit.freeze(script) if frozen else script).save(str(path))
    return path


def mark_of(path: Path) -> list[str]:
    """The precisions that a file says it may be run in."""
    files: dict[str, str | bytes] = {MARK_FILE: ""}
    torch.jit.load(str(path), _extra_files=files)
    return list(Mark.from_json(files[MARK_FILE]).precisions)


def refusal(call: Callable[[], Any]) -> list[str]:
    """The class and the text of what is raised."""
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


def precisions() -> dict[str, str]:
    """The precision by what is asked for, the device, and whether the processor has bf16."""
    found = {}
    kept = torchscript.multiplies_bf16
    for native in (True, False):
        torchscript.multiplies_bf16 = lambda native=native: native
        for wanted in ("auto", "fp32", "bf16", "fp16", None):
            config = {"parameters": {"PRECISION": {"string_value": wanted}} if wanted else {}}
            for on_gpu in (True, False):
                key = f"{wanted} {'gpu' if on_gpu else 'cpu'} {'native' if native else 'not'}"
                found[key] = precision_for(config, ALL, on_gpu=on_gpu)
                assert precision_for(config, (), on_gpu=on_gpu) == "fp32"
    torchscript.multiplies_bf16 = kept
    return found


def ours(folder: Path) -> dict[str, Any]:
    """Our networks in both precisions: their distance, and whether rows mind each other."""
    stn, reader = lively(Stn()), lively(Reader())
    files = [(export.export_stn(stn, folder), stn, CROP)]
    files += [(export.export_reader(reader, folder), reader, LOGITS)]
    rows = np.random.default_rng(3).uniform(-1, 1, (32, *CROP)).astype(np.float32)
    found: dict[str, Any] = {}
    for path, net, shape in files:
        with torch.no_grad():
            truth = net(torch.from_numpy(rows)).numpy()
            plain = torch.jit.load(str(path))(torch.from_numpy(rows)).numpy()
        seen = {"spread": float(truth.std()), "plain": float(np.abs(plain - truth).max())}
        for precision in ("fp32", "bf16"):
            network = Network(path, args(PRECISION=precision))
            network.find_sizes(CROP)
            together = network.rows(rows, shape)
            seen[precision] = float(np.abs(together - truth).mean())
            seen[f"{precision} runs as"] = network.precision
            seen[f"{precision} sizes"] = list(network.sizes)
            seen[f"{precision} alike"] = all(
                np.array_equal(network.rows(rows[start : start + size], shape), part)
                for size in (1, 2, 3, 7)
                for start in range(0, 32, size)
                for part in [together[start : start + size]]
            )
            seen[f"{precision} none"] = network.rows(rows[:0], shape).shape == (0, *shape)
        seen["text"] = str(network)
        found[path.parent.parent.name] = seen
    path = export.export_detector(lively(Detector()), folder)
    image = np.random.default_rng(4).uniform(0, 1, (1, 3, 96, 160)).astype(np.float32)
    full, half = (Network(path, args(PRECISION=p))(image) for p in ("fp32", "bf16"))
    found["detector"] = {
        "pixels": float(np.abs(full[..., :4] - half[..., :4]).max()),
        "score": float(np.abs(full[..., 4] - half[..., 4]).max()),
        "float32": half.dtype == np.float32,
    }
    return found


def users_own(folder: Path) -> dict[str, Any]:
    """Files without the mark stay as they are, whatever is asked for."""
    rows = np.random.default_rng(3).uniform(-1, 1, (5, *CROP)).astype(np.float32)
    found: dict[str, Any] = {}
    for name, net, frozen in (
        ("frozen", lively(Reader()), True),
        ("not frozen", lively(Reader()), False),
        ("viewing", Viewing(), False),
    ):
        path = written(net, folder / f"{name}.pt", frozen=frozen)
        network = Network(path, args(PRECISION="bf16"))
        with torch.no_grad():
            truth = torch.jit.load(str(path))(torch.from_numpy(rows)).numpy()
        found[name] = [network.precision, float(np.abs(network(rows) - truth).max())]
    mixing = Network(written(Mixing(), folder / "mixing.pt"), args())
    mixing.find_sizes(CROP)
    shape = (4, 22, 92)
    alone, together = mixing.rows(rows[:1], shape), mixing.rows(rows, shape)
    found["mixing"] = [list(mixing.sizes), bool(np.array_equal(alone[0], together[0]))]
    return found


def main() -> None:
    """Print every case's findings."""
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    found = {
        "precisions": precisions(),
        "processor has bf16": multiplies_bf16(),
        "ours": ours(folder),
        "users own": users_own(folder),
    }
    reader = folder / export.READER_FILE
    fixed = Network(reader, args(ROWS_AT_ONCE="3"))
    fixed.find_sizes(CROP)
    found["fixed"] = list(fixed.sizes)
    found["auto"] = Network(reader, args()).precision
    found["marks"] = {file.parts[0]: mark_of(folder / file) for file in (STN_FILE, READER_FILE)}
    found["missing"] = refusal(lambda: Network(folder / "nowhere.pt", args()))
    found["unknown"] = refusal(lambda: Network(reader, args(PRECISION="int8")))
    wrong = Mark(("fp32",), kept=("nowhere.",))
    found["kept"] = refusal(lambda: export._write(Stn(), wrong, [], folder / "wrong.pt"))
    loose = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3))
    found["loose"] = refusal(lambda: export.fold_batch_norms(loose))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
