"""A Redis Cluster in a lab: made, broken, brought back, and its slots moved."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.retry import Retry
from tests.integration.rights import needs_cuts, needs_redis_7

from aragora_redis.errors import LabError
from aragora_redis.lab import State, admin, cluster
from aragora_redis.lab.waiting import wait_until
from aragora_redis.settings import Cluster, from_env

SHARES = {"redis-0": "0-5460", "redis-1": "5461-10922", "redis-2": "10923-16383"}


def key_in(slot):
    """A key of a slot."""
    return next(key for key in map("k{}".format, range(500_000)) if key_slot(key.encode()) == slot)


def places(lab):
    """Whom each node replicates, or which slots it owns; None where it does not answer."""
    return {node.name: node.replicates or node.slots for node in lab.status().nodes}


def await_place(lab, name, place):
    assert not wait_until(
        lambda: "" if places(lab)[name] == place else str(places(lab)), seconds=20
    )


def await_primary(lab, name):
    assert not wait_until(lambda: "" if lab.primary() == name else lab.primary(), seconds=20)


@pytest.fixture
def client(cluster_lab):
    """A client of the whole cluster, led there by nothing but the settings."""
    settings = from_env(cluster_lab.env())
    assert isinstance(settings.topology, Cluster)
    password = settings.credentials.password()
    with closing(
        RedisCluster(
            startup_nodes=[ClusterNode(*node) for node in settings.topology.nodes],
            password=None if password is None else password.reveal(),
            socket_timeout=2,
            decode_responses=True,
        )
    ) as made:
        yield made


def test_a_started_cluster_is_usable_at_once(cluster_lab, client):
    status = cluster_lab.status()
    assert [(n.name, n.role, n.replicates, n.slots) for n in status.nodes] == [
        ("redis-0", "primary", None, "0-5460"),
        ("redis-1", "primary", None, "5461-10922"),
        ("redis-2", "primary", None, "10923-16383"),
        ("redis-3", "replica", "redis-0", None),
        ("redis-4", "replica", "redis-1", None),
        ("redis-5", "replica", "redis-2", None),
    ]
    assert status.primary == "redis-0"
    for slot in (0, 5460, 5461, 10922, 10923, 16383):
        assert client.set(key_in(slot), slot)
        assert client.get(key_in(slot)) == str(slot)
    assert client.wait(1, 2000, target_nodes=client.get_primaries()) == 3, "one for each shard"


def test_every_node_is_told_to_clients_and_no_sentinel(cluster_lab):
    env = cluster_lab.env()
    assert not [name for name in env if "SENTINEL" in name]
    settings = from_env(env)
    nodes = tuple(node.address for node in cluster_lab.status().nodes)
    assert settings.topology == Cluster(nodes)
    assert settings.mode == "cluster"
    assert not [warning for warning in settings.warnings if "ignored" in warning]


def test_replicas_are_all_the_other_nodes(cluster_lab):
    names = [cluster_lab.node(f"replica-{number}").name for number in range(5)]
    assert names == ["redis-1", "redis-2", "redis-3", "redis-4", "redis-5"]


def test_a_killed_primary_is_replaced_and_comes_back_as_replica(cluster_lab, client):
    lab, key = cluster_lab, key_in(7)
    client.set(key, "kept")
    client.wait(1, 2000, target_nodes=client.get_primaries())
    assert lab.kill("primary") == ("redis-0",)
    await_primary(lab, "redis-3")
    assert places(lab) == SHARES | {
        "redis-0": None,
        "redis-3": "0-5460",
        "redis-4": "redis-1",
        "redis-5": "redis-2",
    }
    assert client.get(key) == "kept"
    assert client.set(key, "taken, though nobody else has it")
    assert lab.start_node("redis-0") == "redis-0"
    assert places(lab)["redis-0"] == "redis-3"
    assert client.set(key, "new")


def test_a_primary_started_right_after_its_end_lets_the_failover_come_first(cluster_lab, client):
    lab, key = cluster_lab, key_in(7)
    client.set(key, "kept")
    client.wait(1, 2000, target_nodes=client.get_primaries())
    lab.restart("redis-0", wipe=True)
    assert (places(lab)["redis-0"], lab.primary()) == ("redis-3", "redis-3")
    # It came back empty and took the other's data, not the other its emptiness.
    assert client.get(key) == "kept"


def test_a_frozen_primary_is_replaced_and_demoted_after_the_thaw(cluster_lab):
    lab = cluster_lab
    assert lab.freeze("redis-1") == ("redis-1",)
    await_place(lab, "redis-4", "5461-10922")
    assert lab.primary() == "redis-0"
    assert lab.node("redis-1").state is State.FROZEN
    lab.thaw("redis-1")
    await_place(lab, "redis-1", "redis-4")


def test_all_restarted_at_once_with_and_without_disk(cluster_lab, client):
    lab, key = cluster_lab, key_in(7)
    lab.kill("redis-0")
    await_primary(lab, "redis-3")
    lab.start_node("redis-0")
    before = places(lab)
    client.set(key, "kept")
    # Not the others: the client may still take one that is a replica now for a primary.
    client.wait(1, 2000, target_nodes=client.get_node_from_key(key))
    assert len(lab.restart("all")) == 6
    assert (places(lab), lab.primary()) == (before, "redis-3")
    assert client.get(key) == "kept"
    lab.restart("all", wipe=True)
    assert (places(lab), lab.primary()) == (before, "redis-3")
    assert client.get(key) is None


def test_a_shard_that_died_whole_comes_back_as_it_was(cluster_lab, client):
    lab, key = cluster_lab, key_in(7)
    client.set(key, "kept")
    client.wait(1, 2000, target_nodes=client.get_primaries())
    lab.kill("redis-3")
    lab.kill("redis-0")
    assert client.set(key_in(16_000), "the other shards go on")
    assert lab.primary() == "redis-0", "the last known one"
    assert lab.start_all() == ("redis-0", "redis-3")
    assert places(lab)["redis-3"] == "redis-0"
    assert client.get(key) == "kept"


def test_nodes_come_back_one_by_one_when_most_are_dead(cluster_lab):
    lab = cluster_lab
    lab.kill("all")
    assert lab.primary() == "redis-0"
    for name in ("redis-4", "redis-0", "redis-5", "redis-1", "redis-2", "redis-3"):
        lab.start_node(name)
    found = places(lab)
    # A primary that is back still counts as dead for twice the node timeout. A replica that has
    # linked to it again by then may be elected, on a slow machine more likely.
    for (name, slots), other in zip(SHARES.items(), ("redis-3", "redis-4", "redis-5"), strict=True):
        assert (found[name], found[other]) in ((slots, name), (other, slots))


def test_a_cluster_outlives_a_stop_and_a_move_to_other_ports(cluster_lab):
    lab, key = cluster_lab, key_in(7)
    lab.kill("redis-0")
    await_primary(lab, "redis-3")
    lab.start_node("redis-0")
    before = places(lab)
    with redis.Redis(port=lab.node("redis-3").port, password=password_of(lab)) as node:
        assert node.set(key, "kept")
        assert node.wait(1, 2000) == 1
    lab.stop()
    # The bus is a port like another: somebody who has it is in the way.
    taken = lab.node("redis-2").ports[1]
    with closing(socket.create_server(("127.0.0.1", taken))):
        lab.start()
    assert lab.node("redis-2").ports[1] != taken
    assert (places(lab), lab.primary()) == (before, "redis-3")
    with redis.Redis(port=lab.node("redis-3").port, password=password_of(lab)) as node:
        assert node.get(key) == b"kept"


@pytest.mark.parametrize("orders", [0, 3, 9, 12, 39, 41])
def test_a_start_that_was_interrupted_is_finished_by_the_next(make_lab, monkeypatch, orders):
    lab, order = make_lab("cluster"), admin.order
    given: list[tuple[object, ...]] = []

    def interrupted(client, node, *words):
        if len(given) == orders:
            raise KeyboardInterrupt
        given.append(words)
        return order(client, node, *words)

    with monkeypatch.context() as patch:
        patch.setattr(admin, "order", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.start()
    assert not lab.status().running
    lab.start()
    owners, followed = list(places(lab).values())[:3], list(places(lab).values())[3:]
    assert owners == list(SHARES.values())
    assert sorted(followed) == list(SHARES)


def password_of(lab):
    return lab.password(lab.node("redis-0"))


def test_slots_move_with_their_keys_under_a_client(cluster_lab, client):
    lab = cluster_lab
    keys = [key_in(slot) for slot in range(3)]
    many = [f"{{{keys[0]}}}:{number}" for number in range(250)]
    for key in (*keys, *many):
        client.set(key, key)
    assert lab.move_slots(range(100), "redis-2") == 100
    assert places(lab) == SHARES | {
        "redis-0": "100-5460",
        "redis-2": "0-99,10923-16383",
        "redis-3": "redis-0",
        "redis-4": "redis-1",
        "redis-5": "redis-2",
    }
    assert lab.primary() == "redis-2"
    assert [client.get(key) for key in (*keys, *many)] == [*keys, *many]
    assert lab.move_slots([0, 1, 100], "redis-2") == 1, "the others are there"
    assert lab.move_slots(range(101), "redis-0") == 101
    assert (places(lab)["redis-0"], lab.primary()) == ("0-5460", "redis-0")
    assert [client.get(key) for key in (*keys, *many)] == [*keys, *many]


def test_no_write_is_lost_while_slots_move(cluster_lab, client):
    lab, slots = cluster_lab, range(20)
    keys, done = [key_in(slot) for slot in slots], threading.Event()
    told = dict.fromkeys(keys, 0)

    def count():
        while not done.is_set():
            for key in keys:
                told[key] = client.incr(key)

    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(count)
        try:
            for to in ("redis-1", "redis-2", "redis-0"):
                before = told.copy()
                assert lab.move_slots(slots, to) == len(slots)
                assert not wait_until(
                    lambda: "" if all(told[key] > before[key] for key in keys) else "idle",  # noqa: B023
                    seconds=10,
                )
        finally:
            done.set()
        counting.result()
    assert {key: int(client.get(key)) for key in keys} == told


def test_a_primary_may_give_its_last_slot_away(make_lab, monkeypatch):
    shares = [range(3), range(3, 10_923), range(10_923, 16_384), *[range(0)] * 3]
    monkeypatch.setattr(cluster, "share", shares.__getitem__)
    lab = make_lab("cluster")
    lab.start()
    assert lab.move_slots(range(3), "redis-1") == 3
    assert places(lab)["redis-1"] == "0-10922"
    # From 7.0 on it becomes a replica of whoever has the slots; 6.2 leaves it as it is.
    assert not wait_until(
        lambda: "" if places(lab)["redis-0"] in ("redis-1", "") else str(places(lab)), seconds=20
    )
    with redis.Redis(port=lab.node("redis-0").port, password=password_of(lab)) as node:
        if "valkey_version" in node.info("server"):
            return  # it may write a nodes.conf that it does not read: valkey-io/valkey#2171
    lab.stop()
    lab.start()
    assert places(lab)["redis-0"], "a start makes a replica of whoever owns nothing"


def test_slots_that_cannot_move_are_told_why(cluster_lab, make_lab):
    lab = cluster_lab
    with pytest.raises(LabError, match="redis-3 is a replica of redis-0"):
        lab.move_slots([0], "redis-3")
    with pytest.raises(LabError, match="0 to 16383"):
        lab.move_slots([16_384], "redis-1")
    lab.kill("redis-3")
    lab.kill("redis-0")
    with pytest.raises(LabError, match="redis-0 does not answer"):
        lab.move_slots([6000], "redis-0")
    with pytest.raises(LabError, match=r"nobody that lives owns slot 0.*lab start --all"):
        lab.move_slots([0], "redis-1")
    with pytest.raises(LabError, match="only a cluster has slots"):
        make_lab("standalone").move_slots([0], "redis-0")


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("oom", "used memory > 'maxmemory'"),
        ("noreplicas", "good replicas"),
        ("noauth", "invalid username-password"),
        pytest.param(
            "loading", "cluster is down", marks=needs_redis_7
        ),  # while it loads, it hears of no other node
        ("full-disk", "Errors writing to the AOF file"),
    ],
)
def test_a_primary_in_trouble(cluster_lab, trouble, told):
    lab, key = cluster_lab, key_in(7)

    def said():
        with redis.Redis(
            port=lab.node("redis-0").port,
            password=password_of(lab),
            socket_timeout=2,
            retry=Retry(NoBackoff(), 0),
        ) as node:
            try:
                return str(node.set(key, "1"))
            except redis.RedisError as error:
                return str(error)

    assert lab.trouble(trouble) == "redis-0"
    assert not wait_until(lambda: "" if told in said() else said(), seconds=15)
    lab.heal()
    # One that did not answer in time was replaced, and leads to whoever did so.
    assert not wait_until(
        lambda: "" if said() == "True" or said().startswith("MOVED") else said(), seconds=15
    )


@pytest.mark.parametrize("trouble", ["readonly", "masterdown"])
def test_a_trouble_that_a_cluster_does_not_let_happen(cluster_lab, trouble):
    with pytest.raises(LabError, match="nodes of a cluster refuse"):
        cluster_lab.trouble(trouble, "redis-3")


@needs_cuts
def test_a_primary_that_is_cut_off_is_replaced_and_healed(cluster_lab):
    lab = cluster_lab
    lab.cut("redis-0")
    await_primary(lab, "redis-3")
    assert places(lab)["redis-0"] == "0-5460", "it lives, the lab can ask it, and it knows nothing"
    lab.heal()
    await_place(lab, "redis-0", "redis-3")


def test_the_command_line(cli, tmp_path):
    lab = str(tmp_path / "lab")
    try:
        code, out, _ = cli("lab", "start", "--mode", "cluster", "--ports", "free", "--lab", lab)
        assert code == 0
        rows = {line.split()[0]: line for line in out.splitlines()}
        assert rows["redis-1"].split()[-1] == "5461-10922"
        assert "replica of redis-1" in rows["redis-4"]
        env = json.loads(cli("lab", "env", "--json", "--lab", lab)[1])
        assert env["ARAGORA_REDIS_CLUSTER_NODES"].count(",") == 5
        code, out, _ = cli("lab", "move-slots", "0-9", "redis-1", "--lab", lab)
        assert (code, out) == (0, "moved 10 slots to redis-1\n")
        nodes = json.loads(cli("lab", "status", "--json", "--lab", lab)[1])["nodes"]
        assert [node["slots"] for node in nodes[:2]] == ["10-5460", "0-9,5461-10922"]
        assert nodes[3]["replicates"] == "redis-0"
        code, out, _ = cli("lab", "trouble", "oom", "redis-2", "--lab", lab)
        assert code == 0
        code, _, err = cli("lab", "move-slots", "0-9", "redis-4", "--lab", lab)
        assert (code, err.count("\n")) == (1, 1)
    finally:
        cli("lab", "stop", "--lab", lab)
