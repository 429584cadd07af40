"""Instances of the library on a lab, and waiting for what they come to."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

from tests.integration.past import give_past

from aragora_redis import SharedState
from aragora_redis.lab import State


async def until(condition, within=20.0):
    """Wait for a condition; returns its value."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s"
        await asyncio.sleep(0.01)
    return value


@asynccontextmanager
async def instances(lab, count=1, **env):
    """Started and ready instances on a lab; one that is empty is given a past first."""
    await asyncio.to_thread(give_past, lab, **env)
    async with AsyncExitStack() as stack:
        made = [SharedState.from_env(lab.env() | env) for _ in range(count)]
        for state in made:
            state.start()
            stack.push_async_callback(state.close)
        for state in made:
            assert await state.wait_ready(20), state.status()
        yield made


async def replaced(lab, within=40):
    """Wait until the lab's Sentinels name a primary that lives.

    Two of them may still name the dead one when a client already believes the third.
    """
    await until(lambda: lab.node("primary").state is State.RUNNING, within)


def healthy(*states):
    return lambda: all(state.status().health == "healthy" for state in states)


def apart(lab, *features):
    """A lab's variables, as those of some features."""
    start = "ARAGORA_REDIS_"
    return {
        f"ARAGORA_{feature}_REDIS_{name.removeprefix(start)}": text
        for feature in features
        for name, text in lab.env().items()
        if name.startswith(start)
    }
