"""A run's trace, as a receiver of the real protocol gets it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from otlp_receiver import OtlpReceiver
from small_journal import BEGAN, at, small_night, write_events
from small_lake import settings_for

from platemill.observe.logs import LOG
from platemill.observe.run import observed
from platemill.serving.embedded import free_ports
from platemill.settings import Settings


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = settings_for(tmp_path)
    (settings.runs / "r1").mkdir(parents=True)
    write_events(settings.runs / "r1", small_night())
    return settings


def attributes(span: Any) -> dict[str, Any]:
    return {
        pair.key.removeprefix("platemill."): getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in span.attributes
    }


def nanoseconds(seconds: float) -> int:
    return int((BEGAN.timestamp() + seconds) * 1e9)


def test_a_night_its_stages_and_shards_are_one_trace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognised = {"began": at(16), "ended": at(75), "seconds": 59, "attempt": 2}
    stage = {"at": at(75), "event": "stage", "stage": "recognise", **recognised}
    write_events(settings.runs / "r1", [stage])
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=night")
        with observed(settings, "r1"):
            assert receiver.requests == []
    assert receiver.paths == ["/v1/traces"]
    assert receiver.headers[0]["x-team"] == "night"
    (resource,) = receiver.requests[0].resource_spans
    named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert (named["service.name"], named["platemill.run_id"]) == ("platemill", "r1")
    spans = receiver.spans
    assert Counter(span.name for span in spans) == {
        "night": 1,
        "inventory": 1,
        "plan": 1,
        "recognise": 2,
        "shard": 2,
    }
    assert len({span.trace_id for span in spans}) == 1
    (night,) = [span for span in spans if span.name == "night"]
    assert night.parent_span_id == b""
    assert (night.start_time_unix_nano, night.end_time_unix_nano) == (
        nanoseconds(0),
        nanoseconds(75),
    )
    assert [event.name for event in night.events].count("node_up") == 3
    assert "worker_lost" in [event.name for event in night.events]
    failed, second = sorted(
        (span for span in spans if span.name == "recognise"), key=lambda s: s.start_time_unix_nano
    )
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert failed.status.message == "ServerUnavailable: no answer"
    assert second.status.code == Status.STATUS_CODE_UNSET
    for shard in (span for span in spans if span.name == "shard"):
        assert shard.parent_span_id == second.span_id
        assert attributes(shard)["images"] == 10
        assert attributes(shard)["node"] == "b"
    s1 = next(span for span in spans if attributes(span).get("key") == "s1")
    assert s1.end_time_unix_nano - s1.start_time_unix_nano == 8 * 10**9
    (sent,) = [
        line for line in (settings.runs / "r1" / LOG).read_text().splitlines() if "trace" in line
    ]
    assert night.trace_id.hex() in sent


def test_a_long_night_loses_no_span(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = next(event for event in small_night() if event["event"] == "shard")
    many = [{**shard, "key": f"s{number}"} for number in range(3000)]
    write_events(settings.runs / "r1", many)
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.endpoint}/here")
        with pytest.raises(ValueError, match="why"), observed(settings, "r1"):
            raise ValueError("why")
    assert set(receiver.paths) == {"/here"}
    assert len(receiver.requests) > 4
    keys = [attributes(span)["key"] for span in receiver.spans if span.name == "shard"]
    assert Counter(keys) == Counter(["s1", "s2", *(event["key"] for event in many)])
    (night,) = [span for span in receiver.spans if span.name == "night"]
    assert night.status.message == "ValueError: why"


@pytest.mark.parametrize("endpoint", ["nobody", "refuses"])
def test_a_collector_that_takes_nothing_costs_a_warning(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    endpoint: str,
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    with OtlpReceiver(status=400) as receiver:
        address = receiver.endpoint if endpoint == "refuses" else f"http://127.0.0.1:{port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        began = time.monotonic()
        with observed(settings, "r1"):
            pass
    assert time.monotonic() - began < 60
    assert "the collector of traces did not take all of run r1" in caplog.text


def test_nothing_is_sent_unless_the_variables_say_where(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "platemill.observe.traces", None)
    with observed(settings, "r1"):
        pass
    assert "trace" not in (settings.metrics / "last-run.prom").read_text()
    assert not (settings.runs / "r1" / LOG).exists()


def test_a_missing_package_is_said_with_its_cure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "platemill.observe.traces", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with observed(settings, "r1"):
        pass
    assert "Install platemill[traces]" in caplog.text
