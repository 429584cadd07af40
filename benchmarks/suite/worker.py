"""The process of one contestant: it makes itself ready, then runs when it is told to.

    python -m benchmarks.suite.worker LOOP CONTESTANT TASK PARAMETERS

Standard input: one line with the target, then a number of seconds a line; its end ends the process.
Standard output: a JSON object for each line: versions first, then samples. What cannot run says so
by `{"unavailable": WHY}`.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
from importlib.metadata import version
from typing import Any, cast

from .drive import Task
from .target import Target

WARM = 0.3
"""Seconds of the round that counts for nothing: connections are made, and what is cached."""

_out = sys.stdout
sys.stdout = sys.stderr  # what a library prints is no answer


def _say(answer: dict[str, Any]) -> None:
    _out.write(json.dumps(answer) + "\n")
    _out.flush()


async def _read_line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


async def work(contestant: str, task: str, parameters: dict[str, int]) -> None:
    """Answer each line until there are no more."""
    target = Target.from_json(await _read_line())
    module = importlib.import_module(f"benchmarks.suite.contestants.{contestant}")
    opened = cast(Task, module.TASKS[task])
    async with opened(target, parameters) as run:
        await run(WARM)
        _say({"versions": {name: version(name) for name in module.PACKAGES}})
        while line := (await _read_line()).strip():
            gc.collect()
            _say((await run(float(line))).as_json())


def main() -> None:
    """Run, and tell in one line why it cannot."""
    loop, contestant, task, parameters = sys.argv[1:]
    try:
        run = asyncio.run if loop == "asyncio" else importlib.import_module(loop).run
        run(work(contestant, task, json.loads(parameters)))
    except Exception as error:  # noqa: BLE001 - a library of others may fail in any way
        why = " ".join(str(error).split())[:200]
        _say({"unavailable": f"{type(error).__name__}: {why}".rstrip(": ")})
        sys.exit(1)


if __name__ == "__main__":
    main()
