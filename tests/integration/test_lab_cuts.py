"""Nodes and clients cut off from each other by dropped packets."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from tests.integration.rights import needs_cuts

from aragora_redis.errors import LabError
from aragora_redis.lab.waiting import wait_until

pytestmark = needs_cuts


def reaches(source, node):
    """Whether a connection from an address comes about."""
    try:
        socket.create_connection(node.address, 0.3, source_address=(source, 0)).close()
    except TimeoutError:
        return False
    return True


def test_a_primary_that_is_cut_off_is_replaced_and_healed(sentinel_lab):
    lab = sentinel_lab
    old = lab.node("primary")
    made = lab.cut("primary")
    assert made.said == f"{old.name} | rest"
    assert lab.status().cuts == (made,)
    assert not reaches("127.0.0.1", old)
    assert not wait_until(lambda: "same" if lab.primary() == old.name else "", seconds=20)
    roles = {node.name: node.role for node in lab.status().nodes}
    assert roles[old.name] == "primary", "it lives, the lab can ask it, and it knows of nothing"
    assert lab.heal() == (made,)
    assert reaches("127.0.0.1", old)

    def kept_apart():
        role = next(node.role for node in lab.status().nodes if node.name == old.name)
        return "" if role == "replica" else role

    assert not wait_until(kept_apart, seconds=30)
    assert lab.status().cuts == ()


def test_one_client_is_cut_from_one_node(sentinel_lab):
    lab = sentinel_lab
    one, two = lab.client_host(0), lab.client_host(1)
    lab.cut(f"redis-0,{one}", "redis-1")
    assert not reaches(one, lab.node("redis-1"))
    assert reaches(two, lab.node("redis-1"))
    assert reaches(one, lab.node("redis-0"))
    lab.cut("clients", "redis-2")
    assert not reaches(two, lab.node("redis-2"))
    assert not reaches(one, lab.node("redis-1")), "a second cut is made beside the first"


def test_a_one_way_cut_lets_the_other_way_pass(make_lab):
    lab = make_lab("standalone")
    lab.start()
    node = lab.node("redis-0")
    with closing(socket.create_connection(node.address)) as client:
        client.settimeout(0.3)
        lab.cut("redis-0", "clients", one_way=True)
        client.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            client.recv(16)
        lab.heal()
        client.settimeout(5)
        assert client.recv(16).startswith(b"-NOAUTH"), "it had arrived"


def test_the_end_of_a_lab_heals_it(make_lab):
    lab = make_lab("standalone")
    lab.start()
    lab.cut("redis-0")
    lab.stop()
    assert lab.status().cuts == ()
    lab.start()
    assert reaches("127.0.0.1", lab.node("redis-0"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("redis-0", "redis-0"), ("all,clients", "rest"), ("redis-0", "primary"), ("rest", "redis-0")],
)
def test_sides_that_are_none_are_refused(sentinel_lab, one, other):
    with pytest.raises(LabError, match="two sides"):
        sentinel_lab.cut(one, other)
    assert sentinel_lab.status().cuts == ()
