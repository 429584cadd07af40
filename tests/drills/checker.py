"""Decides from histories alone which invariants held. Pure: no Redis, no clock.

Each rule states when an answer is a violation and when the documented limits of the promise excuse
it: a write that a dying primary acknowledged, a level that was never reached, a fault that is two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from . import fail_closed
from .admissions import admissions
from .excuses import PROPAGATION, hushed
from .history import Band, Call, History
from .session_rules import endings, reads_on_islands, updates, vanished
from .timing import deadlines, outage_latency, spared
from .verdict import Expectations, Violation


def check(history: History, expected: Expectations) -> list[Violation]:
    """All violations, in order of time."""
    rules = (
        revocations(history),
        admissions(history, expected),
        stale_writes(history),
        deadlines(history, expected),
        spared(history, expected),
        outage_latency(history, expected),
        updates(history),
        reads_on_islands(history),
        endings(history),
        vanished(history, expected),
        effects(history),
        probes(history, expected),
        faults_of_ours(history),
        () if expected.fail_open else fail_closed.check(history, expected),
    )
    return sorted((found for rule in rules for found in rule), key=lambda found: found.at)


# --- I1 ---------------------------------------------------------------------------------


class _Lives(NamedTuple):
    ends: dict[str, float]
    """Of each process that has ended."""
    starts: list[float]
    """When any was ready."""


def revocations(history: History) -> Iterator[Violation]:
    """I1: a revoked id that is accepted where it was known, or anywhere once that must be known."""
    lives = _Lives(
        {each.process: each.at for each in history.noted("ended")},
        [each.at for each in history.noted("started")],
    )
    revoked: dict[str, list[Call]] = defaultdict(list)
    for call in history.of("revoke"):
        if call.outcome == "ok":
            revoked[call.on].append(call)
    known = _knowledge(history)
    bands = history.hitting("verify")
    for call in history.of("verify"):
        if call.answer is not False:
            continue
        since = known.get((call.on, call.process))
        if since is not None and since < call.began:
            yield Violation("I1", call.began, f"{call.process} accepts {call.on}, which it knew")
            continue
        heard_by = call.began - PROPAGATION
        heard = [
            made
            for made in revoked.get(call.on, ())
            if made.ended is not None and made.ended < heard_by
        ]
        if (
            heard
            and not hushed(bands, heard_by, call.began)
            and any(_must_last(made, call, bands, known, lives) for made in heard)
        ):
            yield Violation(
                "I1", call.began, f"{call.process} accepts {call.on}, which all must know"
            )


def _knowledge(history: History) -> dict[tuple[str, str], float]:
    """Since when each process knew of each revoked id."""
    known: dict[tuple[str, str], float] = {}
    for call in history.of("revoke", "verify"):
        knows = call.outcome == "ok" if call.what == "revoke" else call.answer is True
        if knows and call.ended is not None:
            key = (call.on, call.process)
            known[key] = min(known.get(key, call.ended), call.ended)
    return known


def _must_last(
    made: Call,
    asked: Call,
    bands: Iterable[Band],
    known: dict[tuple[str, str], float],
    lives: _Lives,
) -> bool:
    """Whether a revocation is remembered by somebody when `asked` began."""
    ended = made.ended if made.ended is not None else float("inf")
    wiped = any(band.wiped and band.settled > ended and band.began < asked.began for band in bands)
    if made.answer == "replicated" and not wiped:
        return True
    died = lives.ends.get(made.process, float("inf"))
    # Who starts takes in what the dead have left, and publishes it.
    if made.disk and any(died < start < asked.began - PROPAGATION for start in lives.starts):
        return True
    return any(
        on == made.on
        and since < asked.began
        and lives.ends.get(process, float("inf")) > asked.began
        for (on, process), since in known.items()
    )


# --- I3 ---------------------------------------------------------------------------------


def stale_writes(history: History) -> Iterator[Violation]:
    """I3: something was sent to a primary that the process knew to be replaced."""
    for each in history.noted("stale-send"):
        yield Violation("I3", each.at, f"{each.process} wrote to {each.text} after its replacement")


# --- I5 ---------------------------------------------------------------------------------


def _by_subject(history: History) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = defaultdict(list)
    for call in history.of("check"):
        found[call.on].append(call)
    return found


def effects(history: History) -> Iterator[Violation]:
    """I5: a limit was charged for more than was admitted, or may have been."""
    for subject, calls in _by_subject(history).items():
        answered = [call for call in calls if call.source == "redis" and call.outcome == "ok"]
        counted = [call for call in answered if call.version]  # those that told what is left
        if not counted:
            continue
        last = max(counted, key=lambda call: call.ended or 0.0)
        given = sum(call.answer is True for call in calls)
        perhaps = sum(call.outcome == "unknown" or call.source == "local" for call in calls)
        if last.version > given + perhaps:
            yield Violation(
                "I5",
                last.began,
                f"{last.version} were taken from {subject} for {given} + {perhaps} calls",
            )


# --- I7 ---------------------------------------------------------------------------------


def probes(history: History, expected: Expectations) -> Iterator[Violation]:
    """I7: more trial calls in flight than the budget, and one more budget for each failover.

    A call that began in a fault counts as such for as long as it lasts.
    """
    edges: list[tuple[float, int, Call]] = []
    ends = {each.process: each.at for each in history.noted("ended")}
    for call in history.of("probe"):
        if call.outcome == "unknown" and call.ended is None:
            over = ends.get(call.process, float("inf"))  # it died with its process
        else:
            over = call.ended if call.ended is not None else float("inf")
        edges += [(call.began, 1, call), (over, -1, call)]
    flying: list[float] = []
    bands = history.hitting("probe")
    for at, step, call in sorted(edges, key=lambda edge: (edge[0], edge[1])):
        if step < 0:
            flying.remove(call.began)
            continue
        flying.append(call.began)
        if len(flying) <= expected.probes:
            continue
        oldest = flying[0]
        failovers = sum(
            band.began <= at and oldest <= band.settled and not band.seamless for band in bands
        )
        if len(flying) > expected.probes * (1 + failovers):
            yield Violation("I7", at, f"{len(flying)} trial calls of {call.on} in flight")
            return


# --- ours -------------------------------------------------------------------------------


def faults_of_ours(history: History) -> Iterator[Violation]:
    """An exception that is not documented, or a task that is left behind."""
    for what in ("unhandled", "left-behind"):
        for each in history.noted(what):
            yield Violation("ours", each.at, f"{each.process}: {what}: {each.text}")


def gaps(moments: list[float]) -> float:
    """The longest time between two of some moments."""
    return max((after - before for before, after in pairwise(sorted(moments))), default=0.0)
