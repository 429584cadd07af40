"""The way to the primary that the Sentinels name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..clock import Clock
from ..events import Events
from ..operation import Lane
from ..settings import Sentinel, Settings, names
from ..topology.panel import Panel, View
from .account import account_of
from .connection import Login
from .encryption import encryption_of
from .route import Route
from .single_reach import SingleReach
from .watcher import SentinelWatcher


class SentinelReach(SingleReach):
    """The watch on the Sentinels, and where it leads. See `Reach` for what is asked of it."""

    def __init__(
        self,
        settings: Settings,
        topology: Sentinel,
        *,
        clock: Clock,
        events: Events,
        prepares: bool,
        instances: Callable[[], int],
        on_push: Callable[[list[Any]], None],
        on_up: Callable[[Route, Lane], None],
        on_doubt: Callable[[str], None],
    ) -> None:
        self._panel = Panel(len(topology.hosts))
        super().__init__(
            settings,
            account=account_of(
                settings.credentials, setting=settings.password_setting, clock=clock, events=events
            ),
            clock=clock,
            events=events,
            prepares=prepares,
            instances=instances,
            vouching=self._panel,
            together=False,
            on_push=on_push,
            on_up=on_up,
            on_doubt=on_doubt,
        )
        self.watcher = SentinelWatcher(
            topology.master,
            topology.hosts,
            Login(
                account_of(
                    settings.sentinel_credentials,
                    setting=settings.variable(names.SENTINEL_PASSWORD),
                    clock=clock,
                    events=events,
                ),
                encryption=encryption_of(settings.sentinel_tls),
                names=self._names,
                variable=settings.variable,
            ),
            self._login,
            self._panel,
            clock=clock,
            events=events,
            on_view=self._on_view,
            on_doubt=self._links.suspend,
            on_confirmed=self._links.resume,
            on_lost=self._links.explain,
        )

    def start(self) -> None:
        """Connect and follow in the background."""
        self.watcher.start()
        super().start()

    async def close(self) -> None:
        """End all connections and tasks."""
        await self.watcher.close()
        await super().close()

    def _heard_since(self, instant: float) -> bool:
        return self._panel.heard_majority_since(instant)

    def _look_again(self) -> None:
        self.watcher.poke()

    def _on_view(self, view: View) -> None:
        self._links.aim(view.primary)

    @property
    def replicating(self) -> bool:
        """There are Sentinels, whose word makes an acknowledgement count."""
        return True

    @property
    def replacing(self) -> bool:
        """Whether any Sentinel misses the primary, or is replacing it."""
        return self._panel.replacing(self._clock.monotonic())

    def required_replicas(self, slot: int | None = None) -> int:
        """How many replicas must acknowledge what shall count as replicated, or 0."""
        del slot
        return self._panel.required_replicas(self._clock.monotonic())

    def proven_at(self, slot: int, accepted: float | None) -> float | None:
        """When the server last proved to be the real primary: by a beat, and by the Sentinels."""
        del slot
        if accepted is None:
            return None
        view = self._panel.view
        named = self._panel.named_at(view.primary) if view is not None else None
        return min(accepted, named) if named is not None else None

    @property
    def epoch(self) -> int | None:
        """The Sentinels' configuration epoch of the primary."""
        view = self._panel.view
        return view.epoch if view is not None else None

    @property
    def troubles(self) -> dict[str, str]:
        """Which Sentinels cannot be asked, and why."""
        return {f"sentinel {at}": str(trouble) for at, trouble in self.watcher.troubles.items()}
