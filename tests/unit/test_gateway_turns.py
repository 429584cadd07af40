"""Strangers take turns, so that those with a token hardly wait for them."""

from __future__ import annotations

import asyncio

import pytest
from tests.gateways import client_of

from aragora_redis.gateway.turns import Turns
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

ADMIN = "admin-token-000001"


@pytest.fixture
async def turn():
    """The number of the loop's turn."""
    numbers = [0]

    def count():
        numbers[0] += 1
        loop.call_soon(count)

    loop = asyncio.get_running_loop()
    count()
    yield lambda: numbers[0]
    count = lambda: None  # noqa: E731 - so it ends


async def test_so_many_go_on_in_a_turn_and_in_their_order(turn):
    turns = Turns(100, each=3)
    begun: list[tuple[int, int]] = []

    async def come(n):
        assert await turns.come()
        begun.append((turn(), n))

    tasks = [asyncio.create_task(come(n)) for n in range(10)]
    tasks[4].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [n for _, n in begun] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    at = [number for number, _ in begun]
    assert max(at.count(number) for number in at) == 3
    for _ in range(3):
        await asyncio.sleep(0)
    assert not turns._renewing, "nobody waits, so nothing is done"
    before = turn()
    await come(10)
    assert turn() == before


async def test_so_many_may_wait():
    turns = Turns(2, each=1)
    tasks = [asyncio.create_task(turns.come()) for _ in range(4)]
    assert sorted(await asyncio.gather(*tasks)) == [False, True, True, True]


async def test_who_shows_a_token_is_answered_before_strangers_who_were_first():
    state = SharedState(from_env({"ARAGORA_ADMIN_TOKEN": ADMIN}))
    async with client_of(state) as client:
        answered = []

        async def ask(path, **fields):
            answer = await client.get(path, headers=fields)
            answered.append((path, answer.status_code))

        known = {"Authorization": f"Bearer {ADMIN}"}
        asked = [ask("/healthz") for _ in range(100)] + [ask("/v1/status") for _ in range(100)]
        await asyncio.gather(*asked, ask("/v1/circuits", **known))
        assert answered.index(("/v1/circuits", 200)) < 50
        assert set(answered) == {("/healthz", 200), ("/v1/circuits", 200), ("/v1/status", 401)}
