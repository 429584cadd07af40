"""What a fault acts on, and what it writes down: the same in every mode."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from aragora_redis.lab import Lab

from ..fleet import Fleet
from ..history import Band, Recorder, What

UNTIL_SEEN = 0.3
"""Seconds after its end (0.2 of trust in a silent link, and scheduling) in which an old primary's
acknowledgement may still be believed."""
SWITCH_SECONDS = 30.0
WELL_SECONDS = 60.0
PEERS_SECONDS = 10.0
"""What others are given; some of them never find the new primary."""


class Victim(NamedTuple):
    """A primary that something happens to, and which slots of a cluster it has."""

    name: str
    slots: tuple[tuple[int, int], ...] = ()


class Ground(Protocol):
    """What differs between the modes of a lab."""

    def __init__(self, lab: Lab) -> None: ...

    def victim(self) -> Victim:
        """The primary that decides the limits of the load."""

    def replicas(self, victim: Victim) -> list[str]:
        """Who follows it."""

    def is_replaced(self, victim: Victim) -> bool:
        """Whether clients that ask are led to another one."""

    def is_whole(self) -> bool:
        """Whether all servers run, each in its place, so that the next fault can come."""

    async def listen(self, recorder: Recorder) -> None:
        """Note what the servers announce, until cancelled."""


@dataclass(slots=True)
class Stage:
    """What a fault acts on."""

    lab: Lab
    ground: Ground
    fleet: Fleet
    recorder: Recorder
    random: random.Random
    spares: tuple[What, ...] = ()
    """The kinds of calls whose Redis is another one."""
    stale: float = 0.0
    """Seconds after which instances refuse what they cannot vouch for; 0 where they never do."""

    async def do(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Act on the lab, whose calls block."""
        return await asyncio.to_thread(act, *args, **kwargs)

    async def victim(self) -> Victim:
        """The primary that decides the limits of the load."""
        found: Victim = await self.do(self.ground.victim)
        return found

    async def replicas(self, of: Victim) -> list[str]:
        """Who follows a primary."""
        found: list[str] = await self.do(self.ground.replicas, of)
        return found

    async def hold(self, least: float, most: float) -> None:
        """Let a fault last: how long is the fault."""
        await asyncio.sleep(self.random.uniform(least, most))

    async def until_stale(self) -> None:
        """Let a fault last until instances that hear nobody refuse, where they do."""
        await asyncio.sleep(self.stale)

    async def until_switched(self, old: Victim) -> None:
        """Wait until those who are asked name another primary."""
        end = time.monotonic() + SWITCH_SECONDS
        while not await self.do(self.ground.is_replaced, old):
            if time.monotonic() > end:
                raise TimeoutError(f"nobody has replaced {old.name}")
            await asyncio.sleep(0.05)
        self.recorder.happened("replaced", text=old.name)

    async def until_whole(self) -> None:
        """Wait until the servers are whole again, and every client can serve."""
        end = time.monotonic() + WELL_SECONDS
        while not await self.do(self.ground.is_whole):
            if time.monotonic() > end:
                raise TimeoutError("the topology does not become whole again")
            await asyncio.sleep(0.1)
        ours = self.fleet.subject == "ours"
        if not await self.fleet.until_well(WELL_SECONDS if ours else PEERS_SECONDS) and ours:
            raise TimeoutError("the clients do not become well again")

    @asynccontextmanager
    async def away(self, facts: dict[str, Any], *, alone: str = "") -> AsyncIterator[None]:
        """Write down in a band when no primary spoke to anybody, or to one process."""
        since = time.monotonic()
        try:
            yield
        finally:
            facts.update(gone=(since, time.monotonic()), alone=alone)

    @asynccontextmanager
    async def band(
        self, name: str, of: Victim | None = None, **facts: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Write down when a fault was there, and when all was well again.

        Args:
            name: of the fault.
            of: the one primary that it concerns.
            facts: as in `Band`; they can be changed inside, as they become known.
        """
        if of is not None:
            facts["slots"] = of.slots
        began = time.monotonic()
        try:
            yield facts
        finally:
            ended = time.monotonic()
            settled = float("inf")
            try:
                await self.until_whole()
                settled = time.monotonic()
            finally:
                self.recorder.write(
                    Band(
                        name=name,
                        began=began,
                        ended=ended,
                        settled=settled,
                        spares=self.spares,
                        **facts,
                    )
                )


Fault = Callable[[Stage], AbstractAsyncContextManager[None]]
