"""How long until writes reach the new primary: rounds of kill and freeze on a local topology.

    python benchmarks/first_write.py [ROUNDS]

Each round writes 200 times a second through `SharedState` (fail-open), kills or freezes the
primary, and notes when the first Sentinel announced `+switch-master`, when the first write after
the fault was answered by Redis again, and the slowest call. The deadline of a call is 50 ms.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from aragora_redis import SharedState
from aragora_redis.lab import Lab

RATE = 200


async def first_switch(lab: Lab, names: Sequence[str]) -> float:
    """The moment at which the first Sentinel publishes `+switch-master`."""

    async def listen(name: str) -> float:
        node = lab.node(name)
        async with Redis(port=node.port, password=lab.password(node)).pubsub() as listener:
            await listener.subscribe("+switch-master")
            async for message in listener.listen():
                if message["type"] == "message":
                    return time.monotonic()
        raise RuntimeError("the subscription ended")

    tasks = [asyncio.create_task(listen(name)) for name in names]
    try:
        return await next(iter(asyncio.as_completed(tasks)))
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, RedisError):
                await task


async def one_round(state: SharedState, lab: Lab, fault: str) -> tuple[float, float, float]:
    """Break the primary; seconds from fault and from announcement to the first write, slowest."""
    answers: list[tuple[float, str, float]] = []
    done = asyncio.Event()

    async def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            began = time.monotonic()
            decision = await state.rate_limits.check("api", f"bench-{number}")
            ended = time.monotonic()
            answers.append((ended, decision.source.value, ended - began))
            await asyncio.sleep(1 / RATE)

    writing = asyncio.create_task(write())
    switch = asyncio.create_task(first_switch(lab, ["sentinel-0", "sentinel-1", "sentinel-2"]))
    await asyncio.sleep(1)
    broken = time.monotonic()
    await asyncio.to_thread(getattr(lab, fault), "primary")
    announced = await switch
    while not any(at > broken + 0.5 and source == "redis" for at, source, _ in answers):
        await asyncio.sleep(0.01)
    done.set()
    await writing
    written = next(at for at, source, _ in answers if at > broken + 0.5 and source == "redis")
    return written - broken, written - announced, max(took for *_, took in answers)


async def restore(state: SharedState, lab: Lab, fault: str) -> None:
    """Bring the broken node back, and wait until all is well."""
    await asyncio.to_thread(lab.start_all) if fault == "kill" else await asyncio.to_thread(
        lab.thaw, "all"
    )
    while state.status().health != "healthy" or state.status().replicas < 2:
        await asyncio.sleep(0.05)
    await asyncio.sleep(3)  # the Sentinels' own view settles


async def main(rounds: int) -> None:
    """Run and print one line for each fault."""
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab.create(Path(directory) / "lab", "sentinel", ports="free")
        lab.start()
        try:
            async with SharedState.from_env(
                lab.env() | {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}
            ) as state:
                for fault in ("kill", "freeze"):
                    results = []
                    for _ in range(rounds):
                        results.append(await one_round(state, lab, fault))
                        await restore(state, lab, fault)
                    gaps, after, slowest = zip(*results, strict=True)
                    print(
                        f"{fault:6}  gap {statistics.median(gaps):.2f} s  "
                        f"after +switch-master: median {statistics.median(after) * 1000:+.0f} ms, "
                        f"max {max(after) * 1000:+.0f} ms  "
                        f"slowest call {max(slowest) * 1000:.0f} ms"
                    )
        finally:
            lab.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
