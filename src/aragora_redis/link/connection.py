"""Open one connection: TCP or Unix socket, TLS, credentials, RESP3.

redis-py does the handshake; then the transport is handed to `Pipe`, which reads replies as they
arrive instead of one task's turn for each. Its pools and retries are not used: they hold one
connection for each command in flight, and retry against the address that has just died.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field
from redis import exceptions
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection

from ..address import Address
from ..errors import LinkDownError
from ..identity import Credential
from ..settings import names
from .account import Account
from .dialing import Dialed
from .encryption import Encryption, explain
from .names import Names
from .pipe import Pipe, PushHandler, pack
from .replies import without_arguments

Target = Address | str
"""Where to connect: a TCP address, or the path of a Unix socket."""


class Login(Struct, frozen=True):
    """How to present ourselves to servers, and where their names lead.

    Attributes:
        variable: what a variable of all is called for this Redis, see `Settings.variable`.
    """

    account: Account
    db: int = 0
    encryption: Encryption | None = None
    names: Names = field(default_factory=Names)
    variable: Callable[[str], str] = str


async def connect(
    target: Target,
    login: Login,
    *,
    timeout: float,  # noqa: ASYNC109 - the one place where the limit is applied
    on_push: PushHandler,
    on_dial: Callable[[str], None] = lambda _address: None,
) -> Pipe:
    """Open and authenticate a connection.

    Args:
        target: the server.
        login: credentials and TLS.
        timeout: seconds for TCP, TLS and authentication.
        on_push: gets every RESP3 push, such as a published message.
        on_dial: told the network address that is connected to.

    Raises:
        LinkDownError: it could not be had; the message says at which step.
        SettingsError: a file of the settings cannot be used.
    """
    credential = await login.account.present()
    context = await login.encryption.context() if login.encryption is not None else None
    address = ""
    if isinstance(target, Address):
        address = await login.names.pick(target)
        on_dial(address)
    connection = _prepare(target, address, login, credential, context)
    try:
        async with asyncio.timeout(timeout):
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py does not type it
    except asyncio.CancelledError:
        await connection.disconnect(nowait=True)
        raise
    except TimeoutError as error:
        await connection.disconnect(nowait=True)
        _note_failure(target, login)
        raise LinkDownError(f"no connection to {target} within {timeout:g} s") from error
    except Exception as error:  # noqa: BLE001 - a peer that is no Redis makes redis-py fail anyhow
        await connection.disconnect(nowait=True)
        _note_failure(target, login)
        if _refused(error):
            login.account.refused(credential)
        raise _explain(target, login, error) from None  # its text may hold what was sent
    pipe = Pipe(connection, on_push)
    # For whoever lists the server's clients; one that does not allow it loses nothing.
    pipe.send(pack(("CLIENT", "SETNAME", "aragora-redis")), [lambda _reply: None])
    login.account.opened(pipe, credential)
    return pipe


def _note_failure(target: Target, login: Login) -> None:
    if isinstance(target, Address):
        login.names.failed(target)


def _refused(error: Exception) -> bool:
    return isinstance(error, exceptions.AuthenticationError) or "WRONGPASS" in str(error)


def _prepare(
    target: Target,
    address: str,
    login: Login,
    credential: Credential,
    context: ssl.SSLContext | None,
) -> AbstractConnection:
    options: dict[str, Any] = {
        "username": credential.username,
        "password": credential.secret.reveal() if credential.secret is not None else None,
        "db": login.db,
        "protocol": 3,
        # Our own limit bounds it all. With theirs, asyncio.wait_for (Python 3.11) may swallow a
        # cancellation, and a task that was to stop would go on leading to the old primary.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "driver_info": None,
    }
    if isinstance(target, str):
        return UnixDomainSocketConnection(path=target, **options)
    return Dialed(
        address=address,
        context=context,
        host=target.host,
        port=target.port,
        **options,
    )


def _explain(target: Target, login: Login, error: Exception) -> LinkDownError:
    if _refused(error):
        return LinkDownError(
            f"{target} refused the credentials",
            remedy=f"check {login.account.setting}",
        )
    if isinstance(error, exceptions.BusyLoadingError):
        return LinkDownError(f"{target} is loading its data", remedy="try again shortly")
    if not isinstance(error, exceptions.RedisError | OSError):
        return LinkDownError(
            f"{target} does not answer as a Redis does", remedy="check host, port and TLS"
        )
    # redis-py wraps what the system said, and quotes the address once more.
    said = error if isinstance(error, OSError) else error.__context__
    if isinstance(said, ssl.SSLCertVerificationError):
        why, remedy = explain(said, login.variable)
        return LinkDownError(f"{target} is not used: {why}", remedy=remedy)
    if isinstance(said, ConnectionError | FileNotFoundError | PermissionError) and said.errno:
        why = os.strerror(said.errno)
    else:
        why = getattr(said, "strerror", None) or without_arguments(str(error))
    remedy = "check host, port and TLS"
    if login.encryption is not None and not login.encryption.presents_itself:
        wanted = login.variable(names.TLS_CERT)
        remedy += f"; a server that asks for a certificate wants {wanted}"
    return LinkDownError(f"{target} cannot be reached: {why}", remedy=remedy)
