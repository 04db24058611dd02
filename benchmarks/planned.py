"""A planned night of a new home, recognised by the real job on a private cluster."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cpu import Watch

from platemill.archive.inventory import take_inventory
from platemill.launch.clusters.private import private_cluster
from platemill.launch.recognition import recognition_job
from platemill.recognize.plan import make_plan
from platemill.schema import IMAGES, INVENTORY
from platemill.settings import Settings

__all__ = ["RUN", "Recognised", "forget", "plan_archive", "recognise_archive"]

RUN = "20260501T000000-bebebe"
_DONE = ("uri", "image_id", "camera_id", "captured_at", "reason")
_RECORDED = re.compile(r"^(\S+ \S+),(\d+) INFO shard (\w+) is recorded after ([\d.]+) s", re.M)


@dataclass(frozen=True)
class Recognised:
    """When the first shard was begun and the last one recorded, in seconds since 1970."""

    began: float
    ended: float
    keys: list[str]
    watch: Watch


def recognise_archive(
    settings: Settings,
    archive: Path,
    roots: Callable[[], Iterable[int]],
) -> Recognised:
    """Plan all of an archive and recognise it. The home must be new."""
    log = plan_archive(settings, archive) / "recognize.log"
    with (
        private_cluster(settings, RUN) as cluster,
        Watch(roots) as watch,
    ):
        cluster.run(recognition_job(settings, RUN))
    spans, keys = [], []
    for at, milliseconds, key, seconds in _RECORDED.findall(log.read_text()):
        recorded = datetime.strptime(at, "%Y-%m-%d %H:%M:%S").timestamp() + int(milliseconds) / 1e3
        spans.append((recorded - float(seconds), recorded))
        keys.append(key)
    began, ended = min(span[0] for span in spans), max(span[1] for span in spans)
    return Recognised(began, ended, keys, watch)


def plan_archive(settings: Settings, archive: Path) -> Path:
    """Plan all of an archive as the run ``RUN``; returns its folder. The home must be new."""
    folder = settings.runs / RUN
    folder.mkdir(parents=True)
    inventory = take_inventory(
        [archive],
        settings.layout,
        INVENTORY.arrow.empty_table(),
        max_image_bytes=settings.max_image_bytes,
    )
    nothing = IMAGES.arrow.empty_table().select(_DONE)
    make_plan(inventory.table, nothing, "bench", settings.shard_images).save(folder)
    return folder


def forget(settings: Settings) -> None:
    """Remove the home, so that the next night is new."""
    shutil.rmtree(settings.home)
