"""All four uses at once, while the primary dies: documented answers only, and every word kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from tests.integration.fleet import healthy, instances, until

from aragora_redis.errors import (
    CircuitOpenError,
    OutageError,
    OutcomeUnknownError,
    SessionConflictError,
)
from aragora_redis.state.sessions.endable import WRITE_LIMIT

OUTAGE = (OutageError, OutcomeUnknownError)
NOISE = 0.2
"""Seconds by which a loaded machine may be late."""


class Load:
    """Calls each use again and again, and counts how that came out."""

    def __init__(self, state, kept, ended):
        self.state = state
        self.kept, self.ended = kept, ended
        self.confirmed = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.surprises: list[object] = []
        self.stop = asyncio.Event()

    def start(self):
        uses = (
            (self.limit, ()),
            (self.read, OUTAGE),
            (self.write, (*OUTAGE, SessionConflictError)),
            (self.call, ()),
            (self.revoke, ()),
        )
        return [asyncio.create_task(self.repeat(*use)) for use in uses]

    async def repeat(self, use, documented):
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                await use()
                self.counts[use.__name__, "ok"] += 1
            except documented as error:
                self.counts[use.__name__, type(error).__name__] += 1
            except Exception as error:  # noqa: BLE001 - it is what the test looks for
                self.surprises.append((use.__name__, error))
            if (took := time.monotonic() - began) > WRITE_LIMIT + NOISE:
                self.surprises.append((use.__name__, took))
            await asyncio.sleep(0.01)

    async def limit(self):
        await self.state.rate_limits.check("api", "u")

    async def read(self):
        assert await self.state.sessions.get(self.ended.id) is None
        assert await self.state.sessions.get(self.kept.id) is not None

    async def write(self):
        found = await self.state.sessions.get(self.kept.id)
        await self.state.sessions.update(found, set={"count": found.data["count"] + 1})
        self.confirmed += 1

    async def call(self):
        async with self.state.circuits["up"]:
            pass
        with pytest.raises(CircuitOpenError):
            await self.state.circuits["down"].acquire()

    async def revoke(self):
        await self.state.tokens.revoke(f"t{time.monotonic()}", expires_at=time.time() + 60)


@pytest.mark.paired
async def test_a_killed_primary_under_load_over_all_four_uses(sentinel_lab):
    env = {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}
    async with instances(sentinel_lab, 2, **env) as (one, two):
        kept = await one.sessions.create(user="42", data={"count": 0})
        ended = await one.sessions.create(user="42")
        await one.sessions.end(ended)
        await one.circuits.force("down", "open")
        await until(lambda: two.revocations.has_ended(ended.ref.member), within=2)
        await until(lambda: two.circuits["down"].state == "forced-open", within=3)
        load = Load(two, kept, ended)
        tasks = load.start()
        await until(lambda: load.confirmed > 5)
        await asyncio.to_thread(sentinel_lab.kill, "primary")
        await until(lambda: two.status().health != "healthy")
        await until(healthy(one, two), within=40)
        before = load.confirmed
        await until(lambda: load.confirmed > before + 5)
        load.stop.set()
        await asyncio.gather(*tasks)
        assert not load.surprises, (load.surprises[:5], load.counts)
        assert load.counts["write", "ok"] < sum(
            count for (use, _), count in load.counts.items() if use == "write"
        ), "nobody noticed the outage"
        after = await one.sessions.get(kept.id)
        assert after.data["count"] > 0
        assert two.circuits["down"].state == "forced-open"
