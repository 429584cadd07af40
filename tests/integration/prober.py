"""Processes that try a half-open circuit: they tell the monotonic time of each begin and end.

Arguments: how many, name of the circuit, seconds to go on for, seconds that a call takes at most.
Each is forked from one that has read the code, says `ready`, and begins at a byte of the input.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time

from aragora_redis import SharedState
from aragora_redis.errors import CircuitOpenError


class NoResultError(Exception):
    """The call says nothing of the dependency, so the circuit stays half-open."""


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def call(longest: float) -> None:
    tell("begin", time.monotonic())
    await asyncio.sleep(random.uniform(longest / 10, longest))
    tell("end", time.monotonic())
    raise NoResultError


async def main(name: str, seconds: float, longest: float) -> None:
    state = SharedState.from_env()
    state.start()
    await state.wait_ready(20)
    circuit = state.circuits[name]
    await circuit.report_evidence()
    tell("ready")
    await asyncio.to_thread(os.read, 0, 1)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            async with circuit.guard(ignore=(NoResultError,)):
                await call(longest)
        except CircuitOpenError:
            await asyncio.sleep(0.005)
        except NoResultError:
            continue
    await state.close()


if __name__ == "__main__":
    count = int(sys.argv[1])
    for _ in range(count):
        if os.fork() == 0:
            asyncio.run(main(sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
            os._exit(0)
    for _ in range(count):
        os.wait()
