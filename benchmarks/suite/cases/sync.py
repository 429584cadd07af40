"""The same checks by threads."""

from __future__ import annotations

from ..case import Bar, Case, Entry


def _case(threads: int, times: float) -> Case:
    given = {"threads": threads}
    return Case(
        f"sync-{threads}",
        f"rate-limit checks by threads: {threads}",
        (
            Entry("ours", "check-sync", "ours", given),
            Entry("redis_py", "check-sync", "redis-py", given),
        ),
        ("rate", "median", "p99", "client cpu", "server cpu"),
        (Bar("rate", "ours", at_least=times, against="redis-py"),),
    )


CASES = (_case(1, 1), _case(16, 3.5))
