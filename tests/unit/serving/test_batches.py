"""A network always sees batches of one size, whatever it is given."""

import numpy as np
import pytest

from platemill.serving.batches import in_fixed_batches


@pytest.mark.parametrize("rows_at_once", [1, 2, 5])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 32])
def test_every_row_is_answered_in_its_place(rows: int, rows_at_once: int) -> None:
    sizes = []

    def network(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch.sum(axis=1, keepdims=True)

    given = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    answer = in_fixed_batches(network, given, rows_at_once, (1,))
    assert answer.dtype == np.float32
    assert np.array_equal(answer, given.sum(axis=1, keepdims=True))
    assert set(sizes) <= {rows_at_once}
    assert len(sizes) == -(-rows // rows_at_once)
