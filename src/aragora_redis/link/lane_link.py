"""One lane's link: connected, verified, used, and made again whenever it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from ..clock import Clock
from ..errors import AragoraRedisError, LinkDownError
from ..events import Events, LinkUp, Unreachable
from ..operation import Lane
from .approach import Aim, Approach
from .mux import Mux
from .pipe import Pipe
from .verification import Verified

UNHEARD = "the primary stood still, and has not heard its replicas since"
STABLE_AFTER = 1.0
"""Seconds that a link must have lived for its loss not to slow down the next attempt."""


class LaneLink:
    """Keeps one lane connected to the server that is aimed at.

    Args:
        lane: which one.
        mux: uses the connections.
        approach: opens them; the same for all lanes.
        take_in: told what a server says of itself, before its connection is used.
        on_verified: told the network address of a server that may be written from now on.
        on_up: told that the lane is usable.
        on_trouble: told that the server could not be reached or verified.
    """

    def __init__(
        self,
        lane: Lane,
        mux: Mux,
        approach: Approach,
        *,
        clock: Clock,
        events: Events,
        take_in: Callable[[Lane, Aim, Verified], None],
        on_verified: Callable[[str], None],
        on_up: Callable[[Lane], None],
        on_trouble: Callable[[], None],
    ) -> None:
        self._lane = lane
        self._mux = mux
        self._approach = approach
        self._clock = clock
        self._events = events
        self._take_in = take_in
        self._on_verified = on_verified
        self._on_up = on_up
        self._on_trouble = on_trouble
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._attempt: asyncio.Task[float] | None = None
        self._dialed = ""
        """The network address that the latest attempt connects to; empty until it is known."""
        self.down_since: float | None = None
        """When it was lost (monotonic seconds); None while it is connected, or never was."""

    @property
    def peers(self) -> set[str]:
        """The network addresses of the connection, and of an attempt that is under way."""
        dialed = self._dialed if self._attempt is not None else None
        return {peer for peer in (self._mux.peer, dialed) if peer}

    async def usable(self, until: float) -> bool:
        """Wait until the lane can be written to; False if it cannot before `until` (monotonic)."""
        while self._mux.down is not None:
            left = until - self._clock.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(min(left, 0.05)):
                    await self._up.wait()
                    if self._mux.down is not None:  # connected, but suspect or suspended
                        await asyncio.sleep(0.005)
            except TimeoutError:
                continue
        return True

    def leave(self, addresses: Collection[str]) -> None:
        """Give up an attempt that leads to none of these."""
        if self._attempt is not None and self._dialed and self._dialed not in addresses:
            self._attempt.cancel()

    def lost(self) -> None:
        """The connection ended."""
        self._up.clear()
        self._lost.set()
        if self.down_since is None:
            self.down_since = self._clock.monotonic()

    async def maintain(self, aim: Aim) -> None:
        """Connect, and again whenever the connection is lost, until the aim is over."""
        attempt = 0
        while True:
            await self._approach.come()
            try:
                began = await self._try(aim)
            except AragoraRedisError as error:
                if aim.over:
                    return
                self._mux.close(error.message, remedy=error.remedy)
                self._tell(aim, str(error))
                self._on_trouble()
                await self._approach.rest(attempt)
                attempt += 1
                continue
            await self._lost.wait()
            if self._clock.monotonic() - began >= STABLE_AFTER:
                attempt = 0
            else:
                await self._approach.rest(attempt)
                attempt += 1

    async def renew(self, aim: Aim, after: float) -> None:
        """Hand over to a new connection, unless this one is lost: then `maintain` makes one.

        Args:
            aim: where it leads.
            after: seconds to wait first.
        """
        mux, attempt = self._mux, 0
        before = mux.generation
        await asyncio.sleep(after)
        while mux.connected and mux.generation == before and not aim.over:
            try:
                pipe, verified = await self._connect(aim)
            except AragoraRedisError:  # not yet: the old connection holds meanwhile
                await asyncio.sleep(self._approach.turn.pause(attempt))
                attempt += 1
                continue
            if not mux.connected or mux.generation != before or aim.over:
                pipe.close("not needed any more")
                return
            self._take_in(self._lane, aim, verified)
            if pipe.peer is not None:
                self._on_verified(pipe.peer)
            if await mux.hand_over(pipe, verified.server_time):
                self._on_up(self._lane)

    async def _try(self, aim: Aim) -> float:
        """Link, unless that leads to a server that the name has left; tells when it was linked."""
        self._dialed = ""
        attempt = self._attempt = asyncio.create_task(self._link(aim))
        try:
            return await attempt
        except asyncio.CancelledError:
            us = asyncio.current_task()
            if us is not None and us.cancelling():
                attempt.cancel()
                raise
            raise LinkDownError(f"{aim.target} leads elsewhere now") from None
        finally:
            if self._attempt is attempt:
                self._attempt = None

    async def _link(self, aim: Aim) -> float:
        """Use a verified connection in the turn in which it was: a later one may not know of it."""
        pipe, verified = await self._connect(aim)
        aim.told = None
        now = self._clock.monotonic()
        self._lost.clear()
        self._take_in(self._lane, aim, verified)
        self._mux.attach(pipe, verified.server_time)
        if pipe.peer is not None:
            self._on_verified(pipe.peer)
        if pipe.closed is None:
            outage = now - self.down_since if self.down_since is not None else 0.0
            self.down_since = None
            self._up.set()
            self._approach.hurry()
            self._events.emit(LinkUp(str(aim.target), self._lane.value, outage))
            self._on_up(self._lane)
        return now

    async def _connect(self, aim: Aim) -> tuple[Pipe, Verified]:
        return await self._approach.connect(
            self._lane, aim, self._note_dialed, on_unheard=self._note_unheard
        )

    def _note_dialed(self, address: str) -> None:
        self._dialed = address

    def _note_unheard(self) -> None:
        if not self._mux.connected:
            self._mux.close(UNHEARD)

    def _tell(self, aim: Aim, reason: str) -> None:
        if reason != aim.told:
            aim.told = reason
            self._events.emit(Unreachable(f"primary {aim.target}", reason))
