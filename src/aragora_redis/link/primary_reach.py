"""The way to one primary: a server that stands alone, or whomever the Sentinels name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..clock import Clock
from ..errors import LinkDownError
from ..events import Events
from ..operation import Lane
from ..settings import Sentinel, Settings, Standalone
from ..topology.panel import View
from .connection import Login
from .executor import Executor
from .primary import PrimaryLinks
from .replies import RedirectError
from .route import Route
from .watcher import SentinelWatcher


class PrimaryReach:
    """Watcher, route and executor, wired. See `Reach` for what is asked of it.

    The watcher is None where no Sentinel says who is primary.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        events: Events,
        prepares: bool,
        on_push: Callable[[list[Any]], None],
        on_up: Callable[[Route, Lane], None],
        on_doubt: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        login = Login(settings.credentials, settings.db, settings.tls, settings.hosts)
        self._links = PrimaryLinks(
            login,
            clock=clock,
            events=events,
            deadline=settings.deadline,
            layout_key=f"{settings.prefix}:layout".encode(),
            prepares=prepares,
            on_push=on_push,
            heard_majority_since=self._heard_majority_since,
            on_up=lambda lane: on_up(self._route, lane),
            on_trouble=self._on_trouble,
        )
        self.watcher = self._build_watcher(login, events)
        self._route = Route(
            self._links,
            clock=clock,
            vouching=self.watcher.panel if self.watcher is not None else None,
            required=self.required_replicas,
            on_doubt=on_doubt,
            on_redirect=self.redirected,
        )
        self.executor = Executor(self, clock)

    def _build_watcher(self, data_login: Login, events: Events) -> SentinelWatcher | None:
        settings = self._settings
        if not isinstance(settings.topology, Sentinel):
            return None
        return SentinelWatcher(
            settings.topology.master,
            settings.topology.hosts,
            Login(settings.sentinel_credentials, tls=settings.sentinel_tls, hosts=settings.hosts),
            data_login,
            clock=self._clock,
            events=events,
            on_view=self._on_view,
            on_doubt=self._links.suspend,
            on_confirmed=self._links.resume,
            on_lost=self._links.explain,
        )

    @property
    def channels(self) -> Sequence[bytes]:
        """What to subscribe to."""
        return self._links.channels

    @channels.setter
    def channels(self, channels: Sequence[bytes]) -> None:
        self._links.channels = channels

    def start(self) -> None:
        """Connect and follow in the background."""
        topology = self._settings.topology
        if isinstance(topology, Standalone):
            address = topology.address
            self._links.aim(str(address) if isinstance(address, Path) else address)
        if self.watcher is not None:
            self.watcher.start()
        self._route.start()

    async def close(self) -> None:
        """End all connections and tasks."""
        if self.watcher is not None:
            await self.watcher.close()
        await self._route.close()

    # --- routing ----------------------------------------------------------------------------

    @property
    def routes(self) -> Sequence[Route]:
        """The one."""
        return (self._route,)

    def lead(self, slot: int | None) -> Route:
        """The one, whatever the slot."""
        del slot
        return self._route

    def at(self, address: object) -> Route:
        """The one; a server that belongs to no cluster sends nobody elsewhere."""
        del address
        return self._route

    def redirected(self, error: RedirectError) -> bool:
        """The settings name one node of a cluster as all of Redis: nobody else is asked."""
        del error
        return False

    def _heard_majority_since(self, instant: float) -> bool:
        return self.watcher is None or self.watcher.panel.heard_majority_since(instant)

    def _on_view(self, view: View) -> None:
        self._links.aim(view.primary)

    def _on_trouble(self) -> None:
        if self.watcher is not None:
            self.watcher.poke()

    # --- how it is --------------------------------------------------------------------------

    @property
    def down(self) -> str | None:
        """Why Redis cannot be written now, or None."""
        return self._links.lanes[Lane.FAST].down

    @property
    def doubted(self) -> bool:
        """Whether the primary may no longer speak for the fleet."""
        return self._route.doubt is not None

    @property
    def replicating(self) -> bool:
        """Whether there are Sentinels, whose word makes an acknowledgement count."""
        return self.watcher is not None

    @property
    def replacing(self) -> bool:
        """Whether any Sentinel misses the primary, or is replacing it."""
        now = self._clock.monotonic()
        return self.watcher is not None and self.watcher.panel.replacing(now)

    def required_replicas(self, slot: int | None = None) -> int:
        """How many replicas must acknowledge what shall count as replicated, or 0."""
        del slot
        if self.watcher is None:
            return 0
        return self.watcher.panel.required_replicas(self._clock.monotonic())

    def proven_at(self, slot: int, accepted: float | None) -> float | None:
        """When the server last proved to be the real primary: by a beat, and by the Sentinels."""
        del slot
        if self.watcher is None or accepted is None:
            return accepted
        view = self.watcher.panel.view
        named = self.watcher.panel.named_at(view.primary) if view is not None else None
        return min(accepted, named) if named is not None else None

    @property
    def primary(self) -> str | None:
        """Where it writes."""
        return str(self._links.target) if self._links.target else None

    @property
    def epoch(self) -> int | None:
        """The Sentinels' configuration epoch of that."""
        view = self.watcher.panel.view if self.watcher is not None else None
        return view.epoch if view is not None else None

    @property
    def troubles(self) -> dict[str, str]:
        """Which Sentinels cannot be asked, and why."""
        if self.watcher is None:
            return {}
        return {f"sentinel {at}": why for at, why in self.watcher.troubles.items()}

    async def ready(self, until: float) -> None:
        """Wait until everything can be written.

        Raises:
            LinkDownError: it cannot before `until` (monotonic seconds).
        """
        for lane in Lane:
            if not await self._links.usable(lane, until):
                raise LinkDownError(
                    f"the primary cannot be reached: {self._links.lanes[lane].down}"
                )
