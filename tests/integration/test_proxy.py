"""The proxy between real programs and real servers: who is led where, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from tests.integration.certificates import self_signed
from tests.integration.fleet import replaced, until
from tests.ports import free_port

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Events
from aragora_redis.identity import Credential
from aragora_redis.link.account import Account
from aragora_redis.proxy import Plan, Proxy, server
from aragora_redis.proxy.inbound import Inbound
from aragora_redis.proxy.passage import BUFFER
from aragora_redis.settings import Secret, from_env

ANYWHERE = Address("127.0.0.1", 0)
MOST_READ = 256 * 1024
"""Bytes that asyncio reads in one piece."""
NODE = Path(sys.prefix) / "node" / "installed"
FULL = b"-ERR max number of clients reached\r\n"


@asynccontextmanager
async def proxied(env, **plan):
    """A proxy in this process that has found the primary."""
    made = Proxy(from_env(env), Plan(listen=ANYWHERE, **plan), clock=SYSTEM_CLOCK, events=Events())
    async with made:
        await until(lambda: made.leading)
        yield made


def port_of(proxy, role="primary"):
    return proxy.ports[role][0].port


@asynccontextmanager
async def client(port, password=None, **options):
    """A client that neither retries nor connects again."""
    made = Redis(
        port=port,
        password=password,
        retry=Retry(NoBackoff(), 0),
        single_connection_client=True,
        decode_responses=True,
        socket_timeout=15,
        **options,
    )
    try:
        await made.initialize()
        yield made
    finally:
        await made.aclose()


async def on_primary(lab, *command):
    node = lab.node("primary")
    async with client(node.port, lab.password(node)) as redis:
        return await redis.execute_command(*command)


def ran(program, port, password, *arguments, said=None):
    ended = subprocess.run(
        [program, "-p", str(port), *arguments],
        env=os.environ | {"REDISCLI_AUTH": password},
        input=said,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return ended.stdout


async def say(port, data, *, ends=False):
    """What a raw connection is answered until it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    if ends:
        writer.write_eof()
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        finally:
            writer.close()


@pytest.mark.skipif(shutil.which("redis-benchmark") is None, reason="no redis-benchmark here")
async def test_programs_are_led_to_the_primary_and_to_replicas(sentinel_lab):
    lab = sentinel_lab
    password = lab.password(lab.node("primary"))
    async with proxied(lab.env(), replicas=ANYWHERE, falls_back=True) as proxy:
        port, readers = port_of(proxy), port_of(proxy, "replicas")
        role = await asyncio.to_thread(ran, "redis-cli", port, password, "ROLE")
        assert role.startswith("master")
        benchmark = ("-a", password, "-q", "-t", "set", "-n", "2000", "-c", "20", "-P", "16")
        told = await asyncio.to_thread(ran, "redis-benchmark", port, password, *benchmark)
        assert "requests per second" in told
        # Each program logs in itself, and what it says is nobody else's matter.
        with pytest.raises(AuthenticationError):
            async with client(port, "wrong"):
                pass
        assert b"Protocol error" in await say(port, b"*1\r\nnonsense\r\n")
        assert b"+PONG" in await say(port, f"AUTH {password}\r\nPING\r\n".encode(), ends=True), (
            "who has said all is still answered"
        )

        await until(proxy._readers.pick)
        seen = set()
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                redis = await stack.enter_async_context(client(readers, password))
                assert (await redis.role())[0] == "slave"
                seen |= {replica.port for replica in proxy._readers.passages.values()}
            assert len(seen) == 2, "they take turns"
            for replica in ("replica-0", "replica-1"):
                await asyncio.to_thread(lab.freeze, replica)
            await until(lambda: proxy.figures.ended["change"] == 2)
        await until(lambda: not proxy._readers.pick())
        async with client(readers, password) as redis:
            assert (await redis.role())[0] == "master", "no replica is left"


