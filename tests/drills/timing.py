"""The rules about how long calls took, and which a fault had to spare. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from .history import Band, Call, History
from .verdict import Expectations, Violation

DEADLINES = dict.fromkeys(("read", "update", "create", "end", "revoke"), 1.0)
"""Seconds that each call may take; a check has the deadline of the drill."""
HUNDRED = 100
"""Checks below which no 99 of 100 can be told from the slowest."""
KNOWN_AFTER = 0.3
"""Seconds after which a Redis that stands still is known to."""
FAILED = frozenset({"no", "unknown", "not-ready", "closed"})
LATE = frozenset({"unknown", "closed"})
"""What a check that Redis did not decide in time comes to where limits fail closed."""
SPARED_LOCAL = 0.01
"""The part of all checks that may be local although their shard is well."""
NOISE = 0.1
"""Seconds of scheduling noise beyond the lag that the process measured itself."""


def deadlines(history: History, expected: Expectations) -> Iterator[Violation]:
    """I4: a call that took longer than its deadline and the lag that its process measured."""
    lags = _Lags(history)
    limits = DEADLINES | {"check": expected.deadline}
    for call in history.calls:
        limit = limits.get(call.what)
        if limit is None or call.ended is None:
            continue
        took = call.ended - call.began
        if took <= limit + NOISE:
            continue
        if took > limit + NOISE + lags.during(call):
            yield Violation("I4", call.began, f"{call.what} of {call.process} took {took:.3f} s")


def spared(history: History, expected: Expectations) -> Iterator[Violation]:
    """Calls that a fault has touched although it is another shard's, or nobody may notice it.

    None may fail. A check whose answer a busy server gave too late is decided locally, or refused
    where limits fail closed: that few may be, beside those during a lag that the process measured.
    """
    late = frozenset() if expected.fail_open else LATE
    lags = _Lags(history)
    for band in history.bands:
        if not (band.slots or band.seamless or band.spares):
            continue
        during = [
            call
            for call in history.began_within(band.began, band.ended)
            if call.ended is not None and call.ended <= band.ended and _spares(band, call)
        ]
        for call in during:
            if call.outcome in FAILED and not (call.what == "check" and call.outcome in late):
                text = f"{call.what} of {call.process}: {call.outcome} in {band.name}"
                yield Violation("spared", call.began, text)
        checks = [call for call in during if call.what == "check" and not lags.during(call)]
        away = sum(call.source == "local" or call.outcome in late for call in checks)
        if away > max(SPARED_LOCAL * len(checks), 2):
            text = f"Redis did not decide {away} of {len(checks)} checks in {band.name}"
            yield Violation("spared", band.began, text)


def _spares(band: Band, call: Call) -> bool:
    if call.what in band.spares:
        return True
    return not band.cut and (band.seamless or not band.concerns(call.slot))


def outage_latency(history: History, expected: Expectations) -> Iterator[Violation]:
    """I2: checks that wait, although Redis is known to be away."""
    for band, took in outage_checks(history):
        slow = percentile(took, 0.99)
        if slow > expected.at_once and len(took) >= HUNDRED:
            text = f"99 of 100 checks took up to {slow * 1000:.1f} ms while Redis was away"
            yield Violation("I2", band.began, text)


def outage_checks(history: History) -> Iterator[tuple[Band, list[float]]]:
    """For each total outage, how long checks took once it was known, less the loop's own lag.

    One that Redis has decided had a Redis to wait for: it was back, or not gone yet for everybody.
    """
    lags = _Lags(history)
    for band in history.hitting("check"):
        if not band.total:
            continue
        until = band.ended if band.returns is None else band.returns
        took = [
            max((call.ended or call.began) - call.began - lags.during(call), 0.0)
            for call in history.began_within(band.began + KNOWN_AFTER, until)
            if call.what == "check" and call.source != "redis"
        ]
        if took:
            yield band, took


def percentile(values: list[float], part: float) -> float:
    """The value that so large a part of all does not exceed."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


class _Lags:
    """By how much each process was late, and when: stretches that follow each other."""

    def __init__(self, history: History) -> None:
        self._ends: dict[str, list[float]] = defaultdict(list)
        self._lengths: dict[str, list[float]] = defaultdict(list)
        for each in history.noted("lag"):
            self._ends[each.process].append(each.at)
            self._lengths[each.process].append(each.value)

    def during(self, call: Call) -> float:
        """By how much the process of a call was late in its time."""
        ends, lengths = self._ends[call.process], self._lengths[call.process]
        until = call.ended if call.ended is not None else float("inf")
        late = 0.0
        for index in range(bisect_left(ends, call.began), len(ends)):
            if ends[index] - lengths[index] > until:
                break
            late += lengths[index]
        return late
