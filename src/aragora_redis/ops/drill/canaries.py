"""Two clients side by side: this library, and plain redis-py as its users write it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from ...clock import Clock
from ...errors import AragoraRedisError, Ran
from ...events import Events
from ...link.dialing import Dialed
from ...link.reach import reach
from ...operation import Fence, Kind, Lane, Operation
from ...settings import Hosts, Settings
from ...settings.hosts import dialed
from ..access import Access
from ..targets import ClusterTarget, SentinelTarget, StandaloneTarget, Target
from .records import Outcome, Write

EVERY = 0.01
"""Seconds between the writes of one hand."""
HANDS = 4
"""Writes that a writer may have under way."""
CONNECT_LIMIT = 5.0
WRITE_LIMIT = 1.0
"""Seconds that a write of this library may take."""


class Client(Protocol):
    """Writes numbers into sets."""

    async def start(self, key: bytes) -> None:
        """Connect, so that this key can be written."""

    async def add(self, key: bytes, number: int) -> tuple[Outcome, str]:
        """Write one number.

        Returns:
            What became of it, and which kind of error was raised.
        """

    async def close(self) -> None:
        """End all connections."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One writer: a client, which others may share, and a set of its own."""

    client: Client
    key: bytes
    hands: int = HANDS


class OurClient:
    """This library."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._reach = reach(settings, clock=clock, events=Events())
        self._clock = clock
        self._started = False

    async def start(self, key: bytes) -> None:
        if not self._started:
            self._started = True
            self._reach.start()
        # redis-py connects with its first write, and waits; so it is fair to wait here.
        until = self._clock.monotonic() + CONNECT_LIMIT
        await self._reach.executor.usable(_add(key, 0), until)

    async def add(self, key: bytes, number: int) -> tuple[Outcome, str]:
        try:
            await self._reach.executor.run(_add(key, number), within=WRITE_LIMIT)
        except AragoraRedisError as error:
            outcome = Outcome.UNKNOWN if error.ran is Ran.UNKNOWN else Outcome.FAILED
            return outcome, type(error).__name__
        return Outcome.ACKNOWLEDGED, ""

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


class RedisPyClient:
    """redis-py with its defaults: a client for whomever the Sentinels name, or for a cluster."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client: Redis | RedisCluster | None = None

    async def start(self, key: bytes) -> None:  # noqa: ARG002 - it connects with its first write
        self._client = self._client or _redis_py(self._target)

    async def add(self, key: bytes, number: int) -> tuple[Outcome, str]:
        if self._client is None:
            return Outcome.FAILED, ""
        added: Any = self._client.sadd(key, number)
        try:
            await added
        except (RedisError, OSError, TimeoutError) as error:
            refused = isinstance(error, ResponseError | ReadOnlyError)
            return (Outcome.FAILED if refused else Outcome.UNKNOWN), type(error).__name__
        return Outcome.ACKNOWLEDGED, ""

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._client.aclose()


def _redis_py(target: Target) -> Redis | RedisCluster:
    login = _login(target.redis)
    match target:
        case StandaloneTarget():
            return _by_name(target, login)
        case ClusterTarget():
            nodes = [ClusterNode(host, port) for host, port in target.nodes]
            return RedisCluster(startup_nodes=nodes, **login)
        case SentinelTarget():
            sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it so
                [tuple(at) for at in target.sentinels], sentinel_kwargs=_login(target.sentinel)
            )
            client: Redis = sentinel.master_for(target.master_name, db=target.redis.db, **login)
            return client


class _LookedUp(Dialed):
    """Looks its name up for each connection, as redis-py does, but in our hosts file."""

    def __init__(self, *, hosts: Hosts, **options: Any) -> None:
        super().__init__(address=options["host"], **options)
        self._hosts = hosts

    def _connection_arguments(self) -> Mapping[str, Any]:
        self._address = dialed(self._hosts, self.host)
        return super()._connection_arguments()


def _by_name(target: StandaloneTarget, login: dict[str, Any]) -> Redis:
    access, (host, port) = target.redis, target.address
    if access.hosts is None:
        return Redis(host=host, port=port, db=access.db, **login)
    client = Redis(
        host=host, port=port, db=access.db, username=access.username, password=access.password
    )
    pool = client.connection_pool
    pool.connection_class = _LookedUp
    pool.connection_kwargs |= {"hosts": access.hosts, "context": access.tls}
    return client


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
        await _all(canary.client.start(canary.key) for canary in self._canaries.values())
        for name, canary in self._canaries.items():
            numbers = iter(range(1, 1 << 62))
            self._tasks += [
                asyncio.create_task(self._write(name, canary, numbers)) for _ in range(canary.hands)
            ]

    async def stop(self) -> None:
        """End. What is still under way is unknown."""
        self._over = True  # a cancellation may be lost inside a client's `wait_for` (Python 3.11)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        clients: Sequence[Client] = [canary.client for canary in self._canaries.values()]
        await _all(client.close() for client in dict.fromkeys(clients))

    def acknowledged_since(self, name: str, instant: float) -> bool:
        """Whether a canary has had a write acknowledged that it began after an instant."""
        recent = self.writes[name][-64:]
        return any(w.began > instant and w.outcome is Outcome.ACKNOWLEDGED for w in recent)

    async def _write(self, name: str, canary: Canary, numbers: Iterator[int]) -> None:
        writes = self.writes[name]
        for number in numbers:
            began = self._now()
            outcome, error = Outcome.UNKNOWN, ""
            try:
                outcome, error = await canary.client.add(canary.key, number)
            finally:
                writes.append(Write(number, began, self._now(), outcome, error))
            if self._over:
                return
            await asyncio.sleep(EVERY)


async def _all(work: Iterator[Awaitable[None]]) -> None:
    await asyncio.gather(*work)
