"""The record of acts by hand on real servers: of all faces, through a failover, in bad company."""

from __future__ import annotations

import asyncio
import json
import secrets
import time

import pytest
from tests.gateways import client_of
from tests.integration.past import give_past

from aragora_redis import SharedState, sync
from aragora_redis.audit.act import Act
from aragora_redis.audit.operations import record
from aragora_redis.events import ActLost, AuditTrouble, Event
from aragora_redis.operation import Lane
from aragora_redis.settings import from_env
from aragora_redis.state.revocations.receipt import Level


@pytest.fixture
def prefix():
    return f"audit-{secrets.token_hex(4)}"


@pytest.fixture
def env(standalone_lab, prefix):
    mine = {"ARAGORA_KEY_PREFIX": prefix}
    give_past(standalone_lab, **mine)
    return standalone_lab.env() | mine


@pytest.fixture
def server(connect, standalone_lab):
    return connect(standalone_lab)


async def until(condition, within=10.0):
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s"
        await asyncio.sleep(0.01)
    return value


def test_an_empty_record_is_told_as_one(env, cli):
    assert cli("audit", **env)[:2] == (0, "nothing is on record\n")


async def test_i8_acts_of_every_face_are_in_one_record_without_ids(env, cli, server, prefix):
    async def in_http():
        state = SharedState(from_env(env | {"ARAGORA_INSTANCE_ID": "gw-1"}))
        async with client_of(state, env["ARAGORA_ADMIN_TOKEN"]) as client:
            body = {"user": "mallory", "actor": "bob", "reason": "stolen"}
            assert (await client.post("/v1/tokens/revoke", json=body)).status_code in {200, 202}
            return (await client.get("/v1/audit")).json()["acts"]

    def in_a_thread():
        with sync.SharedState.from_env(env) as state:
            state.sessions.end_all(actor="carol")
            return state.audit.recent().acts

    def by_command():
        why = ("--reason", "maintenance", "--actor", "ann")
        assert cli("circuits", "force", "llm", "open", *why, **env)[0] == 0
        code, out, _ = cli("audit", "--json", **env)
        assert code == 0
        return json.loads(out)

    async with SharedState(from_env(env)) as state:
        await state.circuits.force("llm", "auto", actor="dan")
        await until(lambda: server.xlen(f"{prefix}:audit") == 1)
        over_http = await in_http()
        in_thread = await asyncio.to_thread(in_a_thread)
        acts = await asyncio.to_thread(by_command)
        assert [(each["actor"], each["via"], each["outcome"]) for each in acts] == [
            ("ann", "cli", "forced-open"),
            ("carol", "sync", "primary"),
            ("bob", "http", "primary"),
            ("dan", "python", "closed"),
        ]
        assert over_http == acts[2:]
        assert [act.as_dict() for act in in_thread] == acts[1:]
        assert [act.as_dict() for act in (await state.audit.recent()).acts] == acts
        assert [each["instance"] for each in acts][::2] == ["", "gw-1"]
    assert "mallory" not in str(server.xrange(f"{prefix}:audit"))


async def test_a_page_tells_each_act_once_whatever_stands_beside_it(env, server, prefix):
    key = f"{prefix}:audit"

    def stored(number, outcome):
        act = Act(actor="ann", action="x", target=f"{number}", outcome=outcome, id=f"id-{number}")
        server.execute_command(*record(prefix, act, Lane.BULK).args)

    for number in range(60):  # each has ended when the next three have begun
        stored(number, "begun")
        if number >= 3:
            stored(number - 3, "done")
        if number % 7 == 0:
            stored(number, "begun")  # sent again in a failover
            server.xadd(key, {b"\xff": b"\xff", "at": "nan"})
    async with SharedState(from_env(env)) as state:
        found: list[Act] = []
        before = None
        while True:
            page = await state.audit.recent(7, before=before)
            found += page.acts
            before = page.older
            if before is None:
                break
        told = [(int(act.target), act.outcome) for act in found if act.target]
        assert sorted(told) == [(n, "begun" if n >= 57 else "done") for n in range(60)]
        assert len(found) - len(told) == 9
        threes = (await state.audit.recent(2, target="3")).acts
        assert [act.target for act in threes] == ["53", "43"]


async def test_i1_a_record_that_redis_refuses_holds_nothing_up(env, server, prefix):
    """Whatever is wrong with the record, a revocation is in force, in time and at its level."""
    heard: list[Event] = []
    server.set(f"{prefix}:audit", "not a stream")
    state = SharedState(from_env(env))
    state.events.subscribe(heard.append)
    async with state:
        receipt = await state.tokens.revoke("j", expires_at=time.time() + 60, actor="ann")
        assert receipt.level is Level.PRIMARY
        assert state.tokens.is_revoked({"jti": "j"})
        trouble = await until(lambda: state.status().troubles.get("audit"))
        assert "WRONGTYPE" in trouble
        server.delete(f"{prefix}:audit")
        await until(lambda: "audit" not in state.status().troubles)
        assert [act.actor for act in (await state.audit.recent()).acts] == ["ann"]

        server.set(f"{prefix}:audit", "not a stream")
        await state.circuits.force("llm", "open", actor="bob")
    assert len([each for each in heard if isinstance(each, AuditTrouble)]) == 2
    (lost,) = [each for each in heard if isinstance(each, ActLost)]
    assert (lost.actor, lost.action, lost.target) == ("bob", "circuits force open", "llm")


async def test_the_record_outlives_a_primary_that_alone_had_it(sentinel_lab, connect):
    give_past(sentinel_lab)
    replicas = [node.name for node in sentinel_lab.status().nodes if node.role == "replica"]
    async with SharedState(from_env(sentinel_lab.env())) as state:
        primary = connect(sentinel_lab)
        primary.config_set("min-replicas-to-write", 0)
        passwords = {}
        for name in replicas:  # they lose their primary, and are up
            replica = connect(sentinel_lab, name)
            passwords[name] = replica.config_get("masterauth")["masterauth"]
            replica.config_set("masterauth", "another")
        primary.client_kill_filter(_type="replica")
        await state.circuits.force("llm", "open", actor="ann")
        await until(lambda: primary.xlen("aragora:audit") >= 1)
        died = sentinel_lab.primary()
        sentinel_lab.kill("primary")
        for name, password in passwords.items():
            connect(sentinel_lab, name).config_set("masterauth", password)
        await until(lambda: sentinel_lab.primary() != died, within=20)

        async def recorded():
            return [act.actor for act in (await state.audit.recent()).acts]

        await until(lambda: state.status().health == "healthy", within=20)
        await until(lambda: not state.status().troubles.get("audit"), within=20)
        end = time.monotonic() + 10
        while await recorded() != ["ann"]:
            assert time.monotonic() < end
        assert connect(sentinel_lab).xlen("aragora:audit") >= 1
