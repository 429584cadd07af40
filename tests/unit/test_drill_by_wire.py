"""What a server that is only reached by wire does not do is one line, and no traceback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import NoPermissionError

from aragora_redis.address import Address
from aragora_redis.errors import LabError
from aragora_redis.ops.drill import RemoteActor, Scenario, scenarios
from aragora_redis.ops.targets import SentinelTarget

PRIMARY, SENTINEL = Address("10.0.0.10", 6379), Address("10.0.0.20", 26379)
DENIED = NoPermissionError("this user has no permissions to run the 'shutdown' command")


class Server:
    """Is a primary, and ends by an error or not at all."""

    def __init__(self, ends):
        self._ends = ends

    async def execute_command(self, *words):
        if words == ("ROLE",):
            return ["master", 0, []]
        if self._ends is None:
            await asyncio.sleep(60)
        raise self._ends


@pytest.mark.parametrize("scenario", [Scenario.KILL_PRIMARY, Scenario.LOSE_SENTINEL])
@pytest.mark.parametrize(
    ("ends", "said"),
    [(DENIED, "log in as one who may"), (None, "and may yet do it")],
    ids=["denied", "silent"],
)
async def test_a_command_that_fails_is_told(monkeypatch, scenario, ends, said):
    @asynccontextmanager
    async def connected(_at, _access):
        yield Server(ends)

    async def switch():
        raise AssertionError

    monkeypatch.setattr(scenarios, "connected", connected)
    monkeypatch.setattr(scenarios, "COMMAND_LIMIT", 0.02)
    actor = RemoteActor(SentinelTarget((SENTINEL,), "m"), scenario, PRIMARY, switch)
    with pytest.raises(LabError, match=said):
        await actor.begin()
    await actor.end()
