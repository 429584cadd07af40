"""Gives an empty Redis a past, so that an instance that starts on it need not wait for one.

Whoever starts trusts what it has loaded only once an era of the revocations is six seconds old; an
era that nobody opened before the test would cost each test these seconds.
"""

from __future__ import annotations

from redis.cluster import ClusterNode, RedisCluster

from aragora_redis.scripts.catalog import load
from aragora_redis.settings import Cluster, from_env
from aragora_redis.tokens.entry import SHARDS
from aragora_redis.tokens.operations import ShardKeys

AGE = 3600
_OPEN = load("join").source.decode()


def _client(lab, env):
    settings = from_env(env)
    primary = lab.node("primary")
    if isinstance(settings.topology, Cluster):
        nodes = [ClusterNode(*node) for node in settings.topology.nodes]
        return settings, RedisCluster(startup_nodes=nodes, password=lab.password(primary))
    return settings, lab._site.access(primary).client(primary, timeout=5)


def give_past(lab, **env):
    """Open the first era of each shard an hour ago, where nobody has opened any."""
    settings, client = _client(lab, lab.env() | env)
    with client:
        open_eras(client, settings.prefix)


def open_eras(client, prefix="aragora"):
    """The same by a client of the primary, or of a cluster."""
    shards = [ShardKeys(prefix, index) for index in range(SHARDS)]
    if any(client.exists(keys.head) for keys in shards):
        return
    for keys in shards:
        age_era(client, keys)


def age_era(client, keys):
    """Make the present era of a shard an hour old, whoever opened it."""
    *_, now = client.eval(_OPEN, 3, keys.head, keys.digests, keys.feed, 0, "a-past", "0", 0)
    client.hset(keys.head, "opened", int(now) - AGE * 1_000_000)
