"""The way to the one address of a server that stands alone, or of a managed service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ..address import Address, is_name
from ..clock import Clock
from ..events import Events, MaintenanceAnnounced
from ..operation import Lane
from ..settings import Settings, Standalone
from ..topology.maintenance import Work, read_notice
from .account import account_of
from .endpoint_watcher import EndpointWatcher
from .route import Route
from .single_reach import SingleReach


class EndpointReach(SingleReach):
    """The way there, and the watch on its name. See `Reach` for what is asked of it.

    Nobody tells of a failover. A connection that ends may be one, as may an answer of a server that
    has become a replica; and a name that leads elsewhere is one: then all lanes are given up, and
    whoever answers at the name has to prove itself.
    """

    watcher: None = None
    """There are no Sentinels."""
    replicating = False
    """Nobody's word makes an acknowledgement of replicas count: the provider hides them."""
    epoch = None
    """Nobody counts."""

    def __init__(
        self,
        settings: Settings,
        topology: Standalone,
        *,
        clock: Clock,
        events: Events,
        prepares: bool,
        instances: Callable[[], int],
        on_push: Callable[[list[Any]], None],
        on_up: Callable[[Route, Lane], None],
        on_doubt: Callable[[str], None],
    ) -> None:
        super().__init__(
            settings,
            account=account_of(
                settings.credentials, setting=settings.password_setting, clock=clock, events=events
            ),
            clock=clock,
            events=events,
            prepares=prepares,
            instances=instances,
            vouching=None,
            together=True,
            on_push=self._on_push,
            on_up=on_up,
            on_doubt=on_doubt,
        )
        self._on_other_push = on_push
        self._events = events
        self._work_until = float("-inf")
        self._renewing = False
        self._address = topology.address
        self._name: EndpointWatcher | None = None
        if isinstance(topology.address, Address) and is_name(topology.address.host):
            self._name = EndpointWatcher(
                topology.address,
                self._names,
                clock=clock,
                events=events,
                peers=lambda: self._links.peers,
                on_stray=self._on_stray,
                on_moved=self._links.hurry,
            )

    def start(self) -> None:
        """Connect and follow in the background."""
        at = self._address
        self._links.aim(str(at) if isinstance(at, Path) else at)
        if self._name is not None:
            self._name.start()
        super().start()

    async def close(self) -> None:
        """End all connections and tasks."""
        if self._name is not None:
            await self._name.close()
        await super().close()

    def _on_push(self, push: list[Any]) -> None:
        notice = read_notice(push)
        if notice is None:
            self._on_other_push(push)
            return
        self._events.emit(MaintenanceAnnounced(notice.work, notice.seconds))
        self._work_until = self._clock.monotonic() + notice.seconds
        if notice.work is Work.MOVING:
            # Halfway the name leads elsewhere already, and the old server still answers.
            asyncio.get_running_loop().call_later(notice.seconds / 2, self._links.renew)
        elif notice.work.is_over:
            self._links.renew()

    def _on_stray(self, addresses: Collection[str], reason: str) -> None:
        # What was announced leaves the old server in office for a moment: until the next look.
        if self.replacing and not self._renewing:
            self._renewing = True
            self._links.renew()
        else:
            self._links.leave(addresses, reason)

    @property
    def replacing(self) -> bool:
        """Whether the service works on its servers."""
        return self._clock.monotonic() < self._work_until

    def _heard_since(self, instant: float) -> bool:
        return self._name is None or self._name.heard_since(instant)

    def _arrived(self, peer: str) -> None:
        self._renewing = False
        if self._name is not None:
            self._name.arrived(peer)

    def _look_again(self) -> None:
        if self._name is not None:
            self._name.poke()

    def required_replicas(self, slot: int | None = None) -> int:
        """None: those that there are cannot be vouched for."""
        del slot
        return 0

    def proven_at(self, slot: int, accepted: float | None) -> float | None:
        """When the server last accepted a beat."""
        del slot
        return accepted

    @property
    def troubles(self) -> dict[str, str]:
        """Why the name cannot be followed."""
        if self._name is None or self._name.trouble is None:
            return {}
        return {f"name {self._name.endpoint.host}": self._name.trouble}
