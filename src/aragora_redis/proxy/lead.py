"""Where the primary is, whether it has just proved it, and the connections that lead there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ..clock import Clock
from ..errors import AragoraRedisError
from ..events import Event, Events, LinkLost, LinkUp, SwitchAnnounced, ViewChanged
from ..link.connection import Target
from ..link.primary import PrimaryLinks
from ..link.reach import Reach, reach
from ..link.supervision import supervised
from ..link.trust import FRESH
from ..operation import Fence, Kind, Lane, Operation
from ..settings import Settings
from ..topology.statement import role_fault
from .passage import Passage
from .proof import Proof

LOOK_EVERY = 1.0
"""Seconds between proofs while nothing passes. A lane on which fenced operations go is kept warm
for longer than that, so it does not fall silent, and a silence is one of the server."""
AGAIN = 0.02
"""Seconds before it is asked again after a proof that failed."""
PATIENCE = 10.0
"""Seconds without a proof after which connections are ended. A server that is only busy, as with a
slow script, is waited for; one that was replaced is known long before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a connection leads.

    Attributes:
        target: its address or path, by which its certificate is checked.
        peer: the network address that has proved itself behind it; None to look it up.
        term: counts changes: what was begun in an earlier one is given up.
    """

    target: Target
    peer: str | None = None
    term: int = 0


class Lead:
    """The gate of all connections to the primary.

    Args:
        on_view: told that another server is the primary.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock, events: Events, on_view: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._on_view = on_view
        self.reach: Reach = reach(
            settings,
            clock=clock,
            events=events,
            prepares=False,
            on_doubt=self._change,
        )
        events.subscribe(self._on_event)
        self._proof = Proof()
        self._proved_at = float("-inf")
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._held: set[Passage] = set()
        self._peer: str | None = None
        self._task: asyncio.Task[None] | None = None
        self.passages: set[Passage] = set()
        """Those that lead there."""
        self.term = 0

    def start(self) -> None:
        """Follow in the background."""
        self.reach.start()
        self._task = asyncio.create_task(supervised("the proof of the primary", self._run))

    async def close(self) -> None:
        """End all connections and tasks of its own."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.reach.close()

    # --- what passages ask ----------------------------------------------------------------

    def passes(self) -> bool:
        """Whether bytes may pass now, both ways; what passes has the proof renewed in time."""
        now = self._clock.monotonic()
        if self._proof.ages(now):
            self._wanted.set()
        return self._proof.holds(now)

    def hold(self, passage: Passage) -> None:
        """Release it with the next proof."""
        self._held.add(passage)
        self._wanted.set()

    @property
    def leading(self) -> bool:
        """Whether the primary has just proved itself, for those who only ask."""
        return self._clock.monotonic() - self._proved_at < 2 * LOOK_EVERY

    async def find(self, until: float) -> Server | None:
        """The proven primary; None where nobody is before `until` (monotonic seconds)."""
        while not self.passes():
            left = until - self._clock.monotonic()
            if left <= 0:
                return None
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                continue
        target = self._links.target
        return None if target is None else Server(target, self._peer, self.term)

    # --- the proof ----------------------------------------------------------------------

    @property
    def _links(self) -> PrimaryLinks:
        return self.reach.routes[0].links

    async def _run(self) -> None:
        failing_since: float | None = None
        while True:
            self._wanted.clear()
            if await self._prove():
                failing_since = None
                await self._rest()
                continue
            now = self._clock.monotonic()
            failing_since = now if failing_since is None else failing_since
            if now - failing_since > PATIENCE:
                self._change(f"the primary has not proved itself for {PATIENCE:g} s")
            await asyncio.sleep(AGAIN)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _prove(self) -> bool:
        lane, asked_at, term = self._links.lanes[Lane.FAST], self._clock.monotonic(), self.term
        question = Operation(
            kind=Kind.READ,
            keys=(),
            args=lane.question,
            read=lambda role: role_fault(role, guarded=False),
            fence=Fence.PROBE,
        )
        try:
            fault = question.result(await lane.submit(question, asked_at + FRESH))
        except AragoraRedisError:  # the links say why
            return False
        if term != self.term or self.reach.doubted or lane.down is not None:
            return False
        if fault is not None:
            self._change(f"the server is no primary any more: {fault}")
            self._links.drop(fault)
            return False
        now = self._clock.monotonic()
        if not self._proof.answered(asked_at, now):
            return False
        self._proved(lane.peer, now)
        return True

    def _proved(self, peer: str | None, now: float) -> None:
        if peer != self._peer and self._peer is not None:
            self._end_all("the primary is at another address")
        self._peer = peer
        self._proved_at = now
        news, self._news = self._news, asyncio.Event()
        news.set()
        held, self._held = self._held, set()
        for passage in held:
            passage.release()

    # --- what voids it ----------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case ViewChanged(old, new):
                if old is not None:
                    self._change(f"{new} is the primary now")
                self._on_view()
            case SwitchAnnounced() | LinkLost(lane=Lane.FAST):
                # It may come to nothing, so connections are held and not ended yet.
                self._proof.void()
            case LinkUp(lane=Lane.FAST):
                self._wanted.set()

    def _change(self, reason: str) -> None:
        """Whoever answered is not to be written, or believed, from now on."""
        self._proof.void()
        self._proved_at = float("-inf")
        self._end_all(reason)

    def _end_all(self, reason: str) -> None:
        self.term += 1
        ended, self.passages = self.passages, set()
        self._held.clear()
        for passage in ended:
            passage.end("change")
        if ended:
            _log.warning("connections to the primary were ended: %d: %s", len(ended), reason)
