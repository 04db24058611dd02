"""A pipeline's version changes with everything that recognitions depend on."""

from pathlib import Path

import pytest

from platemill.errors import ConfigurationError
from platemill.serving import version as version_module
from platemill.serving.contracts import CONTRACTS
from platemill.serving.version import pipeline_version, versioned_files
from platemill.settings import Settings


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in CONTRACTS:
        folder = tmp_path / name / "1"
        folder.mkdir(parents=True)
        (folder.parent / "config.pbtxt").write_text(f'name: "{name}"\n')
        weights = "detector.pt" if name == "yolo" else "model.pt"
        (folder / weights).write_bytes(name.encode())
    (tmp_path / "yolo" / "1" / "model.py").write_text("# code\n")
    return tmp_path


def test_it_is_twelve_hexadecimal_digits_and_stays_the_same(models: Path) -> None:
    version = pipeline_version(models)
    assert len(version) == 12
    assert int(version, 16) >= 0
    assert pipeline_version(models) == version


@pytest.mark.parametrize(
    "changed",
    [
        "yolo/1/detector.pt",
        "yolo/1/model.py",
        "yolo/config.pbtxt",
        "stn/1/model.pt",
        "lprnet/config.pbtxt",
    ],
)
def test_a_changed_file_is_another_version(models: Path, changed: str) -> None:
    before = pipeline_version(models)
    with (models / changed).open("ab") as file:
        file.write(b" ")
    assert pipeline_version(models) != before


def test_swapped_files_are_another_version(models: Path) -> None:
    before = pipeline_version(models)
    stn, lprnet = models / "stn/1/model.pt", models / "lprnet/1/model.pt"
    content = stn.read_bytes()
    stn.write_bytes(lprnet.read_bytes())
    lprnet.write_bytes(content)
    assert pipeline_version(models) != before


def test_another_pre_and_post_processing_is_another_version(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pipeline_version(models)
    monkeypatch.setattr(version_module, "PREPOST_VERSION", "other")
    assert pipeline_version(models) != before


def test_what_recognitions_do_not_depend_on_is_left_out(models: Path) -> None:
    before = pipeline_version(models)
    (models / "yolo" / "1" / "__pycache__").mkdir()
    (models / "yolo" / "1" / "__pycache__" / "model.pyc").write_bytes(b"x")
    (models / "README.md").write_text("x")
    (models / "bulk" / "1").mkdir(parents=True)
    (models / "bulk" / "config.pbtxt").write_text('name: "bulk"\n')
    assert pipeline_version(models) == before


def test_missing_weights_are_an_error_that_names_the_model(models: Path) -> None:
    (models / "stn" / "1" / "model.pt").unlink()
    with pytest.raises(ConfigurationError, match="model stn is not whole"):
        pipeline_version(models)


def test_the_real_repository_is_covered() -> None:
    models = Settings(home=".").models
    names = {path.relative_to(models).as_posix() for path in versioned_files(models)}
    assert names == {
        *(f"{name}/config.pbtxt" for name in CONTRACTS),
        "lprnet/1/model.pt",
        "plate_recognition/1/model.py",
        "stn/1/model.pt",
        "yolo/1/detector.pt",
        "yolo/1/model.py",
    }
