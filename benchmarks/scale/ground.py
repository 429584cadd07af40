"""The server of a run: room for ten million entries, and limits whose buckets live long."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from ..suite.servers import BenchServer, serving
from .child import Child, child
from .recording import Recording

POLICIES = """
[limits.hourly]
rate = "10/hour"
burst = 10
on_outage = "fail-open"
[limits.brief]
rate = "1/second"
burst = 10
on_outage = "fail-open"
"""
LIGHT_IN_A_PROCESS = 500


@contextmanager
def ground() -> Iterator[BenchServer]:
    """A server while this lasts."""
    with serving(POLICIES) as server:
        server.client.config_set("maxmemory", 0)
        server.empty()
        yield server


@asynccontextmanager
async def instances(server: BenchServer, count: int) -> AsyncIterator[list[Child]]:
    """So many real instances, each in a process of its own, started together."""
    async with AsyncExitStack() as stack:
        yield list(
            await asyncio.gather(
                *(
                    stack.enter_async_context(child("instance", env=server.target.env))
                    for _ in range(count)
                )
            )
        )


@asynccontextmanager
async def light(
    server: BenchServer, recording: Recording, count: int
) -> AsyncIterator[list[Child]]:
    """Room for so many light instances, in as few processes as bear them."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "recording"
        recording.save(path)
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(
                    child(
                        *("light", server.target.port, size, path),
                        env={"PASSWORD": server.target.password},
                    )
                )
                for size in _sizes(count)
            ]


def _sizes(count: int) -> list[int]:
    processes = -(-count // LIGHT_IN_A_PROCESS)
    return [count // processes + (number < count % processes) for number in range(processes)]


async def all_of(children: Sequence[Child], *words: object) -> list[dict[str, object]]:
    """Ask all of them the same."""
    return list(await asyncio.gather(*(each.ask(*words) for each in children)))
