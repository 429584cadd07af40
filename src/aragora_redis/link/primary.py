"""The three lanes to the primary: opened, verified, subscribed, and given up when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from ..clock import Clock
from ..errors import LinkDownError
from ..events import GIVEN_UP, Events, LinkLost, ServiceLacks
from ..operation import Lane
from ..topology.statement import role_fault
from .approach import Aim, Approach
from .connection import Login, Target
from .lane_link import LaneLink
from .mux import Mux
from .pipe import PushHandler
from .supervision import supervised
from .verification import Verification, Verified

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
        self._events = events
        self._by_slot = by_slot
        self._together = together
        self.channels: Sequence[bytes] = ()
        """What the bulk lane subscribes to before it is used."""
        self._on_trouble = on_trouble
        self._tasks: list[asyncio.Task[None]] = []
        self._renewals: list[asyncio.Task[None]] = []
        self._aim: Aim | None = None
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
        self._approach = Approach(
            login,
            clock=clock,
            verification=verification,
            has_layout=has_layout,
            together=together,
            instances=instances,
            channels=lambda: self.channels,
            served=self._served,
            on_push=on_push,
        )
        self._links = {
            lane: LaneLink(
                lane,
                mux,
                self._approach,
                clock=clock,
                events=events,
                take_in=self._take_in,
                on_verified=on_verified,
                on_up=on_up,
                on_trouble=on_trouble,
            )
            for lane, mux in self.lanes.items()
        }

    @property
    def target(self) -> Target | None:
        """The server that is aimed at."""
        return self._aim.target if self._aim is not None else None

    def aim(self, target: Target | None) -> None:
        """Lead to `target` from now on. Unread replies of the old primary become unknown."""
        self._cancel("the primary has changed" if self.target else f"connecting to {target}")
        for mux in self.lanes.values():
            mux.trust()
        self.resume()
        self._aim = aim = Aim(target) if target is not None else None
        self._approach.turn.draw()
        if aim is not None:
            self._tasks = [
                asyncio.create_task(supervised(f"the {lane} lane", partial(link.maintain, aim)))
                for lane, link in self._links.items()
            ]

    def keep_warm(self) -> None:
        """Let no lane fall silent on which fenced operations go."""
        for mux in self.lanes.values():
            mux.keep_warm()

    def drop(self, reason: str) -> None:
        """Give every connection up, and connect again: whoever answers then has to prove itself."""
        self._approach.losses += 1
        self._dropping = True
        for mux in self.lanes.values():
            mux.drop(reason)
        self._dropping = False

    def leave(self, addresses: Collection[str], reason: str) -> None:
        """Give up connections and attempts that lead to none of these."""
        if not {mux.peer for mux in self.lanes.values() if mux.connected} <= set(addresses):
            self.drop(reason)
        for link in self._links.values():
            link.leave(addresses)

    def _served(self) -> bool:
        """Whether the server serves any lane; one that is silent is not served."""
        return any(mux.down is None for mux in self.lanes.values())

    @property
    def peers(self) -> frozenset[str]:
        """The network addresses of the lanes, and of attempts that are under way."""
        return frozenset(peer for link in self._links.values() for peer in link.peers)

    def renew(self) -> None:
        """Connect anew and use that instead, without a gap: what is behind the name is another."""
        for task in self._renewals:
            task.cancel()  # what it connects to is of before this was announced
        if (aim := self._aim) is not None:
            after = self._approach.turn.stagger()
            self._renewals = [
                asyncio.create_task(
                    supervised(f"the renewal of the {lane} lane", partial(link.renew, aim, after))
                )
                for lane, link in self._links.items()
            ]

    def hurry(self) -> None:
        """Try again at once: what stood in the way may be over."""
        self._approach.hurry()

    def explain(self, why: LinkDownError) -> None:
        """Say why there is no connection, while there is no primary to connect to."""
        if self.target is None:
            for mux in self.lanes.values():
                mux.close(why.message, remedy=why.remedy)

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
        return await self._links[lane].usable(until)

    def retire(self, reason: str) -> None:
        """Write nothing more, on no new connection either; read what is answered until `close`."""
        self.suspend(reason)
        self._end_aim()

    async def close(self) -> None:
        """End every connection."""
        tasks = [*self._tasks, *self._renewals]
        lost = [lane for lane, link in self._links.items() if link.down_since is not None]
        missed = lost if self.target is not None else []
        self._cancel(GIVEN_UP)
        for lane in missed:  # nobody waits for those any more that were lost before
            self._events.emit(LinkLost(str(self.target), lane.value, GIVEN_UP))
        self._aim = None
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cancel(self, reason: str) -> None:
        self._end_aim()
        self._tasks, self._renewals = [], []
        self._dropping = True
        for mux in self.lanes.values():
            mux.close(reason)
        self._dropping = False

    def _end_aim(self) -> None:
        if self._aim is not None:
            self._aim.over = True
        for task in (*self._tasks, *self._renewals):
            task.cancel()

    def _take_in(self, lane: Lane, aim: Aim, verified: Verified) -> None:
        """Heed what a server says of itself, before the lane uses its connection."""
        self._guarded = verified.guarded
        self.lanes[lane].question = verified.offers.question
        if lane is Lane.DURABLE:
            self.fsyncs = verified.offers.fsyncs
        self.lanes[lane].by_slot = self._by_slot or not verified.offers.across_slots
        if lane is Lane.BULK and verified.offers.lacks != self.lacks:
            self.lacks = verified.offers.lacks
            self._events.emit(ServiceLacks(str(aim.target), self.lacks))

    def _on_lane_lost(self, lane: Lane, reason: str) -> None:
        self._links[lane].lost()
        self._approach.losses += 1
        if self._approach.turn.left <= 0 and not self._served():
            self._approach.turn.draw()
        self._events.emit(LinkLost(str(self.target), lane.value, reason))
        if self._together and not self._dropping:
            self.drop(f"the {lane} lane was lost: {reason}")
        self._on_trouble()

    def _role_fault(self, role: Any) -> str | None:
        return role_fault(role, guarded=self._guarded)
