"""`migrate verify` on real servers: what is the same, and each thing that is not."""

from __future__ import annotations

import os
from typing import Any

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster
from tests.integration.rights import needs_redis_7

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import InvalidInputError, OutageError
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate.compare import Counted, What
from aragora_redis.ops.migrate.sites import Site
from aragora_redis.ops.migrate.verify import verify
from aragora_redis.ops.report import Status

DB = 9
"""The source is the server that all tests share."""
SLOTS = {"redis-0": range(5461), "redis-1": range(5461, 10923), "redis-2": range(10923, 16384)}
TYPES = ("string", "list", "set", "hash", "zset", "stream")
LARGE = 50
"""Elements; of a string, 5000 bytes."""


def site(lab, name, **access):
    access = {"password": lab.credentials.redis_password} | access
    return Site(name, {lab.node("primary").address: ()}, Access(**access))


def client(lab, node="primary", db=DB):
    server = lab.node(node)
    return redis.Redis(port=server.port, password=lab.password(server), db=db)


@pytest.fixture
def source(standalone_lab):
    with client(standalone_lab) as source:
        yield source
        source.flushdb()


@pytest.fixture
def target_lab(make_lab):
    lab = make_lab("standalone")
    lab.start()
    return lab


@pytest.fixture
def target(target_lab):
    with client(target_lab) as target:
        yield target


@pytest.fixture
def sites(standalone_lab, target_lab):
    return site(standalone_lab, "the source"), site(target_lab, "the target")


async def verified(sites, **options):
    given: dict[str, Any] = {"dbs": [DB], "large": LARGE, "again": 0.0, "on_progress": lambda _: 0}
    return await verify(*sites, clock=SYSTEM_CLOCK, **given | options)


def found(report):
    return {each.key: each.what for each in report.differences}


def fill(to, *, backwards=False, size=10, tag=""):
    """A value of each type; what has no order is written in another one, where asked for."""
    order = range(size - 1, -1, -1) if backwards else range(size)
    raw = [b"\x00\xff\r\n%d \xc3\x28" % each for each in range(size)]
    name = f"{tag}:{size}:".encode()
    to.set(name + b"string", b"".join(raw) * 10)
    to.rpush(name + b"list", *raw)
    for each in order:
        to.sadd(name + b"set", raw[each])
        to.hset(name + b"hash", raw[each], b"\xfe%d" % each)
        to.zadd(name + b"zset", {raw[each]: each / 10 if each else "-inf"})
    for each, member in enumerate(raw):
        to.xadd(name + b"stream", {member: b"1", b"b": member}, id=f"{each + 1}-0")
    to.xgroup_create(name + b"stream", b"group\xff", "0")
    to.xreadgroup(b"group\xff", b"me\xff", {name + b"stream": ">"}, count=3)
    to.xgroup_create(name + b"stream", b"idle", "$")


def fill_both(source, target):
    for size in (10, 100):
        fill(source, size=size)
        fill(target, size=size, backwards=True)
    for to in (source, target):
        to.set(b"\x00binary\xff\r\n", b"\x80")
        to.set("empty", "")
        to.set("lasting", "x", ex=3600)
        to.pfadd("visitors", *range(100))
        to.setbit("bits", 999, 1)
        to.geoadd("places", (13.361389, 38.115556, "Palermo"))
        to.xadd("emptied", {"a": "b"}, id="5-5")
        to.xdel("emptied", "5-5")
        # More elements in all than one call of the script reads.
        for each in range(40):
            to.rpush(f"some:{each}", *range(40))


async def test_what_is_the_same_differs_in_nothing(source, target, sites, target_lab):
    fill_both(source, target)
    client(target_lab).execute_command(
        "ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-@scripting"
    )
    plain = site(target_lab, "the target", username="plain", password="pw")
    progress: list[Counted] = []
    for theirs in (sites[1], plain):
        done = await verified((sites[0], theirs), on_progress=progress.append)
        assert found(done) == {}
        assert (done.status, done.compared, done.sampled) == (Status.OK, source.dbsize(), 6)
        assert done.source_keys == done.target_keys == source.dbsize()
    assert progress[-1].done == progress[-1].total == 2 * source.dbsize()
    assert progress[-1].rate > 0
    assert (await verified(sites, dbs=[DB + 1])).compared == 0


CHANGES = {
    "string": lambda to, key, at: to.setrange(key, at, "!"),
    "list": lambda to, key, at: to.lset(key, at, "!"),
    "hash": lambda to, key, _: [to.hset(key, each, "!") for each in to.hkeys(key)],
    "zset": lambda to, key, _: [to.zincrby(key, 0.5, each) for each in to.zrange(key, 0, -1)],
}


def change_set(to, key):
    for each in to.smembers(key):
        to.srem(key, each)
        to.sadd(key, each + b"!")


