"""A Redis Cluster: one primary's trouble is that of its slots, and slots move under load."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from hashlib import blake2b

import pytest
from redis.crc import key_slot
from tests.integration.fleet import healthy, instances, until
from tests.integration.rights import needs_cuts

from aragora_redis import Level, LimitCheck, SharedState
from aragora_redis.errors import AragoraRedisError
from aragora_redis.operation import Kind, Operation
from aragora_redis.rate_limit.gcra import Source
from aragora_redis.settings import Standalone, from_env
from aragora_redis.state.revocations.feed import TokenFeed
from aragora_redis.tokens.entry import Entry, jti_entry
from aragora_redis.tokens.operations import ShardKeys

DEADLINE = 0.25
"""Seconds; so long that no noise of the machine is taken for the trouble of a primary."""
NOISE = 0.1
FAIL_OPEN = {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true", "ARAGORA_REDIS_DEADLINE": str(DEADLINE)}


def expiry():
    return time.time() + 3600


def lead(state, slot):
    """Where an instance writes a slot."""
    route = state._redis.reach.lead(slot)
    return route.links.target if route is not None else None


def by_redis(sources):
    """Whether Redis decided all, but for what a busy machine answered too late."""
    return sources.keys() <= {"redis", "local"} and sources["local"] <= sources.total() / 100


def slot_of_subject(state, subject):
    limiter = state.rate_limits._book.named("api")
    return key_slot(limiter.record(subject).key)


def subjects_of(state, address, count=20, *, others=False):
    """Subjects whose limits a node holds, or the others do."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        holds = lead(state, slot_of_subject(state, f"u{number}")) == address
        if holds is not others:
            found.append(f"u{number}")
    return found


@asynccontextmanager
async def checking(state, subjects):
    """Somebody who checks these all the time; yields what decided, and how long it took."""
    sources: Counter[str] = Counter()
    slow: list[float] = []
    over = asyncio.Event()

    async def check():
        while not over.is_set():
            for subject in subjects:
                began = time.monotonic()
                decision = await state.rate_limits.check("api", subject, cost=0)
                took = time.monotonic() - began
                sources[decision.source.value] += 1
                slow.extend([took] if took > DEADLINE + NOISE else [])
            await asyncio.sleep(0.005)

    task = asyncio.create_task(check())
    try:
        yield sources, slow
    finally:
        over.set()
        await task


async def test_all_primitives_and_their_keys_are_spread(cluster_lab):
    async with instances(cluster_lab, 2) as (one, two):
        for number in range(30):
            decision = await one.rate_limits.check("api", f"u{number}")
            assert decision.source is Source.REDIS
        receipts = [await one.tokens.revoke(f"t{n}", expires_at=expiry()) for n in range(40)]
        assert {receipt.level for receipt in receipts} == {Level.REPLICATED}
        claims = [{"jti": f"t{number}"} for number in range(40)]
        await until(lambda: all(map(two.tokens.is_revoked, claims)), within=3)
        made = [await one.sessions.create(user=f"user{n}", data={"n": n}) for n in range(30)]
        for number, session in enumerate(made):
            assert (await two.sessions.get(session.id)).data == {"n": number}
        async with two.circuits["c"]:
            pass
        assert one.status().mode == "cluster"
        assert one.status().instances == 2
        homes = {lead(one, key_slot(ShardKeys("aragora", index).head)) for index in range(16)}
        assert len(homes) == 3, "token shards are on every primary"


@pytest.mark.alone
async def test_a_killed_primary_is_the_trouble_of_its_slots_alone(cluster_lab):
    lab = cluster_lab
    async with instances(lab, 2, **FAIL_OPEN) as (one, two):
        await one.tokens.revoke("gone", expires_at=expiry())
        await until(lambda: two.tokens.is_revoked({"jti": "gone"}))
        victim = lab.node("redis-0").address
        theirs, others = subjects_of(one, victim), subjects_of(one, victim, others=True)
        async with checking(one, others) as (sources, slow), checking(one, theirs) as (hit, late):
            await asyncio.to_thread(lab.kill, "redis-0")
            await until(lambda: hit["local"] and one.status().health != "healthy")
            assert two.tokens.is_revoked({"jti": "gone"})
            await until(healthy(one, two), within=30)
            hit.clear()
            await until(lambda: hit["redis"] > 100)
        assert by_redis(sources)
        assert not slow
        assert not late
        assert victim not in {lead(one, slot) for slot in range(16384)}
        assert one._redis.reach.at(victim) is None, "nobody goes on knocking there"
        assert two.tokens.is_revoked({"jti": "gone"})
        assert not two.tokens.is_revoked({"jti": "other"})
        receipt = await one.tokens.revoke("after", expires_at=expiry())
        assert receipt.level >= Level.PRIMARY