async def test_all_follow_when_the_primary_is_killed(sentinel_lab):
    lab = sentinel_lab
    password = lab.password(lab.node("primary"))
    kept: list[str] = []
    dead, enough = asyncio.Event(), asyncio.Event()

    async def write(name, port):
        """Write one key after the other, over a new connection after each loss."""
        number = 0
        while not enough.is_set():  # redis-py may swallow a cancellation
            with contextlib.suppress(RedisError, OSError):
                async with client(port, password) as redis:
                    while not enough.is_set():
                        number += 1
                        after = dead.is_set()
                        await redis.set(f"{name}:{number}", "x")
                        kept.extend([f"{name}:{number}"] if after else [])
                        await asyncio.sleep(0.002)
            await asyncio.sleep(0.01)

    async with proxied(lab.env()) as proxy:
        port = port_of(proxy)
        writers = [asyncio.create_task(write(f"w{number}", port)) for number in range(3)]
        async with client(port, password) as idle, client(port, password) as blocked:
            await idle.ping()
            waits = asyncio.create_task(blocked.blpop(["nothing"]))
            await until(lambda: proxy.figures.led["primary"] >= 5)
            await asyncio.to_thread(lab.kill, "primary")
            dead.set()
            with pytest.raises(RedisError):
                await asyncio.wait_for(waits, 5)
            with pytest.raises(RedisError):
                await asyncio.wait_for(idle.ping(), 5)
        await until(lambda: len(kept) > 50)
        enough.set()
        await asyncio.gather(*writers)
    await replaced(lab)
    assert await on_primary(lab, "EXISTS", *kept) == len(kept)


async def counted(client):
    """One more, once the next primary has replicas enough to take it."""
    while True:
        try:
            return await client.execute_command("INCRBYFLOAT", "late", "1")
        except ResponseError as error:
            if "NOREPLICAS" not in str(error):
                raise
            await asyncio.sleep(0.05)


async def test_nothing_reaches_a_former_primary_that_resumes(sentinel_lab, caplog):
    """It is frozen, replaced, and thaws with connections through the proxy that are still open."""
    lab = sentinel_lab
    password = lab.password(lab.node("primary"))
    old = lab.primary()
    was = lab.node(old)
    async with proxied(lab.env()) as proxy:
        port = port_of(proxy)
        async with client(port, password) as before, client(port, password) as blocked:
            await before.set("before", "x")
            waits = asyncio.create_task(blocked.blpop(["nothing"]))
            await until(lambda: len(proxy._lead.passages) == 2)
            await asyncio.to_thread(lab.freeze, old)
            await until(lambda: not proxy._lead.passes())
            # Replicated as SET, so only whoever executes it counts it under its name.
            late = asyncio.create_task(before.execute_command("INCRBYFLOAT", "late", "1"))
            for held in (late, waits):
                with pytest.raises(RedisError):
                    await asyncio.wait_for(held, 30)
        assert proxy.figures.ended["change"] == 2
        assert "connections to the primary were ended: 2" in caplog.text
        assert "is the primary now" in caplog.text
        await until(lambda: proxy.leading)
        async with client(port, password) as after:
            assert await counted(after) == 1
        await asyncio.to_thread(lab.thaw, old)
        async with client(was.port, password) as redis:
            assert "cmdstat_incrbyfloat" not in await redis.info("commandstats")
        async with client(port, password) as after:
            assert await counted(after) == 2


@pytest.mark.skipif(not NODE.exists(), reason="no client here: scripts/node-client gets it")
async def test_a_client_in_another_language_goes_on(sentinel_lab):
    lab = sentinel_lab
    password = lab.password(lab.node("primary"))
    async with proxied(lab.env()) as proxy:
        script = Path(__file__).parent / "node" / "write.js"
        process = await asyncio.create_subprocess_exec(
            "node",
            script,
            env=os.environ
            | {
                "NODE_PATH": str(NODE.parent / "node_modules"),
                "PORT": str(port_of(proxy)),
                "PASSWORD": password,
            },
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30):
                await process.stdout.readline()
                await asyncio.to_thread(lab.kill, "primary")
                await replaced(lab)
                while proxy.figures.led["primary"] < 2:
                    await process.stdout.readline()
                kept = [(await process.stdout.readline()).decode().strip() for _ in range(20)]
        finally:
            process.kill()
            await process.communicate()
    assert await on_primary(lab, "EXISTS", *kept) == len(kept)


