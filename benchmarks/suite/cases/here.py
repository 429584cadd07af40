"""Limits that are answered without a round trip."""

from __future__ import annotations

from ..case import Bar, Case, Entry


def _case(name: str, title: str, micros: float, **parameters: int) -> Case:
    return Case(
        name,
        title,
        (Entry("ours", "check-here", "ours", parameters),),
        ("median", "p99", "client cpu"),
        (Bar("median", "ours", at_most=micros),),
    )


CASES = (
    _case("here-denied", "a refusal that is known", 2),
    _case("here-denied-long", "the same of a subject of 300 characters", 3, long=1),
    _case("here-leased", "a token of a lease", 2, leased=1),
)
