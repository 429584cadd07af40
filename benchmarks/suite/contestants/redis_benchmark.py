"""redis-benchmark: the limit, a client in C that does nothing with the answers."""

from __future__ import annotations

import asyncio
import resource
import shutil
from contextlib import asynccontextmanager

from ..drive import Opening, Parameters, clock
from ..sample import Sample
from ..target import KEYS, Target

PACKAGES = ()
FIRST = 20_000
"""Calls of the first round, which finds out how many make a round of the seconds asked for."""
LIMIT = 60.0
"""Seconds that one may take: where it cannot connect, it tries for ever."""


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """So many connections, each with `pipeline` calls under way."""
    program = shutil.which("redis-benchmark")
    if program is None:
        raise FileNotFoundError("redis-benchmark is not installed")
    options = {"-h": target.host, "-p": target.port, "-c": parameters["callers"]}
    options |= {"-P": parameters["pipeline"], "-r": KEYS, "-a": target.password}
    given = [str(part) for option in options.items() for part in option]
    key = "bench:l:{__rand_int__}:api"
    command = ("EVALSHA", target.sha, "1", key, *target.arguments)

    async def calls(count: int) -> Sample:
        began, before = clock(), resource.getrusage(resource.RUSAGE_CHILDREN)
        process = await asyncio.create_subprocess_exec(
            program,
            *given,
            *("-n", str(count), "-q"),
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), LIMIT)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise RuntimeError((err or out).decode(errors="replace"))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Sample(calls=count, seconds=clock() - began, cpu=cpu)

    first = await calls(FIRST)
    rate = first.calls / first.seconds

    async def run(seconds: float) -> Sample:
        return await calls(max(int(rate * seconds), 1_000))

    yield run


TASKS = {"check": check}
