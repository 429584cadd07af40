"""Background work goes on after a fault of ours, and ends when it is told to."""

from __future__ import annotations

import asyncio

import pytest

from aragora_redis.link import supervision
from aragora_redis.link.supervision import supervised


async def test_it_begins_again_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(supervision, "PAUSE", 0)
    runs: list[int] = []

    async def work():
        runs.append(1)
        if len(runs) < 3:
            raise ZeroDivisionError

    await supervised("the work", work)
    assert len(runs) == 3
    assert caplog.text.count("the work failed unexpectedly") == 2


async def test_a_cancellation_ends_it():
    async def work():
        await asyncio.Event().wait()

    task = asyncio.create_task(supervised("the work", work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
