"""Where names lead: asked once at a time, and remembered while nobody answers."""

from __future__ import annotations

import asyncio
import socket

from msgspec import Struct

from .. import native
from ..address import Address, is_name
from ..errors import AragoraRedisError, LinkDownError
from ..settings.hosts import Hosts
from .aside import aside

ANSWER_LIMIT = 1.0
"""Seconds that a connection waits for the resolver, before it takes the last answer."""


REMEMBERED = 256
"""Names whose last addresses are kept: a cluster's nodes may get ever new ones."""


class _Known(Struct):
    addresses: tuple[str, ...]
    failures: int = 0
    """How often nobody could be connected to at the one that was picked."""


class Names:
    """Addresses of hosts: those of the file first, else those of the system.

    A name that is being asked for is not asked for again, so a resolver that hangs holds one thread
    for each name.
    """

    def __init__(self, hosts: Hosts | None = None) -> None:
        self._hosts = hosts
        self._asking: dict[Address, asyncio.Task[tuple[str, ...]]] = {}
        self._known: dict[Address, _Known] = {}

    async def look_up(self, target: Address) -> tuple[str, ...]:
        """All addresses now, in the order of the answer.

        Raises:
            SettingsError: the file cannot be used.
            LinkDownError: nobody knows the name.
        """
        known = self._hosts.addresses(target.host) if self._hosts is not None else ()
        if known:
            return known
        if not is_name(target.host):
            return (target.host,)
        asking = self._asking.get(target)
        if asking is None:
            asking = self._asking[target] = asyncio.create_task(_ask(target))
            asking.add_done_callback(lambda _task: self._asking.pop(target, None))
        return await asyncio.shield(asking)

    async def pick(self, target: Address) -> str:
        """The address to connect to: the next one after each that failed, where there are several.

        Raises:
            SettingsError: the file cannot be used.
            LinkDownError: nobody knows the name, or ever did.
        """
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                self._remember(target, await self.look_up(target))
        except (LinkDownError, TimeoutError) as error:
            if target not in self._known:
                raise _unresolved(target, error) from None
        known = self._known[target]
        return known.addresses[known.failures % len(known.addresses)]

    def _remember(self, target: Address, addresses: tuple[str, ...]) -> None:
        known = self._known.setdefault(target, _Known(addresses))
        known.addresses = addresses
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def failed(self, target: Address) -> None:
        """Take in that nobody could be connected to at the address that was picked."""
        if (known := self._known.get(target)) is not None:
            known.failures += 1

    def close(self) -> None:
        """Wait for nobody any more."""
        for task in self._asking.values():
            task.cancel()


async def _ask(target: Address) -> tuple[str, ...]:
    try:
        found = await aside(
            f"the addresses of {target.host}",
            lambda: native.original("socket", "getaddrinfo")(
                target.host, target.port, type=socket.SOCK_STREAM
            ),
        )
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no name"
        raise LinkDownError(
            f"{target.host} cannot be resolved: {why}", remedy="check the name, and DNS"
        ) from None
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


def _unresolved(target: Address, error: Exception) -> AragoraRedisError:
    if isinstance(error, AragoraRedisError):
        return error
    return LinkDownError(
        f"{target.host} is not resolved within {ANSWER_LIMIT:g} s", remedy="check DNS"
    )
