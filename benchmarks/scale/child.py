"""Processes of a run that answer each line with a JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

LIMIT = 1_800.0
"""Seconds that one answer may take."""
ROOM = 64 * 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")


class Child:
    """One of them, seen from the run."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, *words: object) -> dict[str, Any]:
        """Tell it a line, and wait for the answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a child is started with pipes")
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), LIMIT)
        if not line:
            raise RuntimeError(f"the process ended without an answer to {words[0]}")
        told: dict[str, Any] = json.loads(line)
        return told


@asynccontextmanager
async def child(module: str, *arguments: object, env: Mapping[str, str]) -> AsyncIterator[Child]:
    """A process while this lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.scale.{module}", *map(str, arguments)),
        env={**os.environ, **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ROOM,
    )
    try:
        yield Child(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


Answer = Callable[..., Awaitable[dict[str, Any]]]


async def answering(answers: Mapping[str, Answer]) -> None:
    """Inside a child: answer each line by the function that its first word names."""
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        print(json.dumps(await answers[line[0]](*line[1:])), flush=True)


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def peak() -> int:
    """The most that it ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resident()
