"""What a history amounts to, in numbers. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from . import checker, session_rules
from .admissions import admitted
from .excuses import ONE_SWITCH, switches
from .history import Band, Call, History
from .subjects import COUNTED
from .timing import outage_checks, percentile
from .verdict import Limit

WRITES = {"update", "revoke", "create"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one drill. Times are in milliseconds, where a name does not say otherwise."""

    calls: int
    cycles: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    revocations_accepted_again: int = 0
    updates_lost: int = 0
    """Acknowledged by a primary that died, within the bound that is documented for that."""
    longest_write_gap_s: float = 0.0
    first_write_after_switch: dict[str, float] = field(default_factory=dict)
    limits_away_s: dict[str, float] = field(default_factory=dict)
    """For each fault, the longest time in which Redis decided no limit for anybody."""
    check_p99: float = 0.0
    outage_check_p99: float = 0.0
    admissions: dict[str, float] = field(default_factory=dict)
    """For each fault, the most that was admitted of what the limit alone would allow."""
    stale_sends: int = 0
    switches: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def figures(history: History, limit: Limit) -> Figures:
    """The figures of a history."""
    checks = [c.ended - c.began for c in history.of("check") if c.ended is not None]
    outages = [took for _, each in outage_checks(history) for took in each]
    delays = first_writes(history)
    return Figures(
        calls=len(history.calls),
        cycles=dict(Counter(band.name for band in history.bands)),
        outcomes={
            what: dict(Counter(call.outcome for call in history.calls if call.what == what))
            for what in sorted({call.what for call in history.calls})
        },
        sources=dict(Counter(c.source for c in history.of("check") if c.source)),
        levels=dict(Counter(str(c.answer) for c in history.of("revoke") if c.outcome == "ok")),
        revocations_accepted_again=sum(
            violation.invariant == "I1" for violation in checker.revocations(history)
        ),
        updates_lost=len(lost_updates(history)),
        longest_write_gap_s=round(longest_gap(history), 2),
        first_write_after_switch={
            "median": round(median(delays) * 1000, 1) if delays else 0.0,
            "max": round(max(delays, default=0.0) * 1000, 1),
        },
        limits_away_s=limits_away(history),
        check_p99=round(percentile(checks, 0.99) * 1000, 2) if checks else 0.0,
        outage_check_p99=round(percentile(outages, 0.99) * 1000, 2) if outages else 0.0,
        admissions=admission_ratios(history, limit),
        stale_sends=len(history.noted("stale-send")),
        switches=len(switches(history)),
    )


def first_writes(history: History) -> list[float]:
    """For each switch and each process, seconds until its next write was acknowledged.

    Who is cut off at that moment, or begins only later, is left out: to it nothing was announced.
    """
    found = []
    started = {each.process: each.at for each in history.noted("started")}
    writes = [c for c in history.calls if _is_write(c) and c.ended is not None]
    for at in switches(history):
        if any(band.cut and band.began <= at <= band.ended for band in history.bands):
            continue
        firsts: dict[str, float] = {}
        for call in writes:
            assert call.ended is not None
            there = started.get(call.process, float("inf")) <= at
            if there and call.began >= at - 1 and call.ended > at:
                firsts[call.process] = min(firsts.get(call.process, float("inf")), call.ended - at)
        found += [delay for delay in firsts.values() if delay < ONE_SWITCH]
    return found


def longest_gap(history: History) -> float:
    """The longest time in which nobody's write was acknowledged, while the load was on."""
    ends = sorted(c.ended for c in history.calls if _is_write(c) and c.ended is not None)
    return checker.gaps(ends)


def limits_away(history: History) -> dict[str, float]:
    """For each kind of fault, the longest gap in what Redis decided of a limit that is wide."""
    ends = [c.ended for c in history.of("check") if c.source == "redis" and c.on == COUNTED]
    decided = sorted(ended for ended in ends if ended is not None)
    worst: dict[str, float] = {}
    for band in history.bands:
        around = decided[
            max(bisect_left(decided, band.began) - 1, 0) : bisect_right(decided, band.settled) + 1
        ]
        worst[band.name] = round(max(worst.get(band.name, 0.0), checker.gaps(around)), 2)
    return worst


def _is_write(call: Call) -> bool:
    if call.what == "check":
        return call.source == "redis" and call.answer is True
    return call.what in WRITES and call.outcome == "ok" and call.answer != "local"


def lost_updates(history: History) -> list[Call]:
    """Acknowledged updates that are in no later state; `updates` says which are excused."""
    return [call for call, _, _ in session_rules.off_the_chain(history)]


def admission_ratios(history: History, limit: Limit) -> dict[str, float]:
    """For each kind of fault, the worst ratio of what was admitted to the limit with its burst."""
    taken = admitted(history, limit)
    worst: dict[str, float] = {}
    for band in history.bands:
        if band.settled == float("inf"):
            continue
        ideal = limit.burst + limit.rate * (band.settled - band.began)
        ratio = sum(band.began <= call.began <= band.settled for call in taken) / ideal
        worst[band.name] = round(max(worst.get(band.name, 0.0), ratio), 2)
    return worst


def merged(all_of: Iterable[Figures]) -> dict[str, Any]:
    """The figures of several drills together: sums of counts, the worst of the rest."""
    parts = list(all_of)
    cycles: Counter[str] = Counter()
    levels: Counter[str] = Counter()
    ratios: dict[str, float] = {}
    away: dict[str, float] = {}
    for part in parts:
        cycles.update(part.cycles)
        levels.update(part.levels)
        for name, ratio in part.admissions.items():
            ratios[name] = max(ratio, ratios.get(name, 0.0))
        for name, seconds in part.limits_away_s.items():
            away[name] = max(seconds, away.get(name, 0.0))
    return {
        "drills": len(parts),
        "cycles": dict(cycles),
        "calls": sum(part.calls for part in parts),
        "revocations": dict(levels),
        "revocations accepted again": sum(part.revocations_accepted_again for part in parts),
        "updates lost within the bound": sum(part.updates_lost for part in parts),
        "stale sends": sum(part.stale_sends for part in parts),
        "switches": sum(part.switches for part in parts),
        "first write after a switch, ms": {
            "median": median(part.first_write_after_switch["median"] for part in parts),
            "max": max(part.first_write_after_switch["max"] for part in parts),
        },
        "longest gap of writes, s": max(part.longest_write_gap_s for part in parts),
        "checks, p99 ms": max(part.check_p99 for part in parts),
        "checks in a total outage, p99 ms": max(part.outage_check_p99 for part in parts),
        "admitted of the limit": ratios,
        "no limit decided by Redis, s": away,
    }


def band_at(bands: Iterable[Band], at: float) -> str:
    """The fault during which something happened."""
    return next((band.name for band in bands if band.began <= at <= band.settled), "calm")
