"""A backfill: the days that it is over, and the pipeline that it asks for."""

from __future__ import annotations

import datetime as dt

from platemill.errors import ConfigurationError
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

__all__ = ["days_between", "require_version"]


def days_between(
    start: str | None, end: str | None, today: dt.date | None = None
) -> tuple[dt.date, ...]:
    """Every UTC day from one to another, both included.

    Args:
        start: the first day, ``2026-05-01`` say.
        end: the last one.
        today: the current day; default: the clock's, in UTC.

    Raises:
        ConfigurationError: a day is missing, is no date or has not come yet, or the last one comes
            before the first.
    """
    first, last = _date("--from", start), _date("--to", end)
    now = today or dt.datetime.now(dt.UTC).date()
    if last < first:
        raise ConfigurationError(
            f"--from {first} comes after --to {last}: there is no day between them. Swap them"
        )
    if last > now:
        raise ConfigurationError(
            f"--to {last} has not come yet: it is {now} in UTC. The last day may be today"
        )
    return tuple(first + dt.timedelta(days=number) for number in range((last - first).days + 1))


def _date(option: str, given: str | None) -> dt.date:
    if not given:
        raise ConfigurationError(f"{option} is missing: a UTC day like 2026-05-04")
    try:
        return dt.date.fromisoformat(given)
    except ValueError:
        raise ConfigurationError(
            f"{option} takes a UTC day like 2026-05-04, not {given!r}"
        ) from None


def require_version(settings: Settings, wanted: str | None) -> str:
    """Refuse to go on with another pipeline than the one that was asked for.

    Args:
        settings: the deployment's settings, which say what is served.
        wanted: the version; None: whatever it is.

    Returns:
        The version of the pipeline that these settings give.

    Raises:
        ConfigurationError: it is another one.
    """
    models = repository_of(settings)
    version = pipeline_version(models)
    if wanted is not None and wanted != version:
        raise ConfigurationError(
            f"--pipeline-version {wanted} was asked for, but the models in {models} are version "
            f"{version}. A version is a hash of weights, configs and code: check out the commit "
            "that had it, or give the profile (--profile) or the model repository "
            "(PLATEMILL_TRITON_MODELS) that makes it; `platemill generations` shows which version "
            "each generation has. Or leave the option out to recognise with this one"
        )
    return version
