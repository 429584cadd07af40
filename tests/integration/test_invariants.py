"""The invariants, on real servers: killed, frozen, rolled back and emptied."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis
from tests.integration.fleet import healthy, instances, until

from aragora_redis import Level, SharedState
from aragora_redis.address import Address
from aragora_redis.errors import (
    AragoraRedisError,
    LimitUnavailableError,
    NotReadyError,
    RefusedError,
    StaleError,
)
from aragora_redis.events import (
    Degraded,
    EraChanged,
    Event,
    LinkUp,
    Recovered,
    SwitchAnnounced,
    ViewChanged,
)
from aragora_redis.link.standing import SILENCE
from aragora_redis.rate_limit import operations
from aragora_redis.rate_limit.gcra import Source

HOUR = 3600
DEADLINE = 0.05
MAX_LAG = 3
"""Seconds, `min-replicas-max-lag` of a lab."""
NOISE = 0.1
"""Seconds by which a loaded machine may be late."""


def expiry():
    return time.time() + HOUR


@pytest.fixture
def fail_open():
    return {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}


@pytest.mark.paired
async def test_i1_i2_i4_a_killed_primary_under_load(sentinel_lab, fail_open):
    """Documented answers only, none above its deadline, and what was revoked stays revoked."""
    async with instances(sentinel_lab, 2, **fail_open) as (one, two):
        receipt = await one.tokens.revoke("gone", expires_at=expiry(), reason="test")
        assert (receipt.level, receipt.acknowledged) == (Level.REPLICATED, 2)
        await until(lambda: two.tokens.is_revoked({"jti": "gone"}), within=1)
        answers, slow, forgotten = set(), [], 0
        stop = asyncio.Event()

        async def load():
            nonlocal forgotten
            while not stop.is_set():
                started = time.monotonic()
                decision = await two.rate_limits.check("api", "ip:203.0.113.9")
                took = time.monotonic() - started
                answers.add(decision.source.value)
                slow.extend([took] if took > DEADLINE + NOISE else [])
                forgotten += not two.tokens.is_revoked({"jti": "gone"})
                assert not two.tokens.is_revoked({"jti": "other"})
                await asyncio.sleep(0.005)

        loading = asyncio.create_task(load())
        await asyncio.to_thread(sentinel_lab.kill, "primary")
        await until(lambda: two.status().health != "healthy")
        await until(healthy(one, two))
        await until(lambda: two.status().primary == one.status().primary)
        stop.set()
        await loading
        assert answers <= {"redis", "local", "deny-cache"}
        assert {"redis", "local"} <= answers
        assert not slow
        assert not forgotten
        # Until the dead one is called down, it counts among those who must acknowledge; and again
        # for a moment when a Sentinel that has just heard of the failover finds it anew.
        end = time.monotonic() + 20
        while (await one.tokens.revoke("after", expires_at=expiry())).level < Level.REPLICATED:
            assert time.monotonic() < end
        await until(lambda: two.tokens.is_revoked({"jti": "after"}), within=2)


async def test_i1_a_lost_tail_is_published_again_by_who_learned_it(sentinel_lab, connect):
    """The replicas miss a revocation, the primary and the revoking instance die at once."""
    lab = sentinel_lab
    async with instances(lab, 1) as (witness,):
        async with instances(lab, 1) as (dying,):
            connect(lab, "primary").config_set("min-replicas-to-write", 0)
            for replica in ("replica-0", "replica-1"):
                connect(lab, replica).replicaof("127.0.0.1", 1)
            receipt = await dying.tokens.revoke("tail", expires_at=expiry(), level=Level.PRIMARY)
            assert receipt.level is Level.PRIMARY
            await until(lambda: witness.tokens.is_revoked({"jti": "tail"}), within=2)
        old = witness.status().primary
        eras = []
        witness.events.subscribe(lambda e: eras.append(e) if isinstance(e, EraChanged) else None)
        await asyncio.to_thread(lab.kill, "primary")
        await until(lambda: witness.status().primary != old and healthy(witness)())
        await until(lambda: any(era.republish_learned == 1 for era in eras))
        async with instances(lab, 1) as (fresh,):
            assert fresh.tokens.is_revoked({"jti": "tail"})
            assert not fresh.tokens.is_revoked({"jti": "other"})


async def test_i1_all_of_redis_back_empty(sentinel_lab):
    """One surviving instance is enough; a fresh one is not ready before it knows."""
    lab = sentinel_lab
    async with instances(lab, 1) as (survivor,):
        await survivor.tokens.revoke("kept", expires_at=expiry())
        await survivor.tokens.revoke_user("42")
        await asyncio.to_thread(lab.kill, "all")
        receipt = await survivor.tokens.revoke("meanwhile", expires_at=expiry(), within=0.2)
        assert receipt.level is Level.LOCAL
        assert survivor.tokens.outbox_depth == 1
        await asyncio.to_thread(lab.start_all, wipe=True)
        await until(lambda: survivor.tokens.outbox_depth == 0)
        async with instances(lab, 1) as (fresh,):
            for claims in ({"jti": "kept"}, {"jti": "meanwhile"}, {"sub": "42", "iat": 1}):
                assert fresh.tokens.is_revoked(claims)


async def test_i3_nothing_leads_to_the_old_primary_any_more(sentinel_lab, connect, fail_open):
    lab = sentinel_lab
    old = await asyncio.to_thread(lab.primary)
    async with instances(lab, 1, **fail_open) as (state,):
        seen: list[Event] = []
        state.events.subscribe(seen.append)
        await asyncio.to_thread(lab.freeze, old)
        view = await until(lambda: next((e for e in seen if isinstance(e, ViewChanged)), None))
        await until(lambda: (state.status().primary == str(view.new)) and healthy(state)())
        await asyncio.to_thread(lab.thaw, old)
        resumed = connect(lab, old)
        ours = "aragora-redis"
        await until(lambda: all(c["name"] != ours for c in resumed.client_list()))
        await until(lambda: resumed.role()[0] == "slave", within=30)
        seconds = [e.after for e in seen if isinstance(e, LinkUp) and e.lane == "fast"]
        assert len(seconds) == 1
        assert any(isinstance(e, SwitchAnnounced | ViewChanged) for e in seen)


async def test_i3_i5_what_a_frozen_server_was_sent_does_not_run_when_it_resumes(make_lab, connect):
    """Closing does not unsend: the script itself refuses what comes after its time."""
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1) as (state,):
        key = state.rate_limits._book.named("api").record("u").key
        await asyncio.to_thread(lab.freeze, "redis-0")
        with pytest.raises(AragoraRedisError):
            await state.rate_limits.check("api", "u", cost=5)
        await asyncio.sleep(0.3)  # past not_after: time is the subject
        await asyncio.to_thread(lab.thaw, "redis-0")
        client = connect(lab, "redis-0")
        await until(client.ping)
        await until(healthy(state))
        assert not client.exists(key)


@pytest.mark.alone
async def test_i2_i4_a_frozen_redis_costs_a_deadline_once_and_the_fleet_keeps_the_limit(
    sentinel_lab, fail_open
):
    lab = sentinel_lab
    async with instances(lab, 2, **fail_open) as states:
        await until(lambda: all(state.status().instances == 2 for state in states))
        await asyncio.to_thread(lab.freeze, "all")
        while any(state.status().health == "healthy" for state in states):
            await asyncio.gather(*(state.rate_limits.check("api", "probe") for state in states))
        started = time.monotonic()
        admitted, slow, calls = 0, 0, 0
        while (elapsed := time.monotonic() - started) < 2:
            for state in states:
                began = time.monotonic()
                decision = await state.rate_limits.check("api", "flood")
                slow += time.monotonic() - began >= DEADLINE
                admitted += decision.allowed
                calls += 1
        limit = 200 + 100 * elapsed
        assert calls > limit * 2
        assert 0.9 * limit <= admitted <= 1.05 * limit
        assert slow <= calls / 100, "each would wait, if any did"


@pytest.mark.paired
async def test_i2_limits_return_once_from_an_outage_of_all_servers(sentinel_lab, fail_open):
    """The primary takes writes at once, until it misses its replicas, which stood still too."""
    lab = sentinel_lab
    async with instances(lab, 1, **fail_open) as (state,):
        told: list[Event] = []
        state.events.subscribe(told.append, to=(Degraded, Recovered))
        await asyncio.to_thread(lab.freeze, "all")
        await until(lambda: state.status().health == "degraded")
        await asyncio.sleep(MAX_LAG + 0.5)
        await asyncio.to_thread(lab.thaw, "all")
        sources: list[Source] = []
        while sources.count(Source.REDIS) < 150:  # in which it has counted them again
            sources.append((await state.rate_limits.check("api", "u")).source)
            await asyncio.sleep(0.01)
            assert len(sources) < 1000, told
        assert Source.LOCAL not in sources[sources.index(Source.REDIS) :], told
        assert [type(each) for each in told] == [Degraded, Recovered]


@pytest.mark.alone
async def test_i2_fail_closed_refuses_at_once(make_lab):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1) as (state,):
        await asyncio.to_thread(lab.kill, "redis-0")
        await until(lambda: state.status().health == "degraded")
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(LimitUnavailableError) as refused:
                await state.rate_limits.check("api", "u")
        assert time.monotonic() - began < 10 * DEADLINE, "a hundred that wait take a hundred"
        assert refused.value.retry_after > 0


async def test_an_outage_is_charged_on_return(make_lab, connect, fail_open):
    """What was admitted without Redis counts when it is back, so flapping gains nothing."""
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1, **fail_open) as (state,):
        await asyncio.to_thread(lab.freeze, "redis-0")
        await until(lambda: state.status().health == "degraded")
        allowed = [(await state.rate_limits.check("api", "u", cost=50)).allowed for _ in range(4)]
        assert all(allowed)
        await asyncio.to_thread(lab.thaw, "redis-0")
        await until(healthy(state))
        policy = state.policies.limits["api"]
        key = state.rate_limits._book.named("api").record("u").key
        peek = operations.peek(policy, key)
        executor = state._redis.executor
        client = connect(lab, "redis-0")
        await until(lambda: client.exists(key))
        level = await executor.run(peek, within=1)
        assert level > 0


async def test_a_starter_does_not_vouch_before_it_is_ready(make_lab):
    lab = make_lab("standalone")
    lab.start()
    state = SharedState.from_env(lab.env())
    state.start()
    try:
        with pytest.raises(NotReadyError):
            state.tokens.is_revoked({"jti": "x"})
        assert not await state.wait_ready(2), "a new era is not trusted at once"
        receipt = await state.tokens.revoke("x", expires_at=expiry())
        assert receipt.level is Level.PRIMARY
        assert state.tokens.is_revoked({"jti": "x"}), "what is known is said"
        assert await state.wait_ready(10)
        assert not state.tokens.is_revoked({"jti": "y"})
    finally:
        await state.close()


async def test_the_risk_policy_denies_when_stale(make_lab):
    lab = make_lab("standalone")
    lab.start()
    strict = {"ARAGORA_TOKENS_ON_OUTAGE": "deny", "ARAGORA_TOKENS_MAX_STALENESS": "4"}
    async with instances(lab, 1, **strict) as (state,):
        await state.tokens.revoke("gone", expires_at=expiry())
        await until(lambda: state.status().staleness < 4)
        assert not state.tokens.is_revoked({"jti": "x"})
        await asyncio.to_thread(lab.freeze, "redis-0")
        await until(lambda: state.status().staleness > 4)
        with pytest.raises(StaleError):
            state.tokens.is_revoked({"jti": "x"})
        assert state.tokens.is_revoked({"jti": "gone"})
        await asyncio.to_thread(lab.thaw, "redis-0")
        await until(lambda: state.status().staleness < 4)
        assert not state.tokens.is_revoked({"jti": "x"})


async def test_i1_memory_that_is_full_takes_a_revocation_and_refuses_what_can_wait(
    sentinel_lab, connect
):
    lab = sentinel_lab
    strict = {"ARAGORA_TOKENS_ON_OUTAGE": "deny", "ARAGORA_TOKENS_MAX_STALENESS": "4"}
    async with instances(lab, 2, **strict) as (state, other):
        client = connect(lab, "primary")
        client.config_set("maxmemory", "1")
        with pytest.raises(RefusedError) as refused:
            await state.sessions.create("42", {})
        assert refused.value.code == "OOM"
        receipt = await state.tokens.revoke("x", expires_at=expiry())
        assert receipt.level is Level.REPLICATED
        await until(lambda: other.tokens.is_revoked({"jti": "x"}))
        await until(lambda: "OOM" in (state.status().reason or ""), within=5)
        full_since = time.monotonic()
        async with instances(lab, 1, **strict) as (starter,):
            assert starter.tokens.is_revoked({"jti": "x"})
        followed: Any = other._redis
        await until(lambda: followed.presence.accepted_at > full_since + 4, within=10)
        assert not other.tokens.is_revoked({"jti": "y"})
        client.config_set("maxmemory", "0")
        await until(healthy(state))


async def test_replicated_is_not_claimed_while_a_replica_that_counts_is_frozen(sentinel_lab):
    lab = sentinel_lab
    async with instances(lab, 1) as (state,):
        await asyncio.to_thread(lab.freeze, "replica-0")
        receipt = await state.tokens.revoke("x", expires_at=expiry(), within=0.5)
        assert (receipt.level, receipt.required) == (Level.PRIMARY, 2)
        await until(lambda: state.status().replicas == 1)
        receipt = await state.tokens.revoke("y", expires_at=expiry())
        assert (receipt.level, receipt.acknowledged) == (Level.REPLICATED, 1)


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ({"ARAGORA_REDIS_PASSWORD": "wrong-password-x"}, "ARAGORA_REDIS_PASSWORD"),
        ({"ARAGORA_REDIS_SENTINEL_PASSWORD": "wrong-password-x"}, "SENTINEL_PASSWORD"),
        ({"ARAGORA_REDIS_SENTINEL_MASTER": "nobody"}, "ARAGORA_REDIS_SENTINEL_MASTER"),
        ({"ARAGORA_REDIS_SENTINEL_HOSTS": "no-such-host.invalid:1"}, "no-such-host.invalid"),
    ],
    ids=["password", "Sentinel password", "master name", "host"],
)
async def test_i8_a_wrong_setting_is_named_without_its_secret(sentinel_lab, spoilt, told):
    state = SharedState.from_env(sentinel_lab.env() | spoilt)
    state.start()
    try:
        await until(lambda: told in f"{state.status().troubles} {state.status().reason}")
        assert "wrong-password-x" not in repr(state.status())
        assert state.status().health == "degraded"
    finally:
        await state.close()


async def test_i1_a_wipe_under_living_instances(make_lab, connect):
    """FLUSHALL keeps the replication id, and new revocations may catch up with the old number."""
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1) as (state,):
        for number in range(3):
            await state.tokens.revoke(f"old-{number}", expires_at=expiry())
        connect(lab, "redis-0").flushall()
        for number in range(40):
            await state.tokens.revoke(f"new-{number}", expires_at=expiry())
        async with instances(lab, 1) as (fresh,):
            for number in range(3):
                assert fresh.tokens.is_revoked({"jti": f"old-{number}"})


async def test_lost_scripts_are_loaded_again(make_lab, connect):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1) as (state,):
        connect(lab, "redis-0").script_flush()
        receipt = await state.tokens.revoke("x", expires_at=expiry())
        assert receipt.level is Level.PRIMARY
        await until(healthy(state), within=3)


async def test_a_reset_reaches_who_refuses_by_itself(make_lab):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 2) as (one, two):
        assert (await two.rate_limits.check("api", "u", cost=200)).allowed
        assert not (await two.rate_limits.check("api", "u", cost=200)).allowed
        refused = await two.rate_limits.check("api", "u", cost=200)
        assert refused.source.value == "deny-cache"
        assert await one.rate_limits.reset("api", "u")

        async with asyncio.timeout(1):  # less than the two seconds of retry_after
            # An answer from memory lets nothing else run.
            while not (await two.rate_limits.check("api", "u", cost=200)).allowed:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_an_aim_that_changes_leaves_nothing_leading_elsewhere(make_lab):
    """A cancellation that was lost on the way left all lanes on the old primary."""
    labs = [make_lab("standalone"), make_lab("standalone")]
    for lab in labs:
        lab.start()
    password = labs[1].env()["ARAGORA_REDIS_PASSWORD"]
    node = labs[0].node("redis-0")
    client = redis.Redis(port=node.port, password=labs[0].password(node))
    client.config_set("requirepass", password)
    client.close()
    targets = [Address("127.0.0.1", lab.node("redis-0").port) for lab in labs]
    state = SharedState.from_env(labs[1].env())
    state.start()
    try:
        assert state._redis is not None
        (route,) = state._redis.reach.routes
        links = route.links
        for _ in range(25):
            for target in targets:
                links.aim(target)
                await asyncio.sleep(0.002)
        await until(lambda: all(lane.down is None for lane in links.lanes.values()))
        for lane in links.lanes.values():
            assert lane._pipe is not None
            assert lane._pipe._transport.get_extra_info("peername")[1] == targets[1].port
    finally:
        await asyncio.wait_for(state.close(), 5)


async def test_closing_leaves_no_task_and_no_connection(make_lab, connect):
    lab = make_lab("standalone")
    lab.start()
    before = asyncio.all_tasks()
    async with instances(lab, 1) as (state,):
        await state.rate_limits.check("api", "u")
        assert state._redis.reach.down is None
    assert asyncio.all_tasks() == before
    client = connect(lab, "redis-0")
    await until(lambda: all(c["name"] != "aragora-redis" for c in client.client_list()))


async def test_i2_a_primary_that_may_have_been_replaced_does_not_decide_alone(
    sentinel_lab, fail_open
):
    """Without a majority of Sentinels its replicas vouch for it, and all of them must."""
    lab = sentinel_lab

    async def source(state):
        return (await state.rate_limits.check("api", "u", cost=0)).source.value

    async with instances(lab, 1, **fail_open) as (open_,), instances(lab, 1) as (closed,):
        for name in ("sentinel-0", "sentinel-1"):
            await asyncio.to_thread(lab.kill, name)
        since = time.monotonic()
        panel = open_._redis.reach.watcher.panel
        await until(lambda: not panel.heard_majority_since(time.monotonic() - 2 * SILENCE))
        assert time.monotonic() - since > SILENCE
        assert await source(open_) == await source(closed) == "redis"
        await asyncio.to_thread(lab.kill, "replica-0")
        await until(lambda: open_.status().health == closed.status().health == "degraded")
        assert "most Sentinels are silent" in open_.status().reason
        assert await source(open_) == "local"
        with pytest.raises(LimitUnavailableError, match="may have been replaced"):
            await source(closed)
        await asyncio.to_thread(lab.start_all)
        await until(healthy(open_, closed))
        assert await source(open_) == await source(closed) == "redis"
