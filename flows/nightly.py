"""The nightly flow: inventory → plan → recognise → facts → tiles → checks → features → publish.

Every stage is a task that is safe to repeat. ``python -m flows.nightly --run-id R`` runs it in
process, with no server started by hand; a deployment calls ``nightly`` with its parameters.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Failed

from flows.missed import cancel_missed
from flows.night_page import page_of_failure, write_page
from flows.prepared import run_prepared
from flows.progress_page import ProgressPage
from flows.served import end_with_runner
from platemill.costs.words import cost_lines
from platemill.errors import CheckFailed, GenerationConflict, StageTimeout
from platemill.launch.deadlines import deadline
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.night import new_run_id
from platemill.launch.progress import StageProgress
from platemill.launch.retries import retried
from platemill.launch.stages import Night
from platemill.observe.run import observed
from platemill.settings import load_settings

__all__ = ["nightly"]

_Answer = TypeVar("_Answer")

_PUBLISH_ATTEMPTS = 3
_TELL_SECONDS = 10.0


def _stage(name: str) -> Callable[[Callable[..., _Answer]], Callable[..., _Answer]]:
    """A task that is named as its stage, never cached, stopped when it takes too long.

    Each attempt is a task run. Which errors are worth another one is said in one place,
    ``platemill.launch.retries``.
    """

    def staged(work: Callable[..., _Answer]) -> Callable[..., _Answer]:
        @task(name=name, cache_policy=NO_CACHE)
        @functools.wraps(work)
        def attempt(night: Night, *given: Any) -> _Answer:
            with deadline(name, night.seconds_for(name), _last_words(night)):
                return work(night, *given)

        @functools.wraps(work)
        def stage(night: Night, *given: Any) -> _Answer:
            log = get_run_logger().warning
            return retried(name, lambda: attempt(night, *given), log)

        return stage

    return staged


def _last_words(night: Night) -> Callable[[StageTimeout], None]:
    """What is done when a stage cannot be stopped but with its process."""
    run = flow_run.id

    def say(error: StageTimeout) -> None:
        night.failed(error)
        # A server that does not answer shall not keep the process, too.
        told = threading.Thread(target=_tell_prefect, args=(run, error), daemon=True)
        told.start()
        told.join(_TELL_SECONDS)

    return say


def _tell_prefect(run: str, error: StageTimeout) -> None:
    with contextlib.suppress(Exception), get_client(sync_client=True) as client:
        state = Failed(message=f"{type(error).__name__}: {error}")
        client.set_flow_run_state(uuid.UUID(run), state, force=True)


@contextlib.contextmanager
def _progress(stage: str, of: str = "images") -> Iterator[StageProgress]:
    """A stage's progress on stderr and as an artifact of its task run."""
    with (
        ProgressPage(f"progress-{stage}", get_run_logger().warning) as page,
        StageProgress(stage, of, tell=page.show) as progress,
    ):
        yield progress


@_stage("inventory")
def take_inventory(night: Night) -> int:
    """Find what the archives hold."""
    return night.inventory().seen


@_stage("plan")
def make_plan(night: Night) -> int:
    """Divide what is new into shards of one day."""
    return night.plan()


@_stage("recognise")
def recognise(night: Night) -> dict[str, int]:
    """Recognise every shard that has no record yet, in a Ray job."""
    with _progress("recognise") as progress:
        return night.recognise(progress.update)


@_stage("budget")
def check_budget(night: Night) -> None:
    """Stop, before anything is published, if a day lost more images than it may."""
    night.budget()


@_stage("facts")
def merge_facts(night: Night) -> list[dt.date]:
    """Merge the shards into the day files of images and recognitions."""
    return night.facts()


@_stage("tiles")
def build_tiles(night: Night) -> int:
    """Rebuild the tiles of the days that changed, and their weeks and months."""
    return night.tiles()


@_stage("checks")
def run_checks(night: Night) -> list[dict[str, Any]]:
    """Check conservation and quality; a failed check stops here, before anything is published."""
    return night.checks()


@_stage("features")
def stage_features(night: Night) -> dict[str, int]:
    """Write the changed keys into a staged online store and compare it with the tiles."""
    with _progress("features", "rows") as progress:
        return night.features(progress.update_rows)


@_stage("publish")
def publish(night: Night) -> int:
    """Commit the generation, then move the pointers to it."""
    return night.publish()


