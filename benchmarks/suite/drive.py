"""How a task is driven: by callers of one loop, by threads, or in a tight loop."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from .sample import Sample, timed
from .target import Target

Run = Callable[[float], Awaitable[Sample]]
"""Works for so many seconds."""
Parameters = Mapping[str, int]
Task = Callable[[Target, Parameters], AbstractAsyncContextManager[Run]]
"""Makes all ready for a run, and cleans up after it."""
Opening = AsyncIterator[Run]
"""What a task is before `asynccontextmanager` makes it one."""

FAILED_AT_MOST = 0.01
"""Of the calls of a round: a busy machine makes some late, but what often fails is no answer."""
CALIBRATION = 1.0
"""Seconds in which it is found out how many calls a second there can be."""
BUSY = 256
"""Calls under way at once meanwhile."""
OUTSTANDING = 4_096
"""Calls that may be under way in an open loop: who is that far behind has lost."""
BLOCK = 1_000
"""Calls of a tight loop that are timed together: one takes less than the clock does."""
clock = time.perf_counter


def by_callers(one: Callable[[int], Awaitable[object]], callers: int) -> Run:
    """Closed loop: each caller asks again when it was answered. `one` gets a running number."""

    async def run(seconds: float) -> Sample:
        numbers, each, failed = itertools.count(), list[float](), list[Exception]()
        counts = list[int]()
        end = clock() + seconds

        async def call() -> None:
            began, before = clock(), 0
            while began < end:
                try:
                    await one(next(numbers))
                except Exception as error:  # noqa: BLE001 - judged by `_counted`
                    failed.append(error)
                    began = clock()
                    continue
                ended = clock()
                each.append(ended - began)
                began = ended
                before += 1
            counts.append(before)

        began, cpu = clock(), time.process_time()
        await asyncio.gather(*(call() for _ in range(callers)))
        sample = _counted(each, failed, clock() - began, time.process_time() - cpu)
        sample.evenness = min(counts) / max(*counts, 1)
        return sample

    return run


class Arrival(Struct, frozen=True, gc=False):
    """A call of an open loop. The collector passes over hundreds of thousands of them.

    Attributes:
        due: when it was to begin, by `clock`.
        took: seconds from then until it ended.
        said: what it returned, or the error that it raised.
    """

    due: float
    took: float
    said: object


async def open_loop(
    one: Callable[[int], Awaitable[object]], seconds: float, gap: Callable[[], float], most: int
) -> list[Arrival]:
    """Begin calls when they are due, whoever is still waiting.

    A call counts from when it was due, so that a delay is told by everybody whom it concerned (Gil
    Tene, "How NOT to Measure Latency").

    Args:
        one: gets a running number.
        seconds: in which calls are due.
        gap: seconds from one to the next.
        most: that are under way at once; those that are due meanwhile begin late.
    """
    arrivals, running, numbers = list[Arrival](), set[asyncio.Task[None]](), itertools.count()

    async def call(due: float) -> None:
        try:
            said = await one(next(numbers))
        except Exception as error:  # noqa: BLE001 - it is told
            said = error.with_traceback(None)  # which would keep all that the call knew
        arrivals.append(Arrival(due, clock() - due, said))

    due = began = clock()
    while (now := clock()) < began + seconds:
        while due <= now and len(running) < most:
            task = asyncio.create_task(call(due))
            running.add(task)
            task.add_done_callback(running.discard)
            due += gap()
        await asyncio.sleep(0)  # a timer of a loop is a millisecond late
    if running:
        await asyncio.wait(running)
    return arrivals


async def capacity(one: Callable[[int], Awaitable[object]]) -> float:
    """Calls a second that an open loop brings about at most."""
    began = clock()
    arrivals = await open_loop(one, CALIBRATION, lambda: 0.0, BUSY)
    return len(arrivals) / (clock() - began)


def poisson(rate: float) -> Callable[[], float]:
    """Gaps between arrivals that know nothing of each other, `rate` a second; always the same."""
    chance = random.Random(0)
    return lambda: chance.expovariate(rate)


def by_arrivals(one: Callable[[int], Awaitable[object]], share: int) -> Run:
    """Open loop, at `share` percent of its capacity, which is found out in the first run."""
    most = 0.0

    async def run(seconds: float) -> Sample:
        nonlocal most
        most = most or await capacity(one)
        began, cpu = clock(), time.process_time()
        arrivals = await open_loop(one, seconds, poisson(most * share / 100), OUTSTANDING)
        failed = [each.said for each in arrivals if isinstance(each.said, Exception)]
        took = [each.took for each in arrivals if not isinstance(each.said, Exception)]
        return _counted(took, failed, clock() - began, time.process_time() - cpu)

    return run


def by_threads(one: Callable[[int], object], threads: int) -> Run:
    """The same by threads."""

    def work(seconds: float) -> Sample:
        numbers, each, failed = itertools.count(), list[float](), list[Exception]()
        barrier = threading.Barrier(threads + 1)

        def call() -> None:
            barrier.wait()
            end = (began := clock()) + seconds
            while began < end:
                try:
                    one(next(numbers))
                except Exception as error:  # noqa: BLE001 - judged by `_counted`
                    failed.append(error)
                    began = clock()
                    continue
                ended = clock()
                each.append(ended - began)
                began = ended

        workers = [threading.Thread(target=call) for _ in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        began, cpu = clock(), time.process_time()
        for worker in workers:
            worker.join()
        return _counted(each, failed, clock() - began, time.process_time() - cpu)

    return lambda seconds: asyncio.to_thread(work, seconds)


def _counted(each: list[float], failed: list[Exception], seconds: float, cpu: float) -> Sample:
    if len(failed) > FAILED_AT_MOST * (len(each) + len(failed)):
        raise failed[-1]
    return timed(len(each), seconds, cpu, each, failed=len(failed))


def by_blocks(block: Callable[[int], Awaitable[object]]) -> Run:
    """Calls that seldom leave the process: `block` makes so many of them, one after another."""

    async def run(seconds: float) -> Sample:
        each, cpu, spent = list[float](), time.process_time(), 0.0
        while spent < seconds:
            began = clock()
            await block(BLOCK)
            took = clock() - began
            spent += took
            each.append(took / BLOCK)
            await asyncio.sleep(0)  # what runs in the background has its turn, untimed
        return timed(len(each) * BLOCK, spent, time.process_time() - cpu, each)

    return run


def once(measure: Callable[[], Awaitable[float]]) -> Run:
    """One value a round, however long that takes."""

    async def run(_seconds: float) -> Sample:
        return Sample(calls=1, value=await measure())

    return run
