"""What a `SharedState` has beyond this process when there is a Redis: the parts, wired."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from ..clock import Clock, ServerTime
from ..errors import AragoraRedisError, LinkDownError
from ..events import Events
from ..link.durable import GroupCommit
from ..link.reach import Reach
from ..link.supervision import supervised
from ..operation import Lane
from ..rate_limit.share import FleetSize
from ..settings import Settings
from .presence import Presence
from .replica_lag import ReplicaLag
from .service import Service
from .tally import Tally
from .token_feed import TokenFeed
from .tokens import RedisSide


class Connected:
    """Links, watcher, presence and feed of one instance.

    The watcher is None where no Sentinel says who is primary.

    Args:
        channels: what to subscribe to beside the feed.
        on_push: gets every published message.
        on_link_up: told that messages are published to us again.
        on_accepted: told of each accepted beat: Redis takes writes.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        boot_id: str,
        policies_hash: str,
        clock: Clock,
        events: Events,
        service: Service,
        fleet: FleetSize,
        channels: tuple[bytes, ...],
        on_push: Callable[[list[Any]], None],
        on_link_up: Callable[[], None],
        on_accepted: Callable[[], None],
    ) -> None:
        self._on_other_push = on_push
        self._on_link_up = on_link_up
        self._on_accepted = on_accepted
        self._clock = clock
        self._service = service
        self._tasks: list[asyncio.Task[None]] = []
        name = settings.instance_id or boot_id
        tally = Tally(events)
        self._reach = Reach(
            settings,
            clock=clock,
            events=events,
            on_push=self._on_push,
            on_up=self._on_up,
            on_doubt=self._on_doubt,
        )
        self.links = self._reach.links
        self.watcher = self._reach.watcher
        self.executor = self._reach.executor
        self.lag = ReplicaLag(self.executor)
        self.group = GroupCommit(self.links.lanes[Lane.DURABLE], self.required_replicas, clock)
        self.feed = TokenFeed(
            self.executor,
            clock,
            events,
            prefix=settings.prefix,
            nonce=secrets.token_hex(8).encode(),
            holder=boot_id,
            instances=self._instances,
            proven_at=self._proven_at,
            on_reconciled=self._on_reconciled,
        )
        self.links.channels = (*self.feed.channels, *channels)
        self.presence = Presence(
            self.executor,
            clock,
            prefix=settings.prefix,
            boot_id=boot_id,
            row=lambda: " ".join(
                (
                    policies_hash,
                    f"{self.staleness():.1f}",
                    tally.take(),
                    settings.fingerprint,
                    name,
                )
            ),
            eras=self._eras,
            fleet=fleet,
            on_beat=self._on_beat,
            on_server_time=self._on_server_time,
        )

    def start(self) -> None:
        """Connect and follow in the background."""
        self._reach.start()
        parts = {
            "presence": self.presence.run,
            "the revocation feed": self.feed.run,
            "group commit": self.group.run,
            "the replicas' lag": self.lag.run,
        }
        self._tasks = [asyncio.create_task(supervised(*part)) for part in parts.items()]

    async def close(self) -> None:
        """End all connections and tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reach.close()

    def for_tokens(self, ready: Callable[[], bool]) -> RedisSide:
        """What revocations need of all this."""
        return RedisSide(
            executor=self.executor,
            group=self.group,
            required=self.required_replicas,
            ready=ready,
            staleness=self.staleness,
            usable=self.links.usable,
            nonce=self.feed.nonce,
            keys=self.feed.keys,
            wake=self.feed.wake,
            replicating=self.watcher is not None,
        )

    @property
    def reconciled(self) -> bool:
        """Whether a starting instance may trust what it has loaded."""
        server_now = self.links.lanes[Lane.BULK].server_time.at(self._clock.monotonic())
        return self.feed.loaded and self.feed.settled(server_now) and self.presence.unanimous

    def staleness(self) -> float:
        """Seconds since this instance was certainly in step with the real primary."""
        return self._clock.monotonic() - self.feed.fresh_at

    def server_now(self) -> float:
        """The primary's clock in Unix seconds; ours until it was read once."""
        sample = self.links.lanes[Lane.BULK].server_time
        if sample.micros == 0:
            return self._clock.wall()
        return sample.at(self._clock.monotonic()) / 1_000_000

    def required_replicas(self) -> int:
        """How many replicas must acknowledge a revocation for it to count as replicated."""
        if self.watcher is None:
            return 0
        return self.watcher.panel.required_replicas(self._clock.monotonic())

    def troubles(self) -> dict[str, str]:
        """What cannot be reached now, and why."""
        found = {}
        if self.watcher is not None:
            found = {f"sentinel {at}": why for at, why in self.watcher.troubles.items()}
        if self.feed.trouble is not None:
            found["feed"] = self.feed.trouble
        return found

    def _on_beat(self, error: AragoraRedisError | None) -> None:
        if error is not None:
            self._service.failed(error)
        elif self.links.lanes[Lane.FAST].down is None and not self._reach.doubted:
            self._service.answered()
            self._on_accepted()

    def _on_doubt(self, doubt: str) -> None:
        self._service.failed(LinkDownError(doubt))

    def _on_server_time(self, sample: ServerTime) -> None:
        for lane in self.links.lanes.values():
            lane.server_time = sample

    def _proven_at(self) -> float | None:
        """When the server last proved to be the real primary: by a beat, and by the Sentinels."""
        accepted = self.presence.accepted_at
        if self.watcher is None or accepted is None:
            return accepted
        view = self.watcher.panel.view
        named = self.watcher.panel.named_at(view.primary) if view is not None else None
        return min(accepted, named) if named is not None else None

    def _on_reconciled(self) -> None:
        self.presence.poke()

    def _instances(self) -> int:
        return self.presence.instances

    def _eras(self) -> str:
        return self.feed.eras

    def _on_push(self, push: list[Any]) -> None:
        self.feed.on_push(push)
        self._on_other_push(push)

    def _on_up(self, lane: Lane) -> None:
        if lane is Lane.BULK:
            self.feed.on_link_up()
            self._on_link_up()
        self.presence.poke()
