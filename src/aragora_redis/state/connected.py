"""A Redis of one instance: the way there, its row in the fleet, and whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from msgspec import Struct

from ..clock import Clock, ServerTime
from ..errors import AragoraRedisError, LinkDownError
from ..events import Events
from ..link.reach import reach
from ..link.route import Route
from ..link.supervision import supervised
from ..operation import Lane
from ..rate_limit.share import FleetSize
from ..settings import Settings
from .ground import Ground
from .presence import Presence, row_id
from .replica_lag import ReplicaLag
from .service import Service
from .status import RedisStatus, health_of
from .tally import Tally

KNOWS_NOTHING = "-"
"""In place of the eras of an instance that knows nothing that any history could lack."""


NOT_HELD = "-"
"""In place of how far revocations are behind, where they are those of another Redis."""


class Instance(Struct, frozen=True):
    """Whose it is: its random id, what tells its policies, its clock, and who hears of events."""

    boot_id: str
    policies: Callable[[], str]
    clock: Clock
    events: Events


class Hearers(Struct, frozen=True):
    """Who is told of what a Redis does.

    Attributes:
        channels: what to subscribe to.
        on_push: gets every published message.
        on_link_up: told that messages are published to us again.
        on_accepted: told of each accepted beat: Redis takes writes.
        on_differing: told with each how many instances go by other policies.
        on_new_history: told that what it holds may lack what was written last.
    """

    channels: tuple[bytes, ...] = ()
    on_push: tuple[Callable[[list[Any]], None], ...] = ()
    on_link_up: tuple[Callable[[], None], ...] = ()
    on_accepted: tuple[Callable[[], None], ...] = ()
    on_differing: tuple[Callable[[int], None], ...] = ()
    on_new_history: tuple[Callable[[], None], ...] = ()

    @classmethod
    def of_all(cls, several: Sequence[Hearers]) -> Self:
        """All of several, in their order."""
        fields = cls.__struct_fields__
        return cls(*(sum((getattr(each, name) for each in several), ()) for name in fields))


class Connected:
    """Reach and presence of one instance in one Redis.

    Args:
        settings: with this Redis alone.
        instance: whose it is.
        hearers: told of what it does.
        features: those whose Redis it is; empty where it is that of all.
        decides: whether it decides on rate limits.
    """

    def __init__(
        self,
        settings: Settings,
        instance: Instance,
        hearers: Hearers,
        *,
        features: tuple[str, ...],
        decides: bool,
    ) -> None:
        clock, events = instance.clock, instance.events.of(features)
        self.settings = settings
        self.features = features
        self._hearers = hearers
        self._decides = decides
        self._events = instance.events
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        name = settings.instance_id or instance.boot_id
        self._name = f"{name} ({', '.join(features)})" if features else name
        self._tally = Tally()
        self._end_tally: Callable[[], None] = lambda: None
        self.service = Service(clock, events, whole=self._whole)
        self.fleet = FleetSize(expected=settings.expected_instances)
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
        self.reach.channels = hearers.channels
        self.executor = self.reach.executor
        self._lag = ReplicaLag(self.executor)
        self.presence = Presence(
            self.executor,
            clock,
            prefix=settings.prefix,
            row_id=row_id(instance.boot_id, self._part()),
            policies=instance.policies,
            row=self._row,
            eras=self._eras,
            fleet=self.fleet,
            on_beat=self._on_beat,
        )

    @property
    def ground(self) -> Ground:
        """What operations run on."""
        return Ground(self.executor, self.service, self.fleet, self.server_now, self.reach)

    def start(self) -> None:
        """Connect and follow in the background."""
        if self._decides:
            self._end_tally = self._tally.listen(self._events)
        self.reach.start()
        parts = self._parts()
        self._tasks = [asyncio.create_task(supervised(*part)) for part in parts.items()]

    def _parts(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        return {"presence": self.presence.run, "the replicas' lag": self._lag.run}

    async def close(self) -> None:
        """End all connections and tasks."""
        self._end_tally()
        self._end_tally = lambda: None
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._finish()
            await self.presence.leave()
        finally:
            await self.reach.close()

    async def _finish(self) -> None:
        """Let Redis have what it has not got."""

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
        return self.reach.troubles

    def status(self) -> RedisStatus:
        """How it is seen from here."""
        reach = self.reach
        down, degraded, watcher = reach.down, self.service.degraded, reach.watcher
        return RedisStatus(
            features=self.features,
            mode=self.settings.mode,
            health=health_of(down=down, degraded=degraded, replacing=reach.replacing),
            reason=down or degraded,
            primary=reach.primary,
            epoch=reach.epoch,
            replicas=reach.required_replicas(),
            instances=self.presence.instances,
            sentinels=len(watcher.panel.recent(self._clock.monotonic())) if watcher else None,
            lag=self._lag.last,
        )

    def _row(self) -> str:
        """The words of the row in the fleet, see `scripts/beat.lua`."""
        decided, key = self._tally.take(), self.settings.fingerprint
        return f"{self._behind()} {decided} {key} {self._holds()} {self._name}"

    def _behind(self) -> str:
        """By how many seconds the revocations here may be behind, in a word."""
        return NOT_HELD

    def _holds(self) -> str:
        """How the outbox is, and how many revocations are held, in words."""
        return "none 0"

    def _part(self) -> str:
        """Tells its row from that of the same instance for the revocations."""
        return self.features[0] if self.features else ""

    def _eras(self) -> str:
        return KNOWS_NOTHING

    def _on_beat(self, error: AragoraRedisError | None) -> None:
        if error is not None:
            self.service.failed(error)
        if self.reach.down is not None or self.reach.doubted:
            return
        if error is None:
            self.service.answered()
            for hear in self._hearers.on_accepted:
                hear()
            for tell in self._hearers.on_differing:
                tell(self.presence.differing)

    def _on_doubt(self, doubt: str) -> None:
        self.service.failed(LinkDownError(doubt))

    def _whole(self) -> bool:
        return self.reach.down is None

    def _instances(self) -> int:
        return self.presence.instances

    def _on_push(self, push: list[Any]) -> None:
        for hear in self._hearers.on_push:
            hear(push)

    def _on_up(self, route: Route, lane: Lane) -> None:  # noqa: ARG002 - others ask which route
        if lane is Lane.BULK:
            for hear in self._hearers.on_link_up:
                hear()
        self.presence.poke()

    def _on_moved(self) -> None:
        """Slots have other holders."""
