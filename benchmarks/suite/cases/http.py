"""The gateway beside a service that does nothing."""

from __future__ import annotations

from ..case import Bar, Case, Entry

CALLERS = {"callers": 8}
BARE = "bare Starlette"

WORKERS = 2
ONE, SEVERAL = "one worker", f"{WORKERS} workers"

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
    Case(
        "gateway-workers",
        "limit checks over HTTP, 32 connections, by workers; CPU is that of all of them",
        tuple(
            Entry("http", "gateway", name, {"callers": 32, "workers": workers})
            for name, workers in ((ONE, 1), (SEVERAL, WORKERS))
        ),
        ("per core", "rate", "median", "p99"),
        (Bar("per core", SEVERAL, at_least=0.8, against=ONE),),
    ),
)
