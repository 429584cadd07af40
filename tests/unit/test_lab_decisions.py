from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aragora_redis.address import Address
from aragora_redis.errors import LabError
from aragora_redis.lab import Cut, Kind, network
from aragora_redis.lab.cluster import share
from aragora_redis.lab.config import (
    Monitored,
    RedisConfig,
    SentinelConfig,
    read_monitored,
    render_redis,
    render_sentinel,
)
from aragora_redis.lab.cuts import cuts_of, ruleset
from aragora_redis.lab.manifest import load
from aragora_redis.lab.members import View, decide_owner, shown, sure
from aragora_redis.lab.ports import all_free, bus_port, free_ports
from aragora_redis.lab.sentinel import decide_primary
from aragora_redis.lab.server import find_server, read_version
from aragora_redis.lab.targets import resolve
from aragora_redis.slots import SLOTS

OLD, NEW = Monitored(0, 6379), Monitored(1, 6380)

OWN = "127.64.0.10"


@pytest.mark.parametrize(
    ("living", "filed", "masters", "expected"),
    [
        ([NEW, NEW, OLD], [], [], 6380),
        ([OLD, OLD, NEW], [], [], 6379),
        ([NEW, OLD], [], [], 6380),
        ([OLD], [], [], 6379),
        ([OLD], [OLD, NEW, NEW], [], 6380),
        ([], [OLD, NEW], [6381], 6381),
        ([], [OLD, NEW], [6379, 6380], 6380),
        ([], [OLD, NEW], [], 6380),
        ([], [], [], None),
    ],
)
def test_who_is_primary(living, filed, masters, expected):
    assert decide_primary(living, filed, masters) == expected


@pytest.mark.parametrize(
    ("target", "primary", "expected"),
    [
        ("primary", "redis-1", "redis-1"),
        ("replica-0", "redis-1", "redis-0"),
        ("replica-1", "redis-1", "redis-2"),
        ("sentinel-0", "redis-1", "sentinel-0"),
    ],
)
def test_what_a_target_means(target, primary, expected):
    names = ["redis-0", "redis-1", "redis-2", "sentinel-0"]
    assert resolve(target, names, primary) == expected


def test_a_target_beyond_the_last_replica_is_refused():
    with pytest.raises(LabError, match="replica-2"):
        resolve("replica-2", ["redis-0", "redis-1", "redis-2"], "redis-0")


def test_only_a_replicated_node_needs_replicas_to_write():
    def render(**options):
        config = RedisConfig(host=OWN, port=1, directory=Path("/a b"), **options)
        return render_redis(config, password="secret")

    new = {"names_source": True}
    assert "min-replicas-to-write 1" in render(min_replicas=1, **new)
    assert "min-replicas" not in render(min_replicas=0, **new)
    primary = Address("127.64.0.11", 2)
    assert "replicaof 127.64.0.11 2\n" in render(min_replicas=1, replica_of=primary, **new)
    assert 'dir "/a b"' in render(min_replicas=0, **new)


def test_a_node_connects_from_its_own_address():
    def render(host, *, names_source):
        config = RedisConfig(
            host=host, port=1, directory=Path("/a"), names_source=names_source, min_replicas=0
        )
        return render_redis(config, password="secret")

    assert f"bind {OWN} 127.0.0.1\n" in render(OWN, names_source=True)
    assert f"bind-source-addr {OWN}\n" in render(OWN, names_source=True)
    assert "bind-source-addr" not in render(OWN, names_source=False), "6.2 does not know it"
    assert "bind 127.0.0.1\n" in render("127.0.0.1", names_source=True)


def test_what_is_cut_is_dropped_both_ways_unless_it_is_one_way():
    both = ruleset("lab", [Cut("a | b", ("127.64.0.10",), ("127.64.0.11", "127.0.0.1"))])
    assert "saddr { 127.64.0.10 } ip daddr { 127.64.0.11, 127.0.0.1 } drop" in both
    assert "saddr { 127.64.0.11, 127.0.0.1 } ip daddr { 127.64.0.10 } drop" in both
    one_way = ruleset("lab", [Cut("a -> b", ("127.64.0.10",), ("127.64.0.11",), one_way=True)])
    assert one_way.count(" drop") == 1
    assert ruleset("lab", []) == "add table ip lab\ndelete table ip lab\n"


def test_every_node_and_client_has_an_address_of_its_own():
    hosts = [network.host_of("127.64.0", kind, n) for kind in Kind for n in range(3)]
    mine = network.client_host("127.64.0", 0)
    assert len({*hosts, mine, *network.clients("127.64.0")}) == len(hosts) + 128
    assert mine in network.clients("127.64.0")
    assert network.host_of("127.0.0", Kind.REDIS, 2) == "127.0.0.1", "where there is one for all"


