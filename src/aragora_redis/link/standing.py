"""Whether the primary that this instance reaches may still speak for the whole fleet.

A primary that is cut off together with some instances goes on answering them until it refuses
writes, and never refuses where one of its replicas is with it; the others have another primary by
then. Limits are given twice, and what is written here is lost. An instance that hears no majority
of Sentinels cannot be told so. But as long as all replicas follow this primary, none of them is
another one.

So losing the Sentinels alone is no reason for doubt; losing them together with a replica is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from ..address import Address
from ..clock import Clock
from ..errors import AragoraRedisError
from ..operation import Kind, Operation
from ..topology.statement import FOLLOWS, read_followers
from .mux import Mux

LOOK_EVERY = 0.25
SILENCE = 1.5
"""Seconds without a majority of the Sentinels, each of which is asked every second."""
ASK_LIMIT = 0.05
_REPLICATION = Operation(
    kind=Kind.READ,
    keys=(),
    args=("INFO", "replication"),
    read=read_followers,
)


class Vouching(Protocol):
    """Those who together know whether a primary was replaced: Sentinels, or other primaries."""

    who: str
    """What they are, in the plural."""

    def heard_majority_since(self, instant: float) -> bool:
        """Whether most of them have been heard since then (monotonic seconds)."""

    @property
    def promotable_replicas(self) -> frozenset[Address]:
        """Which replicas could be made primary in its place, by their last words."""

    @property
    def known_replicas(self) -> frozenset[Address]:
        """All that they have told of."""


class Standing:
    """Looks, several times a second, at what others and the replicas vouch for.

    Args:
        lane: leads to the primary.
        on_doubt: told why, each time that a doubt about a linked primary begins.
    """

    def __init__(
        self, lane: Mux, vouching: Vouching, clock: Clock, *, on_doubt: Callable[[str], None]
    ) -> None:
        self._lane = lane
        self._vouching = vouching
        self._clock = clock
        self._on_doubt = on_doubt
        self._found: str | None = None
        self._told = False

    @property
    def doubt(self) -> str | None:
        """Why the primary may be that of a minority, or None.

        What the last look found is over as soon as a majority is heard: an instance that has only
        begun has nobody's word at its first look, and a moment later everybody's.
        """
        return None if self._found is None or self._heard() else self._found

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Look once."""
        self._found = found = await self._find_doubt()
        # A link that is down is told of by itself, as every instance that starts has one.
        if found is None or self._lane.down is not None:
            self._told = False
        elif not self._told:
            self._told = True
            self._on_doubt(found)

    async def _find_doubt(self) -> str | None:
        if self._heard():
            return None
        try:
            until = self._clock.monotonic() + ASK_LIMIT
            followers = _REPLICATION.result(await self._lane.submit(_REPLICATION, until))
        except AragoraRedisError as error:
            found = f"it does not tell who follows it: {error.message}"
        else:
            missed = self._missed(followers)
            if not missed:
                return None
            promotable = len(self._vouching.promotable_replicas)
            found = f"{promotable - missed} of its {promotable} replicas follow it"
        if self._heard():
            return None
        return (
            f"most {self._vouching.who} are silent, and the primary may have been replaced: {found}"
        )

    def _missed(self, followers: Sequence[tuple[Address, int]]) -> int:
        """How many of the replicas that could be made primary do not follow this one.

        A follower under a name that nobody has told of may be any of them: names cannot be
        compared where replicas announce others than the ones that Sentinels or nodes resolve.
        """
        following = [replica for replica, heard in followers if heard <= FOLLOWS]
        missed = self._vouching.promotable_replicas.difference(following)
        nameless = sum(replica not in self._vouching.known_replicas for replica in following)
        return max(len(missed) - nameless, 0)

    def _heard(self) -> bool:
        return self._vouching.heard_majority_since(self._clock.monotonic() - SILENCE)
