"""A run as an OpenTelemetry trace: the night, its stages and its shards, made of its journal.

It is sent when the run ends, by OTLP over HTTP, and only where the standard variables of
OpenTelemetry say where to (``OTEL_EXPORTER_OTLP_ENDPOINT``). Needs the extra ``traces``.
"""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Status, StatusCode, Tracer, set_span_in_context

from platemill.journal import read_journal

__all__ = ["send_trace"]

_BATCH: Final = 512
# A night that is done does not wait for long for whoever collects traces.
_SEND_SECONDS: Final = 60.0
_TIMES: Final = ("at", "began", "ended", "event")
_MOMENTS: Final = (
    "node_up",
    "node_down",
    "server_ready",
    "server_lost",
    "worker_lost",
    "shard_failed",
)


def send_trace(folder: Path, run_id: str, error: BaseException | None = None) -> str | None:
    """Send what a run's journal says.

    Args:
        folder: the run's folder.
        run_id: the run.
        error: what the run ended with; None: well.

    Returns:
        The trace's id in hex; None if the collector did not take all of it.
    """
    exporter = OTLPSpanExporter()
    try:
        spans = _spans(read_journal(folder), run_id, error)
        deadline = time.monotonic() + _SEND_SECONDS
        trace = None
        for batch in iter(lambda: list(itertools.islice(spans, _BATCH)), []):
            if time.monotonic() > deadline:
                return None
            if exporter.export(batch) is not SpanExportResult.SUCCESS:
                return None
            trace = trace or f"{batch[0].context.trace_id:032x}"
        return trace
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


class _Ended(SpanProcessor):
    """Holds the spans that have ended until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


def _spans(
    events: list[dict[str, Any]], run_id: str, error: BaseException | None
) -> Iterator[ReadableSpan]:
    """Every span of a run, its own last."""
    ended = _Ended()
    resource = Resource.create({"service.name": "platemill", "platemill.run_id": run_id})
    # A provider of our own: what others in this process trace is none of our business.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(ended)
    tracer = provider.get_tracer("platemill")
    last = max((_nanoseconds(event["at"]) for event in events), default=time.time_ns())
    first = min((_nanoseconds(event.get("began", event["at"])) for event in events), default=last)
    night = tracer.start_span("night", start_time=first, attributes={"platemill.run_id": run_id})
    stages = [event for event in events if event["event"] in ("stage", "stage_failed")]
    shards = [event for event in events if event["event"] == "shard"]
    parents = []
    for event in stages:
        span = _start(tracer, event["stage"], event, night)
        if event["event"] == "stage_failed":
            span.set_status(Status(StatusCode.ERROR, f"{event['error']}: {event['text']}"))
        if event["stage"] == "recognise":
            parents.append((event["began"], event["ended"], span))
        else:
            span.end(_nanoseconds(event["ended"]))
            yield from ended.take()
    for event in shards:
        # Times of the journal: a node's clock may be another.
        at = event["at"]
        parent = next((span for began, end, span in parents if began <= at <= end), night)
        _start(tracer, "shard", event, parent).end(_nanoseconds(event["ended"]))
        yield from ended.take()
    for event in events:
        if event["event"] in _MOMENTS:
            night.add_event(event["event"], _attributes(event), _nanoseconds(event["at"]))
    for _, end, span in parents:
        span.end(_nanoseconds(end))
    if error is not None:
        night.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
    night.end(last)
    yield from ended.take()


def _start(tracer: Tracer, name: str, event: Mapping[str, Any], parent: Any) -> Span:
    span = tracer.start_span(
        name,
        context=set_span_in_context(parent),
        start_time=_nanoseconds(event["began"]),
        attributes=_attributes(event),
    )
    assert isinstance(span, Span)
    return span


def _attributes(event: Mapping[str, Any]) -> dict[str, Any]:
    said: Iterable[tuple[str, Any]] = event.items()
    return {
        f"platemill.{name}": value
        for name, value in said
        if name not in _TIMES and isinstance(value, str | int | float)
    }


def _nanoseconds(moment: str) -> int:
    at = dt.datetime.fromisoformat(moment) - dt.datetime.fromtimestamp(0, dt.UTC)
    return (at.days * 86_400 + at.seconds) * 10**9 + at.microseconds * 1000
