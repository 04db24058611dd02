"""The pages themselves: templates, filled with a survey and written as one folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from platemill.catalog.folder import refuse_foreign, replaced_folder
from platemill.catalog.lineage import draw_lineage
from platemill.catalog.snippets import service_snippets, table_snippets
from platemill.catalog.statistics import SAMPLE_ROWS
from platemill.catalog.survey import Survey, TableFacts, survey
from platemill.catalog.words import column_rows, table_summary
from platemill.features.catalog import (
    ENTITIES,
    SERVICES,
    TRAINING_SERVICES,
    VIEWS,
    Service,
    views_of,
)
from platemill.pages import icon_bytes, style_of, template_environment, wording
from platemill.schema import FACTS, SCHEMA_VERSION
from platemill.settings import Settings

__all__ = ["write_catalog"]

_PACKAGE = "platemill.catalog"
_SERVICES: tuple[Service, ...] = (*SERVICES, *TRAINING_SERVICES)
# For the training set of a home without a night.
_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def write_catalog(
    settings: Settings,
    out: Path,
    *,
    show_values: bool = False,
    sample_rows: int = SAMPLE_ROWS,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the feature catalogue of a home as static pages that need no network.

    The same generation gives the same bytes. A catalogue that is there is replaced at once.

    Args:
        settings: where the home and the SQL files are.
        out: the folder to make or to replace.
        show_values: also show values of columns that point at a person.
        sample_rows: how many rows of a table are looked at for histograms, about.
        log: is told what is being done.

    Returns:
        ``out``, ``generation`` (None before the first night), ``pages``, ``tables``, ``rows``,
        ``sampled`` (tables that were looked at in part), ``bytes`` and ``seconds``.

    Raises:
        ConfigurationError: ``out`` holds something else, or the home another schema.
        RetryableError: the disk is full, or a file was removed in between.
    """
    started = time.monotonic()
    said: dict[str, Any] = {"generation": None, "schema_version": SCHEMA_VERSION}
    refuse_foreign(out)  # now, not after minutes
    found = survey(settings, show_values=show_values, sample_rows=sample_rows, log=log)
    if found.generation is not None:
        said["generation"] = found.generation.number
        said["created_at"] = found.generation.created_at.isoformat()
    log("writing the pages")
    pages = _render(settings, found)
    with replaced_folder(out, said) as folder:
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")
        script = resources.files(_PACKAGE) / "static" / "catalog.js"
        (folder / "catalog.js").write_bytes(script.read_bytes())
        (folder / "catalog.css").write_text(style_of(_PACKAGE, "catalog.css"), encoding="utf-8")
        (folder / "icon.svg").write_bytes(icon_bytes())
        size = sum(path.stat().st_size for path in folder.iterdir())
    sampled = [
        facts.table.name
        for facts in found.tables.values()
        if facts.statistics is not None and facts.statistics.sampled < facts.statistics.rows
    ]
    return {
        "out": str(out.resolve()),
        "generation": said["generation"],
        "pages": len(pages),
        "tables": len(found.tables),
        "rows": sum(facts.rows or 0 for facts in found.tables.values()),
        "sampled": sampled,
        "bytes": size,
        "seconds": round(time.monotonic() - started, 3),
    }


def _render(settings: Settings, found: Survey) -> dict[str, str]:
    environment = template_environment(_PACKAGE)
    shared = {
        "generation": found.generation,
        "home": str(settings.home),
        "schema_version": SCHEMA_VERSION,
        "show_values": found.show_values,
    }
    notes = {
        name: f"{'≈ ' if facts.estimated else ''}{wording.count(facts.rows)} rows"
        for name, facts in found.tables.items()
        if facts.rows is not None
    }

    def page(template: str, **given: object) -> str:
        return environment.get_template(template).render(**shared, **given) + "\n"

    summaries = {name: table_summary(facts) for name, facts in found.tables.items()}
    pages = {
        "index.html": page(
            "index.html",
            title="Feature catalogue",
            glance=_glance(found),
            services=[
                {
                    "service": service,
                    "views": [summaries[table.name] for table in views_of(service)],
                }
                for service in _SERVICES
            ],
            views=[s for s in summaries.values() if s["kind"] == "feature view"],
            others=[s for s in summaries.values() if s["kind"] != "feature view"],
            entities=[
                {
                    "kind": kind,
                    "views": [s for s in summaries.values() if s["table"].entity == kind.join_key],
                }
                for kind in ENTITIES
            ],
        ),
        "lineage.html": page(
            "lineage.html",
            title="Lineage",
            drawing=draw_lineage(found.lineage, notes=notes),
            parents={
                node: found.lineage.parents[name] for name, node in found.lineage.nodes.items()
            },
        ),
    }
    for name, facts in found.tables.items():
        pages[f"{name}.html"] = page(
            "table.html",
            title=name,
            facts=facts,
            summary=summaries[name],
            columns=column_rows(facts, show_values=found.show_values),
            services=[s for s in _SERVICES if facts.table in views_of(s)],
            entity=next((k for k in ENTITIES if k.join_key == facts.table.entity), None),
            drawing=_drawing(found, name, notes),
            snippets=table_snippets(settings, facts.table, _key_of(found, facts)),
        )
    for service in _SERVICES:
        at = _SOME_TIME
        if found.generation is not None:
            at = found.generation.created_at + timedelta(seconds=1)
        pages[f"{service.name}.html"] = page(
            "service.html",
            title=service.name,
            service=service,
            entity=next(kind for kind in ENTITIES if kind.join_key == service.join_key),
            views=[
                {
                    "summary": summaries[table.name],
                    "columns": column_rows(
                        found.tables[table.name], show_values=found.show_values, features=True
                    ),
                }
                for table in views_of(service)
            ],
            drawing=_drawing(found, service.name, notes),
            snippets=service_snippets(settings, service, found.keys[service.join_key], at),
        )
    return pages


def _drawing(found: Survey, name: str, notes: Mapping[str, str]) -> Markup:
    """A node's part of the lineage; empty if it is in none."""
    if name not in found.lineage.nodes:
        return Markup("")
    return draw_lineage(found.lineage.around(name), marked={name}, notes=notes)


def _key_of(found: Survey, facts: TableFacts) -> str | None:
    keys = [found.keys[name] for name in facts.table.key if name in found.keys]
    entity = facts.table.entity
    return found.keys[entity] if entity is not None else next(iter(keys), None)


def _glance(found: Survey) -> dict[str, Any]:
    """The deployment in a few figures: its days are those of the facts."""
    facts = [found.tables[table.name] for table in FACTS]
    days = [day for item in facts for day in (item.first, item.last) if day is not None]
    known = [item.known_at for item in found.tables.values() if item.known_at is not None]
    return {
        "facts": facts,
        "first": min(days, default=None),
        "last": max(days, default=None),
        "days": max((item.files for item in facts), default=0),
        "until": max((i.until for i in facts if i.until is not None), default=None),
        "known_at": max(known, default=None),
        "bytes": sum(item.bytes for item in found.tables.values()),
        "fields": sum(len(item.table.columns) for item in found.tables.values()),
        "features": sum(len(table.features) for table in VIEWS),
    }
