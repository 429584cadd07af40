"""Features with a Redis of their own: what is kept where, and what is left when one is gone."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.gateways import client_of
from tests.integration.fleet import apart, until
from tests.integration.past import give_past

from aragora_redis import SharedState
from aragora_redis import sync as threaded
from aragora_redis.address import Address
from aragora_redis.errors import LimitUnavailableError, SettingsError, StaleError
from aragora_redis.events import Degraded, Recovered
from aragora_redis.ops.survey import instances_of
from aragora_redis.rate_limit.gcra import Source
from aragora_redis.settings import Embedded, Feature, Redis, Settings, Standalone
from aragora_redis.testing.memory_state import policies_of

POLICIES = """
[limits.api]
rate = "1/minute"
burst = 10
[circuits.default]
minimum_calls = 1
reporters = 1
"""
ALL = ("TOKENS", "SESSIONS", "RATE_LIMIT", "CIRCUITS")


@pytest.fixture
def pair(make_lab, policies):
    """That of all, that of some, and what leads to the first."""
    common, own = make_lab("standalone"), make_lab("standalone")
    for lab in (common, own):
        lab.start()
        give_past(lab)
    return common, own, common.env() | policies(POLICIES)


@asynccontextmanager
async def ready(env, count=1):
    async with AsyncExitStack() as stack:
        made = [SharedState.from_env(env) for _ in range(count)]
        for state in made:
            state.start()
            stack.push_async_callback(state.close)
        for state in made:
            assert await state.wait_ready(20), state.status()
        yield made


async def use_all(state):
    """Leave something of each feature there, under names that nothing else has."""
    await state.tokens.revoke("a-token", expires_at=time.time() + 60)
    await state.sessions.create(user="42", data={})
    decision = await state.rate_limits.check("api", "somebody")
    assert decision.source is Source.REDIS
    with pytest.raises(ZeroDivisionError):
        async with state.circuits["upstream"]:
            raise ZeroDivisionError
    await until(lambda: state.circuits["upstream"].state == "open")
    await state.circuits.force("upstream", "auto", actor="alice", reason="it is well again")


def kept(connect, lab):
    """Which features a server holds something of; a past is one of eras, not of members."""
    client = connect(lab, "redis-0")
    found = {
        "TOKENS": "aragora:t:*:members:*",
        "SESSIONS": "aragora:s:*",
        "RATE_LIMIT": "aragora:l:*",
        "CIRCUITS": "aragora:c:*",
    }
    return {feature for feature, pattern in found.items() if client.keys(pattern)}


@pytest.mark.parametrize("feature", ALL)
async def test_a_feature_is_kept_in_its_own_redis_and_nothing_else_is(pair, connect, feature):
    common, own, env = pair
    async with ready(env | apart(own, feature)) as (state,):
        await use_all(state)
        name = {"RATE_LIMIT": "limits"}.get(feature, feature.lower())
        status = state.status()
        assert {name} in [set(each.features) for each in status.redis]
        assert sum(len(each.features) for each in status.redis) == 4
        assert (status.health, status.instances) == ("healthy", 1)
    assert kept(connect, own) == {feature}
    assert kept(connect, common) == set(ALL) - {feature}
    assert bool(connect(own, "redis-0").exists("aragora:audit")) == (feature == "TOKENS")


async def test_what_leads_to_the_same_redis_is_one_connection(pair, connect):
    common, _, env = pair
    async with ready(env | apart(common, *ALL)) as (state,):
        assert state.status().redis == ()
        lanes = [each for each in connect(common, "redis-0").client_list() if each["name"]]
        async with ready(env):
            others = [each for each in connect(common, "redis-0").client_list() if each["name"]]
        assert len(others) == 2 * len(lanes)


async def test_two_ways_to_one_redis_are_one_instance_each(pair, connect):
    """By another name of the server, or another user, nobody can tell that it is the same."""
    common, _, env = pair
    host, port = common.node("redis-0").address
    own = apart(common, "RATE_LIMIT") | {
        "ARAGORA_RATE_LIMIT_REDIS_URL": f"redis://localhost:{port}"
    }
    assert host != "localhost"
    async with ready(env | own, 2) as states:
        await until(lambda: all(state.status().instances == 2 for state in states))
        rows = connect(common, "redis-0").hgetall("aragora:p:{presence}:rows")
        eras = sorted(row.split(" ")[0] for row in rows.values())
        assert eras[:2] == ["-", "-"]
        assert "-" not in eras[2:], "who follows says how far it is, and nothing says otherwise"
        assert {name.partition(".")[0] for name in rows} == {state.boot_id for state in states}
        assert len(instances_of(rows)) == 2
        assert all(each.staleness is not None for each in instances_of(rows))
        other = policies_of('[limits.api]\nrate = "9/second"\n')
        states[0].use_policies(other)
        await until(lambda: all(state.status().differing == 1 for state in states))


async def test_without_the_redis_of_the_tokens_all_else_goes_on(pair):
    _, own, env = pair
    async with ready(env | apart(own, "TOKENS"), 2) as (one, two):
        told: list[Degraded | Recovered] = []
        one.events.subscribe(told.append, to=(Degraded, Recovered))
        await one.tokens.revoke("a-token", expires_at=time.time() + 600)
        await until(lambda: two.tokens.is_revoked({"jti": "a-token"}))
        session = await one.sessions.create(user="42", data={})
        await asyncio.to_thread(own.kill, "redis-0")
        await until(lambda: told and two.status().health == "degraded")
        assert told[0].features == ("tokens",)
        status = two.status()
        assert status.reason is not None
        assert status.reason.startswith("the Redis of tokens: ")
        assert [each.health for each in status.redis] == ["degraded", "healthy"]
        assert two.tokens.is_revoked({"jti": "a-token"}), "an outage is no amnesty"
        assert not two.tokens.is_revoked({"jti": "another"})
        assert (await two.rate_limits.check("api", "somebody")).source is Source.REDIS
        assert (await two.sessions.get(session.id)).user == "42"
        receipt = await one.tokens.revoke("later", expires_at=time.time() + 600)
        assert receipt.level.word == "local"
        await asyncio.to_thread(own.start_all)
        await until(lambda: isinstance(told[-1], Recovered))
        assert told[-1].features == ("tokens",)
        await until(lambda: two.tokens.is_revoked({"jti": "later"}))
        await until(lambda: two.status().health == one.status().health == "healthy")


async def test_what_ends_with_an_instance_is_said(pair, caplog, tmp_path):
    """Acknowledged here alone, in a process that stops before there is a Redis again."""
    _, own, env = pair
    env |= apart(own, "TOKENS")
    async with ready(env) as (state,):
        await asyncio.to_thread(own.kill, "redis-0")
        receipt = await state.tokens.revoke("lost", expires_at=time.time() + 600)
        assert (receipt.level.word, receipt.outbox) == ("local", "memory")
    (said,) = [each for each in caplog.messages if "end with this process" in each]
    assert said.startswith("1 revocations that were acknowledged here alone reached no Redis")
    assert "ARAGORA_TOKENS_OUTBOX" in said
    caplog.clear()
    await asyncio.to_thread(own.start_all)
    async with ready(env | {"ARAGORA_TOKENS_OUTBOX": str(tmp_path / "outbox")}) as (state,):
        await asyncio.to_thread(own.kill, "redis-0")
        receipt = await state.tokens.revoke("kept", expires_at=time.time() + 600)
        assert receipt.outbox == "disk"
    assert not [each for each in caplog.messages if "end with this process" in each]


async def test_the_end_of_all_sessions_says_where_it_is_known(pair):
    _, own, env = pair
    state = SharedState.from_env(env | apart(own, "TOKENS"))
    admin = {"Authorization": f"Bearer {env['ARAGORA_ADMIN_TOKEN']}"}
    async with client_of(state) as client:
        await until(lambda: state.ready)
        body = {"confirm": "everybody"}
        ended = await client.post("/v1/sessions/end-all", json=body, headers=admin)
        assert (ended.status_code, ended.json()) == (200, {"level": "primary"})
        await asyncio.to_thread(own.kill, "redis-0")
        ended = await client.post("/v1/sessions/end-all", json=body, headers=admin)
        assert (ended.status_code, ended.json()) == (202, {"level": "local"}), "here alone"


async def test_what_is_to_be_corrected_is_named_as_it_was_set(pair, sentinel_lab):
    """The variables of the feature, not those of all."""
    _, _, env = pair
    wrong = {"ARAGORA_TOKENS_REDIS_SENTINEL_MASTER": "another"}
    state = SharedState.from_env(env | apart(sentinel_lab, "TOKENS") | wrong)
    state.start()
    try:
        fix = "(check ARAGORA_TOKENS_REDIS_SENTINEL_MASTER)"
        await until(lambda: fix in (state.status().reason or ""))
        assert any(fix in why for why in state.status().troubles.values())
    finally:
        await state.close()


async def test_without_the_redis_of_the_limits_tokens_and_sessions_go_on(pair):
    _, own, env = pair
    async with ready(env | apart(own, "RATE_LIMIT")) as (state,):
        await state.rate_limits.check("api", "somebody")
        await asyncio.to_thread(own.freeze, "redis-0")
        await until(lambda: state.status().health == "degraded")
        with pytest.raises(LimitUnavailableError):
            await state.rate_limits.check("api", "somebody")
        assert (await state.tokens.revoke("a", expires_at=time.time() + 60)).level.word == "primary"
        made = await state.sessions.create(user="42", data={})
        assert (await state.sessions.get(made.id)).user == "42"
        await asyncio.to_thread(own.thaw, "redis-0")
        await until(lambda: state.status().health == "healthy")
        assert (await state.rate_limits.check("api", "somebody")).source is Source.REDIS


async def test_instances_share_a_limit_by_the_redis_of_the_limits(pair):
    """Each instance counts those that it shares the limit with, also while all else is away."""
    common, own, env = pair
    env |= apart(own, "RATE_LIMIT") | {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}
    async with ready(env, 2) as states:
        await until(lambda: all(state.status().instances == 2 for state in states))
        await asyncio.to_thread(common.kill, "redis-0")
        await until(lambda: all(state.status().health == "degraded" for state in states))
        admitted = [
            (await state.rate_limits.check("api", "somebody")).allowed
            for _ in range(10)
            for state in states
        ]
        assert admitted == [True] * 10 + [False] * 10, "Redis decides"
        await asyncio.to_thread(own.kill, "redis-0")
        await until(lambda: all(state.status().redis[1].health == "degraded" for state in states))
        alone = [
            [(await state.rate_limits.check("api", "another")).allowed for _ in range(10)]
            for state in states
        ]
        assert [sum(each) for each in alone] == [5, 5], "each its share"


async def test_a_session_that_was_ended_stays_so_whatever_its_redis_forgets(pair, connect):
    """The end is a revocation, and these are where the tokens are."""
    _, own, env = pair
    async with ready(env | apart(own, "SESSIONS"), 2) as (one, two):
        session = await one.sessions.create(user="42", data={"theme": "dark"})
        assert await two.sessions.get(session.id) is not None
        client = connect(own, "redis-0")
        (key,) = [key for key in client.keys("aragora:s:*") if client.type(key) == "hash"]
        client.copy(key, "before")
        await one.sessions.end(session.id)
        await until(lambda: not client.exists(key))
        client.rename("before", key)
        assert await two.sessions.get(session.id) is None


async def test_deny_serves_no_session_without_knowing_what_has_ended(pair):
    """The end of all sessions is told in the Redis of the tokens alone."""
    _, own, env = pair
    deny = {"ARAGORA_SESSIONS_ON_OUTAGE": "deny", "ARAGORA_TOKENS_MAX_STALENESS": "1"}
    async with ready(env | apart(own, "TOKENS") | deny) as (state,):
        made = await state.sessions.create(user="42", data={})
        assert await state.sessions.get(made.id) is not None
        await asyncio.to_thread(own.freeze, "redis-0")
        await until(lambda: state.status().staleness > 1)
        with pytest.raises(StaleError, match="ARAGORA_SESSIONS_ON_OUTAGE=known"):
            await state.sessions.get(made.id)
        with pytest.raises(StaleError):
            await state.sessions.update(made, set={"a": 1})
        await asyncio.to_thread(own.thaw, "redis-0")
        await until(lambda: state.status().staleness < 1)
        assert await state.sessions.get(made.id) is not None


def test_threads_have_it_too(pair, connect):
    common, own, env = pair
    with threaded.SharedState.from_env(env | apart(own, "SESSIONS")) as state:
        state.sessions.create(user="42", data={})
        state.rate_limits.check("api", "somebody")
    assert kept(connect, own) == {"SESSIONS"}
    assert kept(connect, common) == {"RATE_LIMIT"}


def test_health_looks_at_all(pair, cli):
    _, own, env = pair
    env |= apart(own, "TOKENS")
    code, out, _ = cli("health", **env)
    assert code == 0, out
    assert out.startswith("OK: the Redis of tokens: ")
    assert "; the Redis of sessions, limits, circuits: " in out
    own.kill("redis-0")
    code, out, _ = cli("health")
    assert code == 2
    assert out.startswith("CRITICAL: the Redis of tokens: ")
    code, out, _ = cli("health", "--json")
    said = json.loads(out)
    assert [part["status"] for part in said["redis"].values()] == ["CRITICAL", "OK"]
    assert cli("health", "--of", "limits")[0] == 0
    assert cli("health", "--of", "tokens")[0] == 2


def test_what_one_does_not_tell_hides_nothing_of_the_others(pair, cli):
    _, own, env = pair
    env |= apart(own, "TOKENS") | {"ARAGORA_RATE_LIMIT_REDIS_URL": "unix:///absent/redis.sock"}
    code, out, _ = cli("health", **env)
    assert code == 3
    assert out.startswith("UNKNOWN: the Redis of limits: ")
    assert "ARAGORA_RATE_LIMIT_REDIS_URL names the Unix socket" in " ".join(out.split())
    own.kill("redis-0")
    code, out, _ = cli("health")
    assert code == 2, "what was seen to be broken is worse than what was not seen"
    assert out.startswith("CRITICAL: the Redis of tokens: ")
    code, out, _ = cli("doctor")
    assert code == 2
    assert "not-examined: the Redis of limits: it cannot be asked" in " ".join(out.split())


def test_an_eviction_is_judged_by_what_it_takes(pair, connect, cli):
    common, own, env = pair
    env |= apart(own, "TOKENS", "SESSIONS")
    for lab in (common, own):
        connect(lab, "redis-0").config_set("maxmemory-policy", "allkeys-lru")
    found = json.loads(cli("doctor", "--json", **env)[1])["diagnoses"]
    evicting = {each["subject"]: each for each in found if each["name"] == "eviction"}
    kept, counted = sorted(evicting.items(), key=lambda each: each[1]["status"])
    assert kept[0].startswith("the Redis of tokens, sessions: ")
    assert (kept[1]["status"], counted[1]["status"]) == ("CRITICAL", "WARNING")
    assert "revoked tokens come back" not in counted[1]["consequence"]


def test_some_in_this_process_and_some_in_redis_are_refused():
    redis = Redis(topology=Standalone(Address("h", 6379)))
    for wrong in (
        Settings(apart=((Feature.SESSIONS, redis),)),
        Settings(topology=redis.topology, apart=((Feature.SESSIONS, Redis(topology=Embedded())),)),
    ):
        with pytest.raises(SettingsError, match="others are kept in this process"):
            SharedState(wrong)


def test_doctor_and_status_look_at_all(pair, cli):
    _, own, env = pair
    env |= apart(own, "TOKENS")
    code, out, _ = cli("status", "--json", **env)
    assert set(json.loads(out)["redis"]) == {"tokens", "sessions, limits, circuits"}
    code, out, _ = cli("status")
    assert code == 0
    assert out.index("the Redis of tokens:") < out.index("the Redis of sessions, limits, circuits:")
    code, out, _ = cli("doctor", "--connect")
    assert code == 0
    assert out.count("the Redis of ") == 2
    own.kill("redis-0")
    code, out, _ = cli("doctor")
    assert code == 2
    assert "the Redis of tokens: " in out


async def test_status_shows_each_figure_where_it_is(pair, cli):
    _, own, env = pair
    async with ready(env | apart(own, "TOKENS")):
        code, out, _ = await asyncio.to_thread(cli, "status", **env | apart(own, "TOKENS"))
    assert code == 0
    tokens, limits = out.split("the Redis of sessions, limits, circuits:")
    assert tokens.count("elsewhere") == 2, "limits by Redis, and alone"
    assert limits.count("elsewhere") == 1, "revocations"
    assert "limits: checks in the last two seconds" not in tokens


def test_operators_are_told_the_variables_of_the_feature(pair, sentinel_lab, cli):
    _, _, env = pair
    env |= apart(sentinel_lab, "TOKENS") | {"ARAGORA_TOKENS_REDIS_SENTINEL_MASTER": "another"}
    named = "ARAGORA_TOKENS_REDIS_SENTINEL_MASTER"
    for command in ("doctor", "health"):
        code, out, _ = cli(command, **env)
        assert code == 2
        told = " ".join(out.split())
        assert named in told
        assert "ARAGORA_REDIS_SENTINEL_MASTER" not in told


def test_a_command_says_whose_redis_is_away(pair, cli):
    _, own, env = pair
    env |= apart(own, "RATE_LIMIT")
    own.kill("redis-0")
    code, _, err = cli("limits", "look", "api", "somebody", **env)
    assert code == 1
    assert "the Redis of limits cannot be used: " in " ".join(err.split())


async def test_an_operator_acts_where_the_feature_is(pair, cli):
    _, own, env = pair
    async with ready(env | apart(own, "TOKENS")) as (state,):
        session = await state.sessions.create(user="42", data={})
        signed = ("--actor", "alice", "--reason", "asked for")

        def act():
            ended = cli("sessions", "end", "--user", "42", *signed, **env | apart(own, "TOKENS"))
            later = str(time.time() + 600)
            revoked = cli("tokens", "revoke", "--jti", "a-token", "--expires-at", later, *signed)
            return ended, revoked, cli("audit", "--json")

        ended, revoked, audit = await asyncio.to_thread(act)
        assert ended[0] == 0, ended
        assert revoked[0] == 0, revoked
        acts = {each["action"] for each in json.loads(audit[1])}
        assert {"sessions end", "tokens revoke"} <= acts
        await until(lambda: state.tokens.is_revoked({"jti": "a-token"}))
        assert await state.sessions.get(session.id) is None
