"""What a migration copies is what writers were acknowledged, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from dataclasses import replace

import pytest
from redis.exceptions import RedisError, ResponseError
from tests.integration.fleet import until

from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate.calls import CopyError
from aragora_redis.ops.migrate.copying import Bounds, Copy, Progress, Step
from aragora_redis.ops.migrate.guard import Guard, lift_guard, raise_guard
from aragora_redis.ops.migrate.sites import Site, opened

SMALL = Bounds(page=50, lot=64 << 10, little=100, deadline=5.0)


def alone(lab, name, **login):
    node = lab.node("primary")
    access = Access(password=lab.password(node), **login)
    return Site(name, {node.address: ()}, access)


def cluster(lab):
    slots = {}
    node = lab.node("primary")
    for number in range(3):
        each = lab.node(f"redis-{number}")
        first, end = (round(16384 * n / 3) for n in (number, number + 1))
        slots[each.address] = (range(first, end),)
    return Site("the target", slots, Access(password=lab.password(node)))


@pytest.fixture
def source_lab(make_lab):
    lab = make_lab("standalone")
    lab.start()
    return lab


@pytest.fixture
def target_lab(make_lab):
    lab = make_lab("standalone")
    lab.start()
    return lab


@pytest.fixture
def source(source_lab):
    return alone(source_lab, "the source")


@pytest.fixture
def target(target_lab):
    return alone(target_lab, "the target")


@contextlib.asynccontextmanager
async def copying(source, target, **how):
    copy = Copy(source, target, **({"bounds": SMALL} | how))
    try:
        await copy.prepare()
        yield copy
    finally:
        await copy.close()


@contextlib.asynccontextmanager
async def client_of(site, db=0):
    async with opened(site, db) as clients:
        yield next(iter(clients.by_address.values()))


async def fill(client, count=300):
    """Keys of all types, binary, some that expire."""
    pipe = client.pipeline(transaction=False)
    for n in range(count):
        pipe.set(b"text:%d" % n, "v" * (n % 50))
        pipe.set(b"\x00\xff\r\n%d" % n, bytes(range(256)), px=600_000 + n)
        pipe.hset(b"hash:%d" % n, mapping={b"\x00a": n, "b": "x" * 90})
        pipe.rpush(b"list:%d" % n, *range(n % 9 + 1))
        pipe.sadd(b"set:%d" % n, *range(n % 7 + 1))
        pipe.zadd(b"zset:%d" % n, {"a": n, "b": -1.5})
    for n in range(10):
        stream = b"stream:%d" % n
        for each in range(20):
            pipe.xadd(stream, {"n": each})
        pipe.xgroup_create(stream, "group", "0")
        pipe.xreadgroup("group", "one", {stream: ">"}, count=5)
    pipe.set("large", b"\x00\x01" * 200_000)
    pipe.pfadd("hll", *range(1000))
    pipe.set("soon", "gone", px=50)
    await pipe.execute()


async def content(site, db=0):
    """All that a site holds: values as DUMP gives them, and when they expire, about."""
    found = {}
    async with opened(site, db) as clients:
        for client in clients.by_address.values():
            keys = [key async for key in client.scan_iter(count=5000)]
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.pttl(key)
                pipe.dump(key)
            now = time.time() * 1000
            said = await pipe.execute()
            for key, left, payload in zip(keys, said[::2], said[1::2], strict=True):
                if payload is not None:
                    found[key] = (payload, round((now + left) / 3000) if left >= 0 else None)
    return found


async def differing(one, other):
    """Keys that are not the same on both sides."""
    had, has = await content(one), await content(other)
    keys = {key for key in had.keys() | has.keys() if had.get(key) != has.get(key)}
    unequal = set()
    async with opened(one) as ones, opened(other) as others:
        for key in keys:
            # What is read a moment later is rounded to the next; large sets are in another order.
            near = key in had and key in has and abs((had[key][1] or 0) - (has[key][1] or 0)) <= 1
            if not near or await members(ones.of(key), key) != await members(others.of(key), key):
                unequal.add(key)
    return unequal


async def members(client, key):
    match await client.type(key):
        case b"hash":
            return await client.hgetall(key)
        case b"set":
            return set(await client.smembers(key))
        case b"zset":
            return await client.zrange(key, 0, -1, withscores=True)
        case _:
            return await client.dump(key)


class Writer:
    """Never stops. After each of its acts it writes how many it was acknowledged."""

    def __init__(self, site, number):
        self._site = site
        self.mine = b"{w%d}:" % number
        self._dice = random.Random(number)
        self.acknowledged = 0
        self.flush = False
        self.refused = ""

    async def run(self):
        async with client_of(self._site) as client:
            while True:
                try:
                    await self._act(client)
                    await client.set(self.mine + b"last", self.acknowledged + 1)
                except RedisError as error:
                    self.refused = str(error)
                    return
                self.acknowledged += 1

    async def more(self):
        count = self.acknowledged + 30
        await until(lambda: self.acknowledged > count or self.refused)

    async def _act(self, client):
        if self.flush:
            self.flush = False
            await client.flushdb()
        mine, number = self.mine, self.acknowledged
        key, stream = mine + b"k%d" % self._dice.randrange(100), mine + b"stream"
        for words in self._dice.choice(
            (
                (("SET", key, number, "PX", 500_000),),
                (("INCR", mine + b"count"),),
                (("HSET", mine + b"hash", key, number),),
                (("DEL", key),),
                (("EXPIRE", key, 1000),),
                (("SET", mine + b"from", number), ("RENAME", mine + b"from", key)),
                (("LPUSH", mine + b"list", number),),
                (("SADD", mine + b"set", number, number + 1), ("SPOP", mine + b"set")),
                (("SET", mine + b"taken", number), ("GETDEL", mine + b"taken")),
                (("EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", 1, key, number),),
                (("XADD", stream, "MAXLEN", 100, "*", "n", number),),
                (("XGROUP", "CREATE", stream, "g", "0"),),
                # Of these nobody tells.
                (("XREADGROUP", "GROUP", "g", "c", "COUNT", 3, "STREAMS", stream, ">"),),
                (("XAUTOCLAIM", stream, "g", "other", 0, 0, "COUNT", 1),),
            )
        ):
            try:
                await client.execute_command(*words)
            except ResponseError as error:
                # The last: another has flushed all between a SET and its RENAME.
                expected = ("BUSYGROUP", "NOGROUP", "The XGROUP", "no such key")
                if not str(error).startswith(expected):
                    raise


@contextlib.asynccontextmanager
async def writers(site, count=3):
    made = [Writer(site, number) for number in range(count)]
    tasks = [asyncio.create_task(each.run()) for each in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refused(all_of_them):
    await until(lambda: all(each.refused for each in all_of_them))


async def notified(site):
    async with client_of(site) as client:
        return set((await client.config_get("notify-keyspace-events"))["notify-keyspace-events"])


async def has_all(target, all_of_them):
    async with opened(target) as clients:
        for each in all_of_them:
            key = each.mine + b"last"
            assert await clients.of(key).get(key) == b"%d" % each.acknowledged


async def refuses_who_has_no_journal(site):
    """What the users may while it is held must not be taken for what they might before."""
    kept: dict[str, object] = {}
    async with opened(site) as clients:
        with pytest.raises(CopyError, match="for an earlier migration"):
            await raise_guard(clients, kept, lambda: None)
    assert kept == {}


async def test_writers_never_stop_and_what_they_were_acknowledged_is_there(source, cluster_lab):
    target = cluster(cluster_lab)
    steps: list[Progress] = []
    async with client_of(source) as client, client_of(source) as blocked:
        await fill(client)
        await client.config_set("notify-keyspace-events", "Elm")
        waiting = asyncio.create_task(blocked.blpop("nothing"))
        async with writers(source) as busy, copying(source, target, on_progress=steps.append) as c:
            await c.full_pass()
            busy[0].flush = True
            await busy[0].more()
            await fill(client, 50)
            done = await c.cut_over()
            await refused(busy)
            state = json.loads(json.dumps(c.state()))
        assert done.guard is Guard.ACL
        assert done.pause < SMALL.pause
        assert {each.step for each in steps} == set(Step)
        with pytest.raises(RedisError):
            await waiting
        assert await notified(source) == set("Elm")
        await has_all(target, busy)
        assert not await differing(source, target)

        # Rollback: back again while the target is written, and the guard is lifted last.
        async with copying(target, source) as back:
            async with opened(target) as clients:
                for n in range(100):
                    await clients.of(b"new:%d" % n).set(b"new:%d" % n, n)
                await clients.of(b"large").delete(b"large")
            await back.full_pass()
            async with opened(target) as clients:
                await clients.of(b"late").set(b"late", "x")
            again = await back.cut_over()
            with pytest.raises(RedisError):
                await client.set("stale", "x")
            await refuses_who_has_no_journal(source)
            await lift_guard(source, state["guard"], lambda: None)
        assert again.guard is Guard.ACL
        assert not await differing(source, target)
        assert await client.get("late") == b"x"
        await client.set("served", "again")


async def test_either_side_is_killed_and_the_subscription_is_lost(
    source, target, source_lab, target_lab
):
    remembered: list[dict[str, object]] = []
    async with client_of(source) as client:
        await fill(client, 100)
        await client.save()

    for lab, name in ((target_lab, "the target"), (source_lab, "the source")):
        async with client_of(source) as client:
            await client.set("before", name)
            await client.save()
        with pytest.raises(CopyError, match=name):
            async with copying(
                source, target, on_progress=once(lab), remember=remembered.append
            ) as c:
                await c.full_pass()
        lab.start_node("primary")
    async with client_of(source) as client, client_of(target) as other:
        # The target has more than was copied: of an earlier run, before a key was removed.
        await client.delete("large")
        await other.set("extra", "x")
        await client.config_set("notify-keyspace-events", "Ex")
        killed = Copy(source, target, remember=remembered.append)
        await killed.prepare()
        await killed._pair.close()  # as kill -9 leaves it
        resume = json.loads(json.dumps(remembered[-1]))
        async with writers(source) as busy, copying(source, target, resume=resume) as c:
            await c.full_pass()
            await client.client_kill_filter(_type="pubsub")
            await client.delete("text:1")
            await busy[0].more()
            await c.catch_up()
            done = await c.cut_over()
            await refused(busy)
            await lift_guard(source, c.state()["guard"], lambda: None)
    assert done.attempts == 1
    assert await notified(source) == set("Ex")
    await has_all(target, busy)
    assert not await differing(source, target)


def once(lab):
    """Kills a lab in the middle of the first full pass."""
    killed: list[object] = []

    def on_progress(progress):
        if progress.step is Step.FULL and not killed:
            killed.append(lab.kill("primary"))

    return on_progress


async def test_what_cannot_be_told_key_by_key_has_everything_read_again(source, target):
    steps: list[Progress] = []
    few = replace(SMALL, dirty_keys=50)
    async with client_of(source) as client:
        await fill(client, 100)
        await client.delete("soon")  # its end is a change as well
        async with copying(source, target, bounds=few, on_progress=steps.append) as c:
            await c.full_pass()
            await client.mset({b"hash:%d" % n: n for n in range(100)})
            steps.clear()
            assert await c.catch_up() == 0
            assert {each.step for each in steps} == {Step.SWEEP, Step.FULL}
            assert not await differing(source, target)

            # What consumer groups do.
            await client.xreadgroup("group", "one", {"stream:1": ">"}, count=1)
            (first, _), *_ = await client.xrange("stream:2", count=1)
            await client.xack("stream:2", "group", first)
            assert await differing(source, target) == {b"stream:1", b"stream:2"}
            assert (await c.cut_over(writers_stopped=True)).guard is Guard.ACL
            assert not await differing(source, target)
            await lift_guard(source, c.state()["guard"], lambda: None)

            async with client_of(source) as another:
                await another.flushdb()
                await another.set("left", "x")
            done = await c.cut_over(writers_stopped=True)
            assert done.pause is None
            async with client_of(source) as another:
                with pytest.raises(RedisError):
                    await another.set("stale", "x")
    assert (await content(target)).keys() == {b"left"}


async def test_a_user_who_may_little_is_told_what_holds(source, target):
    """Without CONFIG it is tried whether the source tells, without ACL less guards, or nothing."""
    async with client_of(source) as client:
        await fill(client, 100)
        await client.execute_command(
            *("ACL", "SETUSER", "mover", "on", ">word", "~*", "&*", "+@all"),
            *("-config", "-acl"),
        )
        mover = replace(source, access=Access(username="mover", password="word"))
        async with writers(source, 1) as busy, copying(mover, target) as c:
            assert c.silent is not None
            await c.full_pass()
            await busy[0].more()
            done = await c.cut_over()
            assert done.guard is Guard.NONE
            assert done.pause < SMALL.pause
        await client.execute_command("ACL", "SETUSER", "mover", "-client")
        await client.config_set("notify-keyspace-events", "KA")
        async with writers(source, 1) as busy, copying(mover, target) as c:
            # It was tried, and the source tells by itself.
            assert c.silent is None
            with pytest.raises(CopyError, match="cannot hold writes"):
                await c.cut_over()
            await busy[0].more()
            assert not busy[0].refused
            with pytest.raises(CopyError, match="make sure that nobody writes"):
                await c.cut_over(writers_stopped=True)
        async with copying(mover, target) as c:
            assert (await c.cut_over(writers_stopped=True)).guard is Guard.NONE
        await client.execute_command("ACL", "SETUSER", "mover", "+config")
        async with copying(mover, target) as c:
            assert (await c.cut_over(writers_stopped=True)).guard is Guard.REPLICAS
            with pytest.raises(ResponseError, match="NOREPLICAS"):
                await client.set("stale", "x")
            await refuses_who_has_no_journal(mover)
            await lift_guard(mover, c.state()["guard"], lambda: None)
            await client.set("served", "again")
            await client.delete("served")
    assert not await differing(source, target)
