"""What a user would write without this library, behind the same face.

The obvious: a key for each revoked id, a counter script for the limit, a hash for the session, each
through the Sentinel client of redis-py or coredis with its documented defaults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import coredis
from redis import exceptions as redis_errors
from redis.asyncio.sentinel import Sentinel

from aragora_redis.lab.config import MASTER_NAME

from .slots import NOWHERE
from .subjects import HOUR, LIMITS, Checked, Made, Read

LIMIT_LUA = """
local used = redis.call('INCR', KEYS[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], 1000) end
return used
"""


class RedisPy:
    """redis-py's Sentinel client, with its defaults."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        sentinel = Sentinel(
            _sentinel_hosts(environ),
            sentinel_kwargs={"password": environ["ARAGORA_REDIS_SENTINEL_PASSWORD"]},
        )
        self.client: Any = sentinel.master_for(
            MASTER_NAME, password=environ["ARAGORA_REDIS_PASSWORD"], decode_responses=True
        )

    def outcome(self, error: Exception) -> str | None:
        if isinstance(error, redis_errors.TimeoutError):
            return "unknown"
        return "no" if isinstance(error, redis_errors.RedisError | OSError) else None

    async def start(self) -> None:
        await self.client.ping()

    async def close(self) -> None:
        await self.client.aclose()

    async def well(self) -> bool:
        try:
            async with asyncio.timeout(1):
                await self.client.set("well", "1")
        except (TimeoutError, Exception):  # noqa: BLE001 - whatever it is, it is not well
            return False
        return True

    def counts(self) -> int:
        return 1

    async def revoke(self, name: str) -> Made:
        await self.client.set(f"revoked:{name}", "1", ex=int(HOUR))
        return Made("primary")

    async def verify(self, name: str) -> bool:
        return bool(await self.client.exists(f"revoked:{name}"))

    async def check(self, policy: str, subject: str) -> Checked:
        used = await self.client.eval(LIMIT_LUA, 1, f"limit:{policy}:{subject}")
        return Checked(int(used) <= LIMITS[policy])

    async def create(self, user: str) -> str:
        await self.client.hset(f"session:{user}", mapping={"": "1"})
        return user

    async def read(self, session_id: str) -> Read | None:
        found = await self.client.hgetall(f"session:{session_id}")
        return Read(0, {k: v for k, v in found.items() if k}, held=session_id) if found else None

    async def update(self, read: Read, name: str, value: str) -> int:
        await self.client.hset(f"session:{read.held}", name, value)
        return 0

    async def end(self, read: Read) -> str:
        await self.client.delete(f"session:{read.held}")
        return "primary"

    def limit_slot(self, subject: str) -> int:
        del subject
        return NOWHERE

    def session_slot(self, session_id: str) -> int:
        del session_id
        return NOWHERE

    def token_slot(self, name: str) -> int:
        del name
        return NOWHERE


class Coredis(RedisPy):
    """coredis' Sentinel client, with its defaults."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._open = AsyncExitStack()

    def outcome(self, error: Exception) -> str | None:
        if isinstance(error, TimeoutError):
            return "unknown"
        return "no" if isinstance(error, coredis.exceptions.RedisError | OSError) else None

    async def start(self) -> None:
        sentinel = coredis.Sentinel(
            _sentinel_hosts(self._environ),
            sentinel_kwargs={"password": self._environ["ARAGORA_REDIS_SENTINEL_PASSWORD"]},
            password=self._environ["ARAGORA_REDIS_PASSWORD"],
            decode_responses=True,
        )
        await self._open.enter_async_context(sentinel)
        self.client = await self._open.enter_async_context(sentinel.primary_for(MASTER_NAME))

    async def close(self) -> None:
        await self._open.aclose()

    async def verify(self, name: str) -> bool:
        return bool(await self.client.exists([f"revoked:{name}"]))

    async def check(self, policy: str, subject: str) -> Checked:
        used = await self.client.eval(LIMIT_LUA, keys=[f"limit:{policy}:{subject}"])
        return Checked(int(used) <= LIMITS[policy])

    async def create(self, user: str) -> str:
        await self.client.hset(f"session:{user}", {"": "1"})
        return user

    async def update(self, read: Read, name: str, value: str) -> int:
        await self.client.hset(f"session:{read.held}", {name: value})
        return 0

    async def end(self, read: Read) -> str:
        await self.client.delete([f"session:{read.held}"])
        return "primary"


def _sentinel_hosts(environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """The Sentinels that an environment names."""
    parts = (host.rsplit(":", 1) for host in environ["ARAGORA_REDIS_SENTINEL_HOSTS"].split(","))
    return [(host, int(port)) for host, port in parts]


PEERS = {"redis-py": RedisPy, "coredis": Coredis}
