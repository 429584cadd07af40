"""What is read of all revocations where the server changes in between."""

from __future__ import annotations

import time
from typing import Any

import pytest

from aragora_redis.errors import OutageError
from aragora_redis.state.revocations.ledger import RedisLedger
from aragora_redis.tokens.entry import DAY, DayDigest
from aragora_redis.tokens.operations import ShardKeys
from aragora_redis.tokens.position import Position
from aragora_redis.tokens.shard import Head

TODAY = int(time.time() // DAY)
MEMBERS = [bytes(7) + bytes([number]) for number in range(6)]
THERE = Position(b"n", b"r", 1, 6)


class Servers:
    """Two that hold the same in other orders; the second answers after so many pages."""

    def __init__(self, first_pages, position=THERE):
        self.left = first_pages
        self.then = position

    async def run(self, operation: Any, **_: Any) -> Any:
        if operation.script is not None and operation.script.name == "survey":
            return Head(THERE, 0, {}, {TODAY: DayDigest(len(MEMBERS), 0)})
        match operation.args[0]:
            case "HMGET":
                return THERE if self.left > 0 else self.then
            case "HGET":
                return None
        order = MEMBERS if self.left > 0 else MEMBERS[::-1]
        self.left -= 1
        at = int(operation.args[2])
        page = dict.fromkeys(order[at : at + 2], 1)
        return (b"0" if at + 2 >= len(order) else b"%d" % (at + 2)), page


async def read(servers):
    ledger = RedisLedger(servers, [ShardKeys("p", 0)], time.time)
    return [entry.member async for page in ledger.pages() for entry in page]


async def test_each_is_read_once_where_nothing_happens():
    assert sorted(await read(Servers(9))) == MEMBERS


async def test_i1_pages_of_two_servers_that_leave_some_out_and_say_others_twice_are_no_whole():
    with pytest.raises(OutageError, match="moved to another server"):
        await read(Servers(2))


async def test_i1_pages_of_two_histories_are_no_whole_even_where_their_number_is_right():
    with pytest.raises(OutageError, match="moved to another server"):
        await read(Servers(3, Position(b"n", b"r2", 2, 1)))
