"""The beat on a real server, and a clock that went back."""

from __future__ import annotations

import asyncio
import secrets

from msgspec.structs import replace

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.rate_limit.share import FleetSize
from aragora_redis.state.presence import Presence, presence_keys


async def test_who_died_before_the_clock_went_back_is_missed_like_anybody(on_server):
    """The fleet of an hour ahead: one lives and beats again, the other died with the node."""
    prefix = f"test-{secrets.token_hex(8)}"
    beats, rows, _ = presence_keys(prefix)
    for boot in ("living", "dead"):
        on_server.client.zadd(beats, {boot: int(on_server.now() * 1000) + 3_600_000})
        on_server.client.hset(rows, boot, f"eras-of-{boot} hash 0 0 0 f {boot}")
    presence = Presence(
        on_server,
        SYSTEM_CLOCK,
        prefix=prefix,
        boot_id="me",
        policies=lambda: "hash",
        row=lambda: "0 0 0 f me",
        eras=lambda: "eras",
        fleet=FleetSize(),
        on_beat=lambda _: None,
    )
    beat = presence._operation("eras")
    assert (await on_server.run(beat)).ids == ("dead", "living", "me"), "nobody is dropped at once"
    short = replace(beat, args=(*beat.args[:3], 50, *beat.args[4:]))
    async with asyncio.timeout(5):
        while (await on_server.run(short)).ids != ("living", "me"):
            on_server.client.zadd(beats, {"living": int(on_server.now() * 1000)})
            await asyncio.sleep(0.01)
