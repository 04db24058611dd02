"""A network sees only batches of sizes that agree, whatever it is given."""

import numpy as np
import pytest

from platemill.serving.batches import cut, in_batches, sizes_that_agree

POWERS = (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize("sizes", [(1,), (2,), (5,), (4, 8, 16, 32), POWERS])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 32, 33])
def test_every_row_is_answered_in_its_place(rows: int, sizes: tuple[int, ...]) -> None:
    seen = []

    def network(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return batch.sum(axis=1, keepdims=True)

    given = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    answer = in_batches(network, given, sizes, (1,))
    assert answer.dtype == np.float32
    assert np.array_equal(answer, given.sum(axis=1, keepdims=True))
    assert seen == cut(rows, sizes)
    assert set(seen) <= set(sizes)


@pytest.mark.parametrize("sizes", [(1,), (2,), (4, 8, 16, 32), POWERS])
def test_a_cut_holds_all_rows_and_wastes_little(sizes: tuple[int, ...]) -> None:
    for rows in range(100):
        batches = cut(rows, sizes)
        assert sum(batches[:-1]) < rows or not batches
        room = sum(batches) - rows
        assert 0 <= room < max(min(sizes), max(sizes) / 4 + 1)


@pytest.mark.parametrize(
    ("rows", "batches"), [(3, [4]), (5, [4, 1]), (7, [8]), (17, [16, 1]), (24, [32]), (32, [32])]
)
def test_few_large_batches_are_preferred(rows: int, batches: list[int]) -> None:
    assert cut(rows, POWERS) == batches


def test_all_sizes_agree_for_a_network_that_minds_no_neighbours() -> None:
    assert sizes_that_agree(lambda batch: batch * 2, (3,), 32) == POWERS


def test_a_size_whose_last_bits_differ_is_left_out() -> None:
    def network(batch: np.ndarray) -> np.ndarray:
        return batch * np.float32(1 + 1e-6 * (len(batch) in (1, 2, 16)))

    assert sizes_that_agree(network, (3,), 32) == (4, 8, 32)


def test_a_size_at_which_the_place_matters_is_not_the_measure() -> None:
    def network(batch: np.ndarray) -> np.ndarray:
        places = np.arange(len(batch), dtype=np.float32).reshape(-1, 1)
        return batch + (places if len(batch) > 8 else 0)

    assert sizes_that_agree(network, (3,), 32) == (1, 2, 4, 8)


def test_a_network_that_mixes_rows_gets_one_at_a_time() -> None:
    assert sizes_that_agree(lambda batch: batch / np.abs(batch).mean(), (3,), 32) == (1,)


def test_a_network_that_never_answers_twice_alike_gets_one_at_a_time() -> None:
    rng = np.random.default_rng(1)
    noise = lambda batch: rng.normal(size=batch.shape).astype(np.float32)  # noqa: E731
    assert sizes_that_agree(noise, (3,), 8) == (1,)
