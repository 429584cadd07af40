"""Places of bulkheads that callers over HTTP hold.

A caller that never reports keeps its place for as long as a trial call would; one that reports to
another gateway, likewise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..circuit.operations import lease_of
from ..state.circuit import Circuit


class Place:
    """One place that was entered; kept only under a permit."""

    def __init__(self) -> None:
        self.permit: str | None = None

    def keep(self, permit: str) -> None:
        """Let the holder of a permit have it."""
        self.permit = permit


class Places:
    """What is held here, by permit: never more than the bulkheads have places."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Circuit, asyncio.TimerHandle]] = {}

    @asynccontextmanager
    async def entered(self, circuit: Circuit) -> AsyncIterator[Place]:
        """Take a place, if the circuit has a bulkhead; it is given back unless it was kept.

        Raises:
            CircuitFullError: there is none.
        """
        place, bounded = Place(), circuit.bulkhead.bounded
        if bounded:
            await circuit.bulkhead.enter()
        try:
            yield place
        finally:
            if bounded and place.permit is None:
                circuit.bulkhead.leave()
            elif bounded and place.permit is not None:
                self._hold(place.permit, circuit)

    def free(self, permit: str) -> None:
        """Give the place of a permit back, if one is held here."""
        held = self._held.pop(permit, None)
        if held is not None:
            circuit, timer = held
            timer.cancel()
            circuit.bulkhead.leave()

    def _hold(self, permit: str, circuit: Circuit) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(lease_of(circuit.policy), self.free, permit)
        self._held[permit] = (circuit, timer)
