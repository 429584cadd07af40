"""Sentinels, nodes and servers that say anything: a reason is told, and nothing ends."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.between import Posing
from tests.fuzz.effort import effort
from tests.fuzz.resp import like, replies, spoiled, wire, written
from tests.fuzz.strategies import damaged
from tests.unit.cluster_words import A, row

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import AragoraRedisError, UnexpectedReplyError
from aragora_redis.events import Events
from aragora_redis.link.account import account_of
from aragora_redis.link.cluster_watcher import ClusterWatcher
from aragora_redis.link.connection import Login
from aragora_redis.link.replies import classify, late_by
from aragora_redis.link.verification import read_time
from aragora_redis.link.watcher import SentinelWatcher
from aragora_redis.settings import Credentials
from aragora_redis.topology import statement
from aragora_redis.topology.cluster import ClusterPanel
from aragora_redis.topology.maintenance import read_notice
from aragora_redis.topology.nodes import read_nodes
from aragora_redis.topology.panel import Panel

PRIMARY = [b"127.0.0.1", b"6379"]
MASTER = {b"name": b"m", b"ip": b"127.0.0.1", b"port": b"6379", b"flags": b"master"} | {
    b"config-epoch": b"7", b"runid": b"r" * 40,
}  # fmt: skip
PEER = {
    b"name": b"s",
    b"ip": b"127.0.0.1",
    b"port": b"1",
    b"runid": b"p" * 40,
    b"flags": b"sentinel",
}
REPLICA = {b"ip": b"127.0.0.2", b"port": b"6379", b"flags": b"slave", b"master-link-status": b"ok"}
ID = b"i" * 40
SANE = {
    b"MYID": ID,
    b"GET-MASTER-ADDR-BY-NAME": PRIMARY,
    b"MASTER": MASTER,
    b"SENTINELS": [PEER],
    b"REPLICAS": [REPLICA],
}
NODES = "\n".join(row(at) for at in (A,)).replace("master", "myself,master", 1).encode() + b"\n"
ROLE = [b"master", 100, [[b"127.0.0.2", b"6379", b"99"]]]
INFO = (
    b"# Replication\r\nrole:master\r\nconnected_slaves:1\r\nmin_slaves_good_slaves:1\r\n"
    b"slave0:ip=10.0.0.2,port=6379,state=online,offset=98,lag=0\r\nmaster_repl_offset:100\r\n"
)


@effort(40)
@given(st.lists(st.tuples(*map(like, SANE.values())), min_size=1, max_size=4))
def test_what_a_sentinel_states(said):
    panel = Panel(3)
    for at, words in enumerate(said):
        try:
            read = statement.read_statement(*words, asked_at=float(at))
        except UnexpectedReplyError:
            continue
        panel.record(read)
        str(panel.decide(at + 0.5))
        panel.required_replicas(at + 0.5), panel.agreed(at + 0.5), panel.promotable_replicas


@effort(60)
@given(st.lists(st.one_of(damaged(NODES), like(NODES)), min_size=1, max_size=3))
def test_what_a_node_states(said):
    panel = ClusterPanel()
    for at, words in enumerate(said):
        try:
            read = read_nodes(words, asked=A, asked_at=float(at), by_name=at % 2 == 1)
        except UnexpectedReplyError:
            continue
        panel.record(read)
        panel.decide(at + 0.5)
        panel.resolve(A), panel.idle(at + 0.5), panel.overtaken(read, A), panel.misled("x", A, at)


@effort(80)
@given(st.one_of(like(ROLE), like(INFO), damaged(INFO), replies), st.booleans())
def test_what_a_server_says_of_itself(said, guarded):
    statement.role_fault(said, guarded=guarded)
    statement.read_switch(said, "m")
    read_notice(said)
    for read in (
        statement.counts_unheard,
        statement.read_replicas,
        statement.read_guarded,
        statement.read_lag,
        statement.read_followers,
        read_time,
    ):
        try:
            read(said)
        except UnexpectedReplyError:
            continue


@effort(100)
@given(
    st.sampled_from([b"MOVED 1 h:1", b"ASK 1 [::1]:2", b"LATE 5", b"@user_script: 1: -X"])
    .flatmap(damaged)
    .map(lambda said: said.decode("utf-8", "replace"))
)
def test_what_an_error_says(said):
    assert isinstance(classify(said), AragoraRedisError)
    late_by(said)


def login():
    return Login(
        account_of(
            Credentials(), setting="ARAGORA_REDIS_PASSWORD", clock=SYSTEM_CLOCK, events=Events()
        )
    )


async def until(condition, within=8.0):
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def feed(posing, sane, watching, answers, seed):
    """Answer with something else, once; then as it should be, until the watcher has heard it."""
    random, coming = Random(seed), deque(answers)

    def answer(command: list[bytes]) -> bytes:
        right = sane(command)
        if not coming:
            return written(right)
        wrong = coming.popleft()
        return written(spoiled(right, random)) if wrong is None else wrong

    posing.answer = answer
    watching.start()
    try:
        await until(lambda: not coming or watching.troubles)
        coming.clear()
        await until(lambda: posing.address not in watching.troubles and heard(watching))
    finally:
        await watching.close()


def heard(watching):
    return (
        watching.panel.view if isinstance(watching, SentinelWatcher) else watching.panel.map.shards
    )


answers = st.lists(st.none() | wire, min_size=1, max_size=5)


@effort(5)
@given(answers, st.integers(0, 2**32))
async def test_a_sentinel_that_answers_anything_is_followed_once_it_is_sane(faults, answers, seed):
    async with Posing().listening() as posing:
        watching = SentinelWatcher(
            "m",
            [posing.address],
            login(),
            login(),
            Panel(1),
            clock=SYSTEM_CLOCK,
            events=Events(),
            on_view=lambda _view: None,
            on_doubt=lambda _why: None,
            on_confirmed=lambda: None,
            on_lost=lambda _why: None,
        )
        alone = SANE | {b"SENTINELS": []}
        await feed(posing, lambda command: alone[command[1]], watching, answers, seed)
    faults.assert_none()


@effort(5)
@given(answers, st.integers(0, 2**32))
async def test_a_node_that_answers_anything_is_followed_once_it_is_sane(faults, answers, seed):
    async with Posing().listening() as posing:
        watching = ClusterWatcher(
            [posing.address],
            login(),
            clock=SYSTEM_CLOCK,
            events=Events(),
            on_map=lambda _map: None,
            on_heard=lambda: None,
        )
        await feed(posing, lambda _command: NODES, watching, answers, seed)
    faults.assert_none()
