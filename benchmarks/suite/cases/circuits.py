"""A healthy call through a circuit that all instances share."""

from __future__ import annotations

from ..case import Bar, Case, Entry

CASES = (
    Case(
        "circuit-closed",
        "what a circuit adds to a healthy call, one at a time",
        (
            Entry("ours", "closed", "ours"),
            Entry("pybreaker_library", "closed", "pybreaker"),
            Entry("purgatory_library", "closed", "purgatory"),
        ),
        ("median", "p99", "client cpu", "server cpu"),
        (Bar("median", "ours", at_most=3),),
    ),
)
