from __future__ import annotations

from pathlib import Path

import pytest

from aragora_redis.errors import LabError
from aragora_redis.lab.config import (
    Monitored,
    RedisConfig,
    SentinelConfig,
    read_monitored,
    render_redis,
    render_sentinel,
)
from aragora_redis.lab.lab import resolve
from aragora_redis.lab.ports import free_ports
from aragora_redis.lab.sentinel import decide_primary
from aragora_redis.lab.server import find_server, read_version

OLD, NEW = Monitored(0, 6379), Monitored(1, 6380)


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
        config = RedisConfig(port=1, directory=Path("/a b"), **options)
        return render_redis(config, password="secret")

    assert "min-replicas-to-write 1" in render(replicated=True)
    assert "min-replicas" not in render(replicated=False)
    assert "replicaof 127.0.0.1 2\n" in render(replicated=True, replica_of=2)
    assert 'dir "/a b"' in render(replicated=False)


def test_what_is_rendered_for_a_sentinel_is_read_back():
    config = SentinelConfig(port=1, directory=Path("/a"), primary=6381, down_after_ms=700)
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
