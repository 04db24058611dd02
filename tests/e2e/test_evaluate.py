"""`platemill evaluate` over rendered photos, through a real Triton server."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from streets import street_with

from platemill.evaluation.photos import evaluate, find_photos
from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import load_settings

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

PLATES = ["A123BC77", "K904OT197", "M571EX50"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street twice and a photo of nothing; errors of four kinds are in the labels."""
    folder = tmp_path_factory.mktemp("labelled")
    rows: list[list[object]] = []
    image, boxes = street_with(PLATES, seed=8)
    for name in ("right.png", "wrong.png"):
        cv2.imwrite(str(folder / name), image)
    rows += [["right.png", p, *box, "RU", ""] for p, box in zip(PLATES, sorted(boxes), strict=True)]
    first, second, _ = sorted(boxes)
    rows += [
        ["wrong.png", "A123BC78", *first, "RU", "not what is on the plate"],
        ["wrong.png", "WA56660", *second, "PL", ""],
        # The third plate has no label, and this label has no plate.
        ["wrong.png", "", 10, 10, 60, 30, "RU", "box only"],
        ["empty.png", "", "", "", "", "", "", "no plate"],
    ]
    cv2.imwrite(str(folder / "empty.png"), np.full((360, 640, 3), 110, np.uint8))
    write_labels(folder, rows)
    return folder


def write_labels(folder: Path, rows: list[list[object]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "plate", "xmin", "ymin", "xmax", "ymax", "country", "note"])
        writer.writerows(rows)


def platemill(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "platemill", "evaluate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def assert_figures(said: dict[str, Any]) -> None:
    assert (said["photos"], said["plates"], said["texts"], said["exact"]) == (3, 6, 4, 3)
    assert said["exact_rate"] == 0.75
    assert said["char_error_rate"] == pytest.approx(1 / sum(map(len, [*PLATES, "A123BC78"])))
    assert said["recall"] == pytest.approx(5 / 6)
    assert said["precision"] == pytest.approx(5 / 6)
    assert said["false_texts"] == 3, "the wrong one, the foreign one and that of the false box"
    assert said["errors"] == {
        "missed": 1,
        "false box": 1,
        "wrong text": 1,
        "refused": 0,
        "foreign text": 1,
    }
    times = said["ms_per_photo"]
    assert set(times) == {
        "read", "decode", "plate_recognition", "yolo", "stn", "lprnet", "total",
    }  # fmt: skip
    assert all(spent > 0 for spent in times.values())
    assert times["yolo"] + times["stn"] + times["lprnet"] < times["plate_recognition"]


def test_the_command_starts_its_own_server_and_says_one_object(
    folder: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "errors.html"
    done = platemill("--photos", str(folder), "--json", "--sheet", str(sheet))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert_figures(json.loads(done.stdout))
    text = sheet.read_text()
    assert text.count('<div class="error ') == 4
    assert "right.png" not in text


def test_a_running_server_is_asked_and_a_low_rate_ends_with_3(
    folder: Path, triton: EmbeddedTriton
) -> None:
    photos = ("--photos", str(folder), "--triton", triton.grpc)
    done = platemill(*photos, "--min-exact-rate", "0.76")
    assert done.returncode == 3, done.stderr
    assert "exact rate 0.7500 is less than --min-exact-rate 0.76" in done.stderr
    assert "texts read exactly" in done.stdout
    assert platemill(*photos, "--limit", "2", "--min-exact-rate", "1").returncode == 0


def test_what_is_judged_is_what_the_server_reads(
    folder: Path, triton: EmbeddedTriton, tmp_path: Path
) -> None:
    settings = load_settings(home=tmp_path)
    photos = find_photos(settings, folder)
    counted: list[int] = []
    alone = evaluate(settings, photos, triton.grpc, progress=counted.append)
    assert counted == [1, 2, 3]
    together = evaluate(settings, photos, triton.grpc, in_flight=4)
    assert together.outcomes == alone.outcomes
    with PlateClient(triton.grpc, slots=1) as client:
        reading = client(cv2.imread(str(folder / "right.png")))
    seen = [o.seen for o in alone.outcomes if o.file == "right.png" and o.seen]
    assert sorted(s.plate for s in seen) == sorted(reading.texts)
    assert sorted(s.box for s in seen) == sorted(map(tuple, reading.boxes.tolist()))
    assert np.allclose(sorted(s.confidence for s in seen), sorted(reading.confidences))


def test_a_photo_that_cannot_be_decoded_ends_with_2(triton: EmbeddedTriton, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no photo at all")
    write_labels(tmp_path, [["a.jpg", "A123BC77", 1, 1, 9, 5, "RU", ""]])
    done = platemill("--photos", str(tmp_path), "--triton", triton.grpc, "--json")
    assert done.returncode == 2
    assert "a.jpg cannot be evaluated: not_an_image" in done.stderr
    assert done.stdout == ""


def test_a_server_that_does_not_answer_ends_with_4(folder: Path) -> None:
    done = platemill("--photos", str(folder), "--triton", "127.0.0.1:1")
    assert done.returncode == 4, done.stderr
    assert "127.0.0.1:1" in done.stderr
