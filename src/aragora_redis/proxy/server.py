"""The proxy as a whole: who comes in is led, counted, and let go in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Self

from ..address import Address
from ..clock import Clock
from ..errors import AragoraRedisError, SettingsError
from ..events import Events
from ..link.account import Account, account_of
from ..link.encryption import encryption_of
from ..link.names import Names
from ..link.supervision import supervised
from ..ops.open_files import allow_files
from ..settings import Settings
from .dial import Dialer
from .door import Door, Welcome, listen
from .figures import Figures
from .lead import Lead, Server
from .passage import Passage
from .plan import Plan, Role
from .readers import Readers

DIAL_AGAIN = 0.05
"""Seconds before it is tried again to connect to a server."""
DRAIN_LOOK = 0.25
"""Seconds that a connection must have been at rest to be ended while the proxy ends."""
SPARE_FILES = 64
"""Open files that are needed beside two for each connection."""

NOWHERE: dict[Role, bytes] = {
    "primary": b"-MASTERDOWN no primary is proven now (aragora-redis proxy)\r\n",
    "replicas": b"-MASTERDOWN no replica is usable now (aragora-redis proxy)\r\n",
}
FULL = b"-ERR max number of clients reached\r\n"

_log = logging.getLogger(__name__)


class Proxy:
    """Use it as an async context manager.

    Args:
        settings: which Redis.
        plan: what is asked for.

    Raises:
        SettingsError: that cannot be, see `Plan.check`; nothing is left listening.
    """

    def __init__(self, settings: Settings, plan: Plan, *, clock: Clock, events: Events) -> None:
        plan.check(settings)
        self._plan = plan
        self._clock = clock
        self._names = Names(settings.hosts)
        self._account: Account | None = None
        if plan.logs_in:
            self._account = account_of(
                settings.credentials, setting=settings.password_setting, clock=clock, events=events
            )
        self._dialer = Dialer(self._names, encryption_of(settings.tls), self._account, settings.db)
        self._welcome = Welcome(plan.tls)
        self._lead = Lead(settings, clock=clock, events=events, on_view=self._on_view)
        self._readers = Readers(self._lead.reach, max_lag=plan.max_lag, clock=clock)
        self._doors: list[Door] = []
        self._renewal: asyncio.Task[None] | None = None
        self._visits: set[asyncio.Task[None]] = set()
        self.figures = Figures()
        self.ports: dict[Role, list[Address]] = {}
        """Where it listens."""

    def exposition(self) -> str:
        """All figures, in the text format of Prometheus."""
        return self.figures.exposition(connections=len(self._visits), leading=self._lead.leading)

    @property
    def leading(self) -> bool:
        """Whether the primary is known and has just proved itself."""
        return self._lead.leading

    async def __aenter__(self) -> Self:
        _demand_files(2 * self._plan.max_connections + SPARE_FILES)
        with contextlib.ExitStack() as opened:
            listening = {}
            for role, at in self._plan.ports.items():
                listening[role] = listen(at)
                for each in listening[role]:
                    opened.callback(each.close)
            opened.pop_all()
        self._lead.start()
        if self._account is not None:
            renew = supervised("what connections are logged in with", self._account.run)
            self._renewal = asyncio.create_task(renew)
        if self._plan.replicas is not None:
            self._readers.start()
        for role, sockets in listening.items():
            self.ports[role] = [Address(*each.getsockname()[:2]) for each in sockets]
            self._doors.append(Door(sockets, self._entrance(role)))
            self._doors[-1].open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for door in self._doors:
            await door.close()
        for passage in self._passages:
            passage.end("drain")
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        await self._readers.close()
        await self._lead.close()
        if self._account is not None:
            self._account.close()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        self._names.close()

    async def drain(self) -> None:
        """Let nobody in any more, and end what is at rest, for at most the time of the plan.

        At rest is a connection on which nothing has passed for a moment, and last an answer.
        """
        for door in self._doors:
            await door.close()
        end = self._clock.monotonic() + self._plan.drain
        moves: dict[Passage, int] = {}
        while self._passages and self._clock.monotonic() < end:
            for passage in self._passages:
                if not passage.asks and moves.get(passage) == passage.moves:
                    passage.end("drain")
            moves = {passage: passage.moves for passage in self._passages}
            await asyncio.sleep(min(DRAIN_LOOK, max(end - self._clock.monotonic(), 0.0)))
        if left := len(self._passages):
            _log.warning("connections were ended in the middle: %d", left)

    @property
    def _passages(self) -> list[Passage]:
        return [*self._lead.passages, *self._readers.passages]

    def _on_view(self) -> None:
        if self._plan.replicas is not None:
            self._readers.sort_out()

    # --- one connection -------------------------------------------------------------------

    def _entrance(self, role: Role) -> Callable[[socket.socket], None]:
        def enter(visitor: socket.socket) -> None:
            if len(self._visits) >= self._plan.max_connections:
                self.figures.refused["limit"] += 1
                _turn_away(visitor, FULL if self._plan.tls is None else b"")
                return
            visit = asyncio.create_task(self._visit(visitor, role))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)

        return enter

    async def _visit(self, visitor: socket.socket, role: Role) -> None:
        passage = Passage(self.figures)
        try:
            await self._welcome.receive(visitor, passage.client)
        except OSError:
            self.figures.refused["tls"] += 1
            visitor.close()
            return
        try:
            if not await self._lead_on(passage, role):
                self.figures.refused["nowhere"] += 1
                passage.refuse(NOWHERE[role])
            await passage.ended.wait()
        finally:
            self._lead.passages.discard(passage)
            self._readers.passages.pop(passage, None)
            for side in (passage.client, passage.server):
                if side.transport is not None:
                    side.transport.abort()

    async def _lead_on(self, passage: Passage, role: Role) -> bool:
        """Connect it to a server; whether that could be done, or nobody waits for it any more."""
        until = self._clock.monotonic() + self._plan.wait
        while not passage.over:
            server, to_replica = await self._find(role, until)
            if server is not None and await self._join(passage, server, to_replica=to_replica):
                self.figures.led[role] += 1
                return True
            if self._clock.monotonic() >= until:
                return False
            await asyncio.sleep(DIAL_AGAIN)
        return True

    async def _find(self, role: Role, until: float) -> tuple[Server | None, bool]:
        """Where to lead, and whether that is a replica."""
        if role == "replicas":
            if (replica := self._readers.pick()) is not None:
                return replica, True
            if not self._plan.falls_back:
                return None, True
        return await self._lead.find(until), False

    async def _join(self, passage: Passage, server: Server, *, to_replica: bool) -> bool:
        try:
            await self._dialer.dial(server, passage.another_server())
        except (AragoraRedisError, OSError, TimeoutError) as error:
            _log.debug("no connection to %s: %s", server.target, error)
            return False
        if to_replica and isinstance(server.target, Address):
            self._readers.passages[passage] = server.target
            passage.join(self._readers)
            return True
        if server.term != self._lead.term:  # it is not the primary any more
            return False
        self._lead.passages.add(passage)
        passage.join(self._lead)
        return True


def _turn_away(visitor: socket.socket, line: bytes) -> None:
    with visitor, contextlib.suppress(OSError):
        visitor.settimeout(0)
        visitor.send(line)


def _demand_files(wanted: int) -> None:
    if (allowed := allow_files(wanted)) < wanted:
        raise SettingsError(
            f"{wanted} open files are needed, and this process may have {allowed}",
            remedy="lower --max-connections, or raise LimitNOFILE or `ulimit -Hn`",
        )


async def run(proxy: Proxy, *, on_listening: Callable[[dict[Role, list[Address]]], None]) -> None:
    """Run it until SIGTERM or SIGINT; a second one ends what is not drained yet."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    with _signals(stop, hurry):
        async with proxy:
            on_listening(proxy.ports)
            await stop.wait()
            draining = asyncio.create_task(proxy.drain())
            hurried = asyncio.create_task(hurry.wait())
            await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
            for task in (draining, hurried):
                task.cancel()
            await asyncio.gather(draining, hurried, return_exceptions=True)


@contextlib.contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def heard() -> None:
        (hurry if stop.is_set() else stop).set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
