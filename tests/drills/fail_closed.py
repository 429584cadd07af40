"""What is promised beside the invariants where an outage is refused and not bridged. Pure.

Limits are `fail-closed`, tokens and sessions `deny`.
"""

from __future__ import annotations

from collections.abc import Iterator

from .history import Band, Call, History
from .verdict import Expectations, Violation

BY_REDIS = frozenset({"redis", "lease"})
"""Who may let a check through: Redis, or what it has leased."""
DOCUMENTED = frozenset({"ok", "closed", "unknown"})
"""What a check comes to: a decision, or a refusal that says whether it was counted."""
SCHEDULING = 0.1
"""Seconds within which an instance has noted when it was vouched for last."""


def check(history: History, expected: Expectations) -> Iterator[Violation]:
    """All violations."""
    yield from _limits(history)
    yield from _vouched(history, expected)
    yield from _forgotten(history, expected)
    yield from _copies(history)


def _limits(history: History) -> Iterator[Violation]:
    """I2: a check that Redis has not decided, and that was let through or not told as refused."""
    for call in history.of("check"):
        if call.answer is True and call.source not in BY_REDIS:
            text = f"{call.process} admits a check of {call.on} by {call.source}"
            yield Violation("I2", call.began, text)
        elif call.ended is not None and call.outcome not in DOCUMENTED:
            yield Violation("I2", call.began, f"{call.process} says {call.outcome} to a check")


def _vouched(history: History, expected: Expectations) -> Iterator[Violation]:
    """I1: a token that an instance lets pass although it was not vouched for long enough."""
    for band in history.hitting("verify"):
        if band.gone is None:
            continue
        since, until = band.gone
        since += expected.staleness + SCHEDULING
        for call in _accepted(history):
            judged_there = band.alone in ("", call.process) and band.concerns(call.slot)
            if judged_there and since < call.began and (call.ended or call.began) < until:
                text = f"{call.process} vouches for {call.on} in {band.name}, alone for too long"
                yield Violation("I1", call.began, text)
                break


def _forgotten(history: History, expected: Expectations) -> Iterator[Violation]:
    """I1: a revoked id that is accepted in a fault, although every replica had it for so long.

    Whoever vouches has been in step since with a primary that has it, unless Redis came back empty.
    """
    replicated: dict[str, float] = {}
    for call in history.of("revoke"):
        if call.outcome == "ok" and call.answer == "replicated" and call.ended is not None:
            replicated[call.on] = min(replicated.get(call.on, call.ended), call.ended)
    bands = history.hitting("verify")
    for call in _accepted(history):
        since = replicated.get(call.on)
        if since is None or call.began <= since + expected.staleness + SCHEDULING:
            continue
        if not any(_emptied(band, since, call) for band in bands):
            text = f"{call.process} accepts {call.on}, revoked for {call.began - since:.1f} s"
            yield Violation("I1", call.began, text)


def _emptied(band: Band, since: float, call: Call) -> bool:
    return band.wiped and band.settled > since and band.began < call.began


def _accepted(history: History) -> list[Call]:
    return [call for call in history.of("verify") if call.answer is False]


def _copies(history: History) -> Iterator[Violation]:
    """A session that is given without Redis."""
    for call in history.of("read"):
        if call.source == "copy":
            yield Violation("closed", call.began, f"{call.process} gives {call.on} from a copy")