async def test_tls_on_both_sides_behind_a_name_that_moves(managed_lab, tmp_path):
    lab = managed_lab
    self_signed(tmp_path)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    tls = Inbound(ca=cert, cert=cert, key=key)
    ours = {"ssl": True, "ssl_ca_certs": str(cert), "ssl_certfile": str(cert)}
    ours |= {"ssl_keyfile": str(key)}
    async with proxied(lab.env(), tls=tls, logs_in=True) as proxy:
        port = port_of(proxy)
        async with client(port, host="127.0.0.1", **ours) as redis:
            await redis.set("tls", "x" * 300_000)
            assert await redis.get("tls") == "x" * 300_000, "logged in by the proxy"
            with contextlib.suppress(RedisError):
                async with client(port, host="127.0.0.1"):
                    pytest.fail("without TLS")
            with contextlib.suppress(RedisError):
                async with client(port, host="127.0.0.1", ssl=True, ssl_ca_certs=str(cert)):
                    pytest.fail("without a certificate")
            await until(lambda: proxy.figures.refused["tls"] == 2)
            before = lab.primary()
            await asyncio.to_thread(lab.switch)
            await until(lambda: proxy.figures.ended["change"] == 1)
            with pytest.raises(RedisError):
                await redis.get("tls")
        await until(lambda: proxy.leading)
        async with client(port, host="127.0.0.1", **ours) as redis:
            await redis.set("tls", "y")
        assert lab.primary() != before


async def test_the_limit_holds_and_the_end_waits_for_answers(standalone_lab):
    lab = standalone_lab
    password = lab.password(lab.node("primary"))
    async with proxied(lab.env(), max_connections=2, drain=1.0) as proxy:
        port = port_of(proxy)
        async with client(port, password) as idle, client(port, password) as busy:
            assert await say(port, b"") == FULL
            assert proxy.figures.refused["limit"] == 1
            await idle.ping()
            waits = asyncio.create_task(busy.blpop(["proxy:drained"], timeout=5))
            await until(lambda: proxy._passages and any(each.asks for each in proxy._passages))
            drains = asyncio.create_task(proxy.drain())
            await until(lambda: proxy.figures.ended["drain"] == 1)
            with pytest.raises(RedisError):
                await idle.ping()
            with pytest.raises(ConnectionRefusedError):
                await say(port, b"")
            assert not waits.done()
            assert await on_primary(lab, "RPUSH", "proxy:drained", "x") == 1
            assert list(await waits) == ["proxy:drained", "x"]
            await asyncio.wait_for(drains, 5)
            assert proxy.figures.ended["drain"] == 2


async def test_without_a_primary_each_is_told_so():
    env = {"ARAGORA_REDIS_URL": f"redis://127.0.0.1:{free_port()}"}
    plan = Plan(listen=ANYWHERE, wait=0.1)
    async with Proxy(from_env(env), plan, clock=SYSTEM_CLOCK, events=Events()) as proxy:
        for data in (b"", b"PING\r\n" * 20_000):
            answer = await say(port_of(proxy), data)
            assert answer == b"-MASTERDOWN no primary is proven now (aragora-redis proxy)\r\n"
        # Who has left by then is no trouble, and counted once.
        with socket.create_connection(("127.0.0.1", port_of(proxy))) as left:
            left.send(b"PING\r\n")
        await until(lambda: proxy.figures.refused["nowhere"] == 3)
        await until(lambda: not proxy._visits)
        assert proxy.figures.refused["tls"] == 0
        assert not proxy.leading


