"""The two sides of a migration: where data is read and written, and by which connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from ...address import Address
from ...slots import key_slot
from ..access import Access, connected

Slots = tuple[range, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """One of the two, as it is now.

    Attributes:
        name: what it is called in what is told, such as "the source".
        primaries: who takes writes, with the slots of each; one without slots holds all.
        access: how to log in to them.
    """

    name: str
    primaries: Mapping[Address, Slots]
    access: Access

    @property
    def clustered(self) -> bool:
        """Whether keys are spread over several primaries."""
        return any(self.primaries.values())

    def holder(self, key: bytes) -> Address:
        """The primary that holds a key.

        Raises:
            KeyError: nobody holds its slot.
        """
        if not self.clustered:
            return next(iter(self.primaries))
        slot = key_slot(key)
        for address, slots in self.primaries.items():
            if any(slot in each for each in slots):
                return address
        raise KeyError(f"nobody holds slot {slot} of {self.name}")


@dataclass(frozen=True, slots=True)
class Clients:
    """Connections to the primaries of a site, for one database. Replies are bytes."""

    site: Site
    by_address: Mapping[Address, Redis]

    def of(self, key: bytes) -> Redis:
        """The connection to the primary that holds a key."""
        return self.by_address[self.site.holder(key)]


@asynccontextmanager
async def opened(site: Site, db: int = 0) -> AsyncIterator[Clients]:
    """Connections to all primaries of a site; they are made when they are first used."""
    async with AsyncExitStack() as stack:
        by_address = {
            address: await stack.enter_async_context(
                connected(address, site.access, db=db, binary=True)
            )
            for address in site.primaries
        }
        yield Clients(site, by_address)
