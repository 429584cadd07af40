"""How to log in to one server, ask it something, and tell why it gave no answer."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    ResponseError,
)

from ..address import Address


@dataclass(frozen=True, slots=True)
class Access:
    """How to log in to a server."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    db: int = 0


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


def failure(error: Exception, access: Access, variable: str, deadline: float) -> Failure:
    """Tell what went wrong, and what to look at: `variable` sets the password."""
    if isinstance(error, AuthenticationError):
        if access.password is None:
            return Failure(Fault.DENIED, f"requires a password; set {variable}")
        return Failure(Fault.DENIED, f"refuses the password; check {variable}")
    if isinstance(error, NoPermissionError):
        return Failure(Fault.DENIED, f"does not permit the user what a check needs: {error}")
    if isinstance(error, TimeoutError):
        return Failure(Fault.UNREACHABLE, f"does not answer within {deadline:g} s")
    if isinstance(error, ResponseError | BusyLoadingError):
        loading = isinstance(error, BusyLoadingError)
        text = "is still loading its data" if loading else f"refuses to answer: {error}"
        return Failure(Fault.REFUSED, text)
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
async def connected(address: Address, access: Access) -> AsyncIterator[Redis]:
    """A client for one server that asks once, and waits as long as its caller does."""
    options: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "username": access.username,
        "password": access.password,
        "db": access.db,
        "decode_responses": True,
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
