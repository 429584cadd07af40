"""Calls of every kind that a state takes, and whether all is well with it."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from aragora_redis.errors import AragoraRedisError
from aragora_redis.rate_limit.policy import Rate
from aragora_redis.state.shared import SharedState

NUMBERS = itertools.count()
WITHIN = 0.2
"""Seconds that a revocation may wait to be confirmed."""


class Calls:
    """Each takes a name that nobody else has, and returns what it came to."""

    def __init__(self, state: SharedState) -> None:
        self.state = state
        self._redis: Any = state._redis

    async def check(self, name):
        return await self.state.rate_limits.check("api", name)

    async def check_own(self, name):
        limits = self.state.rate_limits
        await limits.set_limit("api", name, Rate("3/second"))
        return await limits.peek("api", name), await limits.own_limits("api")

    async def reserve(self, name):
        async with self.state.rate_limits.reserve("api", name, 2) as reserved:
            await reserved.keep()
            return await reserved.settle(1)

    async def reset(self, name):
        return await self.state.rate_limits.reset("api", name)

    async def use_session(self, name):
        sessions = self.state.sessions
        made = await sessions.create(user=name, data={"a": 1, "name": name})
        made = await sessions.update(made, set={"b": [name]})
        found = await sessions.get(made.id)
        assert found is None or found.user == name
        made = await sessions.rotate(made)
        listed = await sessions.of_user(name)
        return found, listed, await sessions.end_user(name)

    async def revoke(self, name):
        tokens = self.state.tokens
        ends = time.time() + 60
        receipt = await tokens.revoke(name, expires_at=ends, reason="x", within=WITHIN)
        assert tokens.is_revoked({"jti": name})
        return receipt, await tokens.note({"jti": name}), await tokens.count(), await tokens.list(5)

    async def use_circuit(self, name):
        circuits = self.state.circuits
        await circuits.force(name, "open", reason="x")
        return await circuits.look(name), await circuits.all(), await circuits.reporters(name)

    async def beat(self, name):
        del name
        self._redis.presence.poke()
        self._redis.feed.wake()
        await asyncio.sleep(0.05)

    async def load(self, name):
        del name
        self._redis.feed.on_link_up(range(16))
        await asyncio.sleep(0.1)

    async def reconnect(self, name):
        self._redis.reach._links.drop("another connection is wanted")
        await asyncio.sleep(0.05)
        return await self.check(name)

    async def audit(self, name):
        return await self.state.audit.recent(5, actor=name)

    async def well(self):
        """Whether everything works again."""
        name = f"well-{next(NUMBERS)}"
        self._redis.presence.poke()
        try:
            decision = await self.check(name)
            made = await self.state.sessions.create(user=name, data={"a": name})
            found = await self.state.sessions.get(made.id)
            receipt = await self.state.tokens.revoke(name, expires_at=time.time() + 60, within=1)
        except AragoraRedisError:
            return False
        assert found is not None
        assert (found.user, found.data) == (name, {"a": name})
        status = self.state.status()
        return decision.source == "redis" and receipt.level >= 1 and status.health == "healthy"


IN_MEMORY = ("check", "check_own", "reserve", "reset", "use_session", "use_circuit")
"""Those that a state without a Redis runs on the models of the scripts."""
ALL = (*IN_MEMORY, "revoke", "beat", "load", "reconnect", "audit")
