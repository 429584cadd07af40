"""Sentinels, servers and nodes that say anything to operators: it is judged, drawn and told."""

from __future__ import annotations

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.between import Posing
from tests.fuzz.effort import effort
from tests.fuzz.resp import spoiled, written

from aragora_redis.cli import doctor as doctor_command
from aragora_redis.cli import status as status_command
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.asking import survey
from aragora_redis.ops.connect import check_ways
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.health import check_health
from aragora_redis.ops.overview import overview_of
from aragora_redis.ops.targets import ClusterTarget, SentinelTarget, StandaloneTarget, Target

KINDS = ("alone", "behind Sentinels", "a cluster")
INFO = b"""\
redis_version:7.0.15\r
role:master\r
loading:0\r
cluster_enabled:%d\r
connected_clients:3\r
used_memory:1000000\r
maxmemory:0\r
maxmemory_policy:noeviction\r
aof_enabled:1\r
rdb_last_bgsave_status:ok\r
aof_last_write_status:ok\r
connected_slaves:1\r
slave0:ip=127.0.0.1,port=1,state=online,offset=98,lag=0\r
master_replid:0123456789012345678901234567890123456789\r
master_repl_offset:100\r
min_slaves_good_slaves:1\r
sentinel_tilt:0\r
"""
CONFIG = {
    b"min-replicas-to-write": b"1", b"maxmemory-policy": b"noeviction", b"appendonly": b"yes",
    b"masterauth": b"x", b"requirepass": b"x", b"save": b"", b"repl-backlog-size": b"1048576",
    b"maxmemory": b"0", b"cluster-node-timeout": b"5000", b"protected-mode": b"no",
}  # fmt: skip
ROW = b"id 0 1.5 3 4 f ok 7 an-instance"
_INSTEAD = (
    b"", b"x", b"-1", b"1e999", b"nan", b"ip=,port=,state=,offset=,lag=", b"=,=,", b"\xff", b"0",
    b"9" * 25, b"slave", b"ip=h,port=99999,state=online,offset=-1,lag=x", b"a:b", b"\x1b[31m",
)  # fmt: skip


def sane(kind, at):
    """What a sound deployment on one address says, by the first words of a command."""
    host, port = at.host.encode(), b"%d" % at.port
    about = {b"ip": host, b"port": port, b"runid": b"r" * 40, b"flags": b"master"}
    row = b"%b %b:%b@1 myself,master - 0 0 1 connected 0-16383\n" % (b"a" * 40, host, port)
    return {
        b"ROLE": [b"sentinel", [b"m"]] if kind == KINDS[1] else [b"master", 100, []],
        b"INFO": INFO % (kind == KINDS[2]),
        b"TIME": [b"1800000000", b"1"],
        b"CONFIG": CONFIG,
        b"ACL": b"default",
        b"COMMAND": [[b"get", 2, [], 1, 1, 1]],
        b"HGETALL": {b"boot": ROW},
        b"ZRANGEBYSCORE": [b"boot"],
        b"DEL": 0,
        b"CLUSTER": row,
        b"MYID": b"i" * 40,
        b"GET-MASTER-ADDR-BY-NAME": [host, port],
        b"MASTER": about
        | {b"name": b"m", b"config-epoch": b"7", b"quorum": b"2"}
        | {b"down-after-milliseconds": b"5000", b"failover-timeout": b"60000"},
        b"SLAVES": [about | {b"flags": b"slave", b"master-link-status": b"ok"}],
        b"REPLICAS": [about | {b"flags": b"slave", b"master-link-status": b"ok"}],
        b"SENTINELS": [about | {b"flags": b"sentinel"}],
        b"FLUSHCONFIG": b"OK",
    }


def wrong(reply, random):
    """Something else, or, where it is lines of text, another value in one of them."""
    if not (isinstance(reply, bytes) and b"\r\n" in reply) or random.random() < 0.2:
        return spoiled(reply, random)
    lines = reply.split(b"\r\n")
    at = random.randrange(len(lines))
    lines[at] = lines[at].partition(b":")[0] + b":" + random.choice(_INSTEAD)
    return b"\r\n".join(lines)


@effort(15)
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.sampled_from([0.05, 0.2, 0.6]))
async def test_what_is_said_is_judged_and_drawn(kind, seed, share):
    random = Random(seed)
    async with Posing().listening() as posing:
        said = sane(kind, posing.address)

        def answer(command):
            word = command[1 if command[0].upper() == b"SENTINEL" else 0].upper()
            if command[0].upper() == b"CLUSTER" and command[1].upper() == b"INFO":
                return written(b"cluster_state:ok\r\ncluster_current_epoch:1\r\n")
            right = said.get(word)
            return written(wrong(right, random) if random.random() < share else right)

        posing.answer = answer
        targets: dict[str, Target] = {
            "alone": StandaloneTarget(posing.address),
            "behind Sentinels": SentinelTarget((posing.address,), "m"),
            "a cluster": ClusterTarget((posing.address,)),
        }
        target = targets[kind]
        seen = await survey(target, prefix="p", clock=SYSTEM_CLOCK, deadline=0.5, flush=True)
        health = await check_health(target, deadline=0.5)
        ways = await check_ways(target, clock=SYSTEM_CLOCK, deadline=0.5)
    found, overview = examine(seen), overview_of(seen)
    json.dumps([found.as_dict(), overview.as_dict(), ways.as_dict()], default=str)
    doctor_command._write(found)
    doctor_command._write_ways(ways)
    status_command._drawn(overview)
    assert health.headline
