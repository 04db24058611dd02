"""How much a row's answer depends on the batch it is in, and what a fixed batch costs.

    OMP_WAIT_POLICY=PASSIVE .venv-triton/bin/python benchmarks/fixed_batches.py

Runs the two networks in Triton's environment without a server. First the largest difference between
rows computed alone and the same rows in batches of 2 to 32; then milliseconds a row by batch size.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

MODELS = Path(__file__).parents[1] / "model_repository"
SIZES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    crops = np.random.default_rng(0).uniform(-1, 1, (32, 3, 24, 94)).astype(np.float32)
    rows = torch.from_numpy(crops)
    print(f"{arguments.threads} threads, load {os.getloadavg()[0]:.1f}")
    for name in ("stn", "lprnet"):
        path = arguments.models / name / "1" / "model.pt"
        network = torch.jit.optimize_for_inference(torch.jit.load(str(path)).eval())
        with torch.inference_mode():
            alone = torch.cat([network(rows[i : i + 1]) for i in range(len(rows))])
            for size in SIZES:
                answer = torch.cat([network(part) for part in rows.split(size)])
                largest = (answer - alone).abs().max().item()
                milliseconds = []
                for _ in range(9):
                    began = time.perf_counter()
                    for part in rows.split(size):
                        network(part)
                    milliseconds.append((time.perf_counter() - began) / len(rows) * 1e3)
                fastest = min(milliseconds)
                print(f"{name:>6} batch {size:>2}: differs {largest:.1e}, {fastest:.2f} ms a row")


if __name__ == "__main__":
    main()
