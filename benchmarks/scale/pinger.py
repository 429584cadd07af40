"""A client that has nothing to do with all this: how long its PINGs take.

PASSWORD=... python -m benchmarks.scale.pinger PORT
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from redis import Redis

from .child import answering
from .strain import AHEAD

EVERY = 0.005

_over = threading.Event()
_took: list[float] = []


def _ping(client: Redis) -> None:
    while not _over.wait(EVERY):
        began = time.monotonic()
        client.ping()
        _took.append(time.monotonic() - began)


async def _main() -> None:
    with suppress(PermissionError):
        os.nice(AHEAD)
    client = Redis(port=int(sys.argv[1]), password=os.environ["PASSWORD"])
    client.ping()
    pinging: list[asyncio.Task[None]] = []

    async def begin() -> dict[str, Any]:
        pinging.append(asyncio.create_task(asyncio.to_thread(_ping, client)))
        return {}

    async def end() -> dict[str, Any]:
        _over.set()
        await pinging[0]
        took = sorted(_took) or [0.0]
        return {
            "median": took[len(took) // 2],
            "p99": took[int(len(took) * 0.99)],
            "most": took[-1],
        }

    await answering({"begin": begin, "end": end})


asyncio.run(_main())
