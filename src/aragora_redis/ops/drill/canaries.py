"""Two writers side by side: this library, and plain redis-py as its users write it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from ...clock import Clock
from ...errors import AragoraRedisError, Ran
from ...events import Events
from ...link.reach import reach
from ...operation import Fence, Kind, Lane, Operation
from ...settings import Settings
from ..access import Access
from ..targets import SentinelTarget, StandaloneTarget
from .records import Outcome, Write

EVERY = 0.01
"""Seconds between the writes of one hand."""
HANDS = 4
"""Writes that a canary may have under way."""
CONNECT_LIMIT = 5.0
WRITE_LIMIT = 1.0
"""Seconds that a write of this library may take."""


class Canary(Protocol):
    """A writer of numbers."""

    async def start(self) -> None:
        """Connect."""

    async def add(self, number: int) -> Outcome:
        """Write one number, and tell what became of it. Raises nothing of its own."""

    async def close(self) -> None:
        """End all connections."""

    errors: Counter[str]


class OurCanary:
    """This library."""

    def __init__(self, settings: Settings, key: bytes, clock: Clock) -> None:
        self._reach = reach(settings, clock=clock, events=Events())
        self._clock = clock
        self._key = key
        self.errors: Counter[str] = Counter()

    async def start(self) -> None:
        self._reach.start()
        # redis-py connects with its first write, and waits; so it is fair to wait here.
        until = self._clock.monotonic() + CONNECT_LIMIT
        await self._reach.executor.usable(_add(self._key, 0), until)

    async def add(self, number: int) -> Outcome:
        try:
            await self._reach.executor.run(_add(self._key, number), within=WRITE_LIMIT)
        except AragoraRedisError as error:
            self.errors[type(error).__name__] += 1
            return Outcome.UNKNOWN if error.ran is Ran.UNKNOWN else Outcome.FAILED
        return Outcome.ACKNOWLEDGED

    async def close(self) -> None:
        await self._reach.close()


def _add(key: bytes, number: int) -> Operation[int]:
    # A set takes the same number twice, so that it may be sent again.
    return Operation(
        kind=Kind.JOIN,
        keys=(key,),
        args=("SADD", key, number),
        read=int,
        fence=Fence.PROBE,
        lane=Lane.BULK,
    )


class RedisPyCanary:
    """redis-py with its defaults: a client for whomever the Sentinels name."""

    def __init__(self, target: StandaloneTarget | SentinelTarget, key: bytes) -> None:
        self._target = target
        self._key = key
        self._client: Redis | None = None
        self.errors: Counter[str] = Counter()

    async def start(self) -> None:
        target = self._target
        login = _login(target.redis)
        if isinstance(target, StandaloneTarget):
            self._client = Redis(host=target.address.host, port=target.address.port, **login)
            return
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it so
            [tuple(at) for at in target.sentinels], sentinel_kwargs=_login(target.sentinel)
        )
        self._client = sentinel.master_for(target.master_name, **login)

    async def add(self, number: int) -> Outcome:
        if self._client is None:
            return Outcome.FAILED
        added: Any = self._client.sadd(self._key, number)
        try:
            await added
        except (RedisError, OSError, TimeoutError) as error:
            self.errors[type(error).__name__] += 1
            refused = isinstance(error, ResponseError | ReadOnlyError)
            return Outcome.FAILED if refused else Outcome.UNKNOWN
        return Outcome.ACKNOWLEDGED

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._client.aclose()


def _login(access: Access) -> dict[str, Any]:
    login: dict[str, Any] = {"username": access.username, "password": access.password}
    if access.tls is not None:
        login |= {"ssl": True, "ssl_cert_reqs": "none"}
    return login


class Flock:
    """Has canaries write, from `start` to `stop`, each on its own."""

    def __init__(self, canaries: dict[str, Canary], now: Callable[[], float]) -> None:
        self._canaries = canaries
        self._now = now
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False
        self.writes: dict[str, list[Write]] = {name: [] for name in canaries}

    async def start(self) -> None:
        """Connect, and begin to write."""
        await self._each(lambda canary: canary.start())
        for name, canary in self._canaries.items():
            numbers = iter(range(1, 1 << 62))
            self._tasks += [
                asyncio.create_task(self._write(name, canary, numbers)) for _ in range(HANDS)
            ]

    async def stop(self) -> None:
        """End. What is still under way is unknown."""
        self._over = True  # a cancellation may be lost inside a client's `wait_for` (Python 3.11)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._each(lambda canary: canary.close())

    def acknowledged_since(self, name: str, instant: float) -> bool:
        """Whether a canary has had a write acknowledged that it began after an instant."""
        recent = self.writes[name][-64:]
        return any(w.began > instant and w.outcome is Outcome.ACKNOWLEDGED for w in recent)

    async def _write(self, name: str, canary: Canary, numbers: Any) -> None:
        writes = self.writes[name]
        for number in numbers:
            began = self._now()
            outcome = Outcome.UNKNOWN
            try:
                outcome = await canary.add(number)
            finally:
                writes.append(Write(number, began, self._now(), outcome))
            if self._over:
                return
            await asyncio.sleep(EVERY)

    async def _each(self, act: Callable[[Canary], Awaitable[None]]) -> None:
        await asyncio.gather(*map(act, self._canaries.values()))


def canaries(
    settings: Settings,
    target: StandaloneTarget | SentinelTarget,
    clock: Clock,
    keys: dict[str, bytes],
) -> dict[str, Canary]:
    """One of each, writing under the keys of their names."""
    ours, peer = keys
    return {
        ours: OurCanary(settings, keys[ours], clock),
        peer: RedisPyCanary(target, keys[peer]),
    }
