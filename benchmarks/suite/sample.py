"""What one contestant did in one round, and the figures that it comes to. PURE."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple


@dataclass(slots=True)
class Sample:
    """One round.

    Attributes:
        calls: that ended.
        seconds: that they took together.
        cpu: seconds of processor time of whoever does the work; not those of Redis.
        median: seconds of a call.
        p99: seconds that one call in a hundred took longer than.
        p999: seconds that one call in a thousand took longer than.
        value: what is measured where it is no call, such as bytes.
        failed: calls that ended without what was asked for; they are none of `calls`.
        server_cpu: seconds of processor time of Redis meanwhile.
        wire: bytes that Redis has read and written meanwhile.
        evenness: calls of the caller with the fewest, in those of the one with the most.
    """

    calls: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    median: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    value: float = 0.0
    failed: int = 0
    server_cpu: float = 0.0
    wire: int = 0
    evenness: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def timed(
    calls: int, seconds: float, cpu: float, each: Sequence[float], *, failed: int = 0
) -> Sample:
    """A round of calls, and the seconds that each of them (or of a part of them) took."""
    ordered = sorted(each) or [0.0]
    return Sample(
        calls=calls,
        seconds=seconds,
        cpu=cpu,
        failed=failed,
        median=statistics.median(ordered),
        p99=_above(ordered, 0.99),
        p999=_above(ordered, 0.999),
    )


def _above(ordered: Sequence[float], part: float) -> float:
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class Measure(NamedTuple):
    """A figure of a sample.

    Attributes:
        unit: what it is counted in.
        of: how it comes from a sample.
    """

    unit: str
    of: Callable[[Sample], float]


def _over(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


MEASURES: Final[Mapping[str, Measure]] = {
    "rate": Measure("calls/s", lambda s: _over(s.calls, s.seconds)),
    "median": Measure("µs median", lambda s: s.median * 1e6),
    "p99": Measure("µs p99", lambda s: s.p99 * 1e6),
    "p99.9": Measure("µs p99.9", lambda s: s.p999 * 1e6),
    "client cpu": Measure("µs CPU of the client a call", lambda s: _over(s.cpu, s.calls) * 1e6),
    "server cpu": Measure("µs CPU of Redis a call", lambda s: _over(s.server_cpu, s.calls) * 1e6),
    "server share": Measure("% of Redis's core", lambda s: _over(s.server_cpu, s.seconds) * 100),
    "wire": Measure("bytes on the wire a call", lambda s: _over(s.wire, s.calls)),
    "evenness": Measure("least / most calls of a caller", lambda s: s.evenness),
    "per core": Measure("calls a second of CPU", lambda s: _over(s.calls, s.cpu)),
    "milliseconds": Measure("ms", lambda s: s.value * 1e3),
    "bytes": Measure("bytes an entry", lambda s: s.value),
}


class Figure(NamedTuple):
    """A figure over all rounds: the median, the least and the most."""

    middle: float
    least: float
    most: float


def over_rounds(values: Sequence[float]) -> Figure:
    """The figure of one value a round."""
    return Figure(statistics.median(values), min(values), max(values))


def figure(measure: str, samples: Sequence[Sample]) -> Figure:
    """A measure of one contestant over its rounds."""
    return over_rounds([MEASURES[measure].of(sample) for sample in samples])


def ratio(measure: str, ours: Sequence[Sample], theirs: Sequence[Sample]) -> Figure:
    """A measure of ours in theirs, round by round: what slows a round down slows both."""
    of = MEASURES[measure].of
    pairs = zip(ours, theirs, strict=True)
    return over_rounds([_over(of(one), of(other)) for one, other in pairs])
