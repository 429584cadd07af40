"""The figures of a health report, for Nagios and for Prometheus. Pure.

Sources: Monitoring Plugins Development Guidelines, "Performance data"; Prometheus documentation,
"Exposition formats", and node_exporter's textfile collector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge

from .report import HealthReport

PREFIX = "aragora_redis_health"


class _Measure(NamedTuple):
    fact: str
    label: str
    """What Nagios calls it."""
    unit: str
    """Of Nagios: `s`, `B`, or nothing for a count."""
    text: str
    most: str = ""
    """The fact that it cannot exceed."""


_MEASURES = (
    _Measure("seconds", "time", "s", "Seconds that the check took."),
    _Measure("replicas_good", "replicas_good", "", "Replicas that could take over.", "replicas"),
    _Measure("replicas", "replicas", "", "Replicas that are known."),
    _Measure(
        "sentinels_answering", "sentinels_answering", "", "Sentinels that answered.", "sentinels"
    ),
    _Measure("sentinels", "sentinels", "", "Sentinels that there are."),
    _Measure(
        "primaries_serving", "primaries_serving", "", "Primaries that take commands.", "primaries"
    ),
    _Measure("primaries", "primaries", "", "Primaries that hold slots of a cluster."),
    _Measure("slots_served", "slots_served", "", "Slots whose primary takes commands.", "slots"),
    _Measure("slots", "slots", "", "Slots that a cluster has."),
    _Measure("lag_seconds", "lag", "s", "Seconds since the slowest replica has acknowledged."),
    _Measure("clients", "clients", "", "Clients connected to the primary, or to all of them."),
    _Measure(
        "memory_bytes",
        "memory",
        "B",
        "Memory that the primary, or the fullest, uses.",
        "max_memory_bytes",
    ),
    _Measure("max_memory_bytes", "max_memory", "B", "Memory that it may use."),
)


def performance_data(report: HealthReport) -> str:
    """`'label'=value[UOM];;;min[;max]` for each figure that is known, parted by spaces."""
    found = []
    for name, part in _parts(report):
        for measure in _MEASURES:
            value = part.facts.get(measure.fact)
            if value is not None:
                most = part.facts.get(measure.most)
                end = "" if most is None else f";{most}"
                label = f"'{measure.label} of {name}'" if name else measure.label
                found.append(f"{label}={value}{measure.unit};;;0{end}")
    return " ".join(found)


def registry_of(report: HealthReport) -> CollectorRegistry:
    """The figures as metrics, the status first."""
    registry = CollectorRegistry()
    status = Gauge(f"{PREFIX}_status", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", registry=registry)
    status.set(report.status)
    for measure in _MEASURES:
        known = {
            name: part.facts[measure.fact]
            for name, part in _parts(report)
            if part.facts.get(measure.fact) is not None
        }
        if not known:
            continue
        name = f"{PREFIX}_{measure.fact}"
        if not report.parts:
            Gauge(name, measure.text, registry=registry).set(known[""])
            continue
        gauge = Gauge(name, measure.text, ("features",), registry=registry)
        for features, value in known.items():
            gauge.labels(features).set(value)
    return registry


def _parts(report: HealthReport) -> Iterable[tuple[str, HealthReport]]:
    """Whose figures there are: of one without a name, or of several by theirs."""
    return report.parts.items() or (("", report),)
