"""How much a row's answer depends on the batch it is in, and what each way of batching costs.

    OMP_WAIT_POLICY=PASSIVE .venv-triton/bin/python benchmarks/fixed_batches.py

Runs the two networks in Triton's environment without a server. For each precision: the largest
difference between rows answered alone and in batches of each size; then milliseconds of a request
of 1, 3, 8 and 32 rows, when all batches have that size and, last, as they are served.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from platemill.serving.torchscript import Network

MODELS = Path(__file__).parents[1] / "model_repository"
SIZES = (1, 2, 4, 8, 16, 32)
REQUESTS = (1, 3, 8, 32)
CROP = (3, 24, 94)
ROW_SHAPES = {"stn": CROP, "lprnet": (23, 18)}
TRIES = 15


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    arguments = parser.parse_args()
    crops = np.random.default_rng(0).uniform(-1, 1, (32, *CROP)).astype(np.float32)
    print(f"{arguments.threads} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    requests = " | ".join(f"{rows} rows" for rows in REQUESTS)
    print(f"| network | precision | batches of | differs from alone | {requests} |")
    print("|---" * (4 + len(REQUESTS)) + "|")
    for name, shape in ROW_SHAPES.items():
        path = arguments.models / name / "1" / "model.pt"
        for precision in arguments.precisions:
            network = Network(path, arguments_of(name, precision, arguments.threads))
            network.find_sizes(CROP)
            served = network.sizes
            network.sizes = (1,)
            alone = network.rows(crops, shape)
            for sizes in [*((size,) for size in SIZES), served]:
                network.sizes = sizes
                differs = np.abs(network.rows(crops, shape) - alone).max()
                costs = " | ".join(f"{cost(network, crops[:n], shape):.2f}" for n in REQUESTS)
                text = ", ".join(str(size) for size in sizes)
                print(f"| {name} | {network.precision} | {text} | {differs:.1e} | {costs} |")


def arguments_of(name: str, precision: str, threads: int) -> dict[str, str]:
    """What Triton would hand to the model."""
    given = {"PRECISION": precision, "THREADS": str(threads)}
    parameters = {key: {"string_value": value} for key, value in given.items()}
    return {"model_name": name, "model_config": json.dumps({"parameters": parameters})}


def cost(network: Network, rows: np.ndarray, shape: tuple[int, ...]) -> float:
    """Milliseconds of one request; the fastest of a few."""
    milliseconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        network.rows(rows, shape)
        milliseconds.append((time.perf_counter() - began) * 1e3)
    return min(milliseconds)


if __name__ == "__main__":
    main()
