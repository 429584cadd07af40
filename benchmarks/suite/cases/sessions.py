"""A session is read, changed and written."""

from __future__ import annotations

from ..case import Bar, Case, Entry

CALLERS = {"callers": 16}

CASES = (
    Case(
        "session",
        "read, modify and write one of 1 000 sessions, by 16 callers",
        (
            Entry("ours", "read-modify-write", "ours", CALLERS),
            Entry("starsessions_library", "read-modify-write", "starsessions", CALLERS),
        ),
        ("rate", "median", "p99", "client cpu", "server cpu"),
        (Bar("rate", "ours", at_least=3, against="starsessions"),),
    ),
)
