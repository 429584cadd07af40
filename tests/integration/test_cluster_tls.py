"""A Redis Cluster behind one name, over TLS, as cloud services present theirs."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from tests.integration.fleet import healthy, until
from tests.integration.test_cluster import (
    FAIL_OPEN,
    by_redis,
    checking,
    lead,
    slot_of_subject,
    subjects_of,
)
from tests.integration.tls_cluster import PASSWORD, TlsCluster, wait

from aragora_redis import Level, SharedState
from aragora_redis.lab.ports import free_ports
from aragora_redis.lab.server import find_server
from aragora_redis.link import verification
from aragora_redis.link.cluster_watcher import ClusterWatcher
from aragora_redis.scripts.catalog import commands_used

RIGHTS = {"cluster|nodes", "asking", "evalsha", "script|load", "subscribe", "wait", "ping", "role"}
RIGHTS |= {"xrange", "zscan"}
"""What nodes are asked for beside what the scripts call."""


@pytest.fixture(scope="module")
def server():
    found = find_server()
    if found.version < (7, 0, 0) or not found.speaks_tls():
        pytest.skip("nodes that announce names, and TLS, want Redis 7.0 built with it")
    return found


@pytest.fixture(scope="module")
def cluster(server, tmp_path_factory):
    """Three primaries with a replica each, which every test leaves whole."""
    with TlsCluster(tmp_path_factory.mktemp("cluster"), server) as found:
        found.begin(3, 3)
        yield found


@asynccontextmanager
async def instance(cluster, **env):
    cluster.age()
    state = SharedState.from_env(cluster.env() | FAIL_OPEN | env)
    state.start()
    try:
        assert await state.wait_ready(20), state.status()
        yield state
    finally:
        await state.close()


def peers(state, address):
    """The network addresses of the lanes to a node."""
    route = state._redis.reach.at(address)
    return {mux.peer for mux in route.links.lanes.values()} if route is not None else set()


async def follows(cluster, state, subject, monkeypatch):
    """Whether redirections alone lead to a slot that moves while its subject is checked."""
    slot = slot_of_subject(state, subject)
    source = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node.primary and node is not source)
    routes = dict(state._redis.reach._routes)
    source.ask("CONFIG", "RESETSTAT")
    with monkeypatch.context() as patch:
        patch.setattr(ClusterWatcher, "_ask", lambda *_: asyncio.sleep(60))
        async with checking(state, [subject]) as (sources, _):

            def pause():
                before = sources.total()
                wait(lambda: sources.total() > before + 20)

            await asyncio.to_thread(cluster.move, slot, target, meanwhile=pause)
            await asyncio.to_thread(pause)
    assert by_redis(sources)
    assert {"errorstat_ASK", "errorstat_MOVED"} <= set(source.client.info("errorstats"))
    assert lead(state, slot) == target.address
    assert state._redis.reach._routes == routes, "nobody is reached twice"


async def test_one_name_leads_to_all_nodes_by_theirs(cluster):
    """The user may do what DEPLOYMENT.md says, and nothing else."""
    cluster.publish(f"{cluster.network}.99")  # where nobody is
    rights = [f"+{each}" for each in sorted(RIGHTS | commands_used())]
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "app", "reset", "on", f">{PASSWORD}", "~*", "&*", *rights)
    async with instance(cluster, ARAGORA_REDIS_USERNAME="app") as one:
        leads = {lead(one, slot) for slot in range(16384)}
        assert leads == {node.address for node in cluster.nodes if node.primary}
        receipt = await one.tokens.revoke("t", expires_at=time.time() + 60)
        assert receipt.level is Level.REPLICATED
        session = await one.sessions.create(user="u", data={"n": 1})
        assert (await one.sessions.get(session.id)).data == {"n": 1}
        await until(lambda: not one.status().troubles)


@pytest.mark.parametrize("kind", ["hostname", "ip"])
async def test_redirections_lead_to_the_nodes_names(cluster, kind, monkeypatch):
    cluster.prefer(kind)
    try:
        async with instance(cluster) as one:
            await follows(cluster, one, f"by {kind}", monkeypatch)
    finally:
        cluster.prefer("hostname")


async def test_a_killed_primary_is_replaced_and_comes_back_under_its_name_elsewhere(cluster):
    async with instance(cluster) as one:
        victim = cluster.owner(0)
        heir = next(n for n in cluster.nodes if n.row.primary_id == victim.row.node_id)
        others = subjects_of(one, victim.address, others=True)
        async with checking(one, others) as (sources, _):
            gone = victim.row.node_id
            cluster.end(victim)
            await until(lambda: lead(one, 0) == heir.address)
            await until(healthy(one))
            await asyncio.to_thread(cluster.forget, gone)
            back = await asyncio.to_thread(cluster.double, victim, heir)
            cluster.publish()
            back.ask("CLUSTER", "FAILOVER")
            await until(lambda: lead(one, 0) == back.address == victim.address)
            await until(healthy(one))
        assert by_redis(sources)
        await until(lambda: peers(one, back.address) == {back.host})
        subject = subjects_of(one, back.address, 1)[0]
        assert (await one.rate_limits.check("api", subject)).source.value == "redis"
        await until(lambda: not one.status().troubles)


async def test_a_primary_that_is_replaced_behind_its_name_while_it_answers_is_left(
    cluster, monkeypatch
):
    async with instance(cluster) as one:
        former = cluster.owner(16383)
        subjects = subjects_of(one, former.address)
        assert peers(one, former.address) == {former.host}
        back = await asyncio.to_thread(cluster.double, former, former)
        async with checking(one, subjects) as (sources, _):
            with monkeypatch.context() as patch:
                # One that stood still says "master" until it hears that it was replaced.
                patch.setattr(verification, "role_fault", lambda *_, **__: None)
                back.ask("CLUSTER", "FAILOVER")
                await until(lambda: "it was replaced" in (one.status().reason or ""))
            cluster.publish()
            await until(lambda: peers(one, back.address) == {back.host})
            await until(healthy(one))
            before = sources["redis"]
            await until(lambda: sources["redis"] > before + 100)
        node_id = back.row.node_id
        await until(lambda: node_id in one._redis.reach.panel._statements, within=5)
        await asyncio.to_thread(cluster.drop, former)
        await until(lambda: not one.status().troubles)


async def test_a_frozen_primary_is_replaced_and_not_written_when_it_thaws(cluster):
    async with instance(cluster) as one:
        victim = cluster.owner(8000)
        theirs = subjects_of(one, victim.address)
        others = subjects_of(one, victim.address, others=True)
        async with checking(one, others) as (sources, _), checking(one, theirs) as (hit, _):
            victim.freeze()
            try:
                await until(lambda: lead(one, 8000) not in (None, victim.address))
                await until(healthy(one))
            finally:
                victim.thaw()
            hit.clear()
            await until(lambda: hit["redis"] > 100)
        assert by_redis(sources)
        assert by_redis(hit)
        await asyncio.to_thread(wait, cluster.whole)


async def test_a_node_whose_certificate_is_for_another_name_is_refused(cluster, tmp_path):
    async with instance(cluster) as one:
        victim = cluster.owner(0)
        cluster.authority.certify(tmp_path, "elsewhere.example")
        cert, key = (str(tmp_path / f"{part}.pem") for part in ("cert", "key"))
        victim.client.config_set("tls-cert-file", cert, "tls-key-file", key)
        victim.client.client_kill_filter(_type="normal", skipme=True)
        told = f"{victim.address} is not used: its certificate does not carry this name"
        await until(lambda: told in (one.status().reason or ""))
        assert "cluster-announce-hostname" in (one.status().reason or "")
        victim.client.config_set("tls-cert-file", "cert.pem", "tls-key-file", "key.pem")
        await until(healthy(one))


async def test_nodes_behind_one_address_are_told_by_their_ports(server, tmp_path, monkeypatch):
    """As Azure Managed Redis has them: no names, one certificate, redirections without a host."""
    name = "redis.example"
    with TlsCluster(tmp_path, server, endpoint=name) as cluster:
        for port in free_ports(2, 0, bus=True).data:
            cluster.start("", 10, port)
        cluster.form(2)
        cluster.prefer("unknown-endpoint")
        cluster.publish()
        async with instance(cluster) as one:
            assert {lead(one, slot).host for slot in (0, 16383)} == {name}
            await follows(cluster, one, "u", monkeypatch)
