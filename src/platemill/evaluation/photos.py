"""Labelled photos on the way that a night's images go: inventory, plan, recogniser, Triton."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from platemill.archive.decode import decode_image
from platemill.archive.inventory import INVENTORY_SCHEMA, take_inventory
from platemill.archive.reader import ArchiveReader
from platemill.archive.uris import file_uri
from platemill.errors import ConfigurationError, InferenceFailed
from platemill.evaluation.labels import LABELS_FILE, Label, read_labels
from platemill.evaluation.matching import Outcome, Seen, judge
from platemill.evaluation.measures import Measures, measure
from platemill.evaluation.stages import Stopwatch, model_seconds
from platemill.recognize.plan import PlannedImage, make_plan
from platemill.recognize.recogniser import recognise
from platemill.recognize.results import ImageResult
from platemill.schema import IMAGES, ImageStatus
from platemill.serving.client import PlateClient
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings
from platemill.vision.plates import is_plate
from platemill.vision.profile import BUILT_IN
from platemill.vision.profile_file import load_profile

__all__ = ["Evaluation", "LabelledPhotos", "evaluate", "find_photos"]

_RUN_ID = "evaluation"
_WARM_UP = 3
_MOST_NAMED = 5
_MODELS = ("plate_recognition", "yolo", "stn", "lprnet")

Results = Generator[ImageResult, None, None]


@dataclass(frozen=True)
class LabelledPhotos:
    """Photos that are there, with their labels.

    Args:
        folder: where they lie.
        labels: by the photo's path in the folder.
        images: the photos as the night's plan has them, by the same paths.
        pipeline_version: what they are recognised with, as in the night's rows.
    """

    folder: Path
    labels: Mapping[str, list[Label]]
    images: Mapping[str, PlannedImage]
    pipeline_version: str


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        measures: the figures.
        ms_per_photo: milliseconds a photo by stage: ``read`` and ``decode`` here,
            ``plate_recognition`` and in it ``yolo``, ``stn`` and ``lprnet`` on the server, and
            ``total`` by the clock.
        outcomes: what became of every plate, photo by photo.
    """

    measures: Measures
    ms_per_photo: dict[str, float]
    outcomes: list[Outcome]


def find_photos(settings: Settings, folder: Path, limit: int | None = None) -> LabelledPhotos:
    """Read a folder's labels and find its photos as a night does.

    Args:
        settings: those of the night.
        folder: holds photos and ``labels.csv``.
        limit: only so many photos, the first by name.

    Raises:
        ConfigurationError: the labels are wrong, or a photo is missing or cannot be used.
    """
    labels = dict(list(read_labels(folder).items())[:limit])
    uris = {file_uri(str(folder.resolve() / name)): name for name in labels}
    found = take_inventory(
        [folder],
        settings.layout,
        INVENTORY_SCHEMA.empty_table(),
        max_image_bytes=settings.max_image_bytes,
    ).table
    found = found.filter(pc.is_in(found["uri"], value_set=pa.array(uris, pa.string())))
    version = pipeline_version(repository_of(settings))
    plan = make_plan(found, IMAGES.arrow.empty_table(), version, settings.shard_images)
    images = {uris[i.uri]: i for shard in plan.shards for i in plan.images(shard.key)}
    missing = [name for name in labels if name not in images]
    if missing:
        raise ConfigurationError(
            f"{folder / LABELS_FILE} names photos that are not in the folder: {_some(missing)}"
        )
    for name, image in images.items():
        if image.rejected_reason is not None:
            raise ConfigurationError(
                _unusable(folder / name, image.rejected_reason, image.rejected_detail)
            )
    return LabelledPhotos(folder, labels, images, version)


def evaluate(
    settings: Settings,
    photos: LabelledPhotos,
    grpc_address: str,
    *,
    in_flight: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Recognise labelled photos as a night does and compare the rows with the labels.

    Args:
        settings: those of the night.
        photos: what to recognise.
        grpc_address: ``host:port`` of a Triton server with the four models.
        in_flight: photos on their way at once. What is read does not depend on it; the times
            by stage are those of a photo alone only with 1.
        progress: called with the number of photos that are done.

    Raises:
        ConfigurationError: a photo cannot be decoded.
        InferenceFailed: a model failed on a photo.
        RetryableError: the server does not answer.
    """
    profile = load_profile(settings.profile) if settings.profile else BUILT_IN
    is_ours = partial(is_plate, grammar=profile.grammar)
    names = list(photos.labels)
    outcomes: list[Outcome] = []
    watch = Stopwatch()
    with (
        ArchiveReader(settings.max_image_bytes) as reader,
        PlateClient(grpc_address, slots=in_flight) as model,
    ):

        def recognised(names: list[str], watch: Stopwatch) -> Results:
            yield from recognise(
                (photos.images[name] for name in names),
                watch.timed("read", reader.read),
                watch.timed("decode", lambda data: decode_image(data, settings.max_image_pixels)),
                model,
                in_flight=in_flight,
                run_id=_RUN_ID,
                pipeline_version=photos.pipeline_version,
                now=lambda: dt.datetime.now(dt.UTC),
            )

        # Libraries load and networks settle with the first images; a night is longer than that.
        for _ in recognised(names[:_WARM_UP], Stopwatch()):
            pass
        before = model_seconds(grpc_address)
        began = time.perf_counter()
        # Closed here, not whenever: its threads end before what they use is closed.
        with closing(recognised(names, watch)) as results:
            for done, (name, result) in enumerate(zip(names, results, strict=True), 1):
                seen = _seen(photos.folder / name, result)
                outcomes += judge(name, photos.labels[name], seen, is_ours)
                if progress is not None:
                    progress(done)
        total = time.perf_counter() - began
        after = model_seconds(grpc_address)
    spent = watch.seconds()
    spent |= {model: after[model] - before[model] for model in _MODELS}
    spent["total"] = total
    milliseconds = {stage: 1000 * seconds / len(names) for stage, seconds in spent.items()}
    return Evaluation(measure(outcomes, len(names)), milliseconds, outcomes)


def _seen(path: Path, result: ImageResult) -> list[Seen]:
    """The plates of a photo, as a night would write them."""
    if result.status is ImageStatus.QUARANTINED:
        what = _unusable(path, str(result.reason), result.detail)
        if result.reason == "inference_failed":
            raise InferenceFailed(what)
        raise ConfigurationError(what)
    return [
        Seen(
            plate.plate,
            plate.raw_text,
            plate.confidence,
            plate.detection_score,
            (plate.xmin, plate.ymin, plate.xmax, plate.ymax),
        )
        for plate in result.plates
    ]


def _unusable(path: Path, reason: str, detail: str | None) -> str:
    said = f"{reason}: {detail}" if detail else reason
    return f"{path} cannot be evaluated: {said}. Mend it, or take it out of {LABELS_FILE}"


def _some(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
