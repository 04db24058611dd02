"""What is in quarantine, and a night over a part of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

from platemill.errors import ConfigurationError
from platemill.lake import open_lake
from platemill.launch.night import run_night
from platemill.schema import IMAGES, ImageStatus
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

__all__ = ["WHOLE_ARCHIVE", "list_quarantine", "retry_quarantine"]

WHOLE_ARCHIVE: Final = frozenset(
    {"corrupt_archive", "compressed_archive", "nested_archive", "unsafe_path"}
)
"""Reasons that only an inventory of the whole archive can find gone."""

_COLUMNS: Final = ["reason", "stage", "attempts", "day", "camera_id", "uri", "detail"]


def list_quarantine(
    settings: Settings,
    *,
    day: dt.date | None = None,
    reason: str | None = None,
    uri: str | None = None,
) -> dict[str, Any]:
    """The quarantined images of the current generation, under its pipeline version.

    Args:
        settings: the deployment's settings.
        day: only images of this UTC day.
        reason: only images quarantined for this.
        uri: only this image.

    Returns:
        ``generation``; ``reasons``: rows of reason, images, days, attempts (the most) and example,
        the most frequent first; ``images``: rows of reason, stage, attempts, day, camera_id, uri
        and detail.
    """
    lake = open_lake(settings)
    generation = lake.current()
    if generation is None:
        return {"generation": None, "reasons": [], "images": []}
    read = [*_COLUMNS, "status", "pipeline_version", "deleted_at"]
    schema = pa.schema([IMAGES.arrow.field(name) for name in read])
    chosen = (pc.field("status") == ImageStatus.QUARANTINED.value) & (
        pc.field("pipeline_version") == generation.pipeline_version
    )
    for name, value in (("reason", reason), ("uri", uri)):
        if value is not None:
            chosen &= pc.field(name) == value
    files = generation.partitions(IMAGES.name)
    tables = [
        pq.read_table(lake.storage.locate(entry.path), columns=read, filters=chosen).cast(schema)
        for file_day, entry in sorted(files.items())
        if day is None or file_day == day
    ]
    found = pa.concat_tables([schema.empty_table(), *tables])
    found = found.filter(pc.is_null(found["deleted_at"])).select(_COLUMNS)
    order: list[Any] = [(name, "ascending") for name in ("day", "camera_id", "uri")]
    images: list[dict[str, Any]] = found.sort_by(order).to_pylist()
    return {"generation": generation.number, "reasons": _by_reason(images), "images": images}


def retry_quarantine(
    settings: Settings,
    *,
    console: Console,
    day: dt.date | None = None,
    reason: str | None = None,
    uri: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Run a night over exactly the chosen quarantined images; those that are well now leave.

    Args:
        settings: the deployment's settings.
        console: where progress and warnings go.
        day: only images of this UTC day.
        reason: only images quarantined for this.
        uri: only this image.
        dry_run: only say which.

    Returns:
        ``chosen``: how many images; ``left_out``: how many need a night over their whole archive;
        ``reasons`` of the chosen as ``list_quarantine`` gives them; and, if there was a night, its
        summary under ``night``.

    Raises:
        ConfigurationError: the networks are not those of the current generation.
        PlatemillError: whatever ends a night.
    """
    found = list_quarantine(settings, day=day, reason=reason, uri=uri)
    chosen = [row for row in found["images"] if row["reason"] not in WHOLE_ARCHIVE]
    answer: dict[str, Any] = {
        "chosen": len(chosen),
        "left_out": len(found["images"]) - len(chosen),
        "reasons": _by_reason(chosen),
        "night": None,
    }
    if chosen and not dry_run:
        _require_same_networks(settings)
        uris = [row["uri"] for row in chosen]
        answer["night"] = run_night(settings, [], None, console=console, retry=uris)
    return answer


def _require_same_networks(settings: Settings) -> None:
    current = open_lake(settings).current()
    version = pipeline_version(repository_of(settings))
    if current is not None and current.pipeline_version != version:
        raise ConfigurationError(
            f"the networks are of version {version}, generation {current.number} is of "
            f"{current.pipeline_version}: run a whole night over the archives (platemill run), "
            "which recognises all images again, those in quarantine too"
        )


def _by_reason(images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for image in images:
        rows.setdefault(image["reason"], []).append(image)
    return [
        {
            "reason": reason,
            "images": len(of),
            "days": len({image["day"] for image in of}),
            "attempts": max(image["attempts"] for image in of),
            "example": of[0]["uri"],
        }
        for reason, of in sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
