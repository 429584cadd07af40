"""What many instances do to one Redis at once, in counts: whoever comes back must not be a storm.

`make scale` measures the same with a thousand of them.
"""

from __future__ import annotations

import asyncio
import os

import pytest
import redis
from tests.integration.fleet import healthy, instances, until
from tests.integration.past import give_past

from aragora_redis.scripts.catalog import load
from aragora_redis.tokens import operations
from aragora_redis.tokens.entry import DAY, MEMBER_BYTES, SHARDS, Entry

FLEET = 6
LANES = 3
KNOWN = 2_000
JOIN = load("join").source.decode()


@pytest.fixture
def server(make_lab):
    lab = make_lab("standalone")
    lab.start()
    give_past(lab)
    node = lab.node("redis-0")
    with redis.Redis(port=node.port, password=lab.password(node)) as client:
        yield lab, client


def revoke(client, count):
    """So many at once, by somebody else."""
    day = int(client.time()[0] // DAY) + 1
    made = (os.urandom(MEMBER_BYTES) for _ in range(count))
    entries = [Entry(day, member, day * DAY * 1000) for member in made]
    for shard in range(SHARDS):
        keys = operations.ShardKeys("aragora", shard)
        for call in operations.calls([entry for entry in entries if entry.shard == shard]):
            join = operations.join(keys, call, nonce=b"others")
            client.eval(JOIN, len(join.keys), *join.keys, 0, *join.args)


def held(client):
    return sum(client.zcard(key) for key in client.scan_iter("aragora:t:*members:*", 1000))


def promote(client):
    """Another history, with all that the former one held, and everybody comes anew."""
    client.replicaof("127.0.0.1", 1)
    client.replicaof("NO", "ONE")
    for each in client.client_list():
        if each["name"] == "aragora-redis":
            client.client_kill_filter(_id=each["id"])


def calls(client, command):
    return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def followed(states, client):
    def all_have():
        rid = client.info("replication")["master_replid"].encode()
        shards = [shard for state in states for shard in state._redis.feed.shards]
        return all(shard.reconciled and shard.reconciled.rid == rid for shard in shards)

    return all_have


async def test_a_fleet_that_comes_back_sends_each_thing_once(server):
    lab, client = server
    async with instances(lab, FLEET) as states:
        await asyncio.to_thread(revoke, client, KNOWN)
        await until(lambda: all(state.status().tokens == KNOWN for state in states))
        client.config_resetstat()
        await asyncio.to_thread(promote, client)
        await until(followed(states, client))
        await until(healthy(*states))
        connections = client.info("stats")["total_connections_received"]
        assert connections <= FLEET * LANES + 2, "each lane once"
        assert calls(client, "script|load") == 0, "the first has loaded them"
        assert calls(client, "zadd") <= 8 * FLEET, "beats alone: nothing was lost"
        assert calls(client, "zscan") == 0, "nobody reads what everybody has"


async def test_what_was_wiped_is_written_by_few(server):
    lab, client = server
    async with instances(lab, FLEET) as states:
        await asyncio.to_thread(revoke, client, KNOWN)
        await until(lambda: all(state.status().tokens == KNOWN for state in states))
        client.config_resetstat()
        client.flushall()
        await asyncio.to_thread(promote, client)
        await until(lambda: held(client) == KNOWN)
        await until(followed(states, client))
        # An entry is looked for before it is joined; a beat looks for its instance.
        carried = calls(client, "zscore") - 20 * FLEET
        assert carried <= operations.LEASES * KNOWN, "those that have no lease see what others did"


async def test_a_starter_reads_a_snapshot_in_short_pages(server):
    lab, client = server
    await asyncio.to_thread(revoke, client, 40_000)
    client.config_set("slowlog-log-slower-than", 0)
    client.config_set("slowlog-max-len", 10_000)
    client.slowlog_reset()
    client.config_resetstat()
    async with instances(lab) as (state,):
        assert state.status().tokens == 40_000
    pages = calls(client, "zscan")
    assert pages >= 40_000 / operations.SCAN_PAGE
    asked = [each["command"].split() for each in client.slowlog_get(10_000)]
    of_days = [words for words in asked if any(b":members:" in word for word in words[1:2])]
    assert {words[0] for words in of_days} <= {b"ZSCAN", b"ZCARD"}, "no day is read as a whole"
    scans = [words for words in of_days if words[0] == b"ZSCAN"]
    assert {int(words[-1]) for words in scans} == {operations.SCAN_PAGE}
