"""What Sentinels and servers answer, read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from aragora_redis.address import Address
from aragora_redis.errors import UnexpectedReplyError
from aragora_redis.topology.nodes import read_nodes
from aragora_redis.topology.statement import (
    counts_unheard,
    read_followers,
    read_guarded,
    read_id,
    read_statement,
    read_switch,
    role_fault,
)

MASTER = {
    b"name": b"aragora-master", b"ip": b"10.0.0.1", b"port": b"6379", b"flags": b"master",
    b"config-epoch": b"3", b"quorum": b"2",
}  # fmt: skip
PEER = {b"runid": b"b" * 40, b"ip": b"10.0.0.9", b"port": b"26379"}
REPLICA = {
    b"ip": b"10.0.0.2", b"port": b"6380", b"flags": b"slave,s_down", b"master-link-status": b"err",
}  # fmt: skip
ADDRESS = [b"10.0.0.7", b"6381"]


def flat(facts):
    return [item for pair in facts.items() for item in pair]


@pytest.mark.parametrize("form", [dict, flat], ids=["RESP3", "RESP2"])
def test_a_statement_is_read_from_either_protocol(form):
    said = read_statement(
        b"a" * 40, ADDRESS, form(MASTER), [form(PEER)], [form(REPLICA)], asked_at=7.0
    )
    assert said.primary == Address("10.0.0.7", 6381), "the address is not that of MASTER"
    assert said.epoch == 3
    assert said.ids == {"a" * 40, "b" * 40}
    assert said.replicas[0].down
    assert not said.replicas[0].linked


@pytest.mark.parametrize(
    ("address", "master"),
    [(None, MASTER), (ADDRESS, {}), (ADDRESS, 7), (ADDRESS, MASTER | {b"config-epoch": b"x"})],
)
def test_garbage_is_a_typed_error(address, master):
    with pytest.raises(UnexpectedReplyError):
        read_statement(b"a" * 40, address, master, [], [], asked_at=0.0)


@pytest.mark.parametrize("port", [b"65536", b"-1", b"", b"9" * 5000, float("inf"), None])
def test_no_port_but_one_is_taken(port):
    """The system would take a larger one for another server's."""
    with pytest.raises(UnexpectedReplyError):
        read_statement(b"a" * 40, [b"10.0.0.1", port], MASTER, [], [], asked_at=0.0)
    if isinstance(port, bytes):
        with pytest.raises(UnexpectedReplyError):
            read_statement(b"a" * 40, ADDRESS, MASTER, [PEER | {b"port": port}], [], asked_at=0.0)
        assert read_switch(b"m 10.0.0.1 1 10.0.0.2 " + port, "m") is None
        with pytest.raises(UnexpectedReplyError):
            read_nodes(
                b"a 10.0.0.1:%b@1 myself,master - 0 0 1 connected 0-1\n" % port,
                asked=Address("h", 1),
                asked_at=0.0,
                by_name=False,
            )


def test_who_tells_no_id_is_no_sentinel():
    assert read_id(b"a" * 40) == "a" * 40
    assert read_id(b"\xff")
    others: tuple[Any, ...] = (None, 7, 0.5, [b"a"], {})
    for other in others:
        with pytest.raises(UnexpectedReplyError):
            read_id(other)


def test_a_switch_is_read_for_the_own_name_only():
    message = b"aragora-master 10.0.0.1 6379 10.0.0.2 6380"
    assert read_switch(message, "aragora-master") == Address("10.0.0.2", 6380)
    assert read_switch(message, "other") is None
    assert read_switch(b"aragora-master 10.0.0.1", "aragora-master") is None
    assert read_switch(None, "aragora-master") is None


def test_role_faults():
    assert role_fault([b"master", 0, [[b"10.0.0.2", b"6380", b"0"]]], guarded=True) is None
    assert role_fault([b"master", 0, []], guarded=False) is None
    assert role_fault([b"master", 0, []], guarded=True) == "it has lost its replicas"
    assert role_fault([b"slave", b"h", 1, b"connected", 0], guarded=False) == "its role is slave"
    assert role_fault(None, guarded=False) == "its answer to ROLE cannot be read"


def test_a_server_that_wants_replicas_says_so_in_info():
    info = b"# Replication\r\nrole:master\r\nmin_slaves_good_slaves:1\r\nmaster_replid:abc\r\n"
    assert read_guarded(info)
    assert not read_guarded(b"# Replication\r\nrole:master\r\n")
    with pytest.raises(UnexpectedReplyError):
        read_guarded(None)


def counting(good: int | None, *lags: int) -> bytes:
    counted = "" if good is None else f"min_slaves_good_slaves:{good}\r\n"
    replicas = "".join(
        f"slave{number}:ip=10.0.0.{number},port=6380,state=online,offset=7,lag={lag}\r\n"
        for number, lag in enumerate(lags)
    )
    return f"# Replication\r\nrole:master\r\n{counted}{replicas}".encode()


def test_a_server_that_stood_still_counts_replicas_that_it_has_not_heard():
    assert counts_unheard(counting(2, 4, 4))
    assert not counts_unheard(counting(2, 4, 1)), "one was heard: it will go on"
    assert not counts_unheard(counting(2, 0, 0))
    assert not counts_unheard(counting(0, 4, 4)), "it refuses already"
    assert not counts_unheard(counting(0))
    assert not counts_unheard(counting(None, 4)), "it never refuses"
    with pytest.raises(UnexpectedReplyError):
        counts_unheard(7)


def test_the_role_where_only_info_tells_it():
    assert role_fault(b"# Replication\r\nrole:master\r\n", guarded=False) is None
    assert role_fault("# Replication\r\nrole:slave\r\n", guarded=False) == "its role is slave"
    assert role_fault(b"# Replication\r\n", guarded=False) is None
    assert role_fault("PONG", guarded=True) is None


def test_who_follows_is_read_with_its_lag():
    info = (
        "role:master\r\nconnected_slaves:3\r\n"
        "slave0:ip=10.0.0.2,port=6380,state=online,offset=9,lag=1\r\n"
        "slave1:ip=::1,port=6381,state=wait_bgsave,offset=0,lag=0\r\n"
        "slave2:ip=fd00::3,port=6382,state=online,offset=9,lag=0,type=replica\r\n"
    )
    assert read_followers(info) == [(Address("10.0.0.2", 6380), 1), (Address("fd00::3", 6382), 0)]
    assert read_followers(b"role:slave\r\n") == []
    with pytest.raises(UnexpectedReplyError):
        read_followers(None)