async def test_who_reads_slowly_costs_no_memory(standalone_lab):
    lab = standalone_lab
    size, count = 1_000_000, 20
    async with proxied(lab.env(), logs_in=True) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(proxy), limit=BUFFER)
        writer.write(
            b"*3\r\n$3\r\nSET\r\n$10\r\nproxy:slow\r\n$%d\r\n" % size + b"x" * size + b"\r\n"
        )
        assert await reader.readline() == b"+OK\r\n"
        writer.write(b"GET proxy:slow\r\n" * count)
        (passage,) = proxy._passages
        await until(lambda: passage.client.choked)
        sent = proxy.figures.sent
        waiting = passage.client.transport.get_write_buffer_size()
        assert waiting <= BUFFER + MOST_READ
        await asyncio.sleep(0.1)
        assert proxy.figures.sent == sent, "the server is not read meanwhile"
        for _ in range(count):
            assert await reader.readline() == b"$%d\r\n" % size
            assert (await reader.readexactly(size + 2)).strip(b"x") == b"\r\n"
        writer.write(b"DEL proxy:slow\r\n")
        assert await reader.readline() == b":1\r\n"
        writer.close()


class Issuer:
    """Issues tokens that last for two seconds, each for a user of its own."""

    blocks = True

    def __init__(self, admin):
        self._admin, self.issued = admin, 0

    def issue(self):
        self.issued += 1
        user = f"proxied-{self.issued}"
        self._admin("ACL", "SETUSER", user, "on", "+@all", "~*", ">token")
        self._admin("ACL", "DELUSER", f"proxied-{self.issued - 1}")
        return Credential(user, Secret("token"), time.time() + 2)


async def test_what_connections_are_logged_in_with_is_renewed(
    standalone_lab, tmp_path, monkeypatch
):
    """A file that was written anew, and a token before it is over, though nobody comes."""
    lab = standalone_lab
    node = lab.node("primary")
    with SyncRedis(node.address.host, node.port, password=lab.password(node)) as admin:
        admin.acl_setuser("proxied", enabled=True, commands=["+@all"], keys=["*"])
        admin.execute_command("ACL", "SETUSER", "proxied", ">first")
        file = tmp_path / "password"
        file.write_text("first")
        own = {"ARAGORA_REDIS_URL": lab.env()["ARAGORA_REDIS_URL"]}
        own |= {"ARAGORA_REDIS_USERNAME": "proxied", "ARAGORA_REDIS_PASSWORD_FILE": str(file)}
        async with proxied(own, logs_in=True) as proxy:
            async with client(port_of(proxy)) as redis:
                assert await redis.acl_whoami() == "proxied"
            admin.execute_command("ACL", "SETUSER", "proxied", "<first", ">second")
            file.write_text("second")
            async with client(port_of(proxy)) as redis:
                assert await redis.acl_whoami() == "proxied"
        issuer = Issuer(admin.execute_command)
        ours = Account(
            issuer, setting="ARAGORA_REDIS_PASSWORD", clock=SYSTEM_CLOCK, events=Events()
        )
        monkeypatch.setattr(server, "account_of", lambda *_, **__: ours)
        async with proxied(lab.env(), logs_in=True) as proxy:
            async with client(port_of(proxy)) as redis:
                assert await redis.acl_whoami() == "proxied-1"
            await until(lambda: issuer.issued > 2)
            async with client(port_of(proxy)) as redis:
                assert int((await redis.acl_whoami()).rpartition("-")[2]) > 2
        users = [each for each in admin.acl_users() if each.startswith("proxied")]
        admin.acl_deluser(*users)


async def test_the_command_tells_where_it_listens_and_ends_in_order(standalone_lab, quick_path):
    lab = standalone_lab
    password = lab.password(lab.node("primary"))
    port, metrics = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        "aragora-redis",
        *("proxy", "--json", "--lab", lab.directory, "--listen", f"127.0.0.1:{port}"),
        *("--metrics", f"127.0.0.1:{metrics}", "--drain", "5"),
        env={"PATH": quick_path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            told = json.loads(await process.stdout.readline())
            assert told == {"listening": {"primary": [f"127.0.0.1:{port}"]}}
            async with client(port, password) as redis:
                assert await redis.ping()
                figures = await say(metrics, b"GET /metrics HTTP/1.1\r\n\r\n")
                assert b'\naragora_redis_proxy_led_total{port="primary"} 1\n' in figures
                assert b"leading" in await say(metrics, b"GET /healthz HTTP/1.1\r\n\r\n")
                process.send_signal(signal.SIGTERM)
                _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said
    assert password not in said.decode()
