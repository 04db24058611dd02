"""Named places where a test may stop, break or kill the process that passes them.

Off unless ``PLATEMILL_FAILPOINTS`` names a folder; then every process of a night looks there. Each
pass is counted in ``NAME.hits``, a line a pass with the process's id. A file ``NAME.json`` arms the
point for one pass of one process::

    {"action": "kill", "hit": 3}       the third pass of all processes ends with SIGKILL
    {"action": "error", "errno": 28}   raises OSError
    {"action": "pause"}                writes NAME.paused and waits until that file is gone

Whoever takes it renames the file to ``NAME.taken``, so that nobody takes it twice. A name is
``<stage>.<what>.<before|after>``; ``POINTS`` holds them all.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

__all__ = ["POINTS", "VARIABLE", "failpoint"]

VARIABLE = "PLATEMILL_FAILPOINTS"

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "inventory.day.before": "a day of the saved inventory is about to be written",
        "inventory.manifest.before": "the saved inventory's files are there, its manifest is not",
        "inventory.manifest.after": "the inventory is saved, what it replaced is still there",
        "plan.images.after": "the plan's images are written",
        "plan.document.before": "all of the plan is there but the document that makes it one",
        "lease.take.before": "a lease is about to be taken",
        "lease.take.after": "a lease is taken, its holder does not know it yet",
        "lease.release.before": "a lease is about to be let go",
        "lease.release.after": "a lease is let go",
        "shard.rows.before": "a worker is about to write a shard's rows",
        "shard.rows.after": "a shard's rows lie in their staged files",
        "shard.record.before": "a worker is about to record a shard",
        "shard.record.after": "a shard is recorded, the worker does not know it yet",
        "job.exit.before": "every shard is recorded, the job has not said that it ended well",
        "job.exit.after": "the job has said that it ended well, and has not ended",
        "file.name.before": "a Parquet file is written and has no name in the lake yet",
        "file.name.after": "a Parquet file has its name, and nobody names it yet",
        "facts.day.before": "a day file of images or recognitions is about to be written",
        "facts.day.after": "a day file of images or recognitions is written",
        "tiles.period.before": "a tile is computed and not written",
        "tiles.period.after": "a tile's file is written",
        "tiles.history.after": "the rows that a tile corrects are written to its history",
        "features.stage.before": "the staged online store is about to be made",
        "features.chunk.after": "a chunk of rows is written into the staged online store",
        "features.rows.after": "the staged online store has its rows and is not compared",
        "features.stamp.before": "the staged online store is compared and not stamped",
        "features.stage.after": "the staged online store is compared and stamped",
        "publish.commit.before": "the manifest is about to be created",
        "publish.commit.after": "the manifest is created, nothing shows it yet",
        "publish.sweep.after": "the commit is done and the merged shards are swept",
        "publish.warehouse.before": "warehouse.duckdb is about to be written",
        "publish.warehouse.after": "warehouse.duckdb shows the new generation",
        "publish.online.before": "the online store is about to be put in place",
        "publish.store.before": "a file of the online store, or of its registry, goes in place",
        "publish.store.after": "a file of the online store, or of its registry, is in place",
        "publish.online.after": "the online store is in place, its staged copy is still there",
        "redis.claim.after": "the Redis database that a night prepares is claimed",
        "redis.swap.before": "the published and the prepared Redis databases are about to change",
        "redis.swap.after": "the Redis databases have changed places",
        "night.summary.before": "all is done, the night's summary is not written",
        "intent.declare.before": "a rollback or vacuum is about to say what it has in mind",
        "intent.declare.after": "a rollback or vacuum has said what it has in mind",
        "rollback.draft.after": "the generation that a rollback publishes is prepared",
        "vacuum.find.after": "a vacuum knows what it will remove",
        "vacuum.file.before": "a vacuum is about to remove a file",
        "vacuum.file.after": "a vacuum has removed a file",
        "bucket.create.before": "an object is about to be created in the bucket",
        "bucket.create.after": "an object is created in the bucket, its writer does not know it",
        "bucket.upload.before": "a Parquet file is about to be uploaded",
        "bucket.upload.after": "a Parquet file is uploaded",
        "bucket.fetch.after": "an object is in the local cache",
    }
)

_FOLDER = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
_LINE_BYTES = 12
_PAUSE_SECONDS = 300.0


def failpoint(name: str) -> None:
    """Pass a named point; does nothing unless a test has armed it.

    Raises:
        OSError: the test wants it, or a pause was not ended for minutes.
        LookupError: the name is not in ``POINTS``; only seen while failpoints are on.
    """
    if _FOLDER is not None:
        _pass(_FOLDER, name)


def _pass(folder: Path, name: str) -> None:
    if name not in POINTS:
        raise LookupError(f"failpoint {name} is not in platemill.failpoints.POINTS")
    hit = _count(folder / f"{name}.hits")
    armed, taken = folder / f"{name}.json", folder / f"{name}.taken"
    try:
        order = json.loads(armed.read_text())
        if order.get("hit", 1) != hit:
            return
        armed.rename(taken)
    except FileNotFoundError:
        return
    if order["action"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order["action"] == "pause":
        _pause(folder, name)
    elif order["action"] == "error":
        raise OSError(order["errno"], os.strerror(order["errno"]), f"failpoint {name}")
    else:
        raise LookupError(f"{taken} has an unknown action: {order['action']}")


def _count(hits: Path) -> int:
    """Count a pass; appended lines of one length make the file's end its number over all."""
    with hits.open("ab", buffering=0) as file:
        file.write(f"{os.getpid():>{_LINE_BYTES - 1}}\n".encode())
        return file.tell() // _LINE_BYTES


def _pause(folder: Path, name: str) -> None:
    paused = folder / f"{name}.paused"
    part = folder / f"{name}.paused.part"
    part.write_text(json.dumps({"pid": os.getpid()}))
    part.rename(paused)
    deadline = time.monotonic() + _PAUSE_SECONDS
    while paused.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody ended the pause at failpoint {name}")
        time.sleep(0.01)
