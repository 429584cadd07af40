"""What a drill's records amount to, and whether that is good enough. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

from .records import AGREED_DOWN, REPLACED, Outcome, Records, Write

OURS, PEER = "aragora-redis", "redis-py"
UNASKED = "what survived could not be asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What has to hold for this library's writer."""

    gap: float
    """Seconds without an acknowledged write, at most."""
    lost: int = 0
    """Acknowledged writes that are not there at the end, at most."""
    elsewhere: float | None = None
    """The same seconds for its writers on other shards, of which no write may fail; None where they
    are not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What one writer lived through."""

    acknowledged: int
    failed: int
    unknown: int
    lost: int | None
    """Acknowledged, and not there at the end; None where nobody could be asked what is there."""
    gap: float
    """The longest time without an acknowledged write, in seconds."""
    slowest: float
    """Seconds that the slowest write took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was measured, and which objectives were missed."""

    detection: float | None
    """Seconds from the fault until it was agreed that the primary is down."""
    promotion: float | None
    """Seconds from the fault until another one was announced."""
    writers: dict[str, Measures]
    missed: tuple[str, ...]


def judge(records: Records, objectives: Objectives) -> Verdict:
    """Measure everything."""
    writers = {name: measure(records, name) for name in records.writes}
    detection, promotion = _first(records, AGREED_DOWN), _first(records, REPLACED)
    unseen = detection is None and promotion is None
    return Verdict(
        detection=detection,
        promotion=promotion,
        writers=writers,
        missed=(
            *_missed(writers[OURS], objectives),
            *_touched(records, writers, objectives.elsewhere),
            *((records.doubt,) if records.doubt and unseen else ()),
        ),
    )


def measure(records: Records, name: str) -> Measures:
    """What one writer lived through."""
    writes = records.writes[name]
    acknowledged = [write for write in writes if write.outcome is Outcome.ACKNOWLEDGED]
    there = records.survivors.get(name)
    return Measures(
        acknowledged=len(acknowledged),
        failed=sum(write.outcome is Outcome.FAILED for write in writes),
        unknown=sum(write.outcome is Outcome.UNKNOWN for write in writes),
        lost=None if there is None else sum(write.number not in there for write in acknowledged),
        gap=_longest_gap(writes, records.ended_at),
        slowest=max((write.ended - write.began for write in writes), default=0.0),
    )


def _missed(ours: Measures, objectives: Objectives) -> Iterator[str]:
    if not ours.acknowledged:
        yield "nothing was acknowledged at all"
    if ours.lost is None:
        yield UNASKED
    elif ours.lost > objectives.lost:
        yield f"{ours.lost} acknowledged writes were lost, and {objectives.lost} may be"
    if ours.gap > objectives.gap:
        yield f"{ours.gap:.1f} s without a write, and {objectives.gap:g} s may be"


def _touched(records: Records, writers: dict[str, Measures], gap: float | None) -> Iterator[str]:
    """What became of shards that nothing was done to."""
    for name, found in writers.items():
        if gap is None or name in {OURS, PEER}:
            continue
        # Not those that are unknown because the drill has ended.
        if bad := sum(records.errors[name].values()) + (found.lost or 0):
            yield f"{name}, which was not touched: {bad} writes failed or were lost"
        if found.lost is None:
            yield f"{name}, which was not touched: {UNASKED}"
        if found.gap > gap:
            yield f"{name}, which was not touched: {found.gap:.1f} s without a write"


def _longest_gap(writes: list[Write], end: float) -> float:
    """The longest time between two acknowledgements, from the first write to the end."""
    began = min((write.began for write in writes), default=0.0)
    ends = sorted(write.ended for write in writes if write.outcome is Outcome.ACKNOWLEDGED)
    return max(later - earlier for earlier, later in pairwise([began, *ends, end]))


def _first(records: Records, events: Collection[str]) -> float | None:
    times = [
        said.at - records.fault_at
        for said in records.announcements
        if said.event in events and said.at >= records.fault_at
    ]
    return min(times, default=None)
