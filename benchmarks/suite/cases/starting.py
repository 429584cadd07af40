"""How soon a process is of use."""

from __future__ import annotations

from ..case import Bar, Case, Entry

CASES = (
    Case(
        "start-ready",
        "from the start of a process until its state is ready",
        (Entry("starting", "ready", "ours"),),
        ("milliseconds",),
        (Bar("milliseconds", "ours", at_most=1000),),
    ),
    Case(
        "start-import",
        "a process that imports something and says so",
        (
            Entry("starting", "import aragora_redis", "aragora_redis"),
            Entry("starting", "import SharedState", "SharedState"),
            Entry("starting", "import redis", "redis.asyncio"),
            Entry("starting", "import asyncio", "asyncio"),
        ),
        ("milliseconds",),
        # The package alone brings names; what a service imports of it is shown beside it.
        (Bar("milliseconds", "aragora_redis", at_most=50, less="asyncio"),),
    ),
)