@pytest.mark.alone
async def test_a_frozen_primary_is_not_written_when_it_thaws(cluster_lab):
    """I3: what it would still accept in the moment in which it learns that it was replaced."""
    lab = cluster_lab
    async with instances(lab, 1, **FAIL_OPEN) as (one,):
        victim = lab.node("redis-0").address
        theirs, others = subjects_of(one, victim), subjects_of(one, victim, others=True)
        async with checking(one, others) as (sources, slow), checking(one, theirs) as (hit, late):
            await asyncio.to_thread(lab.freeze, "redis-0")
            await until(lambda: hit["local"])
            await until(lambda: victim not in {lead(one, slot) for slot in range(16384)}, within=30)
            await until(healthy(one), within=30)
            await asyncio.to_thread(lab.thaw, "redis-0")
            hit.clear()
            await until(lambda: hit["redis"] > 200)
        assert by_redis(sources)
        assert by_redis(hit)
        assert not slow
        assert not late


async def test_slots_move_under_load_and_nobody_notices(cluster_lab, policies):
    """0 errors, 0 lost, and every check is decided by Redis."""
    lab = cluster_lab
    two_limits = policies('limits.api = {rate = "100/second"}\nlimits.more = {rate = "100/second"}')
    async with instances(lab, 2, **FAIL_OPEN, **two_limits) as (one, two):
        made = [await one.sessions.create(user=f"user{n}", data={"n": 0}) for n in range(40)]
        moving = range(1500)
        subjects = [f"u{number}" for number in range(400)]
        in_motion = [s for s in subjects if slot_of_subject(one, s) in moving]
        assert in_motion
        over = asyncio.Event()
        revoked: list[str] = []
        levels: Counter[Level] = Counter()
        joint: Counter[str] = Counter()
        updates = 0

        async def change():
            nonlocal updates
            while not over.is_set():
                updates += 1
                for number, session in enumerate(made):
                    made[number] = await one.sessions.update(session, set={"n": updates})
                for subject in in_motion[:2]:
                    asked = LimitCheck("api", subject), LimitCheck("more", subject)
                    said = (await one.rate_limits.check_all(*asked)).decisions
                    joint.update(each.source.value for each in said)
                name = f"t{len(revoked)}"
                receipt = await one.tokens.revoke(name, expires_at=expiry())
                levels[receipt.level] += 1
                revoked.append(name)

        changing = asyncio.create_task(change())
        async with checking(one, subjects) as (sources, _), checking(two, in_motion) as (more, _):
            await until(lambda: sources["redis"] > 400 and len(revoked) > 2)
            await asyncio.to_thread(lab.move_slots, moving, "redis-1")
            await asyncio.to_thread(lab.move_slots, range(14000, 14500), "redis-0")
            await until(lambda: lead(one, 0) == lab.node("redis-1").address)
            over.set()
            await changing
        assert by_redis(sources)
        assert by_redis(more)
        assert by_redis(joint)
        assert Level.LOCAL not in levels
        for session in made:
            assert (await two.sessions.get(session.id)).data == {"n": updates}
        await until(lambda: all(two.tokens.is_revoked({"jti": name}) for name in revoked))
        async with instances(lab, 1) as (fresh,):
            assert all(fresh.tokens.is_revoked({"jti": name}) for name in revoked)


async def test_what_a_failover_loses_is_published_again(cluster_lab, connect):
    """The replica is shut out while tokens are revoked, and is then all that is left."""
    lab = cluster_lab
    async with instances(lab, 2) as (one, two):
        victim = lab.node("redis-0").address
        keys = [ShardKeys("aragora", index).head for index in range(16)]
        key = one.settings.digest_key.reveal_bytes()
        names = [f"t{number}" for number in range(200)]
        lost = [
            name
            for name in names
            if lead(one, key_slot(keys[jti_entry(key, name, expiry(), "").shard])) == victim
        ]
        replica = next(n.name for n in lab.status().nodes if n.replicates == "redis-0")
        primary = connect(lab, "redis-0")
        primary.config_set("requirepass", "another")
        primary.client_kill_filter(_type="replica")
        # Soon, for a replica that has been without its primary for long is not promoted.
        level = Level.PRIMARY
        revoking = (one.tokens.revoke(name, expires_at=expiry(), level=level) for name in lost)
        assert {receipt.level for receipt in await asyncio.gather(*revoking)} == {level}
        await until(lambda: all(two.tokens.is_revoked({"jti": name}) for name in lost))
        await asyncio.to_thread(lab.kill, "redis-0")
        await until(lambda: lead(one, 0) == lab.node(replica).address, within=30)
        await until(healthy(one, two), within=30)
        promoted = connect(lab, replica)

        def stored(name):
            entry = jti_entry(key, name, expiry(), "")
            return promoted.zscore(
                ShardKeys("aragora", entry.shard).members(entry.day), entry.member
            )

        await until(lambda: all(stored(name) for name in lost))
        async with instances(lab, 1) as (fresh,):
            assert all(fresh.tokens.is_revoked({"jti": name}) for name in lost)


