"""The Redis of the revocations, which this instance holds and follows."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from ..errors import AragoraRedisError
from ..link.route import Route
from ..operation import Lane
from ..settings import Settings
from ..slots import key_slot
from ..tokens.entry import ALL_SHARDS, SHARDS
from .connected import Connected, Hearers, Instance
from .revocations.commitment import RedisSide
from .revocations.feed import TokenFeed

FINISH_LIMIT = 1.0
"""Seconds that is waited at the end for Redis to take what it has not got."""


class Followed(Connected):
    """The feed beside reach and presence.

    Args:
        settings, instance, hearers, features, decides: see `Connected`.
        prepared: waits until this instance has what it must publish as soon as it follows.
        outbox: a word for how the outbox on disk is.
    """

    def __init__(
        self,
        settings: Settings,
        instance: Instance,
        hearers: Hearers,
        *,
        features: tuple[str, ...],
        decides: bool,
        prepared: Callable[[], Coroutine[Any, Any, None]],
        outbox: Callable[[], str],
    ) -> None:
        super().__init__(settings, instance, hearers, features=features, decides=decides)
        self._prepared = prepared
        self._outbox = outbox
        self.feed = TokenFeed(
            self.executor,
            instance.clock,
            instance.events,
            prefix=settings.prefix,
            nonce=secrets.token_hex(8).encode(),
            holder=instance.boot_id,
            instances=self._instances,
            proven_at=self._proven_at,
            server_time=lambda shard: self._server_time(self._slots[shard]),
            on_reconciled=self._on_reconciled,
        )
        self._slots = [key_slot(keys.head) for keys in self.feed.keys]
        self._holders: list[Route | None] = [None] * SHARDS
        self.reach.channels = (*self.feed.channels, *hearers.channels)

    def for_tokens(self, ready: Callable[[], bool]) -> RedisSide:
        """What revocations need of all this."""
        return RedisSide(
            executor=self.executor,
            required=self.reach.required_replicas,
            ready=ready,
            staleness=self.staleness,
            nonce=self.feed.nonce,
            keys=self.feed.keys,
            wake=self.feed.wake,
            replicating=self.reach.replicating,
        )

    @property
    def reconciled(self) -> bool:
        """Whether a starting instance may trust what it has loaded, and knows how old that is.

        It has looked once more since all others had published what they knew.
        """
        agreed, feed = self.presence.agreed_since, self.feed
        if agreed is None or feed.looked_at < agreed:
            return False
        return feed.loaded and feed.settled and feed.fresh_at() > float("-inf")

    def staleness(self, shards: Collection[int] = ALL_SHARDS) -> float:
        """Seconds since this instance was certainly in step with the real primary."""
        return self._clock.monotonic() - self.feed.fresh_at(shards)

    def troubles(self) -> dict[str, str]:
        """What cannot be reached now, and why."""
        found = super().troubles()
        if self.feed.trouble is not None:
            found["feed"] = self.feed.trouble
        return found

    def _parts(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        return {**super()._parts(), "the revocation feed": self._follow}

    async def _follow(self) -> None:
        # Whoever follows says that it has published what it had.
        await self._prepared()
        await self.feed.run()

    async def _finish(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_LIMIT):
                await self.feed.finish()

    def _behind(self) -> str:
        return f"{self.staleness():.1f}"

    def _holds(self) -> str:
        return f"{self._outbox()} {sum(len(shard.replica) for shard in self.feed.shards)}"

    def _part(self) -> str:
        return ""

    def _eras(self) -> str:
        return self.feed.eras

    def _on_beat(self, error: AragoraRedisError | None) -> None:
        super()._on_beat(error)
        agreed = self.presence.agreed_since
        vouched = self.reach.down is None and not self.reach.doubted
        if vouched and agreed is not None and agreed > self.feed.looked_at:
            self.feed.wake()

    def _proven_at(self, shard: int) -> float | None:
        return self.reach.proven_at(self._slots[shard], self.presence.accepted_at)

    def _on_reconciled(self) -> None:
        self.presence.poke()
        for hear in self._hearers.on_new_history:
            hear()

    def _on_push(self, push: list[Any]) -> None:
        self.feed.on_push(push)
        super()._on_push(push)

    def _on_up(self, route: Route, lane: Lane) -> None:
        if lane is Lane.BULK:
            leads = self.reach.lead
            self.feed.on_link_up([i for i, slot in enumerate(self._slots) if leads(slot) is route])
        super()._on_up(route, lane)

    def _on_moved(self) -> None:
        """A shard that has another holder is looked at from the ground: its history is another."""
        holders = [self.reach.lead(slot) for slot in self._slots]
        moved = [i for i, holder in enumerate(holders) if holder is not self._holders[i]]
        self._holders = holders
        self.feed.on_link_up(moved)
