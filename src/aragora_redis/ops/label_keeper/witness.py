"""Who is primary for certain: a majority of the Sentinels names it, and it says so itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ...address import Address
from ...clock import Clock
from ...errors import LinkDownError, SettingsError
from ...events import Events
from ...link.account import account_of
from ...link.connection import Login
from ...link.encryption import encryption_of
from ...link.names import Names
from ...link.proof import primary_fault
from ...link.watcher import SentinelWatcher
from ...settings import Sentinel, Settings, names
from ...topology.panel import Panel

LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows the primary for certain."""

    reason: str


class Witness:
    """Watches the Sentinels, and has the server that they name prove it.

    Args:
        settings: which Sentinels.
        clock: how old their answers are.
        events: gets what the watch tells.
        on_news: told that the Sentinels name another primary.

    Raises:
        SettingsError: they name no Sentinels.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock, events: Events, on_news: Callable[[], None]
    ) -> None:
        if not isinstance(settings.topology, Sentinel):
            raise SettingsError(
                f"the label keeper follows Sentinels, and the mode is {settings.mode}",
                remedy="set ARAGORA_REDIS_SENTINEL_HOSTS and ARAGORA_REDIS_SENTINEL_MASTER",
            )
        self._clock = clock
        lookup = Names(settings.hosts)
        self._login = Login(
            account_of(
                settings.credentials, setting=settings.password_setting, clock=clock, events=events
            ),
            encryption=encryption_of(settings.tls),
            names=lookup,
        )
        self._silence = "no Sentinel has answered yet"
        self._watcher = SentinelWatcher(
            settings.topology.master,
            settings.topology.hosts,
            Login(
                account_of(
                    settings.sentinel_credentials,
                    setting=names.SENTINEL_PASSWORD,
                    clock=clock,
                    events=events,
                ),
                encryption=encryption_of(settings.sentinel_tls),
                names=lookup,
            ),
            self._login,
            Panel(len(settings.topology.hosts)),
            clock=clock,
            events=events,
            on_view=lambda _view: on_news(),
            on_doubt=lambda _doubt: None,
            on_confirmed=lambda: None,
            on_lost=self._on_lost,
        )

    def start(self) -> None:
        """Begin to watch."""
        self._watcher.start()

    async def close(self) -> None:
        """Stop watching."""
        await self._watcher.close()

    async def settle(self, within: float) -> None:
        """Wait until a majority of the Sentinels agrees, at most `within` seconds."""
        end = self._clock.monotonic() + within
        while self._named() is None:
            if self._clock.monotonic() > end:
                return
            await asyncio.sleep(LOOK_EVERY)

    async def primary(self) -> Address | Unknown:
        """Who is primary now."""
        named = self._named()
        if named is None:
            return Unknown(self._disagreement())
        fault = await primary_fault(named, self._login)
        if fault is not None:
            return Unknown(f"the Sentinels name {named}, which does not prove it: {fault}")
        # A failover may have passed while it was asked.
        return named if self._named() == named else Unknown(self._disagreement())

    def _named(self) -> Address | None:
        return self._watcher.panel.agreed(self._clock.monotonic())

    def _disagreement(self) -> str:
        if self._watcher.panel.view is None:
            return self._silence
        return "no majority of the Sentinels names one primary"

    def _on_lost(self, why: LinkDownError) -> None:
        self._silence = str(why)
