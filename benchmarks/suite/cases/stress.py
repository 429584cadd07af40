"""Under load: how long calls take that do not wait for each other, and who suffers."""

from __future__ import annotations

from ..case import Case, Entry

SHARES = (20, 50, 80, 95)

CASES = (
    Case(
        "load",
        "rate-limit checks that come when they come, at a share of what one process can do",
        tuple(Entry("stress", "arrivals", f"{share} %", {"share": share}) for share in SHARES),
        ("p99", "median", "p99.9", "rate"),
    ),
    Case(
        "overrun",
        "rate-limit checks by more callers than may wait for Redis; those too many decide here",
        tuple(
            Entry("stress", "overrun", f"{callers} callers", {"callers": callers})
            for callers in (256, 4_096, 16_384)
        ),
        ("rate", "client cpu", "p99"),
    ),
    Case(
        "fairness",
        "how evenly callers are served, by the one with the fewest calls in a round",
        tuple(
            Entry("growth", "check", f"{callers} callers", {"callers": callers})
            for callers in (16, 256, 1024)
        ),
        ("evenness", "median", "p99"),
    ),
    Case(
        "head-of-line",
        "rate-limit checks by 8 callers, alone and beside 2 that write sessions of 256 kB",
        (
            Entry("growth", "check", "alone", {"callers": 8}),
            Entry("stress", "beside-sessions", "beside sessions", {"callers": 8, "kilobytes": 256}),
        ),
        ("p99", "median", "p99.9", "rate"),
    ),
)
