"""How to log in to one server, ask it something, and tell why it gave no answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
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
from ..link.dialing import Dialed
from ..settings import Hosts, names
from ..settings.hosts import dialed


@dataclass(frozen=True, slots=True)
class Access:
    """How to log in to a server."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    db: int = 0
    hosts: Hosts | None = None
    setting: str = names.PASSWORD
    """Which one the password is from, or would be."""


ANYBODY: Final = Access()
"""Without a login."""


class Fault(StrEnum):
    """Why a server said nothing of use."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    DENIED = "denied"
    UNKNOWN_MASTER = "unknown-master"
    NO_CLUSTER = "no-cluster"


@dataclass(frozen=True, slots=True)
class Failure:
    """A server that said nothing of use."""

    fault: Fault
    text: str
    """What it did, as the end of a sentence that begins with its name."""
    late: bool = False
    """It said nothing in time, and may only have been slow."""
    nameless: bool = False
    """Its name leads to no address."""


def failure(error: Exception, access: Access, variable: str, deadline: float) -> Failure:
    """Tell what went wrong, and what to look at: `variable` sets the password."""
    if isinstance(error, AuthenticationError):
        unknown = access.password is None
        what = "requires a password; set" if unknown else "refuses the password; check"
        return Failure(Fault.DENIED, f"{what} {variable}")
    if isinstance(error, NoPermissionError):
        return Failure(Fault.DENIED, f"does not permit the user what a check needs: {error}")
    if isinstance(error, TimeoutError):
        return Failure(Fault.UNREACHABLE, f"does not answer within {deadline:g} s", late=True)
    if isinstance(error, ResponseError | BusyLoadingError):
        loading = isinstance(error, BusyLoadingError)
        text = "is still loading its data" if loading else f"refuses to answer: {error}"
        return Failure(Fault.REFUSED, text)
    if not isinstance(error, RedisError | OSError | UnicodeError):
        # What a peer that is no Redis sends makes redis-py, and who reads it, fail anyhow.
        return Failure(Fault.REFUSED, "gives no sensible answer: it may be no Redis")
    return _silence(error)


def _silence(error: Exception) -> Failure:
    causes = (error, error.__cause__, error.__context__)
    nameless = any(isinstance(cause, socket.gaierror | UnicodeError) for cause in causes)
    if nameless:
        text = "has a name that cannot be resolved"
    elif any(isinstance(cause, ssl.SSLError) for cause in causes):
        text = f"does not agree on TLS: {error}"
    elif any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        text = "refuses connections"
    else:
        text = f"does not answer: {error}"
    return Failure(Fault.UNREACHABLE, text, nameless=nameless)


async def answers(address: Address, within: float = 2.0) -> bool:
    """Whether anybody takes connections there."""
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(*address)
    except OSError:  # a timeout is one
        return False
    writer.close()
    return True


@asynccontextmanager
async def connected(
    address: Address, access: Access, *, db: int | None = None, binary: bool = False
) -> AsyncIterator[Redis]:
    """A client for one server that asks once, and waits as long as its caller does.

    Args:
        address: of the server.
        access: how to log in.
        db: another database than that of `access`.
        binary: whether replies are bytes as they come, and not text.
    """
    options: dict[str, Any] = {
        "connection_class": Dialed,
        "address": dialed(access.hosts, address.host),
        "context": access.tls,
        "host": address.host,
        "port": address.port,
        "username": access.username,
        "password": access.password,
        "db": access.db if db is None else db,
        "decode_responses": not binary,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
    }
    client = Redis.from_pool(ConnectionPool(**options))
    try:
        yield client
    finally:
        await client.aclose()
