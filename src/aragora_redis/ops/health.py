"""`aragora-redis health`: ask every server, then judge.

What answers is believed only for what it can know: Sentinels for who is primary and how many
servers live, the primary itself for whether it takes commands now.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from ..address import Address
from .report import HealthReport, Status
from .verdict import (
    Failure,
    Fault,
    NodeSeen,
    SentinelSeen,
    judge_node,
    judge_sentinel,
    named_primary,
)

_GONE = {"s_down", "o_down", "disconnected"}


@dataclass(frozen=True, slots=True)
class Access:
    """How to log in to a server."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    db: int = 0


@dataclass(frozen=True, slots=True)
class StandaloneTarget:
    """One Redis, or a managed one behind one address."""

    address: Address
    redis: Access = Access()


@dataclass(frozen=True, slots=True)
class SentinelTarget:
    """A primary that Sentinels name."""

    sentinels: tuple[Address, ...]
    master_name: str
    redis: Access = Access()
    sentinel: Access = Access()


async def check_health(
    target: SentinelTarget | StandaloneTarget | None, *, deadline: float = 2.0
) -> HealthReport:
    """How healthy the Redis of an application is, redundancy included.

    Args:
        target: what the application is configured for; None for nothing.
        deadline: seconds that each server has for its answer. All Sentinels are asked at once,
            then the primary, so the whole takes at most twice as long.
    """
    match target:
        case None:
            return HealthReport(
                Status.UNKNOWN,
                "UNKNOWN: no Redis is configured; set ARAGORA_REDIS_URL, "
                "or ARAGORA_REDIS_SENTINEL_HOSTS and ARAGORA_REDIS_SENTINEL_MASTER",
            )
        case StandaloneTarget(address, access):
            return judge_node(address, await _node(address, access, deadline))
        case SentinelTarget(sentinels, master_name):
            seen = await asyncio.gather(*(_sentinel(each, target, deadline) for each in sentinels))
            answers = dict(zip(sentinels, seen, strict=True))
            primary = named_primary(answers)
            node = None if primary is None else await _node(primary, target.redis, deadline)
            return judge_sentinel(master_name, answers, node)


async def _sentinel(
    address: Address, target: SentinelTarget, deadline: float
) -> SentinelSeen | Failure:
    name = target.master_name
    try:
        async with asyncio.timeout(deadline), _client(address, target.sentinel) as client:
            master: Any = await client.sentinel_master(name)
            replicas: Any = await client.sentinel_slaves(name)
            fellows: Any = await client.sentinel_sentinels(name)
    except ResponseError as error:
        if "No such master" in str(error):
            return Failure(Fault.UNKNOWN_MASTER, f"knows no master named {name!r}")
        return _failure(error, target.sentinel, "ARAGORA_REDIS_SENTINEL_PASSWORD", deadline)
    except (RedisError, OSError) as error:
        return _failure(error, target.sentinel, "ARAGORA_REDIS_SENTINEL_PASSWORD", deadline)
    return SentinelSeen(
        primary=Address(master["ip"], int(master["port"])),
        epoch=int(master["config-epoch"]),
        flags=_flags(master),
        quorum=int(master["quorum"]),
        others=len(fellows),
        others_alive=sum(not _flags(fellow) & _GONE for fellow in fellows),
        replicas={
            Address(replica["ip"], int(replica["port"])): not _flags(replica) & _GONE
            and replica["master-link-status"] == "ok"
            for replica in replicas
        },
    )


async def _node(address: Address, access: Access, deadline: float) -> NodeSeen | Failure:
    try:
        async with asyncio.timeout(deadline), _client(address, access) as client:
            await client.ping()
            role = await _role(client)
            info: Any = await client.info("replication")
            min_replicas = await _min_replicas(client)
    except BusyLoadingError:
        return NodeSeen(
            "master", loading=True, linked=frozenset(), good_replicas=None, min_replicas=None
        )
    except (RedisError, OSError) as error:
        return _failure(error, access, "ARAGORA_REDIS_PASSWORD", deadline)
    return NodeSeen(
        role=role or str(info["role"]),
        loading=False,
        linked=_linked(info),
        good_replicas=info.get("min_slaves_good_slaves"),
        min_replicas=min_replicas,
    )


async def _role(client: Redis) -> str | None:
    """What ROLE says, or None on a managed Redis that does not offer it."""
    try:
        reply: Any = await client.role()
    except (NoPermissionError, ResponseError):
        return None
    return str(reply[0])


async def _min_replicas(client: Redis) -> int | None:
    try:
        reply: Any = await client.config_get("min-replicas-to-write")
        return int(reply["min-replicas-to-write"])
    except (ResponseError, KeyError):
        return None


def _linked(info: Mapping[str, Any]) -> frozenset[Address]:
    rows = (row for key, row in info.items() if key.startswith("slave") and isinstance(row, dict))
    return frozenset(
        Address(row["ip"], int(row["port"])) for row in rows if row["state"] == "online"
    )


def _flags(reply: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(reply["flags"]).split(","))


def _failure(error: Exception, access: Access, variable: str, deadline: float) -> Failure:
    """Tell what went wrong, and what to look at."""
    if isinstance(error, AuthenticationError):
        if access.password is None:
            return Failure(Fault.DENIED, f"requires a password; set {variable}")
        return Failure(Fault.DENIED, f"refuses the password; check {variable}")
    if isinstance(error, NoPermissionError):
        return Failure(Fault.DENIED, f"does not permit the user what a check needs: {error}")
    if isinstance(error, TimeoutError):
        return Failure(Fault.UNREACHABLE, f"does not answer within {deadline:g} s")
    return Failure(Fault.UNREACHABLE, _silence(error))


def _silence(error: Exception) -> str:
    causes = (error, error.__cause__, error.__context__)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "has a name that cannot be resolved"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return f"does not agree on TLS: {error}"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "refuses connections"
    return f"does not answer: {error}"


class _TLSConnection(Connection):
    """A connection inside a TLS context that the caller has prepared."""

    def __init__(self, *, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self._context = context

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}


@asynccontextmanager
async def _client(address: Address, access: Access) -> AsyncIterator[Redis]:
    options: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "username": access.username,
        "password": access.password,
        "db": access.db,
        "decode_responses": True,
        # The caller's deadline covers the whole conversation.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
    }
    if access.tls is not None:
        options |= {"connection_class": _TLSConnection, "context": access.tls}
    client = Redis.from_pool(ConnectionPool(**options))
    try:
        yield client
    finally:
        await client.aclose()
