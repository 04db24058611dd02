"""The model repository that a pod's Triton gets: from the image or a bucket, and the plan's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import cv2
import numpy as np
import pytest
from planned_night import RUN
from s3_server import BUCKET, S3Server, point_at, s3_server

from platemill.archive.inventory import take_inventory
from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.launch.clusters.models import fetch_models, main
from platemill.launch.records import read_exit
from platemill.recognize.plan import make_plan
from platemill.schema import IMAGES, INVENTORY
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

MODELS = Path(__file__).parents[2] / "model_repository"
_DONE = ("uri", "image_id", "camera_id", "captured_at", "reason")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def uploaded(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    point_at(monkeypatch, bucket.url)
    bucket.empty()
    client = boto3.session.Session().client("s3")
    for name, data in files_of(MODELS).items():
        client.put_object(Bucket=BUCKET, Key=f"models/7/{name}", Body=data)
    # Of a neighbour whose name begins the same.
    client.put_object(Bucket=BUCKET, Key="models/70/other/config.pbtxt", Body=b"")
    return f"s3://{BUCKET}/models/7"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that is planned with the project's models."""
    archive = tmp_path / "archive" / "cam" / "2026" / "05" / "01"
    archive.mkdir(parents=True)
    assert cv2.imwrite(str(archive / "000000.png"), np.zeros((8, 8, 3), np.uint8))
    settings = Settings(home=tmp_path / "home")
    taken = take_inventory(
        [tmp_path / "archive"],
        settings.layout,
        INVENTORY.arrow.empty_table(),
        max_image_bytes=settings.max_image_bytes,
    )
    nothing = IMAGES.arrow.empty_table().select(_DONE)
    folder = settings.runs / RUN
    folder.mkdir(parents=True)
    plan = make_plan(taken.table, nothing, pipeline_version(MODELS), settings.shard_images)
    plan.save(folder)
    return folder


def test_a_buckets_models_are_those_that_were_uploaded(uploaded: str, tmp_path: Path) -> None:
    target = tmp_path / "models"
    (target / "old").mkdir(parents=True)
    (target / "stray").touch()
    assert fetch_models(uploaded, target) == pipeline_version(MODELS)
    assert files_of(target) == files_of(MODELS)


def test_the_images_models_are_the_plans(run_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "models"
    arguments = ["--source", str(MODELS), "--target", str(target), "--run-folder", str(run_folder)]
    assert main(arguments) == 0
    assert files_of(target) == files_of(MODELS)
    # A pod that is started again does it again.
    assert main(arguments) == 0
    assert read_exit(run_folder) == (False, None)


def test_models_of_another_version_end_the_night(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    fetch_models(str(MODELS), other)
    config = other / "yolo" / "config.pbtxt"
    config.write_text(config.read_text() + "\n# another")
    arguments = ["--source", str(other), "--target", str(tmp_path / "m")]
    assert main([*arguments, "--run-folder", str(run_folder)]) == 2
    assert pipeline_version(MODELS) in capsys.readouterr().err
    recorded, error = read_exit(run_folder)
    assert recorded
    assert isinstance(error, ConfigurationError)


def test_what_is_no_repository_is_said(uploaded: str, tmp_path: Path) -> None:
    for source in (str(tmp_path / "none"), str(tmp_path), f"s3://{BUCKET}/nothing", "gs://b/m"):
        with pytest.raises(ConfigurationError):
            fetch_models(source, tmp_path / "models")
    with pytest.raises(ServerUnavailable, match="AWS_"):
        fetch_models("s3://nobodys-bucket/models", tmp_path / "models")


def test_a_bucket_cannot_write_elsewhere(uploaded: str, tmp_path: Path) -> None:
    client = boto3.session.Session().client("s3")
    client.put_object(Bucket=BUCKET, Key="models/7/../../../escaped", Body=b"!")
    with pytest.raises(ConfigurationError, match="leads out"):
        fetch_models(uploaded, tmp_path / "a" / "b" / "models")
    assert not list(tmp_path.rglob("escaped"))
