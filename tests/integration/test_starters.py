"""I1 for who starts: it judges no token before it knows what the others knew."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from redis import Redis
from tests.integration.fleet import instances, until

from aragora_redis import SharedState


class Gate:
    """A method that runs only while this is open."""

    def __init__(self, owner, name):
        self.open = asyncio.Event()
        self.ran = 0
        self._runs = asyncio.Lock()
        whole = getattr(owner, name)

        async def behind(*args):
            await self.open.wait()
            async with self._runs:
                self.ran += 1
                return await whole(*args)

        setattr(owner, name, behind)

    async def shut(self):
        """Let nobody in any more, and wait for who is inside."""
        self.open.clear()
        async with self._runs:
            pass


async def test_i1_what_others_have_published_unheard_is_read_before_the_first_judgement(make_lab):
    lab = make_lab("standalone")
    lab.start()
    async with AsyncExitStack() as stack:
        (one,) = await stack.enter_async_context(instances(lab, 1))
        starter = SharedState.from_env(lab.env())
        stack.push_async_callback(starter.close)
        redis: Any = starter._redis
        beats, looks = Gate(redis.presence, "beat"), Gate(redis.feed, "_look")
        starter.start()

        beats.open.set()
        await until(lambda: redis.presence.accepted_at is not None)
        await beats.shut()
        looks.open.set()
        await until(lambda: redis.feed.fresh_at() > float("-inf"))
        await looks.shut()
        redis.feed.on_push = lambda _: None  # the connection is lost with what it brings

        await one.tokens.revoke("token", expires_at=time.time() + 600)
        beats.open.set()
        await until(lambda: redis.presence.agreed_since is not None)
        assert not starter.ready
        looks.open.set()
        await until(lambda: starter.ready)
        assert starter.tokens.is_revoked({"jti": "token"})


async def test_i1_one_that_loads_keeps_nobody_waiting(make_lab):
    """Nor does one that ends each time before it has loaded all."""
    lab = make_lab("standalone")
    lab.start()
    async with AsyncExitStack() as stack:
        (one,) = await stack.enter_async_context(instances(lab, 1))
        loading = SharedState.from_env(lab.env())
        stack.push_async_callback(loading.close)
        followed: Any = loading._redis
        comparisons = Gate(followed.feed._comparison, "compare")
        loading.start()
        await until(lambda: all(shard.reconciled for shard in followed.feed.shards))
        await one.tokens.revoke("token", expires_at=time.time() + 600)
        await until(lambda: any(len(shard.replica) for shard in followed.feed.shards))

        (starter,) = await stack.enter_async_context(instances(lab, 1))
        assert starter.tokens.is_revoked({"jti": "token"})
        assert not comparisons.ran
        assert not loading.ready
        comparisons.open.set()
        await until(lambda: loading.ready)
        assert loading.tokens.is_revoked({"jti": "token"})


async def test_i1_one_that_loads_and_knows_what_was_wiped_is_waited_for(make_lab):
    lab = make_lab("standalone")
    lab.start()
    async with AsyncExitStack() as stack:
        (one,) = await stack.enter_async_context(instances(lab, 1))
        loading = SharedState.from_env(lab.env())
        stack.push_async_callback(loading.close)
        followed: Any = loading._redis
        comparisons = Gate(followed.feed._comparison, "compare")
        loading.start()
        await until(lambda: all(shard.reconciled for shard in followed.feed.shards))
        await one.tokens.revoke("token", expires_at=time.time() + 600)
        await until(lambda: any(len(shard.replica) for shard in followed.feed.shards))
        await one.close()
        node = lab.node("redis-0")
        with Redis(port=node.port, password=lab.password(node)) as client:
            client.flushall()
        await followed.presence.beat()

        starter = SharedState.from_env(lab.env())
        stack.push_async_callback(starter.close)
        starter.start()
        feed: Any = starter._redis and starter._redis.feed
        await until(lambda: feed.loaded and feed.settled, 20)
        assert not comparisons.ran
        assert not starter.ready, "it has loaded all that Redis has, which lacks a revocation"
        comparisons.open.set()
        await until(lambda: starter.ready)
        assert starter.tokens.is_revoked({"jti": "token"})
