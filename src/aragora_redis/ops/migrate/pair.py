"""Both sides of a copy, connected to: what their servers say of themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import Redis

from ...address import Address
from .calls import CopyError, named, pipelined, told
from .changes import Count
from .sites import Clients, Site, opened

_WHO_IS_IT = ("server", "replication", "stats", "commandstats")


class Pair:
    """A source and a target.

    Attributes:
        source: connections for each database.
        target: the same.
        seconds: that a server has for an answer.
    """

    def __init__(self, source: Site, target: Site, dbs: Iterable[int], seconds: float) -> None:
        self.sites = (source, target)
        self.dbs = tuple(dbs)
        self.seconds = seconds
        self.source: dict[int, Clients] = {}
        self.target: dict[int, Clients] = {}
        self._stack = contextlib.AsyncExitStack()

    async def open(self) -> None:
        """Make connections; they connect when they are used first."""
        for side, site in zip((self.source, self.target), self.sites, strict=True):
            for db in self.dbs:
                side[db] = await self._stack.enter_async_context(opened(site, db))

    async def close(self) -> None:
        """End all connections."""
        await self._stack.aclose()

    def servers(self, side: Mapping[int, Clients]) -> list[tuple[str, Address, Redis]]:
        """The primaries of a side, with what they are called and a connection."""
        if not side:
            return []
        clients = side[self.dbs[0]]
        return [
            (named(clients.site.name, address), address, client)
            for address, client in clients.by_address.items()
        ]

    async def info(self, who: str, client: Redis, *sections: str) -> Mapping[str, Any]:
        """INFO of some sections; by default of what a server is and what it was given.

        Raises:
            CopyError: the server does not answer, or does not let us.
        """
        asked = [("INFO", each) for each in sections or _WHO_IS_IT]
        said = await pipelined(who, client, asked, self.seconds)
        for each in said:
            if isinstance(each, Exception):
                raise CopyError(
                    f"{who} does not say how it is: {told(each)}",
                    remedy="log in as one who may INFO, and run the migration again",
                )
        return {name: value for each in said for name, value in each.items()}

    async def unforeseen(self) -> list[int]:
        """Databases in which the source has keys, and which are none of ours.

        Raises:
            CopyError: a server does not answer.
        """
        found = [
            await self.info(who, each, "keyspace") for who, _, each in self.servers(self.source)
        ]
        used = {int(name.removeprefix("db")) for info in found for name in info}
        return sorted(used.difference(self.dbs))

    async def counts(self, side: Mapping[int, Clients]) -> dict[int, Count]:
        """How many keys a side has in each database.

        Raises:
            CopyError: a server does not answer.
        """
        found = [await self.info(who, client, "keyspace") for who, _, client in self.servers(side)]
        return {
            db: Count(*(sum(info.get(f"db{db}", {}).get(each, 0) for info in found) for each in of))
            for db in self.dbs
            for of in [("keys", "expires")]
        }
