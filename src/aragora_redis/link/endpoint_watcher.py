"""Look up the name of a managed service each second, in trouble more often: it may have moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from ..address import Address
from ..clock import Clock
from ..errors import AragoraRedisError
from ..events import Events, Unreachable, ViewChanged
from ..topology.endpoint import EndpointPanel, Moved
from .names import Names
from .supervision import supervised

LOOK_EVERY, HURRIED = 1.0, 0.25
"""Seconds between looks while there are connections, and while there are none."""
PAUSE = 0.005
"""Seconds between looks at least, however great the trouble."""
ANSWER_LIMIT = 2.0
"""Seconds that a resolver has."""


class EndpointWatcher:
    """Keeps an `EndpointPanel` up to date, and has connections given up that lead astray.

    Args:
        peers: the network addresses of the connections, and of those that are being made.
        on_stray: told the addresses that the name has, and why others are to be given up.
        on_moved: told that it has others than before.
    """

    def __init__(
        self,
        endpoint: Address,
        names: Names,
        *,
        clock: Clock,
        events: Events,
        peers: Callable[[], Collection[str]],
        on_stray: Callable[[Collection[str], str], None],
        on_moved: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        self._names = names
        self._clock = clock
        self._events = events
        self._peers = peers
        self._on_stray = on_stray
        self._on_moved = on_moved
        self._poke = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._poked_at = float("-inf")
        self.panel = EndpointPanel()
        self.trouble: str | None = None
        """Why the name cannot be followed now, or None."""

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(supervised("the watch on the name", self._run))

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def poke(self) -> None:
        """Look now rather than in a second; what was answered before tells nothing any more."""
        self._poked_at = self._clock.monotonic()
        self._poke.set()

    def arrived(self, peer: str) -> None:
        """A connection has been verified at this network address."""
        self._tell(self.panel.arrive(peer))

    def heard_since(self, instant: float) -> bool:
        """Whether the resolver was asked since then (monotonic seconds), or cannot be."""
        since = max(instant, self._poked_at)
        return self.panel.rotates or self.panel.heard_since(since, self._clock.monotonic())

    async def _run(self) -> None:
        while True:
            self._poke.clear()
            await self._look()
            await asyncio.sleep(PAUSE)
            try:
                async with asyncio.timeout(LOOK_EVERY if self._peers() else HURRIED):
                    await self._poke.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        self.panel.ask(self._clock.monotonic())
        try:
            # A name that is asked for already is not asked for again.
            async with asyncio.timeout(ANSWER_LIMIT):
                addresses = await self._names.look_up(self.endpoint)
        except (AragoraRedisError, TimeoutError) as error:
            self.panel.fail()
            self._note(str(error) or f"no answer within {ANSWER_LIMIT:g} s")
            return
        self._tell(self.panel.tell(addresses))
        peers = self._peers()
        if self.panel.strays(peers, self._clock.monotonic()):
            astray = ", ".join(sorted(set(peers) - set(addresses)))
            self._on_stray(addresses, f"{self.endpoint.host} does not lead to {astray} now")
        rotating = "it has another address at each look, so its moves cannot be followed"
        self._note(rotating if self.panel.rotates else None)

    def _tell(self, moved: Moved | None) -> None:
        if moved is not None:
            port = self.endpoint.port
            self._events.emit(
                ViewChanged(Address(moved.old, port), Address(moved.new, port), epoch=None)
            )
            self._on_moved()

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            self._events.emit(Unreachable(f"the name {self.endpoint.host}", trouble))
        self.trouble = trouble
