from __future__ import annotations

import socket
from contextlib import closing

import pytest
import redis

from aragora_redis.errors import LabError
from aragora_redis.lab import State
from aragora_redis.lab.ports import all_free
from aragora_redis.lab.waiting import wait_until


def await_primary_other_than(lab, name):
    assert not wait_until(lambda: "same" if lab.primary() == name else "", seconds=20)


def roles(lab):
    return {n.name: n.role for n in lab.status().nodes if n.name.startswith("redis")}


def test_a_killed_primary_comes_back_as_replica(sentinel_lab, connect):
    lab = sentinel_lab
    assert lab.kill("primary") == ("redis-0",)
    await_primary_other_than(lab, "redis-0")
    assert lab.start_node("redis-0") == "redis-0"
    # A Sentinel that hears late of the switch may fail over once more, so this is asked only now.
    new = lab.primary()
    assert roles(lab)["redis-0"] == "replica"
    assert "replicaof" in lab.node("redis-0").config_path.read_text()
    assert connect(lab, "redis-0").info("replication")["master_port"] == lab.node(new).port


def test_a_primary_started_right_after_its_end_lets_the_failover_come_first(sentinel_lab, connect):
    lab = sentinel_lab
    connect(lab).set("kept", "yes")
    connect(lab).wait(2, 2000)
    lab.kill("redis-0")
    lab.start_node("redis-0", wipe=True)
    assert lab.primary() != "redis-0"
    assert roles(lab)["redis-0"] == "replica"
    # It came back empty and took the others' data, not they its emptiness.
    assert connect(lab, "redis-0").get("kept") == "yes"


def test_all_killed_and_started_keeps_primary_and_data(sentinel_lab, connect):
    lab = sentinel_lab
    lab.kill("primary")
    await_primary_other_than(lab, "redis-0")
    lab.start_node("redis-0")
    primary = lab.primary()
    connect(lab).set("kept", "yes")
    connect(lab).wait(2, 2000)
    lab.kill("all")
    assert {node.state for node in lab.status().nodes} == {State.DEAD}
    assert lab.primary() == primary, "the last known one"
    assert len(lab.start_all()) == 6
    assert lab.primary() == primary
    assert list(roles(lab).values()).count("primary") == 1
    assert connect(lab).get("kept") == "yes"


def test_all_data_nodes_killed_under_living_sentinels_come_back(sentinel_lab, connect):
    lab = sentinel_lab
    connect(lab).set("kept", "yes")
    for name in ("redis-1", "redis-2", "redis-0"):
        lab.kill(name)
    lab.start_all()
    assert roles(lab) == {"redis-0": "primary", "redis-1": "replica", "redis-2": "replica"}
    assert connect(lab).get("kept") == "yes"


def test_wiped_nodes_come_back_empty(sentinel_lab, connect):
    lab = sentinel_lab
    connect(lab).set("kept", "no")
    lab.kill("all")
    lab.start_all(wipe=True)
    assert connect(lab).get("kept") is None
    assert roles(lab)["redis-0"] == "primary"


def test_a_frozen_primary_is_replaced_and_demoted_after_the_thaw(sentinel_lab):
    lab = sentinel_lab
    lab.freeze("primary")
    assert lab.node("redis-0").state is State.FROZEN
    with pytest.raises(LabError, match="lab thaw redis-0"):
        lab.start_node("redis-0")
    await_primary_other_than(lab, "redis-0")
    with pytest.raises(LabError, match=r"not frozen \(thaw what is: redis-0\)"):
        lab.thaw("primary")
    assert lab.thaw("redis-0") == ("redis-0",)
    assert not wait_until(lambda: "" if roles(lab)["redis-0"] == "replica" else "?", seconds=20)


def test_replicas_are_counted_by_ordinal_dead_ones_too(sentinel_lab):
    lab = sentinel_lab
    assert lab.kill("replica-0") == ("redis-1",)
    assert lab.kill("replica-1") == ("redis-2",)
    with pytest.raises(LabError, match="not running"):
        lab.kill("replica-0")
    assert lab.start_node("replica-0") == "redis-1"
    assert roles(lab) == {"redis-0": "primary", "redis-1": "replica", "redis-2": None}


def test_a_primary_without_replicas_refuses_writes(sentinel_lab, connect):
    lab = sentinel_lab
    lab.kill("redis-1")
    lab.kill("redis-2")
    client = connect(lab)

    def refused() -> str:
        try:
            client.set("a", "1")
        except redis.ResponseError as error:
            return "" if str(error).startswith("NOREPLICAS") else str(error)
        return "accepted"

    assert not wait_until(refused, seconds=10)


def test_a_sentinel_comes_back_and_looks_often_again(sentinel_lab, connect):
    lab = sentinel_lab
    lab.kill("sentinel-1")
    lab.start_node("sentinel-1")
    sentinel = connect(lab, "sentinel-1")
    if sentinel.info("server")["redis_version"] >= "7":
        assert sentinel.execute_command("SENTINEL", "DEBUG")["INFO-PERIOD"] == "1000"
    assert sentinel.sentinel_master("aragora-master")["num-other-sentinels"] == 2


def test_a_taken_port_is_named_when_a_node_should_come_back(sentinel_lab):
    lab = sentinel_lab
    lab.kill("redis-2")
    with pytest.raises(LabError, match="redis-1 is running"):
        lab.start_node("redis-1")
    taken = lab.node("redis-2").port
    assert not wait_until(lambda: "" if all_free([taken]) else "closing", seconds=5)
    with (
        closing(socket.create_server(("127.0.0.1", taken))),
        pytest.raises(LabError, match=f"port {taken} of redis-2"),
    ):
        lab.start_node("redis-2")
    lab.start_node("redis-2")
    assert roles(lab)["redis-2"] == "replica"


def test_the_lab_asks_the_nodes_when_no_sentinel_lives(sentinel_lab):
    lab = sentinel_lab
    for name in ("sentinel-0", "sentinel-1", "sentinel-2"):
        lab.kill(name)
    assert lab.primary() == "redis-0"
    lab.kill("redis-1")
    lab.start_node("redis-1")
    assert roles(lab)["redis-1"] == "replica"
