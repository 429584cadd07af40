"""Metrics for Prometheus: events as they come, and the status at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..clock import SYSTEM_CLOCK, Clock
from ..events import (
    CircuitChanged,
    CircuitRefused,
    DeadlineMissed,
    Decided,
    Degraded,
    EraChanged,
    Event,
    Events,
    FullSync,
    LinkLost,
    LinkUp,
    Recovered,
    Revoked,
    SessionServed,
    SessionWrite,
    ViewChanged,
)
from ..operation import Lane
from ..state.status import Status
from .failover import FailoverTimer

PREFIX = "aragora_redis_"
_REVOKE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_FAILOVER_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """What one instance counts.

    Values of labels are bounded: policies are those of the file, circuits as many as an instance
    follows, all others are words of ours.

    Args:
        registry: where the metrics are registered; one of its own by default, so that two
            instances in a process do not share their counts.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._registry = registry if registry is not None else CollectorRegistry()
        self._clock = clock
        self._timer = FailoverTimer()
        self._decisions = self._counter(
            "decisions", "Rate limits decided.", "policy", "allowed", "source"
        )
        self._missed = self._counter(
            "deadline_missed", "Operations given up at their deadline.", "lane", "sent"
        )
        self._revocations = self._counter(
            "revocations", "Revocations made here, by the level they reached.", "kind", "level"
        )
        self._sessions_served = self._counter(
            "sessions_served", "Sessions read, from Redis or as a copy while it is away.", "source"
        )
        self._session_writes = self._counter(
            "session_writes", "Changes of sessions and how they came out.", "operation", "outcome"
        )
        self._circuit_changes = self._counter(
            "circuit_changes", "Changes of a circuit's state.", "circuit", "state", "source"
        )
        self._circuit_refusals = self._counter(
            "circuit_refusals", "Calls that a circuit did not let through.", "circuit", "state"
        )
        self._revoke_seconds = Histogram(
            f"{PREFIX}revoke_seconds",
            "Seconds from a revocation's request to its acknowledgement.",
            registry=self._registry,
            buckets=_REVOKE_BUCKETS,
        )
        self._link_up = Gauge(
            f"{PREFIX}link_up",
            "Whether a verified connection to the primary carries the lane.",
            ["lane"],
            registry=self._registry,
        )
        self._link_lost = self._counter(
            "link_lost", "Connections to the primary that ended.", "lane"
        )
        self._failovers = self._counter("failovers", "Changes of the primary seen.")
        self._failover_seconds = Histogram(
            f"{PREFIX}failover_seconds",
            "Seconds from the first sign of a failover to the link to the new primary.",
            registry=self._registry,
            buckets=_FAILOVER_BUCKETS,
        )
        self._degraded = Gauge(
            f"{PREFIX}degraded",
            "Whether operations are answered without Redis.",
            registry=self._registry,
        )
        self._eras = self._counter(
            "era_changes", "New histories of token shards (promotion, restart or wipe)."
        )
        self._full_syncs = self._counter(
            "full_syncs", "Full comparisons of a token shard that found a difference."
        )
        self._republished = self._counter(
            "republished", "Revocations published again because Redis had lost them."
        )
        for lane in Lane:
            self._link_up.labels(lane.value).set(0)

    def listen(self, events: Events) -> Callable[[], None]:
        """Count these events; the returned call ends it."""
        return events.subscribe(self._count)

    def watch(self, status: Callable[[], Status]) -> None:
        """Ask for the status at each scrape."""
        self._registry.register(_StatusCollector(status))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that an `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}{name}", meaning, labels, registry=self._registry)

    def _count(self, event: Event) -> None:
        match event:
            case Decided(policy, allowed, source):
                self._decisions.labels(policy, _word(allowed), source).inc()
            case Revoked(kind, level, seconds):
                self._revocations.labels(kind, level).inc()
                self._revoke_seconds.observe(seconds)
            case DeadlineMissed(lane, sent):
                self._missed.labels(lane, _word(sent)).inc()
            case Degraded():
                self._degraded.set(1)
            case Recovered():
                self._degraded.set(0)
            case EraChanged():
                self._eras.inc()
                self._republished.inc(event.republish_own + event.republish_learned)
            case FullSync():
                self._full_syncs.inc()
                self._republished.inc(event.pushed)
            case LinkUp() | LinkLost() | ViewChanged():
                self._count_link(event)
            case _:
                self._count_call(event)
        took = self._timer.see(event, self._clock.monotonic())
        if took is not None:
            self._failover_seconds.observe(took)

    def _count_call(self, event: Event) -> None:
        match event:
            case SessionServed(source):
                self._sessions_served.labels(source).inc()
            case SessionWrite(operation, outcome):
                self._session_writes.labels(operation, outcome).inc()
            case CircuitChanged(circuit, state, source=source):
                self._circuit_changes.labels(circuit, state, source).inc()
            case CircuitRefused(circuit, state):
                self._circuit_refusals.labels(circuit, state).inc()

    def _count_link(self, event: Event) -> None:
        match event:
            case LinkUp(lane=lane):
                self._link_up.labels(lane).set(1)
            case LinkLost(lane=lane):
                self._link_up.labels(lane).set(0)
                self._link_lost.labels(lane).inc()
            case ViewChanged(old=old) if old is not None:
                self._failovers.inc()


class _StatusCollector(Collector):
    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        for name, meaning, value in (
            ("token_entries", "Revocations held.", status.tokens),
            ("outbox_entries", "Own revocations that no primary is known to hold.", status.outbox),
            (
                "staleness_seconds",
                "Seconds since the revocations were certainly in step with the primary.",
                status.staleness,
            ),
            ("instances", "Instances that live, this one included.", status.instances),
            ("replicas", "Replicas that most Sentinels do not call down.", status.replicas),
            ("ready", "Whether tokens can be judged.", status.ready),
        ):
            yield GaugeMetricFamily(f"{PREFIX}{name}", meaning, value=float(value))


def _word(flag: bool) -> str:  # noqa: FBT001 - the value that is worded
    return "true" if flag else "false"
