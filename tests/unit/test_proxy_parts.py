"""What the proxy decides: whom it lets in, when bytes pass, which replica is next."""

from __future__ import annotations

import asyncio
import importlib.util
import resource
import socket
from contextlib import asynccontextmanager
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aragora_redis.address import Address
from aragora_redis.cli.app import run
from aragora_redis.errors import SettingsError
from aragora_redis.link.trust import FRESH
from aragora_redis.proxy import server
from aragora_redis.proxy.door import listen
from aragora_redis.proxy.figures import PREFIX, Figures
from aragora_redis.proxy.followers import Followers
from aragora_redis.proxy.inbound import Inbound
from aragora_redis.proxy.passage import Passage
from aragora_redis.proxy.plan import Plan
from aragora_redis.proxy.proof import RENEW_AFTER, Proof
from aragora_redis.settings import from_env

HERE, THERE = Address("127.0.0.1", 6390), Address("10.0.0.1", 6390)
SENTINELS = {
    "ARAGORA_REDIS_SENTINEL_HOSTS": "127.0.0.1:1",
    "ARAGORA_REDIS_SENTINEL_MASTER": "m",
}
ONE = {"ARAGORA_REDIS_URL": "redis://redis.example"}
CLUSTER = {"ARAGORA_REDIS_CLUSTER_NODES": "127.0.0.1:1"}
A, B, C = (Address("127.0.0.1", port) for port in (1, 2, 3))


# --- what may be asked for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "plan", "told"),
    [
        pytest.param(CLUSTER, {}, "must know slots", id="cluster"),
        pytest.param({}, {}, "ARAGORA_REDIS_SENTINEL_HOSTS", id="nowhere"),
        pytest.param(ONE, {"replicas": HERE}, "from Sentinels only", id="replicas-of-one-name"),
        pytest.param(SENTINELS, {"listen": THERE}, "--tls-cert", id="open-to-all"),
        pytest.param(SENTINELS, {"replicas": THERE}, "--tls-cert", id="replicas-open-to-all"),
        pytest.param(
            SENTINELS,
            {"listen": THERE, "logs_in": True, "tls": Inbound()},
            "without a password",
            id="logged-in-from-elsewhere",
        ),
    ],
)
def test_what_cannot_be_or_is_not_safe_is_refused(env, plan, told):
    with pytest.raises(SettingsError, match=told):
        Plan(**{"listen": HERE} | plan).check(from_env(env))


@pytest.mark.parametrize(
    ("env", "plan"),
    [
        pytest.param(SENTINELS, {"replicas": HERE}, id="sentinels"),
        pytest.param(ONE, {"logs_in": True}, id="one-name"),
        pytest.param(ONE, {"listen": Address("localhost", 1)}, id="localhost"),
        pytest.param(ONE, {"listen": THERE, "tls": Inbound()}, id="tls"),
        pytest.param(ONE, {"listen": THERE, "open_to_all": True}, id="plain"),
    ],
)
def test_what_can_be_is_not(env, plan):
    Plan(**{"listen": HERE} | plan).check(from_env(env))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        pytest.param(("--listen", "127.0.0.1:x"), 2, "not a number", id="no-port"),
        pytest.param(("--tls-key", "/nowhere"), 2, "--tls-cert", id="key-alone"),
        pytest.param(("--listen", "10.0.0.1"), 1, "--plain-to-all", id="open"),
        pytest.param(("--tls-cert", "/nowhere"), 1, "cannot be read", id="no-file"),
        pytest.param(("--max-connections", "100000"), 1, "open files", id="no-files"),
    ],
)
def test_mistakes_end_in_one_error(arguments, code, told, capsys, monkeypatch):
    monkeypatch.setenv("ARAGORA_REDIS_URL", ONE["ARAGORA_REDIS_URL"])
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 4096))
    # What a process takes from itself it does not get back.
    monkeypatch.setattr(resource, "setrlimit", lambda _what, _limits: None)
    with pytest.raises(SystemExit) as end:
        run(["proxy", *arguments])
    said = capsys.readouterr().err
    assert (end.value.code, told in " ".join(said.split())) == (code, True), said
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(SettingsError, match="in use"):
            listen(at)
    with pytest.raises(SettingsError, match="choose an address"):
        listen(Address("203.0.113.1", 6390))


