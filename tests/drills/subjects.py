"""What a drill exercises, behind one face: this library, or one of its peers (peers.py)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from tests.integration.moved import Moved

from aragora_redis import SharedState
from aragora_redis.circuit.permit import Permit
from aragora_redis.errors import (
    AragoraRedisError,
    CircuitOpenError,
    LimitUnavailableError,
    NotReadyError,
    Ran,
    SessionConflictError,
    SessionGoneError,
    StaleError,
)
from aragora_redis.settings import from_env

from .slots import limit_slot, session_slot, token_slot

HOUR = 3600.0
COUNTED = "counted"
"""The limit that regains nothing during a drill, so that every charge shows."""
COUNTED_BURST = 1_000_000
HOT, SLOW = "hot", "slow"
LIMITS = {HOT: 20, SLOW: 10, COUNTED: COUNTED_BURST}
CIRCUIT = "drill"
EVERYBODY = "everybody"
"""Whose limits all check."""


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

    def counts(self) -> int:
        """How many share the limits, as far as this one knows."""

    async def revoke(self, name: str) -> Made: ...

    async def verify(self, name: str) -> bool: ...

    async def check(self, policy: str, subject: str) -> Checked: ...

    async def create(self, user: str) -> str: ...

    async def read(self, session_id: str) -> Read | None: ...

    async def update(self, read: Read, name: str, value: str) -> int: ...

    async def end(self, read: Read) -> str: ...

    def limit_slot(self, subject: str) -> int: ...

    def session_slot(self, session_id: str) -> int: ...

    def token_slot(self, name: str) -> int: ...


class Ours:
    """This library."""

    def __init__(self) -> None:
        self.clock = Moved()
        self.state = SharedState(from_env(), clock=self.clock)

    def outcome(self, error: Exception) -> str | None:
        word = None
        match error:
            case NotReadyError() | StaleError():
                word = "not-ready"
            case SessionGoneError():
                word = "gone"
            case SessionConflictError():
                word = "conflict"
            case CircuitOpenError():
                word = "refused"
            case LimitUnavailableError() if error.retry_after > 0 and error.ran is Ran.NO:
                word = "closed"
            case AragoraRedisError():
                word = "unknown" if error.ran is Ran.UNKNOWN else "no"
        return word

    async def start(self) -> None:
        self.state.start()
        await self.state.wait_ready(40)

    async def close(self) -> None:
        await self.state.close()

    async def well(self) -> bool:
        return self.state.ready and self.state.status().health == "healthy"

    def counts(self) -> int:
        return self.state.status().instances

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

    def token_slot(self, name: str) -> int:
        return token_slot(self.state.settings, name)

    async def acquire(self) -> Permit:
        return await self.state.circuits[CIRCUIT].acquire()