async def test_token_shards_survive_a_move_and_a_wipe(cluster_lab):
    lab = cluster_lab
    async with instances(lab, 2) as (one, two):
        names = [f"t{number}" for number in range(64)]
        for name in names:
            await one.tokens.revoke(name, expires_at=expiry())
        await until(lambda: all(two.tokens.is_revoked({"jti": name}) for name in names))
        home = key_slot(ShardKeys("aragora", 0).head)
        source = lead(one, home)
        target = next(n for n in ("redis-0", "redis-1") if lab.node(n).address != source)
        await asyncio.to_thread(lab.move_slots, [home], target)
        await until(lambda: lead(one, home) == lab.node(target).address)
        await one.tokens.revoke("later", expires_at=expiry())
        await until(lambda: two.tokens.is_revoked({"jti": "later"}))
        await asyncio.to_thread(lab.restart, "all", wipe=True)
        await until(healthy(one, two), within=40)
        async with instances(lab, 1) as (fresh,):
            for name in (*names, "later"):
                assert fresh.tokens.is_revoked({"jti": name}), name


async def test_a_comparison_that_a_move_breaks_is_made_again(cluster_lab, monkeypatch):
    """I1: on another server a cursor leaves members out, and nobody would look for them."""
    lab = cluster_lab
    async with instances(lab, 1) as (one,):
        keys, shard = ShardKeys("aragora", 0), one._redis.feed.shards[0]
        day = int(time.time() // 86_400) + 1
        for number in range(4000):
            member = b"\0" + blake2b(number.to_bytes(2), digest_size=7).digest()
            shard.add_own(Entry(day, member, day * 86_400_000 + number))
        one._redis.feed.wake()
        await until(lambda: not shard.dirty)
        home = key_slot(keys.head)
        source = lead(one, home)
        target = next(n for n in ("redis-0", "redis-1") if lab.node(n).address != source)
        ask, pages = TokenFeed._ask, []

        async def asked(feed, operation):
            if operation.args[:1] == ("ZSCAN",) and operation.slot == home:
                pages.append(operation)
                if len(pages) == 2:
                    await asyncio.to_thread(lab.move_slots, [home], target)
            return await ask(feed, operation)

        monkeypatch.setattr(TokenFeed, "_ask", asked)
        async with instances(lab, 1) as (fresh,):
            assert len(pages) > 4
            held = fresh._redis.feed.shards[0].replica
            assert len(held) == len(shard.replica)


async def test_slots_that_nobody_holds_are_refused_and_the_others_served(cluster_lab):
    lab = cluster_lab
    async with instances(lab, 1, **FAIL_OPEN) as (one,):
        victim = lab.node("redis-0").address
        others = subjects_of(one, victim, others=True)
        sessions = [await one.sessions.create(user=f"user{n}", data={"n": 0}) for n in range(40)]
        replica = next(n.name for n in lab.status().nodes if n.replicates == "redis-0")
        await asyncio.to_thread(lab.kill, replica)
        await asyncio.to_thread(lab.kill, "redis-0")
        await until(lambda: one.status().health == "degraded")
        async with checking(one, others) as (sources, slow):
            await until(lambda: sources["redis"] > 200)
        assert by_redis(sources)
        assert not slow
        outcomes: Counter[str] = Counter()
        for session in sessions:
            try:
                await one.sessions.update(session, set={"n": 1})
            except AragoraRedisError as error:
                outcomes[type(error).__name__] += 1
            else:
                outcomes["updated"] += 1
        assert outcomes["updated"] > 10
        assert outcomes.total() > outcomes["updated"]
        assert "127" in (one.status().reason or "")


async def test_one_node_given_as_all_of_redis_is_told_apart(cluster_lab):
    address = cluster_lab.node("redis-0").address
    env = {
        "ARAGORA_REDIS_URL": f"redis://{address}",
        "ARAGORA_REDIS_PASSWORD": cluster_lab.env()["ARAGORA_REDIS_PASSWORD"],
    }
    assert isinstance(from_env(env).topology, Standalone)
    state = SharedState.from_env(env)
    state.start()
    try:
        now = state.status
        told = "ARAGORA_REDIS_CLUSTER_MODE=true"
        await until(lambda: told in f"{now().reason} {now().troubles}", within=5)
    finally:
        await state.close()


@needs_cuts
@pytest.mark.alone
async def test_a_primary_that_is_cut_off_is_the_trouble_of_its_slots_alone(cluster_lab):
    lab = cluster_lab
    async with instances(lab, 1, **FAIL_OPEN) as (one,):
        victim = lab.node("redis-1").address
        theirs, others = subjects_of(one, victim), subjects_of(one, victim, others=True)
        async with checking(one, others) as (sources, slow), checking(one, theirs) as (hit, _):
            await asyncio.to_thread(lab.cut, "redis-1")
            await until(lambda: victim not in {lead(one, slot) for slot in range(16384)}, within=30)
            await until(healthy(one), within=30)
            await asyncio.to_thread(lab.heal)
            hit.clear()
            await until(lambda: hit["redis"] > 200)
        assert by_redis(sources)
        assert not slow


def test_an_operation_with_keys_of_two_slots_cannot_be_built():
    with pytest.raises(ValueError, match="one hash slot"):
        Operation(kind=Kind.READ, keys=(b"a", b"b"), args=(), read=int)
