"""The dashboard's parts, put together over one state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from ...clock import SYSTEM_CLOCK, Clock
from ...lab import Lab
from ...settings import Settings
from ...state.circuits.status import CircuitStatus
from ...state.shared import SharedState
from ..auth import AcceptedTokens, Role
from ..latency import Latencies
from ..worker import Worker
from . import assets
from .desk import Desk
from .door import Door
from .figures import Counted, Figures, together
from .hands import Hands
from .journal import Journal
from .logins import Login
from .look import Look
from .markup import Html
from .page import dashboard
from .picture import Observer, Picture, Workers
from .sections import sections
from .servers import Servers
from .stream import PAUSE, Places, follow
from .timeline import Timeline, Timelines
from .worktop import Worktop

if TYPE_CHECKING:
    from ..siblings import Siblings

LOOK_EVERY = 1.0
"""Seconds between two looks at circuits and at other workers, while somebody watches."""


class Dashboard:
    """What the routes serve.

    Args:
        state: what is shown.
        latencies: how long checks over HTTP took here.
        lab: what may be acted on; None outside a lab.
        stopping: set when the gateway stops, so that streams end.
        worker: which of several on one port this is.
        siblings: all of them.
        clock: the source of time.
    """

    def __init__(
        self,
        state: SharedState,
        *,
        latencies: Latencies,
        lab: Lab | None,
        stopping: asyncio.Event,
        worker: Worker | None = None,
        siblings: Siblings | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        settings = state.settings
        journal = Journal(clock)
        self.door = Door(settings.gateway, state.tokens, clock, worker.key if worker else None)
        operator = AcceptedTokens(settings.gateway).names[Role.ADMIN]
        self._worktop = Worktop(journal)
        each = settings.each_redis()
        self._servers = tuple(
            Servers(own, features, clock, alone=len(each) == 1) for own, features in each.items()
        )
        self.hands = Hands(
            state,
            self._worktop,
            clock,
            operator=operator,
            name=lambda address: self._names().get(address, address),
        )
        self.desk = None
        if lab is not None:
            self.desk = Desk(
                lab,
                self._worktop,
                clock,
                note=state.audit.note,
                operator=operator,
                changed=lambda: self._changed(settled=True),
            )
        self.places = Places()
        self.assets = assets.load()
        self._counted = Counted(latencies)
        self._observer = Observer(
            timelines=_timelines(settings),
            counted=self._counted,
            journal=journal,
            clock=clock,
            changed=self._changed,
        )
        self._circuits: Look[list[CircuitStatus]] = Look(
            "circuits", state.circuits.all, every=LOOK_EVERY, clock=clock
        )
        self._others = _look_at_others(siblings, self.door, clock) if siblings else None
        self._worker = worker
        self._state = state
        self._journal = journal
        self._instance = settings.instance_id or state.boot_id
        self._stopping = stopping
        self._clock = clock
        self._rendered: dict[Role, tuple[float, Mapping[str, Html]]] = {}

    def listen(self) -> Callable[[], None]:
        """Follow the state's events from now on; the returned call ends it."""
        return self._observer.listen(self._state.events)

    async def close(self) -> None:
        """Look and act no more."""
        looks = [self._circuits.close(), self._worktop.close()]
        looks += [each.close() for each in self._servers]
        if self.desk is not None:
            looks.append(self.desk.close())
        if self._others is not None:
            looks.append(self._others.close())
        await asyncio.gather(*looks)

    async def page(self, login: Login, *, reloads: bool) -> Html:
        """The whole page; see `page.dashboard`."""
        looks = [self._circuits.first(), *(each.first_look() for each in self._servers)]
        if self.desk is not None:
            looks.append(self.desk.first_look())
        await asyncio.gather(*looks)
        self._rendered.clear()  # it may be loaded to see what was just done
        return dashboard(
            self.sections(login.role),
            login,
            self.assets,
            instance=self._instance,
            reloads=reloads,
        )

    def acted(self) -> None:
        """Something was done by hand: it is to be seen at once."""
        self._circuits.poke()

    def now(self) -> float:
        """Unix seconds."""
        return self._clock.wall()

    def figures(self) -> Figures:
        """What this process alone has counted."""
        return self._counted.figures(self._clock.monotonic())

    def sections(self, role: Role) -> Mapping[str, Html]:
        """What lives of it. All who watch share one rendering for as long as it may be shown."""
        now = self._clock.monotonic()
        rendered = self._rendered.get(role)
        if rendered is None or now - rendered[0] >= PAUSE:
            rendered = self._rendered[role] = (now, sections(self._picture(), role))
        return rendered[1]

    def follow(self, cookie: str, role: Role) -> AsyncIterator[bytes]:
        """The messages of a stream, for as long as the cookie is good."""
        return follow(
            lambda: self.sections(role),
            welcome=lambda: self.door.read(cookie) is not None,
            stopping=self._stopping,
            clock=self._clock,
        )

    def _changed(self, *, settled: bool) -> None:
        for each in self._servers:
            each.changed(settled=settled)

    def _names(self) -> Mapping[str, str]:
        """Of the lab's servers, by address."""
        status = self.desk.picture().status if self.desk is not None else None
        return {str(node.address): node.name for node in status.nodes} if status else {}

    def _picture(self) -> Picture:
        seen, timeline = self._observer, self._observer.timelines
        lab = self.desk.picture() if self.desk is not None else None
        circuits = self._circuits.last()
        others = (self._others.last() or []) if self._others is not None else []
        told = [figures for figures in others if figures is not None]
        return Picture(
            status=self._state.status(),
            at=seen.now(),
            instance=self._instance,
            ongoing=timeline.ongoing,
            over=timeline.over,
            reigns=timeline.reigns,
            meanwhile=dict(seen.meanwhile),
            figures=together([self.figures(), *told]),
            journal=self._journal.entries,
            sights=tuple(each.sight() for each in self._servers),
            circuits=None if circuits is None else tuple(circuits),
            lab=lab,
            doing=self._worktop.doing,
            workers=_workers(self._worker, silent=len(others) - len(told)),
            names=self._names(),
        )


def _timelines(settings: Settings) -> Timelines:
    each = settings.each_redis()
    return Timelines(
        {
            told: Timeline(several=own.mode == "cluster", features=told)
            for own, features in each.items()
            for told in (features if len(each) > 1 else (),)
        }
    )


def _look_at_others(siblings: Siblings, door: Door, clock: Clock) -> Look[list[Figures | None]]:
    async def ask() -> list[Figures | None]:
        return await siblings.figures(door.own())

    return Look("other workers", ask, every=LOOK_EVERY, clock=clock)


def _workers(worker: Worker | None, *, silent: int) -> Workers:
    if worker is None:
        return Workers()
    return Workers(number=worker.number, count=len(worker.ports), silent=silent)
