"""A failed start shows the telling lines of its log and the likely cure."""

from pathlib import Path

import pytest

from platemill.serving.trouble import cure_for, last_lines, loaded_models, port_was_taken


def log_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "triton.log"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        (
            "stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared "
            "object file: No such file or directory",
            "sudo apt-get install -y libpython3.11`",
        ),
        ("ModuleNotFoundError: No module named 'cv2'", "lacks cv2"),
        (
            "FileNotFoundError: model stn has no weights at /m/stn/1/model.pt: train",
            "/m/stn/1/model.pt",
        ),
        ("Failed to initialize the shared memory: use '--shm-size' flag", "/dev/shm"),
        ("E1123 failed to read text proto from /m/yolo/config.pbtxt", "/m/yolo/config.pbtxt"),
    ],
)
def test_known_causes_have_cures(tmp_path: Path, line: str, cure: str) -> None:
    assert cure in (cure_for(log_of(tmp_path, f"I1123 loading\n{line}\n")) or "")


def test_an_unknown_cause_has_none(tmp_path: Path) -> None:
    assert cure_for(log_of(tmp_path, "E1123 the moon is full\n")) is None
    assert cure_for(tmp_path / "absent.log") is None


def test_what_is_loaded_is_told_from_what_is_waited_for(tmp_path: Path) -> None:
    line = "I1126 11:34:27.675072 5399 model_lifecycle.cc:839] \"successfully loaded 'yolo'\"\n"
    assert loaded_models(log_of(tmp_path, f"I1126 loading: stn:1\n{line}")) == {"yolo"}


def test_a_taken_port_is_told_from_other_causes(tmp_path: Path) -> None:
    taken = "failed to start HTTP service: Unavailable - Socket '127.0.0.1:1' already in use"
    assert port_was_taken(log_of(tmp_path, taken))
    assert not port_was_taken(log_of(tmp_path, "failed to load 'yolo'"))


def test_errors_come_before_notes_and_tables(tmp_path: Path) -> None:
    text = (
        'E1123 10:16:19 1 server.cc:241] "CudaDriverHelper has not been initialized."\n'
        "I1123 10:16:19 1 x.cc:1] loading\n+-----+\n| a | b |\n"
        "E1123 10:16:19 1 x.cc:2] failed to load 'stn'\nI1123 10:16:19 1 x.cc:1] bye\n"
    )
    log = log_of(tmp_path, text)
    assert last_lines(log) == ["E1123 10:16:19 1 x.cc:2] failed to load 'stn'"]


def test_without_errors_the_end_of_the_log_is_shown(tmp_path: Path) -> None:
    log = log_of(tmp_path, "".join(f"I1123 10:16:19 line {n}\n" for n in range(50)))
    assert last_lines(log)[-1] == "I1123 10:16:19 line 49"
    assert len(last_lines(log)) < 20
