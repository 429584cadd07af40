"""What instances do when a managed service replaces its primary; the lab plays the provider."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.integration.fleet import healthy, instances, until

from aragora_redis import Level
from aragora_redis.errors import AragoraRedisError
from aragora_redis.events import Event, LinkLost, LinkUp, ViewChanged
from aragora_redis.lab import State

FAIL_OPEN = {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}


class Watch:
    """What happened to the links of an instance."""

    def __init__(self, state):
        self.events: list[Event] = []
        state.events.subscribe(self.events.append)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def new_primary(self, state):
        await until(lambda: self.of(ViewChanged))
        await until(healthy(state))


def replica(lab, name):
    return next(node for node in lab.status().nodes if node.name == name).role == "replica"


async def four_uses(state, other, number):
    """Each primitive once, seen by another instance."""
    soon = time.time() + 600
    assert (await state.rate_limits.check("api", f"u{number}")).source.value == "redis"
    receipt = await state.tokens.revoke(f"jti-{number}", expires_at=soon)
    assert receipt.level is Level.PRIMARY
    await until(lambda: other.tokens.is_revoked({"jti": f"jti-{number}", "exp": soon}), 5)
    session = await state.sessions.create(user="42", data={"number": number})
    assert (await other.sessions.get(session.id)).data == {"number": number}
    async with state.circuits["upstream"]:
        pass


@pytest.mark.parametrize("fault", ["kill", "freeze", "switch"])
async def test_every_primitive_goes_on_with_the_next_primary(managed_lab, fault):
    lab = managed_lab
    async with instances(lab, 2, **FAIL_OPEN) as (state, other):
        await four_uses(state, other, 0)
        watch = Watch(state)
        old = lab.primary()
        act = {"kill": lab.kill, "freeze": lab.freeze}.get(fault)
        await asyncio.to_thread(act, old) if act else await asyncio.to_thread(lab.switch)
        await watch.new_primary(state)
        await until(healthy(other))
        await four_uses(state, other, 1)
        if fault == "freeze":
            # It resumes, and is sure that it is the primary until the provider has seen it.
            before = len(watch.of(LinkUp))
            await asyncio.to_thread(lab.thaw, old)
            await until(lambda: replica(lab, old))
            await four_uses(state, other, 2)
            assert len(watch.of(LinkUp)) == before, "somebody followed the former primary"


async def test_i1_what_the_next_primary_never_had_is_published_again(managed_lab):
    """The replica stands still while the primary acknowledges, and dies."""
    lab = managed_lab
    soon = time.time() + 600
    lost = [{"jti": f"lost-{number}", "exp": soon} for number in range(20)]
    async with instances(lab, 1, **FAIL_OPEN) as (state,):
        await asyncio.to_thread(lab.freeze, "replica-0")
        for claims in lost:
            await state.tokens.revoke(claims["jti"], expires_at=soon)
        await asyncio.to_thread(lab.kill, "primary")
        await asyncio.to_thread(lab.thaw, "redis-1")
        watch = Watch(state)
        await watch.new_primary(state)
        async with instances(lab, 1, **FAIL_OPEN) as (fresh,):
            assert all(fresh.tokens.is_revoked(claims) for claims in lost)


@pytest.mark.alone
async def test_i2_i4_an_outage_costs_the_deadline_once(managed_lab):
    lab = managed_lab
    async with instances(lab, 1, **FAIL_OPEN) as (state,):
        revoked = {"jti": "known", "exp": time.time() + 600}
        await state.tokens.revoke("known", expires_at=revoked["exp"])
        await asyncio.to_thread(lab.freeze, "all")
        await until(lambda: state.status().health != "healthy")
        took = []
        for number in range(200):
            began = time.perf_counter()
            decision = await state.rate_limits.check("api", f"u{number}")
            took.append(time.perf_counter() - began)
            assert decision.source.value == "local"
            assert state.tokens.is_revoked(revoked)
            await asyncio.sleep(0.002)
        assert sorted(took)[100] < 0.005
        await asyncio.to_thread(lab.thaw, "all")
        await until(healthy(state))


async def test_what_a_former_primary_refuses_did_not_run(managed_lab):
    """It stays up and READONLY, with all connections open, until the name has left it."""
    lab = managed_lab
    async with instances(lab, 1, **FAIL_OPEN) as (state,):
        session = await state.sessions.create(user="42", data={"count": 0})
        outcomes = {"ran": 0, "unknown": 0}
        switched = asyncio.create_task(asyncio.to_thread(lab.switch))
        watch = Watch(state)
        end = time.monotonic() + 20
        while time.monotonic() < end and not (watch.of(ViewChanged) and healthy(state)()):
            try:
                found = await state.sessions.get(session.id)
                await state.sessions.update(found, set={"count": found.data["count"] + 1})
                outcomes["ran"] += 1
            except AragoraRedisError as error:
                outcomes["unknown"] += error.ran.value == "unknown"
            await asyncio.sleep(0.005)
        await switched
        found = await state.sessions.get(session.id)
        assert outcomes["ran"] <= found.data["count"] <= outcomes["ran"] + outcomes["unknown"]
        assert outcomes["ran"] > 0


async def test_idle_connections_are_cut_off_and_ours_are_not(make_lab):
    lab = make_lab("managed", idle_seconds=3)
    lab.start()
    async with instances(lab, 1) as (state,):
        watch = Watch(state)
        with opened(lab) as idle:
            idle.client_setname("idle")
            await until(lambda: "idle" not in names_of_clients(lab))
        assert not watch.of(LinkLost)
        assert (await state.rate_limits.check("api", "u")).source.value == "redis"


async def test_a_rotated_password_ends_no_connection(managed_lab):
    lab = managed_lab
    async with instances(lab, 1) as (state,):
        watch, before = Watch(state), logins(lab)
        await asyncio.to_thread(lab.rotate, 2.0)
        await until(lambda: logins(lab) >= before + 3)
        assert not watch.of(LinkLost)
        await asyncio.to_thread(lab.kill, "primary")
        await watch.new_primary(state)


def opened(lab):
    """A client of the provider's own."""
    node = lab.node("primary")
    return lab._site.access(node).client(node)


def names_of_clients(lab):
    with opened(lab) as client:
        return {each["name"] for each in client.client_list()}


def logins(lab):
    """How often a password was taken on a connection that was open."""
    with opened(lab) as client:
        said = client.info("commandstats").get("cmdstat_auth", {"calls": 0, "failed_calls": 0})
    return said["calls"] - said["failed_calls"]


async def test_all_comes_back_after_both_nodes_are_gone(managed_lab):
    lab = managed_lab
    async with instances(lab, 2, **FAIL_OPEN) as (state, other):
        await four_uses(state, other, 0)
        await asyncio.to_thread(lab.kill, "all")
        await until(lambda: state.status().health != "healthy")
        await asyncio.to_thread(lab.start_all, wipe=True)
        await until(healthy(state, other))
        async with instances(lab, 1) as (fresh,):
            claims = {"jti": "jti-0", "exp": time.time() + 600}
            assert fresh.tokens.is_revoked(claims)
        await four_uses(state, other, 1)
    assert all(node.state is State.RUNNING for node in lab.status().nodes)
