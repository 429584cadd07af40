"""Pardons that nobody of ours can have made: they are not heeded anyway, and said here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...events import Events, PardonsIgnored
from ...settings.model import TokenSettings
from ...tokens.pardon import NAMED_BYTES, Pardons
from ...tokens.replica import ShardReplica
from ...tokens.shard import Shard
from ..breathing import breathing

LOOK_EVERY = 5.0
"""Seconds between looks for pardons that are new."""
AGAIN_AFTER = 12
"""Looks after which those that fit nothing are looked at again: what they fit may have come."""


def pardons_of(settings: TokenSettings) -> Pardons:
    """What makes and knows pardons, under the key of the settings."""
    key = settings.pardon_key
    return Pardons(key.reveal_bytes() if key is not None else None)


class StrayPardons:
    """Looks for pardons in the replica that fit nothing there.

    Args:
        shards: the replica.
        pardons: what knows a pardon.
        events: told when their number changes.
    """

    def __init__(self, shards: Sequence[Shard], pardons: Pardons, events: Events) -> None:
        self._shards = shards
        self._pardons = pardons
        self._events = events
        self._known: list[set[bytes]] = [set() for _ in shards]
        self._stray: list[set[bytes]] = [set() for _ in shards]
        self.trouble: str | None = None
        """What is wrong with pardons in Redis."""

    async def run(self) -> None:
        """Look until cancelled."""
        looks = 0
        while True:
            looks += 1
            again = looks % AGAIN_AFTER == 0
            for index in range(len(self._shards)):
                await self.look(index, again=again)
            self._tell()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self, index: int, *, again: bool) -> None:
        """Look at one shard, if it has pardons that are new."""
        replica = self._shards[index].replica
        there = set(replica.pardons)
        unknown = there - self._known[index] - (set() if again else self._stray[index])
        if not unknown:
            return
        stray = await self._strays(unknown, replica) if self._pardons.heeded else unknown
        self._known[index] = (self._known[index] & there) | (unknown - stray)
        self._stray[index] = ((self._stray[index] & there) - unknown) | stray

    async def _strays(self, pardons: set[bytes], replica: ShardReplica) -> set[bytes]:
        prefixes = {each[:NAMED_BYTES] for each in pardons}
        named = [
            entry
            async for entry in breathing(replica.entries())
            if entry.member[:NAMED_BYTES] in prefixes
        ]
        return self._pardons.stray(pardons, named)

    def _tell(self) -> None:
        count = sum(len(each) for each in self._stray)
        trouble = None
        if count and not self._pardons.heeded:
            trouble = f"{count} pardons are not heeded: this instance has no ARAGORA_PARDON_KEY"
        elif count:
            trouble = (
                f"{count} pardons in Redis fit no revocation under our ARAGORA_PARDON_KEY: they "
                "are forged, altered, or made with another key, and are not heeded"
            )
        if trouble != self.trouble:
            self.trouble = trouble
            if trouble is not None:
                self._events.emit(PardonsIgnored(count, trouble))
