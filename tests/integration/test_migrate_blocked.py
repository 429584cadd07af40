"""MULTI, scripts and clients that wait, at the very moment in which writes are moved."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest
import redis
from tests.integration.fleet import until
from tests.integration.test_migrate import Labs
from tests.integration.test_migrate_by_copying import Two

from aragora_redis.ops.migrate.plan import Way
from aragora_redis.ops.report import Status

SCRIPT = "redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('RPUSH', KEYS[2], ARGV[1])"


class Writer:
    """Appends each number to two lists at once, of whoever takes writes."""

    def __init__(self, labs, name, write):
        self.names = (f"{name}:a", f"{name}:b")
        self.acknowledged = []
        self.moved = self.over = False
        self._labs, self._write = labs, write

    async def __aenter__(self):
        self._task = asyncio.create_task(asyncio.to_thread(self._run))
        await until(lambda: len(self.acknowledged) > 20)
        return self

    async def __aexit__(self, *_):
        self.over = True
        await self._task

    def _run(self):
        client, number = self._labs.client(moved=self.moved), 0
        while not self.over:
            number += 1
            try:
                self._write(client, self.names, number)
            except redis.ResponseError:
                self.moved = not self.moved
                client = self._labs.client(moved=self.moved)
            except redis.RedisError:
                continue
            else:
                self.acknowledged.append(number)

    def lists(self):
        client = self._labs.client(moved=self.moved)
        return [list(map(int, client.lrange(name, 0, -1))) for name in self.names]


def by_multi(client, names, number):
    with client.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.rpush(name, number)
        pipe.execute()


def by_script(client, names, number):
    client.eval(SCRIPT, 2, *names, number)


@contextlib.asynccontextmanager
async def waiting(labs, *, moved, keys=()):
    """Clients that wait for ever on one side: each must get an answer, or lose its connection."""

    def client():
        found = labs.client(moved=moved)
        found.connection_pool.connection_kwargs |= {"socket_timeout": 30, "retry": None}
        found.client_setname("waits")
        return found

    waits = [
        partial(client().blpop, ["nothing", *keys]),
        partial(client().brpoplpush, "nothing", "anything", 0),
    ]
    if not keys:
        waits.append(partial(client().xread, {"stream": "$"}, block=0))
    tasks = [asyncio.create_task(asyncio.to_thread(each)) for each in waits]
    side = labs.client(moved=moved)
    try:
        await until(lambda: side.info("clients")["blocked_clients"] >= len(waits))
        yield
    finally:
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        answered = [each for each in ended if isinstance(each, redis.RedisError)]
        assert not [each for each in answered if isinstance(each, redis.TimeoutError)]
        assert len(answered) == len(waits), ended


@pytest.fixture(params=[Way.REPLICATION, Way.COPY], ids=str)
def labs(request, make_lab, tmp_path):
    single = make_lab("standalone")
    target = make_lab("sentinel" if request.param is Way.REPLICATION else "standalone")
    single.start()
    target.start()
    kind = Labs if request.param is Way.REPLICATION else Two
    return kind(single, target, tmp_path / "journal.json")


async def test_nothing_is_torn_or_lost_and_nobody_waits_for_ever(labs):
    labs.client(moved=False).rpush("jobs", *range(5))
    async with (
        Writer(labs, "multi", by_multi) as multi,
        Writer(labs, "script", by_script) as script,
    ):
        # Who waits at the target for what is copied there would take it away.
        async with waiting(labs, moved=True, keys=["jobs"]):
            assert (await labs.run(move=False)).status is Status.OK
        async with waiting(labs, moved=False):
            assert (await labs.run()).status is Status.OK
        await until(lambda: multi.moved and script.moved)
        async with waiting(labs, moved=True):
            assert (await labs.migration().rollback()).status is Status.OK
        await until(lambda: not (multi.moved or script.moved))
        assert (await labs.run()).status is Status.OK
        await until(lambda: multi.moved and script.moved)
    for writer in (multi, script):
        one, other = writer.lists()
        assert one == other
        assert not set(writer.acknowledged) - set(one)
        assert writer.moved
    assert labs.client(moved=True).lrange("jobs", 0, -1) == list("01234")
