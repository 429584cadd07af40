"""The way to the primary: the watch on the Sentinels, the lanes, what runs operations on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..clock import Clock
from ..events import Events
from ..operation import Lane
from ..settings import Sentinel, Settings, Standalone
from ..topology.panel import View
from .connection import Login
from .executor import Executor
from .primary import PrimaryLinks
from .standing import Standing
from .supervision import supervised
from .watcher import SentinelWatcher

WARM_EVERY = 0.05
"""Seconds between looks whether a lane falls silent."""


class Reach:
    """Watcher, links, standing and executor, wired.

    Watcher and standing are None where no Sentinel says who is primary.

    Args:
        prepares: see `PrimaryLinks`.
        on_push: gets every published message.
        on_up: told that a lane is usable.
        on_doubt: told why the primary may no longer speak for the fleet, when that begins.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        events: Events,
        prepares: bool = True,
        on_push: Callable[[list[Any]], None] = lambda _push: None,
        on_up: Callable[[Lane], None] = lambda _lane: None,
        on_doubt: Callable[[str], None] = lambda _doubt: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        login = Login(settings.credentials, settings.db, settings.tls)
        self.links = PrimaryLinks(
            login,
            clock=clock,
            events=events,
            deadline=settings.deadline,
            layout_key=f"{settings.prefix}:layout".encode(),
            prepares=prepares,
            on_push=on_push,
            heard_majority_since=self._heard_majority_since,
            on_up=on_up,
            on_trouble=self._on_trouble,
        )
        self.watcher = self._build_watcher(login, events)
        self.standing = None
        if self.watcher is not None:
            fast = self.links.lanes[Lane.FAST]
            self.standing = Standing(fast, self.watcher.panel, clock, on_doubt=on_doubt)
        self.executor = Executor(self.links, clock, doubt=self._doubt)

    def _build_watcher(self, data_login: Login, events: Events) -> SentinelWatcher | None:
        settings = self._settings
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
        if isinstance(topology, Standalone):
            address = topology.address
            self.links.aim(str(address) if isinstance(address, Path) else address)
        if self.watcher is None or self.standing is None:
            return
        self.watcher.start()
        parts = {
            "the lanes' warmth": self._keep_warm,
            "the primary's standing": self.standing.run,
        }
        self._tasks = [asyncio.create_task(supervised(*part)) for part in parts.items()]

    async def close(self) -> None:
        """End all connections and tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.watcher is not None:
            await self.watcher.close()
        await self.links.close()

    async def _keep_warm(self) -> None:
        while True:
            await asyncio.sleep(WARM_EVERY)
            self.links.keep_warm()

    @property
    def doubted(self) -> bool:
        """Whether the primary may no longer speak for the fleet."""
        return self._doubt() is not None

    def _doubt(self) -> str | None:
        return self.standing.doubt if self.standing is not None else None

    def _heard_majority_since(self, instant: float) -> bool:
        return self.watcher is None or self.watcher.panel.heard_majority_since(instant)

    def _on_view(self, view: View) -> None:
        self.links.aim(view.primary)

    def _on_trouble(self) -> None:
        if self.watcher is not None:
            self.watcher.poke()
