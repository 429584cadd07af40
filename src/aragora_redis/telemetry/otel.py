"""Metrics and failovers for OpenTelemetry (the extra `otel`), through its API alone.

Which exporter gets them is up to the application's SDK; without one the API does nothing. A
failover is a span with a child for each phase, told when it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext, TracerProvider

from ..clock import SYSTEM_CLOCK, Clock
from ..events import Decided, Event, Events
from ..state.status import Status
from .decisions import Decisions
from .failover import FailoverTimers, Phase, Span
from .instruments import INSTRUMENTS, READINGS, Instrument, Kind, Reading
from .measures import Measurement, Measures, zeros
from .watching import seen

SCOPE = "aragora_redis"
"""The instrumentation scope; the names of metrics begin with it and a dot."""
_UNITS = {"seconds": "s", "bytes": "By", "0 or 1": "1"}


class OpenTelemetry:
    """What one instance tells OpenTelemetry.

    Args:
        meters: where metrics go; the application's global provider by default.
        tracers: where spans go; the application's global provider by default.
        attributes: added to all of them; tell several instances of one process apart by these.
    """

    def __init__(
        self,
        meters: MeterProvider | None = None,
        tracers: TracerProvider | None = None,
        *,
        attributes: Mapping[str, str] = MappingProxyType({}),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        # A scope of its own, or the gauges of a second instance would be taken for the first's.
        self._meter = metrics.get_meter(SCOPE, meter_provider=meters, attributes=dict(attributes))
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracers)
        self._attributes = dict(attributes)
        self._clock = clock
        self._measures = Measures()
        self._timer = FailoverTimers()
        self._failovers: dict[tuple[str, ...], SpanContext] = {}
        """The last of each Redis, by the features whose it is."""
        self._made = {each: self._make(each) for each in INSTRUMENTS}
        self._decisions = Decisions(self._counter)
        for at_first in zeros():
            self._apply(at_first)

    def listen(self, events: Events) -> Callable[[], None]:
        """Tell of these events; the returned call ends it."""
        return events.subscribe(self._hear)

    def watch(self, status: Callable[[], Status]) -> Callable[[], None]:
        """Ask for the status at each collection; the returned call ends it."""
        asked = [status]  # the API has no way to forget a callback, so that asks a list
        for reading in READINGS:
            self._meter.create_observable_gauge(
                **_described(reading.instrument), callbacks=[self._observed(reading, asked)]
            )
        return asked.clear

    def _observed(
        self, reading: Reading, asked: list[Callable[[], Status]]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            found = [reading.of(now) for now in map(seen, asked) if now is not None]
            names = reading.instrument.label_names
            return [
                Observation(value, self._attributes | dict(zip(names, labels, strict=True)))
                for values in found
                for labels, value in values.items()
            ]

        return observe

    def _hear(self, event: Event) -> None:
        if isinstance(event, Decided):
            self._decisions.count(event)
            return
        now = self._clock.monotonic()
        for measurement in self._measures.of(event, now):
            self._apply(measurement)
        if spans := self._timer.see(event, now):
            self._tell(spans, self._clock.wall() - now)

    def _counter(self, event: Decided) -> Callable[[], None]:
        (measurement,) = self._measures.of(event, self._clock.monotonic())
        return self._applied(measurement)

    def _apply(self, measurement: Measurement) -> None:
        self._applied(measurement)()

    def _applied(self, measurement: Measurement) -> Callable[[], None]:
        instrument = measurement.instrument
        labels = zip(instrument.label_names, measurement.labels, strict=True)
        attributes = self._attributes | dict(labels)
        return partial(self._made[instrument], measurement.value, attributes)

    def _make(self, instrument: Instrument) -> Callable[[float, dict[str, str]], None]:
        named: dict[str, Any] = _described(instrument)
        match instrument.kind:
            case Kind.COUNTER:
                return self._meter.create_counter(**named).add
            case Kind.GAUGE:
                return self._meter.create_gauge(**named).set
            case Kind.HISTOGRAM:
                histogram = self._meter.create_histogram(
                    **named, explicit_bucket_boundaries_advisory=instrument.buckets
                )
                return histogram.record

    def _tell(self, spans: tuple[Span, ...], epoch: float) -> None:
        """Record spans that are over; `epoch` turns monotonic into Unix seconds."""
        for span in spans:
            if span.phase is Phase.WHOLE:
                # Nothing that happens to be under way has caused it: it is a trace of its own.
                root = self._started("failover", span, epoch, Context())
                self._failovers[span.features] = root.get_span_context()
                root.end(_nanos(span.ended + epoch))
        for span in spans:
            if span.phase is not Phase.WHOLE:
                parent = Context()
                if (failover := self._failovers.get(span.features)) is not None:
                    parent = trace.set_span_in_context(NonRecordingSpan(failover), parent)
                told = self._started(f"failover {span.phase}", span, epoch, parent)
                told.end(_nanos(span.ended + epoch))

    def _started(self, name: str, span: Span, epoch: float, parent: Context) -> trace.Span:
        whose = {"features": ",".join(span.features)} if span.features else {}
        return self._tracer.start_span(
            name,
            context=parent,
            start_time=_nanos(span.began + epoch),
            attributes=self._attributes | whose,
        )


def _described(instrument: Instrument) -> dict[str, str]:
    unit = _UNITS.get(instrument.unit, f"{{{instrument.unit}}}")
    name = f"{SCOPE}.{instrument.name}"
    return {"name": name, "unit": unit, "description": instrument.meaning}


def _nanos(seconds: float) -> int:
    return int(seconds * 1e9)
