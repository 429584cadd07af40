"""The start program of deploy/redis makes a Redis Cluster, once, and gives each node its place."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time

import pytest
import redis
from tests.artefacts.files import BIN, ran
from tests.integration.cluster_pods import PRIMARIES, ClusterSite
from tests.integration.pods import SECRETS, needs_addresses, until
from tests.integration.rights import needs_mounts

from aragora_redis import SharedState

pytestmark = [needs_addresses, needs_mounts, pytest.mark.timeout(120)]

KEPT = 40
HEALTHY = "OK: nothing is wrong (6 servers, 3 of them primaries)\n"
FORBIDDEN = (
    ("default", "CLUSTER FAILOVER"),
    ("default", "CLUSTER FORGET x"),
    ("node", "GET x"),
    ("node", "CLUSTER RESET"),
)


@pytest.fixture
def site(tmp_path):
    """Six pods that have not started yet; their logs are shown where the test fails."""
    site = ClusterSite(tmp_path)
    yield site
    site.kill()
    for pod in site.pods:
        sys.stdout.write(f"== {pod.name}\n{pod.log()}")


def write(site):
    """Have every shard, and its replica, hold something."""
    with site.client() as client:
        for number in range(KEPT):
            client.set(f"kept-{number}", "yes")
    for pod in site.pods:
        if pod.leads:
            until(lambda pod=pod: pod.ask("WAIT", 1, 500) >= 1)


def kept(site):
    with site.client() as client:
        return sum(client.get(f"kept-{number}") == "yes" for number in range(KEPT))


def orders(site, order):
    return sum(pod.log().count(f"CLUSTER {order}") for pod in site.pods)


async def test_a_cluster_is_made_once_and_goes_on_under_other_addresses(site):
    early, late = site.pods[1:5], (site.pods[0], site.pods[5])
    site.start(*early)
    until(lambda: all("not all nodes are there" in pod.log() for pod in early[:2]))
    assert not any(pod.leads for pod in early)
    site.start(*late)
    # Two crash amidst it: one that has its slots already, and one that has no place yet.
    taken = until(lambda: next((pod for pod in site.pods if pod.leads), None))
    names = {pod: pod.me.node_id for pod in site.pods}
    crashed = (taken, site.pods[5])
    for pod in crashed:
        pod.kill()
    site.start(*crashed)
    shards = site.settle()
    assert set(shards) == {pod.name for pod in site.pods[:PRIMARIES]}
    assert {pod: pod.me.node_id for pod in site.pods} == names
    assert orders(site, "ADDSLOTSRANGE") == PRIMARIES
    machines = {pod.name: pod.machine for pod in site.pods}
    assert all(machines[primary] != machines[replica] for primary, replica in shards.items())

    seed = {"ARAGORA_REDIS_CLUSTER_NODES": f"{site.pods[0].host}:{site.port}"}
    async with SharedState.from_env(
        seed | {"ARAGORA_REDIS_PASSWORD": SECRETS["password"]}
    ) as state:
        assert await state.wait_ready(20), state.status()
        receipt = await state.tokens.revoke("jti", expires_at=time.time() + 60)
        assert receipt.level.name == "REPLICATED"
    # Replicas knock until they are let in.
    refused = [each for pod in site.pods for each in pod.ask("ACL", "LOG")]
    assert not [each for each in refused if each["reason"] != "auth"]
    for user, words in FORBIDDEN:
        with pytest.raises(redis.exceptions.NoPermissionError):
            site.pods[0].ask(*words.split(), user=user)
    operator = {
        "ARAGORA_REDIS_USERNAME": "operator",
        "ARAGORA_REDIS_PASSWORD": SECRETS["operator-password"],
    }
    assert ran(BIN / "aragora-redis", "doctor", env=seed | operator) == (HEALTHY, 0)

    for name in ("password", "internal-password"):
        (site.root / "secrets" / f"{name}-other").write_text(f"new {name}")
    assert site.run("rotate") == []
    for pod in site.pods:
        for secret in (SECRETS["password"], "new password"):
            assert pod.ask("PING", user="default", secret=secret)

    # Every node knows the others by addresses that are nobody's now, or another's.
    write(site)
    site.kill()
    moved = [pod.host for pod in site.pods]
    for pod, host in zip(site.pods[:4], moved[1:4] + moved[:1], strict=True):
        pod.host = host
    for pod in site.pods[4:]:
        pod.move()
    site.publish()
    site.start()
    assert site.settle() == shards
    assert kept(site) == KEPT
    assert {pod: pod.me.node_id for pod in site.pods} == names


def test_who_comes_back_follows_and_who_ends_hands_over(site):
    """With TLS, on the bus too."""
    site.use_tls()
    site.start()
    site.settle()
    write(site)
    crashed, wiped, ended = site.pods[:PRIMARIES]

    # One that is back at once is replaced all the same: it may lack what its replica has.
    heir = site.replica_of(crashed)
    crashed.kill()
    crashed.move()
    site.publish()
    crashed.start()
    until(lambda: "may be about to replace" in crashed.log())
    waits = crashed.run("probe", "live", MAIN_PID=str(crashed.process.pid))
    assert waits == (0, "waiting to start")
    shards = site.settle()
    assert shards[heir.name] == crashed.name

    # Volumes are gone, of a primary that is back at its address at once, and of another's replica.
    for pod in (wiped, crashed):
        pod.kill()
        pod.lose_volume()
        pod.start()
    shards = site.settle()
    assert not {wiped.name, crashed.name} & set(shards)
    assert orders(site, "FAILOVER FORCE: OK") >= 1
    assert kept(site) == KEPT

    written, stop = [], threading.Event()

    def write_on():
        with site.client() as client, contextlib.suppress(redis.RedisError):
            for number in itertools.count():
                if stop.is_set():
                    return
                client.rpush(f"list-{number % KEPT}", number)
                written.append(number)

    writer = threading.Thread(target=write_on)
    writer.start()
    until(lambda: len(written) > KEPT)
    code, said = ended.end()
    reached = len(written)
    until(lambda: len(written) > reached + KEPT)
    stop.set()
    writer.join(10)
    assert (code, "handed over to" in said) == (0, True), said
    with site.client() as client:
        found = {int(x) for n in range(KEPT) for x in client.lrange(f"list-{n}", 0, -1)}
    assert found >= set(written)


def test_what_cannot_be_meant_is_refused(site):
    pod = site.pods[0]

    def refused(**env):
        pod.start(**env)
        assert pod.process.wait(10) == 78, pod.log()
        return pod.log()

    assert "ADDRESS is empty" in refused(ADDRESS="")
    assert "PEERS has no host for redis-7" in refused(NODE="redis-7")
    # Redis would claim the slots of the keys.
    (pod.data / "appendonlydir").mkdir()
    assert "has data and no nodes.conf" in refused()
    (site.root / "config" / "redis-cluster.conf").write_text("maxmemory ${MEMORY}\n")
    assert "a literal ${" in refused()


def test_a_replica_forgets_where_its_primary_was(site):
    """Somebody else may be there by now, and it would copy from them."""
    pod, (mine, theirs) = site.pods[3], ("a" * 40, "b" * 40)
    other = f"{site.pods[1].host}:{site.port}"
    (pod.data / "appendonlydir").mkdir()
    (pod.data / "nodes.conf").write_text(
        f"{theirs} {other}@1,redis-0.redis master - 0 0 1 connected 0-5460\n"
        f"{mine} 10.0.0.1:1@1,redis-3.redis myself,slave {theirs} 0 0 1 connected\n"
        "vars currentEpoch 1 lastVoteEpoch 0\n"
    )
    pod.start()
    rows = {row.node_id: row for row in until(pod.rows)}
    assert (rows[mine].address.host, rows[mine].primary_id) == (pod.host, theirs)
    assert (rows[theirs].known, rows[theirs].name) == (False, "redis-0.redis")
    assert "master_host" not in pod.ask("INFO", "replication")
