"""Networks as Triton's models run them: precision, batches, a user's own files.

torch is not installed in the main environment: the cases run in Triton's, all in one process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from triton_python import run

CASES = Path(__file__).parents[2] / "support" / "network_cases.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return json.loads(run(str(CASES), str(tmp_path_factory.mktemp("networks"))))


def test_the_fastest_precision_is_chosen_by_itself(found: Any) -> None:
    chosen = found["precisions"]
    for wanted in ("auto", "None"):
        assert chosen[f"{wanted} gpu native"] == chosen[f"{wanted} gpu not"] == "fp16"
        assert chosen[f"{wanted} cpu native"] == "bf16"
        assert chosen[f"{wanted} cpu not"] == "fp32"
    assert found["auto"] == ("bf16" if found["processor has bf16"] else "fp32")
    assert found["marks"] == {"stn": ["fp32"], "lprnet": ["fp32", "bf16", "fp16"]}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_asked_for_is_taken(found: Any, precision: str) -> None:
    asked = {key: got for key, got in found["precisions"].items() if key.startswith(precision)}
    assert len(asked) == 4
    assert set(asked.values()) == {precision}


def test_the_reader_in_bf16_is_close_to_itself_in_fp32(found: Any) -> None:
    seen = found["ours"]["lprnet"]
    assert seen["fp32 runs as"] == "fp32"
    assert seen["bf16 runs as"] == "bf16"
    assert seen["fp32"] < 1e-4 * seen["spread"]
    assert 1e-5 * seen["spread"] < seen["bf16"] < 0.05 * seen["spread"]
    assert seen["text"].startswith("bf16, 1 threads, batches of ")


def test_the_stn_gives_coordinates_so_it_stays_in_fp32(found: Any) -> None:
    seen = found["ours"]["stn"]
    assert seen["bf16 runs as"] == seen["fp32 runs as"] == "fp32"
    assert seen["bf16"] == seen["fp32"] < 1e-4 * seen["spread"]


def test_the_detector_is_close_to_itself_in_bf16(found: Any) -> None:
    seen = found["ours"]["detector"]
    assert seen["float32"]
    assert 0 < seen["pixels"] < 1
    assert seen["score"] < 0.02


@pytest.mark.parametrize("model", ["stn", "lprnet"])
def test_a_plain_libtorch_reads_the_same_file(found: Any, model: str) -> None:
    assert found["ours"][model]["plain"] < 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["stn", "lprnet"])
def test_a_row_is_answered_alike_to_the_last_bit(found: Any, model: str, precision: str) -> None:
    seen = found["ours"][model]
    assert seen[f"{precision} alike"]
    assert seen[f"{precision} none"]
    assert set(seen[f"{precision} sizes"]) <= {1, 2, 4, 8, 16, 32}


@pytest.mark.parametrize("kind", ["frozen", "not frozen", "viewing"])
def test_a_user_s_own_network_is_run_as_it_is(found: Any, kind: str) -> None:
    precision, difference = found["users own"][kind]
    assert precision == "fp32"
    assert difference < 1e-4


def test_a_user_s_own_network_that_mixes_rows_gets_one_at_a_time(found: Any) -> None:
    assert found["users own"]["mixing"] == [[1], True]


def test_the_config_may_fix_the_batch(found: Any) -> None:
    assert found["fixed"] == [3]


def test_missing_weights_say_what_to_do(found: Any) -> None:
    kind, text = found["missing"]
    assert kind == "FileNotFoundError"
    assert "nowhere.pt: train and export them" in text


def test_an_unknown_precision_names_those_there_are(found: Any) -> None:
    kind, text = found["unknown"]
    assert kind == "ValueError"
    assert "'int8': set it to auto, fp32, bf16, fp16" in text


def test_layers_to_keep_must_be_there(found: Any) -> None:
    kind, text = found["kept"]
    assert kind == "ValueError"
    assert "is to keep nowhere." in text


def test_a_batch_norm_that_cannot_be_folded_is_named(found: Any) -> None:
    kind, text = found["loose"]
    assert kind == "ValueError"
    assert text.endswith("before them: 1")
