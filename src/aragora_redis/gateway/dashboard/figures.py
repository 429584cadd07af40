"""What is counted here of the last minute, and by all workers on the port together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from msgspec import Struct

from ...digests import digest_of
from ...events import Decided, Event, SessionRefused, SessionServed, SessionWrite
from ..latency import Latencies
from .heavy import Refusals
from .rates import Rate, Rates

TOP = 8
"""Subjects that are shown."""


class Refused(Struct, frozen=True):
    """How often a limit has refused a subject, in the last one to two minutes."""

    policy: str
    digest: str
    count: int


class Figures(Struct, frozen=True):
    """Figures of one process, or of several.

    Attributes:
        decisions: on rate limits, by who made them.
        sessions: reads by where they were answered, and changes: `allowed` are those that came out
            as they should, `refused` all others.
        answers: how long answers took, see `Latencies.rows`.
        refused: whom limits refuse most.
    """

    decisions: tuple[Rate, ...] = ()
    sessions: tuple[Rate, ...] = ()
    answers: tuple[tuple[int, ...], ...] = ()
    refused: tuple[Refused, ...] = ()


class Counted:
    """Counts events."""

    def __init__(self, latencies: Latencies) -> None:
        self._decisions = Rates()
        self._sessions = Rates()
        self._refusals = Refusals()
        self._latencies = latencies

    def see(self, event: Event, now: float) -> None:
        """Take in an event, at `now` (monotonic seconds)."""
        match event:
            case Decided():
                self._decisions.count(event.source, allowed=event.allowed, now=now)
                if not event.allowed and event.subject:
                    self._refusals.count(event.policy, event.subject, now)
            case SessionServed(source):
                self._sessions.count(source, allowed=True, now=now)
            case SessionRefused(reason):
                self._sessions.count(reason, allowed=False, now=now)
            case SessionWrite(_, outcome):
                self._sessions.count("changes", allowed=outcome == "ok", now=now)

    def figures(self, now: float) -> Figures:
        """Those of the last minute."""
        return Figures(
            decisions=self._decisions.last_minute(now),
            sessions=self._sessions.last_minute(now),
            answers=tuple(map(tuple, self._latencies.rows())),
            refused=tuple(
                Refused(subject.policy, digest_of(subject.digest), count)
                for subject, count in self._refusals.top(TOP, now)
            ),
        )


def together(each: Sequence[Figures]) -> Figures:
    """The figures of several processes as those of one."""
    if len(each) == 1:
        return each[0]
    counts: Counter[tuple[str, str]] = Counter()
    for figures in each:
        for row in figures.refused:
            counts[row.policy, row.digest] += row.count
    return Figures(
        decisions=_rates(rate for figures in each for rate in figures.decisions),
        sessions=_rates(rate for figures in each for rate in figures.sessions),
        answers=tuple(
            tuple(_added(row for row in rows if row))
            for rows in zip(*(figures.answers for figures in each), strict=False)
        ),
        refused=tuple(Refused(*who, count) for who, count in counts.most_common(TOP)),
    )


def _rates(rates: Iterable[Rate]) -> tuple[Rate, ...]:
    found: dict[str, Rate] = {}
    for rate in rates:
        known = found.get(rate.source)
        found[rate.source] = (
            rate
            if known is None
            else Rate(
                rate.source,
                tuple(_added((known.allowed, rate.allowed))),
                tuple(_added((known.refused, rate.refused))),
            )
        )
    return tuple(found[source] for source in sorted(found))


def _added(rows: Iterable[Sequence[int]]) -> Iterable[int]:
    return map(sum, zip_longest(*rows, fillvalue=0))
