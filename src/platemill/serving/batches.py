"""Batches of one fixed size, so that a row's result cannot depend on its neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_fixed_batches"]


def in_fixed_batches(
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    batch: NDArray[np.float32],
    rows_at_once: int,
    row_shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Give a network its rows in batches of exactly `rows_at_once`, the last filled with zeros."""
    result = np.empty((len(batch), *row_shape), np.float32)
    for start in range(0, len(batch), rows_at_once):
        part = batch[start : start + rows_at_once]
        count = len(part)
        if count < rows_at_once:
            filler = np.zeros((rows_at_once - count, *batch.shape[1:]), batch.dtype)
            part = np.concatenate([part, filler])
        result[start : start + count] = network(part)[:count]
    return result