def test_pieces_of_an_answer_do_not_wait_for_each_other():
    (listener,) = listen(Address("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname(), timeout=5):
        listener.settimeout(5)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_more_files_are_allowed_where_they_may_be(monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (64, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: asked.append(limits))
    server._demand_files(2000)
    assert asked == [(2000, 4096)]


# --- how long a proof counts ------------------------------------------------------------------


def test_bytes_pass_for_a_moment_after_a_proof():
    proof = Proof()
    assert not proof.holds(100.0)
    assert proof.answered(100.0, 100.01)
    assert proof.holds(99.999 + FRESH)
    assert not proof.holds(100.001 + FRESH), "it counts from when it was asked"
    assert not proof.ages(99.999 + RENEW_AFTER)
    assert proof.ages(100.001 + RENEW_AFTER)
    proof.void()
    assert not proof.holds(100.01)


def test_a_late_answer_proves_nothing():
    """It may be one of a server, or to a proxy, that stood still."""
    proof = Proof()
    assert not proof.answered(100.0, 100.001 + FRESH)
    assert not proof.holds(100.001 + FRESH)


# --- whose turn it is -------------------------------------------------------------------------


def test_replicas_take_turns_and_one_that_is_far_behind_has_none():
    followers = Followers(max_lag=10)
    followers.note({A: 0, B: 9, C: 11}, 100.0)
    assert followers.usable({A, B, C}, 100.0) == [A, B]
    assert followers.usable({B, C}, 100.0) == [B], "one that the Sentinels miss has none"
    turns = [followers.next_of(followers.usable({A, B, C}, 100.0)) for _ in range(3)]
    assert turns == [A, B, A]
    assert followers.next_of([]) is None


def test_without_a_primary_replicas_are_as_current_as_they_were():
    followers = Followers(max_lag=10)
    followers.note({A: 0, B: 0}, 100.0)
    assert followers.usable({A, B}, 110.0) == [A, B]
    followers.note({B: 0}, 110.1)
    assert followers.usable({A, B}, 110.1) == [B], "it is linked no more"


def test_figures_are_what_prometheus_reads():
    figures = Figures()
    figures.led["primary"] += 2
    figures.received = 7
    told = figures.exposition(connections=1, leading=True)
    read = {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }
    assert read["led_total", "primary"] == 2
    assert read["bytes_total", "to_server"] == 7
    assert read["leading",] == read["connections",] == 1
    assert read["refused_total", "limit"] == 0


# --- what passes ------------------------------------------------------------------------------


class Gate:
    """One that a test opens."""

    def __init__(self, *, opened=False):
        self.opened = opened
        self.held = set()

    def passes(self):
        return self.opened

    def hold(self, passage):
        self.held.add(passage)

    def open(self):
        self.opened = True
        for passage in self.held:
            passage.release()


def _itself(side):
    return side


@asynccontextmanager
async def passing(gate, *, joined=True):
    """A passage, and the sockets of the program and of the server."""
    loop = asyncio.get_running_loop()
    passage = Passage(Figures())
    ends = []
    for side in (passage.client, passage.server):
        near, far = socket.socketpair()
        far.settimeout(0)
        await loop.connect_accepted_socket(partial(_itself, side), near)
        ends.append(far)
    if joined:
        passage.join(gate)
    try:
        yield passage, *ends
    finally:
        passage.end("drain")
        for each in ends:
            each.close()
        await passage.ended.wait()


async def heard(far):
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(far, 1000)


async def settled():
    """All that was sent has been read."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nothing_passes_without_a_proof_and_all_of_it_in_order_with_one():
    gate = Gate()
    async with passing(gate) as (passage, program, redis):
        program.send(b"one")
        redis.send(b"answer")
        await settled()
        program.send(b"two")
        await settled()
        assert gate.held == {passage}
        for far in (program, redis):
            with pytest.raises(BlockingIOError):
                far.recv(1)
        gate.open()
        assert await heard(redis) + await heard(redis) == b"onetwo"
        assert await heard(program) == b"answer"


async def test_an_answer_that_was_held_is_not_told_after_a_change():
    """The server may have been another's by then: who reads it would take it for written."""
    gate = Gate(opened=True)
    async with passing(gate) as (passage, program, redis):
        program.send(b"SET")
        assert await heard(redis) == b"SET"
        gate.opened = False
        program.send(b"SET")
        redis.send(b"+OK")
        await settled()
        passage.end("change")
        gate.open()
        assert await heard(program) == b""
        assert await heard(redis) == b""


async def test_what_was_sent_before_there_was_a_server_comes_first():
    gate = Gate(opened=True)
    async with passing(gate, joined=False) as (passage, program, redis):
        program.send(b"early")
        program.shutdown(socket.SHUT_WR)
        await settled()
        passage.join(gate)
        assert await heard(redis) == b"early"
        assert await heard(redis) == b"", "and that it was all"
        redis.send(b"answer")
        assert await heard(program) == b"answer"


async def test_a_last_word_of_the_server_arrives():
    gate = Gate(opened=True)
    async with passing(gate, joined=False) as (passage, program, redis):
        redis.send(b"-ERR max number of clients reached\r\n")
        redis.close()
        await settled()
        passage.join(gate)
        assert b"max number" in await heard(program)
        assert await heard(program) == b""


@pytest.mark.parametrize("opened", [True, False])
async def test_a_program_that_left_before_there_was_a_server_keeps_no_connection(opened):
    async with passing(Gate(opened=opened), joined=False) as (passage, program, redis):
        program.send(b"early")
        await settled()
        passage.client.transport.abort()
        await settled()
        passage.join(Gate(opened=opened))
        assert await heard(redis) == (b"early" if opened else b"")
        async with asyncio.timeout(1):
            await passage.ended.wait()


def test_a_system_may_have_another_name_for_the_time_until_it_looks(monkeypatch):
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 16, raising=False)
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    spec = importlib.util.find_spec("aragora_redis.proxy.passage")
    assert spec is not None
    assert spec.loader is not None
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    assert there.KEEP_ALIVE[0] == (16, 60)


async def test_a_refusal_is_read_though_a_command_was_sent():
    async with passing(Gate(), joined=False) as (passage, program, _):
        program.send(b"PING\r\n")
        passage.refuse(b"-ERR no\r\n")
        assert await heard(program) == b"-ERR no\r\n"
        assert await heard(program) == b""
        program.send(b"PING\r\n")
