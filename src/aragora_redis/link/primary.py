"""The three lanes to the primary: opened, verified, subscribed, and given up when it changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from ..clock import Clock
from ..errors import AragoraRedisError, LinkDownError
from ..events import GIVEN_UP, Events, LinkLost, LinkUp, ServiceLacks, Unreachable
from ..operation import Lane
from ..topology.statement import role_fault
from .connection import Login, Target, connect
from .herd import Turn
from .mux import Mux
from .pipe import Pipe, PushHandler
from .supervision import supervised
from .verification import Verification, Verified

STABLE_AFTER = 1.0
"""Seconds that a link must have lived for its loss not to slow down the next attempt."""
MOMENT = 0.02
"""Seconds within which whoever loses a lane with its server loses the others as well."""
DURABLE_PATIENCE = 0.6
"""Seconds; WAIT holds up this lane on purpose, see `durable`."""


class PrimaryLinks:
    """Leads to whichever server `aim` names, and to no other.

    Args:
        login: credentials and TLS.
        deadline: seconds that a call may take by default; twice that makes a lane suspect.
        verification: what every new connection has to stand.
        has_layout: whether a server is the one that holds the version of the data's layout.
        by_slot: whether a call may hold keys of one slot only, whatever the server says.
        together: whether the loss of one lane ends all: what the name leads to may have changed.
        instances: how many there are that lose a server together, as far as is known.
        on_push: gets every published message.
        heard_majority_since: whether most Sentinels were heard since an instant.
        on_verified: told the network address of a server that may be written from now on.
        on_up: told that a lane is usable.
        on_trouble: told that the primary could not be reached or verified, or is in doubt: the
            Sentinels are to be asked.
    """

    def __init__(
        self,
        login: Login,
        *,
        clock: Clock,
        events: Events,
        deadline: float,
        verification: Verification,
        has_layout: Callable[[Target], bool] = lambda _target: True,
        by_slot: bool = False,
        together: bool = False,
        instances: Callable[[], int] = lambda: 0,
        on_push: PushHandler,
        heard_majority_since: Callable[[float], bool],
        on_verified: Callable[[str], None] = lambda _peer: None,
        on_up: Callable[[Lane], None],
        on_trouble: Callable[[], None],
    ) -> None:
        self._login = login
        self._clock = clock
        self._events = events
        self._verification = verification
        self._has_layout = has_layout
        self._by_slot = by_slot
        self._together = together
        self._turn = Turn(instances, clock)
        self.channels: Sequence[bytes] = ()
        """What the bulk lane subscribes to before it is used."""
        self._on_push = on_push
        self._on_verified = on_verified
        self._on_up = on_up
        self._on_trouble = on_trouble
        self._tasks: list[asyncio.Task[None]] = []
        self._renewals: list[asyncio.Task[None]] = []
        self._attempts: dict[Lane, asyncio.Task[float]] = {}
        self._dialed: dict[Lane, str] = {}
        self._aims = 0
        self._losses = 0
        self._told: str | None = None
        self._lost = {lane: asyncio.Event() for lane in Lane}
        self._up = {lane: asyncio.Event() for lane in Lane}
        self._down_since: dict[Lane, float] = {}
        self.target: Target | None = None
        self._news = asyncio.Event()
        self._dropping = False
        self._guarded = False
        self.fsyncs: bool | None = None
        """Whether the server tells what is on its disk; None until one was asked."""
        self.lacks: tuple[str, ...] = ()
        """What the server does not offer, and what it costs, each as one sentence."""
        patience = {Lane.FAST: 2 * deadline, Lane.BULK: 0.5, Lane.DURABLE: DURABLE_PATIENCE}
        self.lanes = {
            lane: Mux(
                lane.value,
                by_slot=by_slot,
                clock=clock,
                events=events,
                patience=max(patience[lane], 2 * deadline),
                role_fault=self._role_fault,
                vouched=heard_majority_since,
                on_probe=on_trouble,
                on_lost=partial(self._on_lane_lost, lane),
            )
            for lane in Lane
        }

    def aim(self, target: Target | None) -> None:
        """Lead to `target` from now on. Unread replies of the old primary become unknown."""
        self._cancel("the primary has changed" if self.target else f"connecting to {target}")
        for mux in self.lanes.values():
            mux.trust()
        self.resume()
        self.target = target
        self._told = None
        self._turn.draw()
        if target is not None:
            self._tasks = [
                asyncio.create_task(
                    supervised(
                        f"the {lane} lane", partial(self._maintain, lane, target, self._aims)
                    )
                )
                for lane in Lane
            ]

    def keep_warm(self) -> None:
        """Let no lane fall silent on which fenced operations go."""
        for mux in self.lanes.values():
            mux.keep_warm()

    def drop(self, reason: str) -> None:
        """Give every connection up, and connect again: whoever answers then has to prove itself."""
        self._losses += 1
        self._dropping = True
        for mux in self.lanes.values():
            mux.drop(reason)
        self._dropping = False

    def leave(self, addresses: Collection[str], reason: str) -> None:
        """Give up connections and attempts that lead to none of these."""
        if not {mux.peer for mux in self.lanes.values() if mux.connected} <= set(addresses):
            self.drop(reason)
        for lane, attempt in self._attempts.items():
            if self._dialed[lane] and self._dialed[lane] not in addresses:
                attempt.cancel()

    @property
    def _served(self) -> bool:
        """Whether the server serves any lane; one that is silent is not served."""
        return any(mux.down is None for mux in self.lanes.values())

    @property
    def peers(self) -> frozenset[str]:
        """The network addresses of the lanes, and of attempts that are under way."""
        connected = {peer for mux in self.lanes.values() if (peer := mux.peer) is not None}
        dialed = {self._dialed[lane] for lane in self._attempts}
        return frozenset((connected | dialed) - {""})

    def renew(self) -> None:
        """Connect anew and use that instead, without a gap: what is behind the name is another."""
        for task in self._renewals:
            task.cancel()  # what it connects to is of before this was announced
        if self.target is not None:
            self._renewals = [
                asyncio.create_task(
                    supervised(
                        f"the renewal of the {lane} lane",
                        partial(self._renew, lane, self.target, self._aims),
                    )
                )
                for lane in Lane
            ]

    def hurry(self) -> None:
        """Try again at once: what stood in the way may be over."""
        self._news.set()
        self._news = asyncio.Event()

    def explain(self, reason: str) -> None:
        """Say why there is no connection, while there is no primary to connect to."""
        if self.target is None:
            for mux in self.lanes.values():
                mux.close(reason)

    def suspend(self, reason: str) -> None:
        """Stop writing, until `aim` or `resume`."""
        for mux in self.lanes.values():
            mux.suspend(reason)

    def resume(self) -> None:
        """Write again: the primary is still the same."""
        for mux in self.lanes.values():
            mux.resume()

    async def usable(self, lane: Lane, until: float) -> bool:
        """Wait until a lane can be written to; False if it cannot before `until` (monotonic)."""
        while self.lanes[lane].down is not None:
            left = until - self._clock.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(min(left, 0.05)):
                    await self._up[lane].wait()
                    if self.lanes[lane].down is not None:  # connected, but suspect or suspended
                        await asyncio.sleep(0.005)
            except TimeoutError:
                continue
        return True

    def retire(self, reason: str) -> None:
        """Write nothing more, on no new connection either; read what is answered until `close`."""
        self.suspend(reason)
        self._aims += 1
        for task in (*self._tasks, *self._renewals):
            task.cancel()

    async def close(self) -> None:
        """End every connection."""
        tasks = [*self._tasks, *self._renewals]
        missed = [*self._down_since] if self.target is not None else []
        self._cancel(GIVEN_UP)
        for lane in missed:  # nobody waits for those any more that were lost before
            self._events.emit(LinkLost(str(self.target), lane.value, GIVEN_UP))
        self.target = None
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cancel(self, reason: str) -> None:
        self._aims += 1
        for task in (*self._tasks, *self._renewals):
            task.cancel()
        self._tasks, self._renewals = [], []
        for mux in self.lanes.values():
            mux.close(reason)

    # --- one lane ----------------------------------------------------------------------

    async def _maintain(self, lane: Lane, target: Target, aim: int) -> None:
        attempt = 0
        while True:
            await self._come()
            try:
                began = await self._attempt(lane, target, aim)
            except AragoraRedisError as error:
                if aim != self._aims:
                    return
                self.lanes[lane].close(str(error))
                self._tell(str(error))
                self._on_trouble()
                await self._rest(self._turn.pause(attempt))
                attempt += 1
                continue
            await self._lost[lane].wait()
            if self._clock.monotonic() - began >= STABLE_AFTER:
                attempt = 0
            else:
                await self._rest(self._turn.pause(attempt))
                attempt += 1

    async def _come(self) -> None:
        """Wait for our turn, unless the server serves another lane."""
        if self._turn.crowded:
            await asyncio.sleep(MOMENT)
        while self._turn.left > 0 and not self._served:
            await self._rest(self._turn.left)

    async def _rest(self, seconds: float) -> None:
        """Wait, until `hurry` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _renew(self, lane: Lane, target: Target, aim: int) -> None:
        """Until it has come about, or the lane was lost, which leads to the same."""
        mux, attempt = self.lanes[lane], 0
        before = mux.generation
        while mux.connected and mux.generation == before and aim == self._aims:
            try:
                pipe, verified = await self._verified(lane, target, aim)
            except AragoraRedisError:  # not yet: the old connection holds meanwhile
                await asyncio.sleep(self._turn.pause(attempt))
                attempt += 1
                continue
            if not mux.connected or mux.generation != before or aim != self._aims:
                pipe.close("not needed any more")
                return
            self._take_in(lane, target, verified)
            if pipe.peer is not None:
                self._on_verified(pipe.peer)
            if await mux.hand_over(pipe, verified.server_time):
                self._on_up(lane)

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._events.emit(Unreachable(f"primary {self.target}", reason))

    async def _attempt(self, lane: Lane, target: Target, aim: int) -> float:
        """Link a lane, until that leads to a server that the name has left; when it was linked."""
        self._dialed[lane] = ""
        attempt = asyncio.create_task(self._link(lane, target, aim))
        self._attempts[lane] = attempt
        try:
            return await attempt
        except asyncio.CancelledError:
            us = asyncio.current_task()
            if us is not None and us.cancelling():
                attempt.cancel()
                raise
            raise LinkDownError(f"{target} leads elsewhere now") from None
        finally:
            if self._attempts.get(lane) is attempt:
                del self._attempts[lane]

    async def _link(self, lane: Lane, target: Target, aim: int) -> float:
        """Use a verified connection in the turn in which it was: a later one may not know of it."""
        pipe, verified = await self._verified(lane, target, aim)
        self._told = None
        now = self._clock.monotonic()
        self._lost[lane].clear()
        self._take_in(lane, target, verified)
        self.lanes[lane].attach(pipe, verified.server_time)
        if pipe.peer is not None:
            self._on_verified(pipe.peer)
        if pipe.closed is None:
            since = self._down_since.pop(lane, None)
            self._up[lane].set()
            self.hurry()
            self._events.emit(
                LinkUp(str(target), lane.value, now - since if since is not None else 0.0)
            )
            self._on_up(lane)
        return now

    async def _verified(self, lane: Lane, target: Target, aim: int) -> tuple[Pipe, Verified]:
        """Connect, and make sure that this is a primary whose data we can read."""
        losses = self._losses
        pipe = await connect(
            target,
            self._login,
            timeout=self._turn.patience,
            on_push=self._on_push,
            on_dial=partial(self._dialed.__setitem__, lane),
        )
        try:
            self._check_aim(target, aim)
            verified = await self._verification.run(
                pipe,
                target,
                has_layout=self._has_layout(target),
                channels=self.channels if lane is Lane.BULK else None,
                patience=self._turn.patience,
            )
            self._check_aim(target, aim)  # a cancellation may be lost on the way; this is not
            self._check_losses(target, losses)
        except BaseException:
            pipe.close("not verified")
            raise
        return pipe, verified

    def _check_aim(self, target: Target, aim: int) -> None:
        """A server that stood still may answer in the moment in which it was replaced."""
        if aim != self._aims:
            raise LinkDownError(f"{target} is not the primary any more")

    def _check_losses(self, target: Target, losses: int) -> None:
        """What ended the other lanes is as true of one that was on its way."""
        if self._together and losses != self._losses:
            raise LinkDownError(f"{target} may have been replaced meanwhile")

    def _take_in(self, lane: Lane, target: Target, verified: Verified) -> None:
        self._guarded = verified.guarded
        self.lanes[lane].question = verified.offers.question
        if lane is Lane.DURABLE:
            self.fsyncs = verified.offers.fsyncs
        self.lanes[lane].by_slot = self._by_slot or not verified.offers.across_slots
        if lane is Lane.BULK and verified.offers.lacks != self.lacks:
            self.lacks = verified.offers.lacks
            self._events.emit(ServiceLacks(str(target), self.lacks))

    def _on_lane_lost(self, lane: Lane, reason: str) -> None:
        self._up[lane].clear()
        self._lost[lane].set()
        self._down_since.setdefault(lane, self._clock.monotonic())
        self._losses += 1
        if self._turn.left <= 0 and not self._served:
            self._turn.draw()
        self._events.emit(LinkLost(str(self.target), lane.value, reason))
        if self._together and not self._dropping:
            self.drop(f"the {lane} lane was lost: {reason}")
        self._on_trouble()

    def _role_fault(self, role: Any) -> str | None:
        return role_fault(role, guarded=self._guarded)
