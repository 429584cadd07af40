"""OpenTelemetry gets the same figures, and each failover as a span with its phases."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aragora_redis.address import Address
from aragora_redis.events import (
    Decided,
    Degraded,
    Events,
    LinkLost,
    LinkUp,
    Recovered,
    Revoked,
    ViewChanged,
)
from aragora_redis.state.status import Status
from aragora_redis.telemetry.otel import OpenTelemetry
from aragora_redis.testing import FakeClock

OLD, NEW = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def told(reader, spans, clock):
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    return OpenTelemetry(MeterProvider([reader]), tracers, clock=clock)


def points(reader):
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found: dict[str, tuple[str, list[Any]]] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                _, known = found.get(metric.name, ("", []))
                found[metric.name] = (metric.unit, [*known, *metric.data.data_points])
    return found


def test_events_are_counted_with_their_labels(told, reader):
    events = Events()
    told.listen(events)
    events.emit(Decided("api", allowed=True, source="local"))
    events.emit(Decided("api", allowed=True, source="local"))
    events.emit(Degraded("no link"))
    events.emit(Revoked("jti", "replicated", 0.002))
    found = points(reader)
    unit, (decisions,) = found["aragora_redis.decisions"]
    assert (unit, decisions.value) == ("{decisions}", 2)
    assert decisions.attributes == {"policy": "api", "allowed": "true", "source": "local"}
    assert found["aragora_redis.degraded"][1][0].value == 1
    unit, (seconds,) = found["aragora_redis.revoke_seconds"]
    assert (unit, seconds.sum) == ("s", 0.002)
    assert seconds.explicit_bounds[0] == 0.001


def test_the_status_is_asked_at_each_collection(told, reader):
    told.watch(lambda: Status(mode="sentinel", health="healthy", tokens=3))
    found = points(reader)
    assert found["aragora_redis.token_entries"][1][0].value == 3
    assert "aragora_redis.replica_lag_bytes" not in found


def test_a_status_that_changes_under_the_look_is_looked_at_again(told, reader):
    faults = [RuntimeError("deque mutated during iteration")]

    def status():
        if faults:
            raise faults.pop()
        return Status(mode="sentinel", health="healthy", tokens=3)

    told.watch(status)
    assert points(reader)["aragora_redis.token_entries"][1][0].value == 3


def test_a_status_that_cannot_be_asked_here_is_said(told, reader, caplog):
    def status():
        raise RuntimeError("would hold up this event loop")

    told.watch(status)
    points(reader)
    assert "would hold up this event loop" in caplog.text


def test_a_failover_is_a_span_with_its_phases(told, spans, clock):
    events = Events()
    end = told.listen(events)
    began = clock.wall()
    events.emit(LinkLost(str(OLD), "fast", "gone"))
    events.emit(Degraded("no link"))
    clock.advance(1.5)
    events.emit(ViewChanged(OLD, NEW, 2))
    clock.advance(0.5)
    events.emit(LinkUp(str(NEW), "fast", 2.0))
    clock.advance(0.25)
    events.emit(Recovered(2.0))
    found = {span.name: span for span in spans.get_finished_spans()}
    whole = found["failover"]
    assert (whole.end_time - whole.start_time) / 1e9 == pytest.approx(2.0)
    assert whole.start_time / 1e9 == pytest.approx(began)
    assert whole.parent is None
    for phase, seconds in (("election", 1.5), ("agreement", 0), ("connection", 0.5)):
        child = found[f"failover {phase}"]
        assert child.parent.span_id == whole.context.span_id
        assert (child.end_time - child.start_time) / 1e9 == pytest.approx(seconds)
    assert found["failover first-write"].parent.span_id == whole.context.span_id
    end()
    events.emit(Degraded("not heard"))


def test_each_redis_has_traces_of_its_own(told, spans, clock):
    """Two fail over at a time, and what is written first is in the trace of its own."""
    events = Events()
    told.listen(events)
    tokens, limits = events.of(("tokens", "sessions")), events.of(("limits",))
    for each in (tokens, limits):
        each.emit(LinkLost(str(OLD), "fast", "gone"))
        each.emit(Degraded("no link"))
        clock.advance(1)
        each.emit(ViewChanged(OLD, NEW, 2))
        each.emit(LinkUp(str(NEW), "fast", 1.0))
    tokens.emit(Recovered(2.0))
    limits.emit(Recovered(1.0))
    found = spans.get_finished_spans()
    traces = {
        span.attributes["features"]: span.context.trace_id
        for span in found
        if span.name == "failover"
    }
    assert set(traces) == {"tokens,sessions", "limits"}
    assert len(set(traces.values())) == 2
    for span in found:
        assert span.context.trace_id == traces[span.attributes["features"]]
    assert sum(span.name == "failover first-write" for span in found) == 2


def test_instances_of_one_process_are_told_apart_and_can_end(reader):
    meters = MeterProvider([reader])

    def status(tokens):
        return lambda: Status(mode="sentinel", health="healthy", tokens=tokens)

    ends = [
        OpenTelemetry(meters, attributes={"instance": name}).watch(status(tokens))
        for name, tokens in (("a", 1), ("b", 2))
    ]
    found = points(reader)["aragora_redis.token_entries"][1]
    assert {point.attributes["instance"]: point.value for point in found} == {"a": 1, "b": 2}
    ends[0]()
    found = points(reader)["aragora_redis.token_entries"][1]
    assert [point.attributes["instance"] for point in found] == ["b"]


def test_without_an_sdk_nothing_happens():
    events = Events()
    OpenTelemetry().listen(events)
    events.emit(Degraded("no link"))
