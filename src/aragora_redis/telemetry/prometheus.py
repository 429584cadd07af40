"""Metrics for Prometheus: events as they come, and the status at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ..clock import SYSTEM_CLOCK, Clock
from ..events import Decided, Event, Events
from ..state.status import Status
from .decisions import Decisions
from .instruments import INSTRUMENTS, PREFIX, READINGS, Instrument, Kind
from .measures import Measurement, Measures, zeros
from .watching import seen

_Metric = Counter | Gauge | Histogram


class Metrics:
    """What one instance counts.

    Args:
        registry: where the metrics are registered; one of its own by default, so that two
            instances in a process do not share their counts.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._registry = registry if registry is not None else CollectorRegistry()
        self._clock = clock
        self._measures = Measures()
        self._made = {each: _made(each, self._registry) for each in INSTRUMENTS}
        self._decisions = Decisions(self._counter)
        for at_first in zeros():
            self._apply(at_first)

    def listen(self, events: Events) -> Callable[[], None]:
        """Count these events; the returned call ends it."""
        return events.subscribe(self._count)

    def watch(self, status: Callable[[], Status]) -> None:
        """Ask for the status at each scrape."""
        self._registry.register(_StatusCollector(status))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that an `Accept` header asks for, and its content type.

        Raises:
            RuntimeError: a coroutine asks, and a state for threads is watched: ask in a thread.
        """
        encode, content_type = _encoder(accept)
        return encode(self._registry), content_type

    def _count(self, event: Event) -> None:
        if isinstance(event, Decided):
            self._decisions.count(event)
            return
        for measurement in self._measures.of(event, self._clock.monotonic()):
            self._apply(measurement)

    def _counter(self, event: Decided) -> Callable[[], None]:
        (measurement,) = self._measures.of(event, self._clock.monotonic())
        counter: Any = self._metric(measurement)
        count: Callable[[], None] = counter.inc
        return count

    def _metric(self, measurement: Measurement) -> _Metric:
        metric = self._made[measurement.instrument]
        return metric.labels(*measurement.labels) if measurement.labels else metric

    def _apply(self, measurement: Measurement) -> None:
        metric = self._metric(measurement)
        match metric:
            case Counter():
                metric.inc(measurement.value)
            case Gauge():
                metric.set(measurement.value)
            case Histogram():
                metric.observe(measurement.value)


def merged(expositions: Mapping[str, str], label: str, accept: str = "") -> tuple[bytes, str]:
    """Several expositions as one, in the format that an `Accept` header asks for, and its type.

    Args:
        expositions: in Prometheus's text format, by the value of
        label: that each of their samples gets; when counters began is left out.
        accept: the header.
    """
    families: dict[str, Metric] = {}
    for value, text in expositions.items():
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):  # OpenMetrics has that inside of the counter
                continue
            whole = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            whole.samples += [
                sample._replace(labels={**sample.labels, label: value}) for sample in family.samples
            ]
    encode, content_type = _encoder(accept)
    return encode(_Families(families.values())), content_type


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # the header has a version that is none
        return choose_encoder("")


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _made(instrument: Instrument, registry: CollectorRegistry) -> _Metric:
    name, labels = f"{PREFIX}{instrument.name}", instrument.label_names
    match instrument.kind:
        case Kind.COUNTER:
            return Counter(name, instrument.meaning, labels, registry=registry)
        case Kind.GAUGE:
            return Gauge(name, instrument.meaning, labels, registry=registry)
        case Kind.HISTOGRAM:
            buckets = instrument.buckets
            return Histogram(name, instrument.meaning, labels, registry=registry, buckets=buckets)
        case kind:
            assert_never(kind)


class _StatusCollector(Collector):
    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()  # to register is not to ask: a server may load its application in its loop

    def collect(self) -> Iterator[Metric]:
        status = seen(self._status)
        if status is None:
            return
        for reading in READINGS:
            instrument = reading.instrument
            family = GaugeMetricFamily(
                f"{PREFIX}{instrument.name}", instrument.meaning, labels=instrument.label_names
            )
            for labels, value in reading.of(status).items():
                family.add_metric(labels, value)
            if family.samples:
                yield family
