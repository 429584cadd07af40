"""States in which servers live, and do not do what they should."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .stage import UNTIL_SEEN, Stage


@asynccontextmanager
async def oom(stage: Stage) -> AsyncIterator[None]:
    """The primary is at maxmemory."""
    old = await stage.victim()
    async with stage.band("oom", old, loses=None):
        await stage.do(stage.lab.trouble, "oom", old.name)
        yield
        await stage.hold(1, 3)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def full_disk(stage: Stage) -> AsyncIterator[None]:
    """The primary's file cannot grow, and it refuses writes."""
    old = await stage.victim()
    async with stage.band("full disk", old, loses=None):
        await stage.do(stage.lab.trouble, "full-disk", old.name)
        yield
        await stage.hold(2, 4)
        await _make_room(stage)


@asynccontextmanager
async def full_disk_replaced(stage: Stage) -> AsyncIterator[None]:
    """The same where it is replaced, since it answers a PING with the refusal."""
    old = await stage.victim()
    async with stage.band("full disk", old) as facts:
        began = time.monotonic()
        await stage.do(stage.lab.trouble, "full-disk", old.name)
        yield
        await stage.until_switched(old)
        facts["loses"] = time.monotonic() - began + UNTIL_SEEN
        await stage.hold(0.2, 2)
        await _make_room(stage)


async def _make_room(stage: Stage) -> None:
    await stage.do(stage.lab.heal)
    await stage.do(stage.lab.start_all)  # whoever could not write its configuration has ended


@asynccontextmanager
async def loading(stage: Stage) -> AsyncIterator[None]:
    """The primary restarts and loads for a while; where others judge it by its answers, it stays.

    The nodes of a cluster may replace it, as they do the dead.
    """
    old = await stage.victim()
    shared = bool(old.slots)
    async with stage.band("loading", old, loses=UNTIL_SEEN, total=not shared) as facts:
        began = time.monotonic()
        await stage.do(stage.lab.trouble, "loading", old.name)
        if shared:
            facts["loses"] = time.monotonic() - began + UNTIL_SEEN
        yield
        await stage.hold(2, 4)
        await stage.do(stage.lab.heal)


@asynccontextmanager
async def slow_replica(stage: Stage) -> AsyncIterator[None]:
    """A replica gets to work for a moment now and then, which nobody but WAIT may notice."""
    old = await stage.victim()
    slow = stage.random.choice(await stage.replicas(old))
    async with stage.band("slow replica", old, loses=None, seamless=True):
        enough = asyncio.Event()
        halting = asyncio.create_task(_halt(stage, slow, enough))
        yield
        await stage.hold(4, 6)
        enough.set()
        await halting


async def _halt(stage: Stage, name: str, enough: asyncio.Event) -> None:
    while not enough.is_set():
        await stage.do(stage.lab.freeze, name)
        await asyncio.sleep(0.3)
        await stage.do(stage.lab.thaw, name)
        await asyncio.sleep(0.05)
