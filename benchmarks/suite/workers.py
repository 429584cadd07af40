"""The processes of the contestants, seen from the run."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .case import Entry
from .environments import ROOT, EnvironmentMissingError, python_of
from .sample import Sample
from .target import Target

OPENING = 600.0
"""Seconds that a contestant may take to make itself ready: ten million revocations take some."""
SLACK = 300.0
"""Seconds that a round may take longer than it was told to."""


class UnavailableError(Exception):
    """A contestant cannot take part; the text says why."""


class Worker:
    """One contestant's process, ready to run."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.versions: dict[str, str] = {}

    async def open(self, target: Target) -> None:
        """Tell it of the server, and wait until it is ready."""
        self.versions = (await self._ask(target.to_json(), OPENING))["versions"]

    async def run(self, seconds: float) -> Sample:
        """One round."""
        return Sample(**await self._ask(str(seconds), seconds + SLACK))

    async def _ask(self, line: str, within: float) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a worker is started with pipes")
        try:
            self._process.stdin.write(line.encode() + b"\n")
            answer = await asyncio.wait_for(self._process.stdout.readline(), within)
        except TimeoutError:
            raise UnavailableError(f"no answer within {within:g} s") from None
        told: dict[str, Any] = json.loads(answer or b'{"unavailable": "the process has ended"}')
        if "unavailable" in told:
            raise UnavailableError(told["unavailable"])
        return told


@asynccontextmanager
async def worker(entry: Entry, target: Target, loop: str) -> AsyncIterator[Worker]:
    """A contestant while this lasts, on an event loop of asyncio or uvloop.

    Raises:
        UnavailableError: it cannot take part.
    """
    try:
        python = await python_of(entry.contestant)
    except EnvironmentMissingError as error:
        raise UnavailableError(str(error)) from None
    process = await asyncio.create_subprocess_exec(
        str(python),
        *("-m", "benchmarks.suite.worker"),
        *(loop, entry.contestant, entry.task, json.dumps(dict(entry.parameters))),
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr if "BENCH_VERBOSE" in os.environ else asyncio.subprocess.DEVNULL,
    )
    made = Worker(process)
    try:
        await made.open(target)
        yield made
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        process.kill()
        await process.wait()
