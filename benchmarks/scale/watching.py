"""Connections that ask a Sentinel what an instance asks it each second, and hear its news.

PASSWORD=... python -m benchmarks.scale.watching PORT COUNT MASTER
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from typing import Any

import hiredis

from aragora_redis.link.pipe import pack

from .child import answering

EVERY = 1.0
ASKED = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "SENTINELS", "REPLICAS")
"""As in `link/watcher.py`."""
NEWS = ("+switch-master", "+sdown", "-sdown", "+odown", "-odown")
PACE = 0.002


class Watch(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.answers = 0
        self.took = 0.0
        self.asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            if not isinstance(reply, hiredis.PushNotification):
                self.answers += 1
                self.took = max(self.took, time.monotonic() - self.asked_at)

    def write(self, *commands: tuple[str, ...]) -> None:
        self.asked_at = time.monotonic()
        self.transport.write(b"".join(map(pack, commands)))


async def _main() -> None:
    port, count, master = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    loop, watches = asyncio.get_running_loop(), list[Watch]()

    async def start() -> dict[str, Any]:
        for _ in range(count):
            _, watch = await loop.create_connection(Watch, "127.0.0.1", port)
            watch.write(("HELLO", "3", "AUTH", "default", os.environ["PASSWORD"]))
            watch.write(("SUBSCRIBE", *NEWS))
            watches.append(watch)
            await asyncio.sleep(PACE)
        return {}

    async def live(seconds: str) -> dict[str, Any]:
        until = time.monotonic() + float(seconds)
        for watch in watches:
            watch.answers, watch.took = 0, 0.0

        async def one(watch: Watch) -> None:
            await asyncio.sleep(random.uniform(0, EVERY))
            while time.monotonic() < until:
                watch.write(*(("SENTINEL", what, master) for what in ASKED))
                await asyncio.sleep(EVERY)

        await asyncio.gather(*map(one, watches))
        return {
            "answers": sum(watch.answers for watch in watches),
            "slowest": max(watch.took for watch in watches),
        }

    await answering({"start": start, "live": live})


asyncio.run(_main())