@flow(name="nightly", log_prints=True, persist_result=False, validate_parameters=False)
def nightly(
    home: str | None = None,
    archives: list[str] | None = None,
    days: list[str] | None = None,
    layout: str | None = None,
    run_id: str | None = None,
    budget: float | None = None,
) -> dict[str, Any]:
    """Run one night and return its summary.

    Args:
        home: the deployment's folder; default: the setting.
        archives: folders, ``.tar`` or ``.zip`` files; not needed to go on with ``run_id``.
        days: only images of these UTC days (YYYY-MM-DD).
        layout: path template; default: the setting.
        run_id: a run that was prepared already.
        budget: what the night may cost, in the currency of ``node_prices``; days that it does not
            pay for are left, whole, for another night.
    """
    end_with_runner()
    cancel_missed(get_run_logger())
    settings = load_settings(home=home, layout=layout)
    prepared = run_id is not None and (settings.runs / run_id).is_dir()
    if run_id is not None and prepared:
        night = Night.load(settings, run_id)
    else:
        wanted = frozenset(map(dt.date.fromisoformat, days or ())) or None
        night = Night.new(settings, run_id or new_run_id(), archives or [], wanted, budget=budget)
    with (
        Heartbeat(night.folder, settings.lease_seconds),
        observed(settings, night.run_id),
        page_of_failure(settings, night.folder),
        night.ending(),
    ):
        if not prepared:
            night.repair()
        summary = _run(night)
        page = write_page(settings, night.folder)
        text = _report(summary) + page
        create_markdown_artifact(key="night", markdown=text, description="The night")
        return summary


def _run(night: Night) -> dict[str, Any]:
    logger = get_run_logger()
    seen = take_inventory(night)
    waiting = make_plan(night)
    logger.info("%d images seen, %d new", seen, waiting)
    left = list(night.left())
    for warning in (*night.warnings(), *left):
        logger.warning("%s", warning)
    if night.has_work():
        with night.holding(logger.info):
            if night.has_work():
                counts = recognise(night)
                logger.info("recognised: %s", counts)
                for warning in night.left():
                    if warning not in left:
                        logger.warning("%s", warning)
                if night.has_work():
                    check_budget(night)
                    _publish_night(night)
            else:
                logger.info("another run has done it all, nothing is left to do")
    return night.finish()


def _publish_night(night: Night) -> None:
    """Publish, beginning again from the facts whenever another run published first."""
    logger = get_run_logger()
    with night.publishing(logger.info):
        for attempt in range(_PUBLISH_ATTEMPTS):
            dirty = merge_facts(night)
            logger.info("days changed: %s", ", ".join(map(str, dirty)))
            build_tiles(night)
            try:
                checked = run_checks(night)
            except CheckFailed:
                _show_checks(night.checked())
                raise
            stage_features(night)
            try:
                number = publish(night)
                break
            except GenerationConflict as conflict:
                if attempt == _PUBLISH_ATTEMPTS - 1:
                    raise
                logger.warning("%s; merging the facts again", conflict)
    logger.info("generation %d is published", number)
    _show_checks(checked)


def _show_checks(rows: list[dict[str, Any]]) -> None:
    """Show what checks found: a line in the log for each warning, and a table, the worst first."""
    logger = get_run_logger()
    shown = []
    for row in rows:
        said = {"block": "stopped the night", "warn": "warning"}[row["severity"]]
        result = said if row["failed"] else "ok"
        if result == "warning":
            logger.warning(
                "check %s of %s: %d, %s",
                row["check_name"],
                row["table_name"],
                row["failed"],
                row["detail"],
            )
        columns = ("table_name", "check_name", "severity", "failed", "value", "detail")
        shown.append({"result": result, **{name: row[name] for name in columns}})
    shown.sort(key=lambda row: ("stopped the night", "warning", "ok").index(row["result"]))
    counts = Counter(row["result"] for row in shown)
    what = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
    create_table_artifact(key="checks", table=shown, description=f"Checks of the night: {what}")


def _report(summary: dict[str, Any]) -> str:
    lines = [f"# Night {summary['run_id']}", "", "| what | |", "|---|---:|"]
    told = [(k.replace("_", " "), v) for k, v in summary.items() if k not in ("seconds", "costs")]
    told += cost_lines(summary.get("costs"))
    lines += [f"| {name} | {value} |" for name, value in told]
    lines += [f"| {stage}, seconds | {value} |" for stage, value in summary["seconds"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_prepared(nightly, __doc__))
