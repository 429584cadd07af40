"""What a client process holds, and whether that grows while faults come and go."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Final

from .history import History, Recorder
from .verdict import Violation

FEWEST: Final = 12
"""Samples of one process below which nothing is said of it."""
READINGS, APART = 5, 0.1
"""Of one sample, and the seconds between them: calls under way come and go."""
ALLOWED: Final = {"rss": 3 * 2**20, "descriptors": 3, "tasks": 3}
"""Growth over half of a process's life that is within what a process does anyway. The client itself
keeps the names of other clients and of sessions, some kB a fault."""


async def note(recorder: Recorder) -> None:
    """Write down what this process holds: resident bytes, open descriptors, tasks."""
    readings = []
    for _ in range(READINGS):
        readings.append({"rss": _resident(), "descriptors": _open(), "tasks": _tasks()})
        await asyncio.sleep(APART)
    for what in ALLOWED:
        recorder.happened(what, value=min(reading[what] for reading in readings))


def growth(history: History) -> dict[str, dict[str, tuple[float, float]]]:
    """For each process that lived long enough, medians of its second quarter and of its last.

    The first quarter is that of caches and pools that fill.
    """
    samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for what in ALLOWED:
        for each in history.noted(what):
            samples[each.process][what].append(each.value)
    return {
        process: {what: _early_and_late(values) for what, values in of.items()}
        for process, of in samples.items()
        if min(map(len, of.values())) >= FEWEST
    }


def grown(history: History) -> list[Violation]:
    """Which of these are more than a process may grow by."""
    end = max((each.at for each in history.happenings), default=0.0)
    return [
        Violation("flat", end, f"{process} has grown in {what} from {early:.0f} to {late:.0f}")
        for process, of in growth(history).items()
        for what, (early, late) in of.items()
        if late - early > ALLOWED[what]
    ]


def _early_and_late(values: list[float]) -> tuple[float, float]:
    quarter = len(values) // 4
    return median(values[quarter : 2 * quarter]), median(values[-quarter:])


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _tasks() -> int:
    return len(asyncio.all_tasks())
