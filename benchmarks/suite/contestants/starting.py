"""How long a process takes that starts: to import something, or until a state is ready.

It finds bytecode, as one does that was installed: pip compiles what it installs. From a source tree
that nobody may write to, or with PYTHONDONTWRITEBYTECODE, each start compiles all that it imports.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import asynccontextmanager

from ..drive import Opening, Parameters, Task, clock, once
from ..target import Target

PACKAGES = ()
READY = """
import asyncio
from aragora_redis import SharedState

async def main():
    async with SharedState.from_env() as state:
        assert state.ready
        print(flush=True)

asyncio.run(main())
"""


async def _until_first_line(program: str, environ: Mapping[str, str]) -> float:
    began = clock()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", program),
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        line = await process.stdout.readline() if process.stdout else b""
        took = clock() - began
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not line:
        raise RuntimeError("the process ended without a word")
    return took


def _of(program: str) -> Task:
    @asynccontextmanager
    async def task(target: Target, _parameters: Parameters) -> Opening:
        with tempfile.TemporaryDirectory() as compiled:
            environ = {
                **target.env,
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": compiled,
            }
            await _until_first_line(program, environ)
            yield once(lambda: _until_first_line(program, environ))

    return task


TASKS = {
    "ready": _of(READY),
    "import asyncio": _of("import asyncio; print(flush=True)"),
    "import aragora_redis": _of("import asyncio, aragora_redis; print(flush=True)"),
    "import SharedState": _of(
        "import asyncio; from aragora_redis import SharedState; print(flush=True)"
    ),
    "import redis": _of("import asyncio, redis.asyncio; print(flush=True)"),
}
