"""What a drill exercises, behind one face: this library, and what a user would write without it.

The peers do the obvious: a key for each revoked id, a counter script for the limit, a hash for the
session, each through the Sentinel client of redis-py or coredis with its documented defaults.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import coredis
from redis import exceptions as redis_errors
from redis.asyncio.sentinel import Sentinel

from aragora_redis import SharedState
from aragora_redis.circuit.permit import Permit
from aragora_redis.errors import (
    AragoraRedisError,
    CircuitOpenError,
    NotReadyError,
    Ran,
    SessionConflictError,
    SessionGoneError,
    StaleError,
)
from aragora_redis.lab.config import MASTER_NAME

from .slots import NOWHERE, limit_slot, session_slot

HOUR = 3600.0
COUNTED = "counted"
"""The limit that regains nothing during a drill, so that every charge shows."""
COUNTED_BURST = 1_000_000
HOT, SLOW = "hot", "slow"
LIMITS = {HOT: 20, SLOW: 10, COUNTED: COUNTED_BURST}
CIRCUIT = "drill"
EVERYBODY = "everybody"
"""Whose limits all check."""
LIMIT_LUA = """
local used = redis.call('INCR', KEYS[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], 1000) end
return used
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """A limit's decision; `taken` is how much of the bucket is gone, where that is told."""

    allowed: bool
    source: str = "redis"
    taken: int = 0


class Made(NamedTuple):
    """How far a revocation got."""

    level: str
    disk: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """A session as it was read; `held` is the subject's own."""

    version: int
    data: Mapping[str, str] = field(default_factory=dict)
    source: str = "redis"
    held: Any = None


class Subject(Protocol):
    """One instance."""

    def outcome(self, error: Exception) -> str | None:
        """What an error means for its call; None where it is documented nowhere."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def well(self) -> bool: ...

    async def revoke(self, name: str) -> Made: ...

    async def verify(self, name: str) -> bool: ...

    async def check(self, policy: str, subject: str) -> Checked: ...

    async def create(self, user: str) -> str: ...

    async def read(self, session_id: str) -> Read | None: ...

    async def update(self, read: Read, name: str, value: str) -> int: ...

    async def end(self, read: Read) -> str: ...

    def limit_slot(self, subject: str) -> int: ...

    def session_slot(self, session_id: str) -> int: ...


class Ours:
    """This library."""

    def __init__(self) -> None:
        self.state = SharedState.from_env()

    def outcome(self, error: Exception) -> str | None:
        match error:
            case NotReadyError() | StaleError():
                return "not-ready"
            case SessionGoneError():
                return "gone"
            case SessionConflictError():
                return "conflict"
            case CircuitOpenError():
                return "refused"
            case AragoraRedisError():
                return "unknown" if error.ran is Ran.UNKNOWN else "no"
        return None

    async def start(self) -> None:
        self.state.start()
        await self.state.wait_ready(40)

    async def close(self) -> None:
        await self.state.close()

    async def well(self) -> bool:
        return self.state.ready and self.state.status().health == "healthy"

    async def revoke(self, name: str) -> Made:
        receipt = await self.state.tokens.revoke(name, expires_at=time.time() + HOUR)
        return Made(receipt.level.word, receipt.outbox == "disk")

    async def verify(self, name: str) -> bool:
        return self.state.tokens.is_revoked({"jti": name})

    async def check(self, policy: str, subject: str) -> Checked:
        decision = await self.state.rate_limits.check(policy, subject)
        taken = COUNTED_BURST - decision.remaining if policy == COUNTED else 0
        return Checked(decision.allowed, decision.source.value, taken)

    async def create(self, user: str) -> str:
        made = await self.state.sessions.create(user)
        assert made.id is not None
        return made.id

    async def read(self, session_id: str) -> Read | None:
        found = await self.state.sessions.get(session_id)
        return None if found is None else Read(found.version, found.data, found.source, found)

    async def update(self, read: Read, name: str, value: str) -> int:
        return (await self.state.sessions.update(read.held, set={name: value})).version

    async def end(self, read: Read) -> str:
        return (await self.state.sessions.end(read.held)).level.word

    def limit_slot(self, subject: str) -> int:
        return limit_slot(self.state.settings, subject)

    def session_slot(self, session_id: str) -> int:
        return session_slot(self.state.settings, session_id)

    async def acquire(self) -> Permit:
        return await self.state.circuits[CIRCUIT].acquire()


class RedisPy:
    """redis-py's Sentinel client, with its defaults."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        sentinel = Sentinel(
            sentinel_hosts(environ),
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
            sentinel_hosts(self._environ),
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


def sentinel_hosts(environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """The Sentinels that an environment names."""
    parts = (host.rsplit(":", 1) for host in environ["ARAGORA_REDIS_SENTINEL_HOSTS"].split(","))
    return [(host, int(port)) for host, port in parts]


def make(name: str, environ: Mapping[str, str]) -> Subject:
    """The subject of a name: `ours`, `redis-py` or `coredis`."""
    match name:
        case "ours":
            return Ours()
        case "redis-py":
            return RedisPy(environ)
        case "coredis":
            return Coredis(environ)
    raise ValueError(name)
