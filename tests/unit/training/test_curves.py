"""A training's log, as the picture of its curves takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from platemill.errors import ConfigurationError
from platemill.training.curves import read_log


def written(folder: Path, text: str) -> Path:
    path = folder / "log.csv"
    path.write_text(text)
    return path


def test_columns_are_curves_without_what_is_not_finite(tmp_path: Path) -> None:
    path = written(
        tmp_path, "step,seconds,rate,loss,exact\n50,9,0.001,3.5,nan\n100,18,0.002,2.5,0.25\n"
    )
    assert read_log(path) == {
        "rate": ([50, 100], [0.001, 0.002]),
        "loss": ([50, 100], [3.5, 2.5]),
        "exact": ([100], [0.25]),
    }


def test_what_was_done_again_after_a_resumption_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path, "step,seconds,loss\n50,9,4\n100,18,3\n150,27,2\n100,9,5\n150,18,1\n")
    assert read_log(path) == {"loss": ([50, 100, 150], [4, 5, 1])}


def test_a_column_that_is_never_known_is_left_out(tmp_path: Path) -> None:
    assert read_log(written(tmp_path, "step,seconds,loss,exact\n50,9,4,\n")) == {
        "loss": ([50], [4])
    }


def test_without_rows_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no .*log.csv"):
        read_log(tmp_path / "log.csv")
    with pytest.raises(ConfigurationError, match="no rows"):
        read_log(written(tmp_path, "step,seconds,loss\n"))
