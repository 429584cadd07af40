"""What a `SharedState` has beyond this process when there is a Redis: the parts, wired."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from ..clock import Clock, ServerTime
from ..errors import AragoraRedisError, LinkDownError
from ..events import Events, PoliciesDiffer
from ..link.reach import reach
from ..link.route import Route
from ..link.supervision import supervised
from ..operation import Lane
from ..rate_limit.share import FleetSize
from ..settings import Settings
from ..slots import key_slot
from ..tokens.entry import ALL_SHARDS, SHARDS
from .presence import Presence
from .replica_lag import ReplicaLag
from .revocations.commitment import RedisSide
from .revocations.feed import TokenFeed
from .service import Service
from .tally import Tally

FINISH_LIMIT = 1.0
"""Seconds that is waited at the end for Redis to take what it has not got."""


class Connected:
    """Reach, presence and feed of one instance.

    Args:
        channels: what to subscribe to beside the feed.
        on_push: gets every published message.
        on_link_up: told that messages are published to us again.
        on_accepted: told of each accepted beat: Redis takes writes.
        on_new_history: told that what Redis holds may lack what was written last.
        prepared: waits until this instance has what it must publish as soon as it follows.
        outbox: a word for how the outbox on disk is.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        boot_id: str,
        policies: Callable[[], str],
        clock: Clock,
        events: Events,
        service: Service,
        fleet: FleetSize,
        channels: tuple[bytes, ...],
        on_push: Callable[[list[Any]], None],
        on_link_up: Callable[[], None],
        on_accepted: Callable[[], None],
        on_new_history: Callable[[], None],
        prepared: Callable[[], Coroutine[Any, Any, None]],
        outbox: Callable[[], str],
    ) -> None:
        self._on_other_push = on_push
        self._on_link_up = on_link_up
        self._on_accepted = on_accepted
        self._on_new_history = on_new_history
        self._prepared = prepared
        self._events = events
        self._differing = 0
        self._said_differing = False
        self._clock = clock
        self._service = service
        self._tasks: list[asyncio.Task[None]] = []
        name = settings.instance_id or boot_id
        self._tally = tally = Tally()
        self._end_tally: Callable[[], None] = lambda: None
        self.reach = reach(
            settings,
            clock=clock,
            events=events,
            instances=self._instances,
            on_push=self._on_push,
            on_up=self._on_up,
            on_doubt=self._on_doubt,
            on_moved=self._on_moved,
        )
        self.executor = self.reach.executor
        self.lag = ReplicaLag(self.executor)
        self.feed = TokenFeed(
            self.executor,
            clock,
            events,
            prefix=settings.prefix,
            nonce=secrets.token_hex(8).encode(),
            holder=boot_id,
            instances=self._instances,
            proven_at=self._proven_at,
            server_time=lambda shard: self._server_time(self._slots[shard]),
            on_reconciled=self._on_reconciled,
        )
        self._slots = [key_slot(keys.head) for keys in self.feed.keys]
        self._holders: list[Route | None] = [None] * SHARDS
        self.reach.channels = (*self.feed.channels, *channels)
        self.presence = Presence(
            self.executor,
            clock,
            prefix=settings.prefix,
            boot_id=boot_id,
            policies=policies,
            row=lambda: " ".join(
                (
                    f"{self.staleness():.1f}",
                    tally.take(),
                    settings.fingerprint,
                    f"{outbox()} {sum(len(shard.replica) for shard in self.feed.shards)}",
                    name,
                )
            ),
            eras=self._eras,
            fleet=fleet,
            on_beat=self._on_beat,
        )

    def start(self) -> None:
        """Connect and follow in the background."""
        self._end_tally = self._tally.listen(self._events)
        self.reach.start()
        parts = {
            "presence": self.presence.run,
            "the revocation feed": self._follow,
            "the replicas' lag": self.lag.run,
        }
        self._tasks = [asyncio.create_task(supervised(*part)) for part in parts.items()]

    async def _follow(self) -> None:
        # Whoever follows says that it has published what it had.
        await self._prepared()
        await self.feed.run()

    async def close(self) -> None:
        """End all connections and tasks."""
        self._end_tally()
        self._end_tally = lambda: None
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_LIMIT):
                    await self.feed.finish()
            await self.presence.leave()
        finally:
            await self.reach.close()

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

    def server_now(self) -> float:
        """The clock of a primary in Unix seconds; ours until one was read."""
        read = self.server_clock()
        return self._clock.wall() if read is None else read

    def server_clock(self) -> float | None:
        """The clock of a primary in Unix seconds; None until one was read."""
        sample = self._server_time(None)
        return None if sample is None else sample.at(self._clock.monotonic()) / 1_000_000

    def _server_time(self, slot: int | None) -> ServerTime | None:
        """The last sample of the clock of a slot's primary, or of any; None until one was read."""
        route = self.reach.lead(slot)
        sample = route.links.lanes[Lane.BULK].server_time if route is not None else None
        return sample if sample is not None and sample.micros else None

    def troubles(self) -> dict[str, str]:
        """What cannot be reached now, and why."""
        found = self.reach.troubles
        if self.feed.trouble is not None:
            found["feed"] = self.feed.trouble
        return found

    def _on_beat(self, error: AragoraRedisError | None) -> None:
        if error is not None:
            self._service.failed(error)
        if self.reach.down is not None or self.reach.doubted:
            return
        if (agreed := self.presence.agreed_since) is not None and agreed > self.feed.looked_at:
            self.feed.wake()
        if error is None:
            self._service.answered()
            self._on_accepted()
            self._compare_policies()

    def _compare_policies(self) -> None:
        """Say once that instances differ, and once that they do not any more.

        Of a file that all of them follow some hear a second before the others: who differs counts
        when the next beat says so too.
        """
        before, self._differing = self._differing, self.presence.differing
        settled = self._differing if self._differing and before else 0
        if bool(settled) != self._said_differing and (settled or not self._differing):
            self._said_differing = bool(settled)
            self._events.emit(PoliciesDiffer(settled))

    def _on_doubt(self, doubt: str) -> None:
        self._service.failed(LinkDownError(doubt))

    def _proven_at(self, shard: int) -> float | None:
        return self.reach.proven_at(self._slots[shard], self.presence.accepted_at)

    def _on_reconciled(self) -> None:
        self.presence.poke()
        self._on_new_history()

    def _instances(self) -> int:
        return self.presence.instances

    def _eras(self) -> str:
        return self.feed.eras

    def _on_push(self, push: list[Any]) -> None:
        self.feed.on_push(push)
        self._on_other_push(push)

    def _on_up(self, route: Route, lane: Lane) -> None:
        if lane is Lane.BULK:
            leads = self.reach.lead
            self.feed.on_link_up([i for i, slot in enumerate(self._slots) if leads(slot) is route])
            self._on_link_up()
        self.presence.poke()

    def _on_moved(self) -> None:
        """A shard that has another holder is looked at from the ground: its history is another."""
        holders = [self.reach.lead(slot) for slot in self._slots]
        moved = [i for i, holder in enumerate(holders) if holder is not self._holders[i]]
        self._holders = holders
        self.feed.on_link_up(moved)
