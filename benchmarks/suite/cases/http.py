"""The gateway beside a service that does nothing."""

from __future__ import annotations

from ..case import Bar, Case, Entry

CALLERS = {"callers": 8}
BARE = "bare Starlette"

CASES = (
    Case(
        "gateway",
        "limit checks over HTTP, 8 connections, one process; CPU is the service's",
        (
            Entry("http", "gateway", "ours", CALLERS),
            Entry("http", "bare", BARE, CALLERS),
        ),
        ("per core", "rate", "median", "p99"),
        (Bar("per core", "ours", at_least=1, against=BARE),),
    ),
)