async def test_each_difference_is_found(source, target, sites, target_lab):
    fill_both(source, target)
    due = {}
    for size in (10, 100):
        for kind, change in CHANGES.items():
            change(target, f":{size}:{kind}", 0)
            due[f":{size}:{kind}"] = What.VALUE
        change_set(target, f":{size}:set")
        target.xack(f":{size}:stream", b"group\xff", "2-0")
        due |= {f":{size}:set": What.VALUE, f":{size}:stream": What.VALUE}
    target.execute_command("XSETID", "emptied", "6-0")
    target.delete("empty", "bits")
    target.rpush("bits", 1)
    target.set("extra", 1)
    target.set("ours:extra", 1)
    source.set("ours:missing", 1)
    target.persist("lasting")
    for to, seconds in ((source, 100), (target, 160)):
        to.set("longer", 1, ex=seconds)
        to.set("alike", 1, ex=5000 + seconds // 100)
    source.set("ending", 1, px=1500)
    due |= {"emptied": What.VALUE, "empty": What.MISSING, "bits": What.TYPE}
    due |= {"extra": What.EXTRA, "lasting": What.TTL, "longer": What.TTL}
    source.set(b"\xffours", 1)
    ignored = ["ours:", os.fsdecode(b"\xff")]
    done = await verified(sites, ignore=ignored)
    assert found(done) == due
    assert (done.status, done.ignored, done.different) == (Status.CRITICAL, 3, len(due))

    client(target_lab).execute_command(
        "ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-@scripting"
    )
    plain = site(target_lab, "the target", username="plain", password="pw")
    assert found(await verified((sites[0], plain), ignore=ignored)) == due
    few = await verified(sites, ignore=ignored, limit=2)
    assert (len(few.differences), few.counts) == (2, done.counts)


async def test_what_is_written_meanwhile_settles(source, target, sites):
    for each in range(20):
        source.set(f"new:{each}", 1)
        target.set(f"old:{each}", 1)
    late = []

    def write_late(counted):
        late.append(counted)
        if len(late) == 1:
            target.mset({f"new:{each}": 1 for each in range(20)})
        if len(late) == 2:
            source.mset({f"old:{each}": 1 for each in range(20)})

    assert (await verified(sites, again=0.05, on_progress=write_late)).status is Status.OK
    source.set("ever", 1)
    assert found(await verified(sites, again=0.01)) == {"ever": What.MISSING}


@needs_redis_7
async def test_it_runs_while_the_writes_of_the_source_are_paused(source, target, sites):
    fill_both(source, target)
    source.client_pause(20_000, all=False)
    try:
        assert (await verified(sites, deadline=5.0)).status is Status.OK
    finally:
        source.client_unpause()


async def test_a_side_that_is_lost_ends_it_with_a_clear_error(
    source, target, sites, target_lab, standalone_lab
):
    for to in (source, target):
        to.mset({f"k:{each}": each for each in range(3000)})
    ours, theirs = (lab.node("primary").address for lab in (standalone_lab, target_lab))
    wrong = site(standalone_lab, "the source", password="not-it")
    with pytest.raises(OutageError, match=rf"^the source \({ours}\) refuses the password"):
        await verified((wrong, sites[1]))

    def then(act):
        def once(counted):
            if counted.done < 1000:
                act("redis-0")

        return once

    with pytest.raises(OutageError) as frozen:
        await verified(sites, on_progress=then(target_lab.freeze), deadline=0.5)
    target_lab.thaw("redis-0")
    assert f"the target ({theirs}) does not answer within 0.5 s; " in str(frozen.value)
    with pytest.raises(OutageError) as killed:
        await verified(sites, on_progress=then(target_lab.kill))
    assert str(killed.value).startswith(f"the target ({theirs}) ")
    assert " of 6000 keys were looked at until then, 0 of them differ for sure" in str(killed.value)


async def test_a_cluster_as_the_target(target_lab, cluster_lab):
    there = {cluster_lab.node(name).address: (slots,) for name, slots in SLOTS.items()}
    access = Access(password=cluster_lab.credentials.redis_password)
    sites = (site(target_lab, "the source"), Site("the target", there, access))
    with pytest.raises(InvalidInputError, match="the target is a Redis Cluster"):
        await verified(sites)
    first = ClusterNode(*cluster_lab.node("redis-0").address)
    with (
        client(target_lab, db=0) as source,
        RedisCluster(startup_nodes=[first], password=access.password) as target,
    ):
        for to in (source, target):
            for each in range(100):
                to.set(f"k:{each}", 1)
            fill(to, tag="{tag}")
        done = await verified(sites, dbs=[0])
        assert (found(done), done.compared) == ({}, 100 + len(TYPES))
        target.delete("k:7")
        target.set("more", 1)
        target.set("{tag}:10:string", 1)
        assert found(await verified(sites, dbs=[0])) == {
            "k:7": What.MISSING,
            "more": What.EXTRA,
            "{tag}:10:string": What.VALUE,
        }
        turned = await verified(tuple(reversed(sites)), dbs=[0])
        assert found(turned)["more"] == What.MISSING
        assert found(turned)["k:7"] == What.EXTRA
