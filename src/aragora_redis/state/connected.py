"""What a `SharedState` has beyond this process when there is a Redis: the parts, wired."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..clock import Clock, ServerTime
from ..errors import AragoraRedisError
from ..events import Events
from ..link.connection import Login
from ..link.durable import GroupCommit
from ..link.executor import Executor
from ..link.primary import PrimaryLinks
from ..link.supervision import supervised
from ..link.watcher import SentinelWatcher
from ..operation import Lane
from ..rate_limit.share import FleetSize
from ..settings import Sentinel, Settings, Standalone
from ..topology.panel import View
from .presence import Presence
from .service import Service
from .token_feed import TokenFeed
from .tokens import RedisSide

WARM_EVERY = 0.05
"""Seconds between looks whether a lane falls silent."""


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
        self._settings = settings
        self._on_other_push = on_push
        self._on_link_up = on_link_up
        self._on_accepted = on_accepted
        self._clock = clock
        self._service = service
        self._tasks: list[asyncio.Task[None]] = []
        login = Login(settings.credentials, settings.db, settings.tls)
        self.links = PrimaryLinks(
            login,
            clock=clock,
            events=events,
            deadline=settings.deadline,
            layout_key=f"{settings.prefix}:layout".encode(),
            on_push=self._on_push,
            heard_majority_since=self._heard_majority_since,
            on_up=self._on_up,
            on_trouble=self._on_trouble,
        )
        self.watcher = self._build_watcher(settings, login, events)
        self.executor = Executor(self.links, clock)
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
            row=f"{policies_hash} {settings.instance_id or boot_id}",
            eras=self._eras,
            fleet=fleet,
            on_beat=self._on_beat,
            on_server_time=self._on_server_time,
        )

    def _build_watcher(
        self, settings: Settings, data_login: Login, events: Events
    ) -> SentinelWatcher | None:
        if not isinstance(settings.topology, Sentinel):
            return None
        return SentinelWatcher(
            settings.topology.master,
            settings.topology.hosts,
            Login(settings.sentinel_credentials, tls=settings.sentinel_tls),
            data_login,
            clock=self._clock,
            events=events,
            on_view=self._on_view,
            on_doubt=self.links.suspend,
            on_confirmed=self.links.resume,
            on_lost=self.links.explain,
        )

    def start(self) -> None:
        """Connect and follow in the background."""
        topology = self._settings.topology
        if self.watcher is not None:
            self.watcher.start()
        elif isinstance(topology, Standalone):
            address = topology.address
            self.links.aim(str(address) if isinstance(address, Path) else address)
        parts = {
            "presence": self.presence.run,
            "the revocation feed": self.feed.run,
            "group commit": self.group.run,
            "the lanes' warmth": self._keep_warm,
        }
        self._tasks = [asyncio.create_task(supervised(*part)) for part in parts.items()]

    async def _keep_warm(self) -> None:
        while self.watcher is not None:
            await asyncio.sleep(WARM_EVERY)
            self.links.keep_warm()

    async def close(self) -> None:
        """End all connections and tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.watcher is not None:
            await self.watcher.close()
        await self.links.close()

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
        elif self.links.lanes[Lane.FAST].down is None:
            self._service.answered()
            self._on_accepted()

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

    def _heard_majority_since(self, instant: float) -> bool:
        return self.watcher is None or self.watcher.panel.heard_majority_since(instant)

    def _on_push(self, push: list[Any]) -> None:
        self.feed.on_push(push)
        self._on_other_push(push)

    def _on_view(self, view: View) -> None:
        self.links.aim(view.primary)

    def _on_up(self, lane: Lane) -> None:
        if lane is Lane.BULK:
            self.feed.on_link_up()
            self._on_link_up()
        self.presence.poke()

    def _on_trouble(self) -> None:
        if self.watcher is not None:
            self.watcher.poke()
