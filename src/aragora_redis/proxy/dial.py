"""Connect to a server for a program, and log it in where that is wanted."""

from __future__ import annotations

import asyncio

import hiredis

from ..address import Address
from ..errors import LinkDownError
from ..identity import Credential
from ..link.account import Account
from ..link.encryption import Encryption
from ..link.names import Names
from ..link.pipe import pack
from .lead import Server
from .passage import Side

LIMIT = 1.0
"""Seconds for all of it."""


class Dialer:
    """Opens connections to servers.

    Args:
        names: where their names lead.
        encryption: what they want; None is plain TCP.
        account: with what to log in; None leaves that to the programs.
        db: what is selected then.
    """

    def __init__(
        self, names: Names, encryption: Encryption | None, account: Account | None, db: int
    ) -> None:
        self._names = names
        self._encryption = encryption
        self._account = account
        self._setting = account.setting if account is not None else ""
        self._db = db

    async def dial(self, server: Server, side: Side) -> None:
        """Connect `side`.

        Raises:
            AragoraRedisError, OSError, TimeoutError: it cannot be had.
        """
        credential = await self._account.present() if self._account is not None else None
        login = self._words(credential)
        async with asyncio.timeout(LIMIT):
            transport = await self._open(server, _Login(login, self._setting) if login else side)
            if not login:
                return
            protocol = transport.get_protocol()
            assert isinstance(protocol, _Login)  # noqa: S101 - it has just been made
            try:
                await protocol.done
            except BaseException:
                transport.abort()
                if protocol.refused and self._account is not None and credential is not None:
                    self._account.refused(credential)
                raise
            if transport.is_closing():
                raise LinkDownError("the server has closed the connection")
            transport.set_protocol(side)
            side.connection_made(transport)

    async def _open(self, server: Server, protocol: asyncio.Protocol) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        if isinstance(server.target, str):
            transport, _ = await loop.create_unix_connection(lambda: protocol, server.target)
            return transport
        return await self._open_tcp(server.target, server.peer, protocol)

    async def _open_tcp(
        self, target: Address, peer: str | None, protocol: asyncio.Protocol
    ) -> asyncio.Transport:
        context = await self._encryption.context() if self._encryption is not None else None
        address = peer if peer is not None else await self._names.pick(target)
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: protocol,
            address,
            target.port,
            ssl=context,
            server_hostname=target.host.rstrip(".") if context is not None else None,
        )
        return transport

    def _words(self, credential: Credential | None) -> list[tuple[str | int, ...]]:
        """What is said before the program says anything."""
        if credential is None:
            return []
        auth = [("AUTH", *credential.words())] if credential.secret is not None else []
        return [*auth, *([("SELECT", self._db)] if self._db else [])]


class _Login(asyncio.Protocol):
    """Has the connection until the server has taken all commands."""

    def __init__(self, commands: list[tuple[str | int, ...]], setting: str) -> None:
        self._commands = b"".join(map(pack, commands))
        self._due = len(commands)
        self._setting = setting
        self.refused = False
        """Whether the server does not take what was said."""
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(self._commands)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while not self.done.done() and (reply := self._reader.gets()) is not Ellipsis:
                self._take(reply)
        except Exception:  # noqa: BLE001 - such as a map whose key is a list
            self._fail("the server does not speak RESP")

    def _take(self, reply: object) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refused = True
            # Not its text: a server may quote what it was sent.
            self._fail("the server refused the login")
            return
        self._due -= 1
        if self._due == 0:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._fail("the server has closed the connection")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LinkDownError(why, remedy=f"check {self._setting}"))