def test_what_is_rendered_for_a_sentinel_is_read_back():
    config = SentinelConfig(
        host=OWN,
        port=1,
        directory=Path("/a"),
        names_source=True,
        primary=Address("127.64.0.12", 6381),
        down_after_ms=700,
    )
    text = render_sentinel(config, password="one", data_password="two")
    assert read_monitored(text) == Monitored(0, 6381)
    assert read_monitored(text + "sentinel config-epoch aragora-master 12\n") == (12, 6381)
    assert read_monitored("port 1\n") is None
    assert "requirepass one" in text
    assert "sentinel auth-pass aragora-master two" in text
    assert "down-after-milliseconds aragora-master 700" in text


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", (7, 0, 15)),
        ("Valkey server v=8.0.1 sha=00000000:0", (8, 0, 1)),
    ],
)
def test_versions(said, version):
    assert read_version(said) == version


@pytest.mark.parametrize("said", ["Redis server v=5.0.14 sha=0", "hello"])
def test_versions_that_will_not_do(said):
    with pytest.raises(LabError):
        read_version(said)


def test_a_server_that_is_named_but_missing_is_said(monkeypatch):
    monkeypatch.setenv("ARAGORA_REDIS_SERVER", "/nowhere/redis-server")
    with pytest.raises(LabError, match="ARAGORA_REDIS_SERVER"):
        find_server()


def test_free_ports_are_never_the_guides_nor_ephemeral():
    ports = free_ports(3, 3)
    assert len({*ports.data, *ports.sentinels}) == 6
    assert all(11_000 <= port < 32_000 for port in ports.data + ports.sentinels)


def test_ports_of_a_cluster_are_free_with_their_buses():
    ports = free_ports(6, 0, bus=True).data
    assert all_free(map(bus_port, ports))
    # Those that get outgoing connections begin at 32768.
    assert all(bus_port(port) < 32_000 for port in ports)


def test_a_node_of_a_cluster_is_known_by_its_address_and_follows_nobody_by_hand():
    def render(**options):
        config = RedisConfig(
            host=OWN, port=1, directory=Path("/a"), names_source=True, min_replicas=0, **options
        )
        return render_redis(config, password="secret").splitlines()

    lines = render(node_timeout_ms=700)
    assert {"cluster-enabled yes", "cluster-node-timeout 700"} <= {*lines}
    assert f"cluster-announce-ip {OWN}" in lines
    assert not [line for line in render() if line.startswith("cluster")]


def test_the_slots_are_shared_out_as_everybody_does():
    shares = [share(ordinal) for ordinal in range(6)]
    assert [*map(shown, ([each] for each in shares[:3]))] == ["0-5460", "5461-10922", "10923-16383"]
    assert sum(map(len, shares)) == SLOTS


NODES = """\
a1 127.64.0.10:11000@21000,,shard-id=x myself,master - 0 0 7 connected 0-5460 5462 [93->-b2]
b2 127.64.0.11:11001@21001 slave,fail? a1 17 18 7 disconnected

vars currentEpoch 7 lastVoteEpoch 0
c3 :0@0 master,noaddr - 17 18 2 connected 5461
d4 127.64.0.12:11003@21003 handshake - 0 0 0 connected
"""


def test_what_a_node_says_of_a_cluster():
    view = View.read(NODES)
    assert view is not None
    first, second, third, fourth = view.members
    assert view.me is first
    assert view.others == (second, third, fourth)
    assert (first.node_id, first.address, first.primary_id) == (
        "a1",
        Address("127.64.0.10", 11000),
        None,
    )
    assert (first.epoch, shown(first.slots)) == (7, "0-5460,5462")
    assert (second.primary_id, second.slots) == ("a1", ())
    assert [sure(each) for each in view.members] == [True, False, False, False]
    assert view.owner(5461) is third
    assert view.owner(5463) is None


@pytest.mark.parametrize(
    "text", ["", "vars currentEpoch 0 lastVoteEpoch 0\n", NODES[NODES.index("b2 1") :]]
)
def test_a_view_that_is_nobodys_is_none(text):
    assert View.read(text) is None


def says(owner, epoch):
    """A node's view in which another one owns slot 0."""
    return View.read(
        f"me h:1@2 myself,slave - 0 0 0 connected\n{owner} h:3@4 master - 0 0 {epoch} connected 0\n"
    )


@pytest.mark.parametrize(
    ("living", "filed", "owner"),
    [
        ([says("old", 1), says("new", 2), says("new", 2)], [], "new"),
        ([says("old", 1), says("old", 1), says("new", 2)], [says("new", 2)], "old"),
        ([says("old", 1), says("new", 2)], [], "new"),
        ([], [says("old", 1), says("new", 2), says("old", 1)], "new"),
        ([], [], None),
    ],
)
def test_who_owns_a_slot(living, filed, owner):
    assert decide_owner(0, living, filed) == owner
    assert decide_owner(1, living, filed) is None


@pytest.mark.parametrize("content", [b'{"mode": "\xff"}', b"{", b"\xff", b"[]"])
@pytest.mark.parametrize(("name", "read"), [("lab.json", load), ("cuts.json", cuts_of)])
def test_a_damaged_file_of_a_lab_is_told(tmp_path: Path, name: str, read: Any, content: bytes):
    (tmp_path / name).write_bytes(content)
    if (name, content) == ("cuts.json", b"[]"):
        assert read(tmp_path) == ()
        return
    with pytest.raises(LabError, match="cannot be read"):
        read(tmp_path)
