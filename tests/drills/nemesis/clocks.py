"""A clock that is set under a running instance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .stage import Stage

DAY = 86_400.0
STEPS = (-4 * DAY, -3600.0, -100.0, 100.0, 3600.0, 4 * DAY)
"""Seconds: within what clocks may differ, beyond it, and into another day."""


@asynccontextmanager
async def step(stage: Stage) -> AsyncIterator[None]:
    """The clock of one client's machine is set, and set right again: nothing is decided by it."""
    client = stage.random.choice(list(stage.fleet.living.values()))
    async with stage.band("clock", loses=None, seamless=True):
        await client.ask({"do": "step", "by": stage.random.choice(STEPS)})
        yield
        await stage.hold(3, 6)
        if client.name in stage.fleet.living:
            await client.ask({"do": "step", "by": 0.0})
