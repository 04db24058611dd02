"""Jinja templates that escape everything, refuse unknown names and word values for people."""

from __future__ import annotations

from datetime import UTC, datetime

import jinja2

from platemill.pages import wording

__all__ = ["template_environment"]


def template_environment(package: str) -> jinja2.Environment:
    """An environment over the templates of a package.

    Args:
        package: the package that holds ``templates/``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "capitalised": wording.capitalised,
        "count": wording.count,
        "duration": wording.duration,
        "machine_time": _machine_time,
        "number": wording.number,
        "number_to": _number_to,
        "share": wording.share,
        "size": wording.size,
        "stamp": wording.stamp,
        "time_to_live": wording.time_to_live,
    }
    return environment


def _number_to(value: float, places: int) -> str:
    return f"{value:,.{places}f}"


def _machine_time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
