"""How much of a limit a fleet may give, whatever befalls it (invariant I2). Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from .excuses import REPLACED_AGAIN, REPLICATION, switches
from .history import Band, Call, History
from .verdict import Expectations, Limit, Violation


class Faults(NamedTuple):
    """Those that concern a limit, each with how often it may change who decides.

    The ones that empty Redis, and that set clocks, apart: a long history has millions of windows.
    """

    every: Sequence[tuple[Band, int]]
    wipes: Sequence[Band]
    clocks: Sequence[Band]

    @classmethod
    def of(cls, history: History, bands: Sequence[Band]) -> Self:
        """What these are by a history."""
        promoted = switches(history)
        # Sentinels may replace a primary twice for one fault.
        times = [
            max(sum(band.began <= at <= band.settled for at in promoted), band.times)
            for band in bands
        ]
        return cls(
            every=[*zip(bands, times, strict=True)],
            wipes=[band for band in bands if band.wiped],
            clocks=[band for band in bands if band.ahead],
        )


def admissions(history: History, expected: Expectations) -> Iterator[Violation]:
    """I2: more admitted in some window than the limit, with what each fault allows on top."""
    for limit in expected.limits:
        taken = admitted(history, limit)
        faults = _concerning(history, taken)
        for first, last, count in _windows(taken):
            if count <= _ideal(limit, first, last):  # as most of some millions are
                continue
            allowed = _allowed(faults, first, last, limit, expected, enough=count)
            if count > allowed:
                text = f"{count} of {limit.name} in {last - first:.1f} s, {allowed:.0f} allowed"
                yield Violation("I2", first, text)
                break


def _concerning(history: History, calls: Sequence[Call]) -> Faults:
    """Those faults alone that concern the slot of these calls."""
    slot = calls[0].slot if calls else -1
    return Faults.of(history, [band for band in history.hitting("check") if band.concerns(slot)])


def admitted(history: History, limit: Limit) -> list[Call]:
    """The checks of a limit that were let through."""
    return [call for call in history.of("check") if call.on == limit.name and call.answer is True]


def allowance(
    history: History, first: float, last: float, limit: Limit, expected: Expectations
) -> float:
    """How many tokens the fleet may give in a window.

    The limit itself, and what each fault allows on top. However often those come, never more than
    twice the limit, the burst that each wipe forgets, and what a clock that goes ahead brings back.
    """
    return _allowed(Faults.of(history, history.bands), first, last, limit, expected)


def _allowed(
    faults: Faults,
    first: float,
    last: float,
    limit: Limit,
    expected: Expectations,
    *,
    enough: float = math.inf,
) -> float:
    """The same; what is allowed beyond `enough` need not be told."""
    ideal = _ideal(limit, first, last)
    on_top = _of_shares if expected.fail_open else _of_lost_tails
    ahead = _of_clocks(faults.clocks, first, last, limit)
    tokens = ideal
    for band, times in faults.every:
        if min(last, band.settled) > max(first, band.began) and not band.seamless:
            tokens += on_top(band, first, last, limit, times, expected.instances)
            if _with_grain(tokens + ahead) >= enough:
                break
    forgotten = sum(band.began <= last and band.settled >= first for band in faults.wipes)
    return _with_grain(min(tokens, 2 * ideal + forgotten * limit.burst) + ahead)


def _with_grain(tokens: float) -> float:
    return tokens * 1.01 + 1


def _ideal(limit: Limit, first: float, last: float) -> float:
    """What one server that never fails gives."""
    return limit.burst + limit.rate * (last - first)


def _of_clocks(clocks: Sequence[Band], first: float, last: float, limit: Limit) -> float:
    """What a bucket regains at once as its server's clock goes ahead: a full burst at most.

    Redis knows no other time. As the clock goes back nothing comes back, and nobody waits longer.
    """
    return sum(
        min(limit.rate * band.ahead, limit.burst)
        for band in clocks
        if band.began <= last and band.settled >= first
    )


def _of_shares(
    band: Band, first: float, last: float, limit: Limit, times: int, instances: int
) -> float:
    """Fail-open: what instances give by themselves.

    5 % more while Redis is away, since shares are not exact; the shares of the clients that are cut
    off, or all of it while they trust a primary of their own; one burst for each switch between
    Redis and shares.
    """
    inside = min(last, band.settled) - max(first, band.began)
    factor = band.cut / instances if band.cut else 0.05
    twice = max(min(last, band.began + band.doubled) - max(first, band.began), 0.0)
    return limit.rate * (twice + (inside - twice) * factor) + limit.burst * times


def _of_lost_tails(
    band: Band, first: float, last: float, limit: Limit, times: int, _instances: int
) -> float:
    """Fail-closed: what a primary gave and nobody remembers, which is all that is given twice.

    It is what that primary gave from the last moment that its heir has seen until it was believed
    no more, or all, where Redis came back empty. A fault that loses no write adds nothing.
    """
    if band.wiped:
        return limit.burst
    if band.loses is None:
        return 0.0
    believed = max(min(last, band.began + band.loses) - max(first, band.began - REPLICATION), 0.0)
    again = (times - 1) * (REPLACED_AGAIN + REPLICATION)
    return limit.rate * (believed + again) + limit.burst * times


def _windows(taken: list[Call], *, step: float = 1.0) -> Iterator[tuple[float, float, int]]:
    """Windows of every length, at a grain of a second: begin, end, admitted inside."""
    if not taken:
        return
    start, end = taken[0].began, max(call.ended or call.began for call in taken)
    buckets = [0] * (int((end - start) / step) + 1)
    for call in taken:
        buckets[int((call.began - start) / step)] += 1
    for first in range(len(buckets)):
        count = 0
        for last in range(first, len(buckets)):
            count += buckets[last]
            yield start + first * step, start + (last + 1) * step, count
