"""The rules about how long calls took, and which a fault had to spare. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from .history import Band, Call, History
from .verdict import Expectations, Violation

DEADLINES = dict.fromkeys(("read", "update", "create", "end", "revoke"), 1.0)
"""Seconds that each call may take; a check has the deadline of the drill."""
HUNDRED = 100
"""Checks below which no 99 of 100 can be told from the slowest."""
KNOWN_AFTER = 0.3
"""Seconds after which a Redis that stands still is known to."""
FAILED = frozenset({"no", "unknown", "not-ready"})
SPARED_LOCAL = 0.01
"""The part of all checks that may be local although their shard is well."""
NOISE = 0.1
"""Seconds of scheduling noise beyond the lag that the process measured itself."""


def deadlines(history: History, expected: Expectations) -> Iterator[Violation]:
    """I4: a call that took longer than its deadline and the lag that its process measured."""
    lags = _lags(history)
    limits = DEADLINES | {"check": expected.deadline}
    for call in history.calls:
        limit = limits.get(call.what)
        if limit is None or call.ended is None:
            continue
        took = call.ended - call.began
        if took <= limit + NOISE:
            continue
        if took > limit + NOISE + _lag_during(lags, call):
            yield Violation("I4", call.began, f"{call.what} of {call.process} took {took:.3f} s")


def spared(history: History) -> Iterator[Violation]:
    """Calls that a fault has touched although it is another shard's, or nobody may notice it.

    None may fail. A check whose answer a busy server gave too late is decided locally: that few may
    be, beside those during a lag that the process measured.
    """
    lags = _lags(history)
    for band in history.bands:
        if band.cut or not (band.slots or band.seamless):
            continue
        during = [
            call
            for call in history.calls
            if band.began <= call.began
            and call.ended is not None
            and call.ended <= band.ended
            and (band.seamless or not band.concerns(call.slot))
        ]
        for call in during:
            if call.outcome in FAILED:
                text = f"{call.what} of {call.process}: {call.outcome} in {band.name}"
                yield Violation("spared", call.began, text)
        checks = Counter(
            call.source for call in during if call.what == "check" and not _lag_during(lags, call)
        )
        if checks["local"] > max(SPARED_LOCAL * checks.total(), 2):
            text = f"{checks['local']} of {checks.total()} checks were local in {band.name}"
            yield Violation("spared", band.began, text)


def outage_latency(history: History, expected: Expectations) -> Iterator[Violation]:
    """I2: checks that wait, although Redis is known to be away."""
    for band, took in outage_checks(history):
        slow = percentile(took, 0.99)
        if slow > expected.at_once and len(took) >= HUNDRED:
            text = f"99 of 100 checks took up to {slow * 1000:.1f} ms while Redis was away"
            yield Violation("I2", band.began, text)


def outage_checks(history: History) -> Iterator[tuple[Band, list[float]]]:
    """For each total outage, how long checks took once it was known, less the loop's own lag."""
    lags = _lags(history)
    for band in history.bands:
        if not band.total:
            continue
        until = band.ended if band.returns is None else band.returns
        took = [
            max((call.ended or call.began) - call.began - _lag_during(lags, call), 0.0)
            for call in history.of("check")
            if band.began + KNOWN_AFTER <= call.began <= until
        ]
        if took:
            yield band, took


def percentile(values: list[float], part: float) -> float:
    """The value that so large a part of all does not exceed."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def _lags(history: History) -> dict[str, list[tuple[float, float]]]:
    lags: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in history.noted("lag"):
        lags[each.process].append((each.at, each.value))
    return lags


def _lag_during(lags: dict[str, list[tuple[float, float]]], call: Call) -> float:
    """By how much a process was late in the time of a call."""
    ended = call.ended if call.ended is not None else float("inf")
    return sum(lag for at, lag in lags[call.process] if call.began <= at and at - lag <= ended)
