"""The managed service of a lab, as those see it who run it: clients see one name, whoever leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from ...lab import Lab, State
from .records import CHOSEN, MOVED

LOOK_EVERY = 0.05


class Sight(NamedTuple):
    """Who leads a service."""

    chosen: str
    """The node that the provider wants as primary."""
    order: str
    """The last failover that it was asked for."""
    leads_to: str
    """The node that the name leads to."""


def changes(before: Sight, now: Sight) -> frozenset[str]:
    """What is no longer as it was."""
    found = set()
    if now.chosen != before.chosen and now.order == before.order:
        found.add(CHOSEN)
    if now.leads_to != before.leads_to:
        found.add(MOVED)
    return frozenset(found)


class Service:
    """A service that is about to be drilled; it tells what changes from now on.

    Raises:
        LabError: the lab is of another mode.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._before = self._look()
        self.at = lab.node("provider-0").address
        self.primary = self._before.leads_to
        """Name of the primary before the fault."""
        self.down_after = lab.service.down_after
        self.name_delay = lab.service.name_delay

    async def reasons_against(self) -> tuple[str, ...]:
        """What keeps a primary from being replaced, which clients cannot see."""
        return await asyncio.to_thread(self._lacking)

    async def is_replaced(self) -> bool:
        """Whether the name leads to another node."""
        return MOVED in changes(self._before, await asyncio.to_thread(self._look))

    async def listen(self, tell: Callable[[str], None]) -> None:
        """Tell each change once."""
        told: frozenset[str] = frozenset()
        while True:
            said = changes(self._before, await asyncio.to_thread(self._look))
            for event in said - told:
                tell(event)
            told |= said
            await asyncio.sleep(LOOK_EVERY)

    async def switch(self) -> None:
        """Have the other node take over, as for a maintenance.

        Raises:
            LabError: it came to nothing.
        """
        await asyncio.to_thread(self._lab.switch)

    def _look(self) -> Sight:
        record = self._lab.service.record
        return Sight(record.primary, record.order, self._lab.primary())

    def _lacking(self) -> tuple[str, ...]:
        still = [n for n in self._lab.status().nodes if n.state is not State.RUNNING]
        if still:
            return tuple(f"{node.name} is {node.state}" for node in still)
        lacking = self._lab.service.lacking()
        return (lacking,) if lacking else ()
