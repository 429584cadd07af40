"""The dashboard's parts, put together over one state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from ...clock import SYSTEM_CLOCK, Clock
from ...lab import Lab
from ...state.shared import SharedState
from ..auth import AcceptedTokens, Role
from . import assets
from .desk import Desk
from .door import Door
from .journal import Journal
from .logins import Login
from .markup import Html
from .page import dashboard
from .picture import Observer
from .sections import sections
from .stream import PAUSE, Places, follow


class Dashboard:
    """What the routes serve.

    Args:
        state: what is shown.
        lab: what may be acted on; None outside a lab.
        stopping: set when the gateway stops, so that streams end.
        key: signs logins where no token is set; one of its own by default.
        clock: the source of time.
    """

    def __init__(
        self,
        state: SharedState,
        *,
        lab: Lab | None,
        stopping: asyncio.Event,
        key: bytes | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        settings = state.settings
        journal = Journal(clock)
        self.door = Door(settings.gateway, state.tokens, clock, key)
        operator = AcceptedTokens(settings.gateway).names[Role.ADMIN]
        self.desk = None
        if lab is not None:
            self.desk = Desk(lab, journal, clock, note=state.audit.note, operator=operator)
        self.places = Places()
        self.assets = assets.load()
        self._observer = Observer(
            state.status, self.desk.picture if self.desk is not None else None, journal, clock
        )
        self._events = state.events
        self._instance = settings.instance_id or state.boot_id
        self._stopping = stopping
        self._clock = clock
        self._rendered: dict[Role, tuple[float, Mapping[str, Html]]] = {}

    def listen(self) -> Callable[[], None]:
        """Follow the state's events from now on; the returned call ends it."""
        return self._observer.listen(self._events)

    async def page(self, login: Login) -> Html:
        """The whole page."""
        if self.desk is not None:
            await self.desk.first_look()
        return dashboard(self.sections(login.role), login, self.assets, instance=self._instance)

    def sections(self, role: Role) -> Mapping[str, Html]:
        """What lives of it. All who watch share one rendering for as long as it may be shown."""
        now = self._clock.monotonic()
        rendered = self._rendered.get(role)
        if rendered is None or now - rendered[0] >= PAUSE:
            rendered = self._rendered[role] = (now, sections(self._observer.picture(), role))
        return rendered[1]

    def follow(self, cookie: str, role: Role) -> AsyncIterator[bytes]:
        """The messages of a stream, for as long as the cookie is good."""
        return follow(
            lambda: self.sections(role),
            welcome=lambda: self.door.read(cookie) is not None,
            stopping=self._stopping,
            clock=self._clock,
        )
