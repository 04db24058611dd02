"""Batches of few sizes, chosen so that a row's result cannot depend on its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "cut", "in_batches", "sizes_that_agree"]

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A network: float32 [N, ...] to float32 [N, ...]."""

_MOST_PADDING = 0.25


def cut(rows: int, sizes: Sequence[int]) -> list[int]:
    """Cut a number of rows into batches of the given sizes; only the last may have room left.

    A batch is taken that holds all that is left if at most a quarter of it stays empty.

    >>> cut(7, (1, 2, 4, 8)), cut(21, (1, 2, 4, 8)), cut(3, (4, 8))
    ([8], [8, 8, 4, 1], [4])
    """
    rising = sorted(sizes)
    batches = []
    while rows > 0:
        whole = next((s for s in rising if s >= rows and s - rows <= _MOST_PADDING * s), None)
        smaller = [size for size in rising if size <= rows]
        batches.append(whole or (smaller[-1] if smaller else rising[0]))
        rows -= batches[-1]
    return batches


def in_batches(
    network: Answer,
    batch: NDArray[np.float32],
    sizes: Sequence[int],
    row_shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Give a network its rows in batches of exactly these sizes, the last filled with zeros."""
    result = np.empty((len(batch), *row_shape), np.float32)
    start = 0
    for size in cut(len(batch), sizes):
        part = batch[start : start + size]
        count = len(part)
        if count < size:
            filler = np.zeros((size - count, *batch.shape[1:]), batch.dtype)
            part = np.concatenate([part, filler])
        result[start : start + count] = network(part)[:count]
        start += count
    return result


def sizes_that_agree(network: Answer, row_shape: tuple[int, ...], largest: int) -> tuple[int, ...]:
    """The batch sizes that give every row the same answer, to the last bit, found by trying.

    Sizes are the powers of two up to `largest`. The largest of them at which a row's answer does
    not change with its neighbours and its place is the measure; those that agree with it are
    returned. A network that mixes the rows of a batch is left with 1.

    Args:
        network: it is asked for some 14 times `largest` rows of noise.
        row_shape: the shape of one row of the input.
        largest: the most rows of a batch.

    Returns:
        The sizes, rising; never empty.
    """
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1.0, 1.0, (2 * largest, *row_shape)).astype(np.float32)
    order = rng.permutation(len(rows))

    def answers(given: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        return np.concatenate([network(given[i : i + size]) for i in range(0, len(given), size)])

    measure: NDArray[np.float32] | None = None
    sizes = []
    for size in sorted((2**n for n in range(largest.bit_length())), reverse=True):
        straight = answers(rows, size)
        if measure is None:
            if size > 1 and not np.array_equal(answers(rows[order], size), straight[order]):
                continue
            measure = straight
        if np.array_equal(straight, measure):
            sizes.append(size)
    return tuple(sorted(sizes)) or (1,)
