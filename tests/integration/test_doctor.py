"""Each diagnosis is made on servers that have what it names, and none on healthy ones."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import time
from dataclasses import replace
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from tests.integration.fleet import instances, until
from tests.integration.rights import needs_redis_7

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.lab.config import MASTER_NAME
from aragora_redis.lab.server import find_server
from aragora_redis.ops.access import Access
from aragora_redis.ops.asking import survey
from aragora_redis.ops.doctor import examine, sentinels
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env
from aragora_redis.testing import FakeClock

HOUR = 3600


@pytest.fixture
def single(make_lab):
    """A standalone lab of one's own: its configuration is spoilt."""
    lab = make_lab("standalone")
    lab.start()
    return lab


def target(lab):
    found = target_of(from_env(lab.env()))
    assert found is not None
    return found


async def seen(lab, *, at=None, clock=SYSTEM_CLOCK, deadline=1.0, flush=False):
    return await survey(
        at or target(lab), prefix="aragora", clock=clock, deadline=deadline, flush=flush
    )


async def examined(lab, **how):
    return examine(await seen(lab, **how))


async def diagnoses(lab, **how):
    return {each.name: each for each in (await examined(lab, **how)).diagnoses}


async def diagnosed(lab, *names, within=15, **how):
    """Wait until all of these are found, and return them."""
    end = time.monotonic() + within
    while not set(names) <= (found := await diagnoses(lab, **how)).keys():
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)
    return [found[name] for name in names]


def ask(lab, node, *words):
    return ask_with(lab.password(lab.node(node)), lab, node, *words)


def ask_with(password, lab, node, *words):
    with redis.Redis(port=lab.node(node).port, password=password, socket_timeout=2) as client:
        return client.execute_command(*words)


async def test_nothing_is_found_on_healthy_servers(sentinel_lab, make_lab):
    found = await examined(sentinel_lab)
    assert (found.diagnoses, found.exit_code) == ((), 0)
    assert found.headline == "OK: nothing is wrong (3 servers, 3 Sentinels)"
    one = make_lab("standalone")
    one.start()
    async with instances(one, 2):
        assert (await examined(one)).diagnoses == ()


CONFIGURED = [
    ("eviction", "primary", {"maxmemory-policy": "volatile-lru"}, Status.CRITICAL),
    ("no-maxmemory", "replica-0", {"maxmemory": "0"}, Status.WARNING),
    ("replica-priority-0", "replica-0", {"replica-priority": "0"}, Status.WARNING),
    ("replica-priorities-differ", "replica-0", {"replica-priority": "50"}, Status.WARNING),
    ("no-min-replicas", "replica-1", {"min-replicas-to-write": "0"}, Status.WARNING),
    ("too-few-good-replicas", "primary", {"min-replicas-to-write": "3"}, Status.CRITICAL),
    ("no-max-lag", "primary", {"min-replicas-max-lag": "0"}, Status.WARNING),
    ("no-max-lag", "primary", {"min-replicas-max-lag": "60"}, Status.WARNING),
    ("masterauth-missing", "primary", {"masterauth": ""}, Status.CRITICAL),
    ("passwords-differ", "primary", {"masterauth": "another"}, Status.CRITICAL),
    ("unexpanded-variable", "primary", {"masterauth": "${REDIS_PASSWORD}"}, Status.CRITICAL),
    ("persistence-off", "replica-0", {"appendonly": "no"}, Status.WARNING),
    ("replica-writable", "replica-0", {"replica-read-only": "no"}, Status.WARNING),
    (
        "output-buffer-small",
        "primary",
        {"client-output-buffer-limit": "replica 1048576 0 0"},
        Status.WARNING,
    ),
    ("idle-timeout", "primary", {"timeout": "30"}, Status.WARNING),
    ("no-keepalive", "primary", {"tcp-keepalive": "0"}, Status.WARNING),
]


async def test_what_a_configuration_file_gets_wrong(sentinel_lab, connect):
    for name, node, settings, status in CONFIGURED:
        client = connect(sentinel_lab, node)
        before = {each: client.config_get(each)[each] for each in settings}
        for each, value in settings.items():
            client.config_set(each, value)
        found = await diagnoses(sentinel_lab)
        assert found.keys() == {name}
        assert found[name].status is status
        for each, value in before.items():
            client.config_set(each, value)
    assert not await diagnoses(sentinel_lab)


async def test_secrets_are_not_told(sentinel_lab, connect):
    connect(sentinel_lab, "primary").config_set("masterauth", "a-secret-of-theirs")
    told = str((await examined(sentinel_lab)).as_dict())
    assert "passwords-differ" in told
    for secret in ("a-secret-of-theirs", sentinel_lab.credentials.redis_password):
        assert secret not in told


async def test_memory_that_runs_out(single, connect):
    client = connect(single)
    for number in range(30):
        client.set(f"ballast-{number}", b"x" * 1_000_000)
    for part, name in ((0.9, "memory-headroom"), (0.98, "memory-full")):
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", int(used / part))
        assert (await diagnoses(single)).keys() == {name}


async def test_connections_that_run_out(single, connect):
    client = connect(single)
    pool = connect(single).connection_pool
    connections = [pool.get_connection() for _ in range(12)]
    client.config_set("maxclients", client.info("clients")["connected_clients"] + 2)
    assert (await diagnoses(single)).keys() == {"many-clients"}
    for connection in connections:
        connection.disconnect()


async def test_a_backlog_that_lasts_for_seconds(sentinel_lab, connect):
    client = connect(sentinel_lab, "primary")
    client.config_set("repl-backlog-size", 16384)
    for _ in range(200):
        client.set("load", "x" * 10_000)
    (found,) = await diagnosed(sentinel_lab, "backlog-small")
    assert "CONFIG SET repl-backlog-size" in found.fix


async def test_a_disk_that_is_full(single, connect):
    single.trouble("full-disk")
    client = connect(single)
    for _ in range(3):
        try:
            client.set("a", "b" * 100)
        except ResponseError:
            break
    (found,) = await diagnosed(single, "persistence-failing")
    assert found.status is Status.CRITICAL


async def test_a_server_that_anybody_may_use(single, connect):
    client = connect(single)
    client.config_set("requirepass", "")
    open_door = replace(target(single), redis=Access())
    assert (await diagnoses(single, at=open_door)).keys() == {"no-password"}


async def test_who_anybody_is_let_in_as_is_not_told_by_requirepass(single, connect):
    client = connect(single)
    client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
    ours = replace(target(single), redis=Access("app", "pw"))
    assert "no-password" not in await diagnoses(single, at=ours)
    client.execute_command("ACL", "SETUSER", "default", "nopass")
    assert "no-password" in await diagnoses(single, at=ours)
    client.config_set("requirepass", "")
    client.execute_command("ACL", "SETUSER", "default", "resetpass", ">other")
    as_default = replace(target(single), redis=Access(None, "other"))
    assert await diagnoses(single, at=as_default) == {}


async def test_a_replica_that_cannot_log_in_where_passwords_are_those_of_acls(sentinel_lab):
    lab = sentinel_lab
    secret = lab.credentials.redis_password
    for node in ("redis-0", "redis-1", "redis-2"):
        ask(lab, node, "CONFIG", "SET", "requirepass", "")
        ask_with(None, lab, node, "ACL", "SETUSER", "default", "resetpass", f">{secret}")
    ask(lab, "redis-1", "CONFIG", "SET", "masterauth", "")
    (found,) = await diagnosed(lab, "masterauth-missing")
    assert found.subject == str(lab.node("redis-1").address)


@needs_redis_7  # ACL DRYRUN
async def test_rights_that_are_too_few_and_too_many(single, connect):
    admin = connect(single)
    everything = ("on", ">pw", "~*", "&*")
    admin.execute_command("ACL", "SETUSER", "app", *everything, "+@all", "-xadd", "-keys")
    ours = replace(target(single), redis=Access("app", "pw"))
    narrow, wide = await diagnosed(single, "acl-too-narrow", "acl-too-wide", at=ours)
    assert "does not let app use xadd" in narrow.evidence
    assert "flushall" in wide.evidence
    assert "script|flush, script|kill" in wide.evidence
    assert "keys" not in wide.evidence
    for fix in (narrow.fix, wide.fix):
        admin.execute_command(*fix.split("redis-cli", 1)[1].split()[4:])
    assert not await diagnoses(single, at=ours)


async def test_clocks_that_differ(single):
    for seconds, status in ((30, Status.WARNING), (HOUR, Status.CRITICAL)):
        ahead = FakeClock(time.time() + seconds)
        (found,) = (await examined(single, clock=ahead)).diagnoses
        assert (found.name, found.status) == ("clock-skew", status)
        assert "behind ours" in found.evidence


async def test_two_primaries_and_replicas_gone_astray(sentinel_lab):
    ask(sentinel_lab, "redis-1", "REPLICAOF", "NO", "ONE")
    (found,) = await diagnosed(sentinel_lab, "two-primaries")
    assert found.subject == str(sentinel_lab.node("redis-1").address)
    ask(sentinel_lab, "redis-1", *found.fix.split()[-3:])
    await healthy(sentinel_lab)
    for one, other in (("redis-1", "redis-2"), ("redis-2", "redis-1")):
        ask(sentinel_lab, one, "REPLICAOF", *sentinel_lab.node(other).address)
    assert "replication-cycle" in await diagnoses(sentinel_lab)
    ask(sentinel_lab, "redis-1", "REPLICAOF", *sentinel_lab.node("redis-0").address)
    found_now = await diagnoses(sentinel_lab)
    assert "replica-of-another" in found_now
    assert "replication-cycle" not in found_now


async def healthy(lab):
    await until_none(lab)


async def until_none(lab, within=20):
    end = time.monotonic() + within
    while found := await diagnoses(lab):
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)


async def test_replicas_that_are_lost(sentinel_lab):
    lab = sentinel_lab
    ask(lab, "redis-1", "REPLICAOF", "127.0.0.1", "1")
    await diagnosed(lab, "link-down")
    lab.freeze("redis-2")
    behind, _ = await diagnosed(lab, "replica-behind", "server-unreachable", deadline=0.3)
    assert behind.subject == str(lab.node("redis-2").address)
    found, _ = await diagnosed(lab, "no-good-replica", "too-few-good-replicas", deadline=0.3)
    assert found.status is Status.CRITICAL


async def test_a_failover_that_does_not_come(sentinel_lab):
    for name in ("redis-1", "redis-2"):
        sentinel_lab.kill(name)
    await diagnosed(sentinel_lab, "no-good-replica")
    sentinel_lab.kill("redis-0")
    (found, _) = await diagnosed(sentinel_lab, "failover-stalled", "server-unreachable", within=30)
    assert "s later" in found.consequence


async def test_sentinels_that_are_lost(sentinel_lab, monkeypatch):
    monkeypatch.setattr(sentinels, "LONG_GONE_MS", 1500)
    sentinel_lab.kill("sentinel-2")
    await diagnosed(sentinel_lab, "sentinel-unreachable", "stale-sentinel")
    assert "no-majority" not in await diagnoses(sentinel_lab)
    sentinel_lab.trouble("tilt", "sentinel-1")
    _, lost = await diagnosed(sentinel_lab, "tilt", "no-majority")
    assert "1 of 3 can act, and 2 are needed" in lost.evidence
    sentinel_lab.kill("sentinel-1")
    ask(sentinel_lab, "sentinel-0", "SENTINEL RESET", MASTER_NAME)
    alone = replace(target(sentinel_lab), sentinels=(sentinel_lab.node("sentinel-0").address,))
    quorum, _ = await diagnosed(sentinel_lab, "quorum-beyond-reach", "too-few-sentinels", at=alone)
    assert quorum.status is Status.CRITICAL


async def test_sentinels_that_say_different_things(sentinel_lab):
    lab = sentinel_lab
    lab.trouble("false-master", "sentinel-2")
    found = await diagnoses(lab)
    assert {"sentinels-disagree", "sentinel-names-a-replica"} <= found.keys()
    lab.trouble("unknown-master", "sentinel-2")
    (unknown,) = await diagnosed(lab, "unknown-master")
    assert unknown.subject == f"Sentinel {lab.node('sentinel-2').address}"
    lab.heal()
    await healthy(lab)
    ask(lab, "sentinel-0", "SENTINEL FAILOVER", MASTER_NAME)
    await until(lambda: lab.primary() != "redis-0")
    await healthy(lab)
    for _ in range(20):  # the others bring it up to date within a moment
        lab.trouble("stale-epoch", "sentinel-2")
        if "sentinel-epochs-differ" in await diagnoses(lab):
            return
    pytest.fail("an epoch that lies behind was never seen")


async def test_sentinels_that_are_configured_apart(sentinel_lab):
    def everywhere(*words):
        for number in range(3):
            ask(sentinel_lab, f"sentinel-{number}", "SENTINEL SET", MASTER_NAME, *words)

    everywhere("quorum", 1)
    assert (await diagnoses(sentinel_lab)).keys() == {"quorum-below-majority"}
    everywhere("quorum", 2)
    ask(sentinel_lab, "sentinel-1", "SENTINEL SET", MASTER_NAME, "down-after-milliseconds", 60000)
    found = await diagnoses(sentinel_lab)
    assert found.keys() == {"sentinel-settings-differ", "down-after"}


async def test_a_server_known_by_name_and_by_address(sentinel_lab):
    lab = sentinel_lab
    for setting in ("resolve-hostnames", "announce-hostnames"):
        ask(lab, "sentinel-2", "SENTINEL CONFIG SET", setting, "yes")
    ask(lab, "sentinel-2", "SENTINEL REMOVE", MASTER_NAME)
    port = lab.node("redis-0").port
    ask(lab, "sentinel-2", "SENTINEL MONITOR", MASTER_NAME, "localhost", port, 2)
    (found,) = await diagnosed(lab, "names-mixed-with-addresses")
    assert "localhost" in found.evidence


@needs_redis_7  # an older Sentinel says OK to FLUSHCONFIG, whatever came of it
async def test_a_sentinel_that_cannot_write_its_file(sentinel_lab):
    assert not await diagnoses(sentinel_lab, flush=True)
    directory = sentinel_lab.node("sentinel-1").directory
    aside = directory.rename(directory.with_name("aside"))
    try:
        found = await diagnoses(sentinel_lab, flush=True)
        assert found.keys() == {"sentinel-conf-not-writable"}
    finally:
        aside.rename(directory)


async def test_a_sentinel_that_is_listed_twice(sentinel_lab):
    """As where a Sentinel lost its file, came back with a new id, and another kept the old one."""
    lab = sentinel_lab
    twice = lab.node("sentinel-1").address
    await asyncio.to_thread(lab.kill, "sentinel-0")
    file = lab.node("sentinel-0").config_path
    listed = f"sentinel known-sentinel {MASTER_NAME} {twice.host} {twice.port} {'a' * 40}\n"
    file.write_text(file.read_text("utf-8") + listed, "utf-8")
    lab.node("sentinel-0").launch(find_server())
    (found,) = await diagnosed(lab, "duplicate-sentinel")
    assert found.subject == f"Sentinel {lab.node('sentinel-0').address}"
    assert f"lists {twice} twice" in found.evidence
    ask(lab, "sentinel-0", *found.fix.split(": ")[1].split(",")[0].split()[5:])
    await until_none(lab)


@contextlib.asynccontextmanager
async def said_to_be(address, version):
    """An address at which a server gives itself out for another version."""

    async def serve(reader, writer):
        there, here = await asyncio.open_connection(*address)

        async def pass_on(source, sink, change):
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(change(data))
                    await sink.drain()
            sink.close()

        def changed(data):
            return re.sub(
                rb"((?:redis|valkey)_version:)([0-9.]+)",
                lambda said: said[1] + version(said[2].decode()).encode(),
                data,
            )

        await asyncio.gather(
            pass_on(reader, here, lambda data: data), pass_on(there, writer, changed)
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address(*server.sockets[0].getsockname()[:2])
        server.close()


def too_old(version):
    return f"5{version[1:]}"


def without_the_mend(version):
    """The same length, as the length of the whole reply has been told already."""
    return "6.2.9" if len(version) == 5 else "6.2.13"


@pytest.mark.parametrize(
    ("version", "name", "status"),
    [
        (too_old, "version-unsupported", Status.CRITICAL),
        (without_the_mend, "version-faulty", Status.WARNING),
    ],
)
async def test_a_server_of_a_bad_version(single, version, name, status):
    async with said_to_be(single.node("redis-0").address, version) as address:
        (found,) = (await examined(single, at=replace(target(single), address=address))).diagnoses
        assert (found.name, found.status) == (name, status)
        assert found.subject == str(address)


async def test_servers_of_different_versions(sentinel_lab):
    lab = sentinel_lab
    async with said_to_be(lab.node("redis-1").address, lambda said: f"9{said[1:]}") as address:
        ask(lab, "redis-1", "CONFIG SET", "replica-announce-ip", address.host)
        ask(lab, "redis-1", "CONFIG SET", "replica-announce-port", address.port)
        ask(lab, "redis-0", "CLIENT", "KILL", "TYPE", "replica")
        await until(lambda: str(address.port) in str(ask(lab, "redis-0", "ROLE")))
        for number in range(3):
            ask(lab, f"sentinel-{number}", "SENTINEL", "RESET", MASTER_NAME)
        (found,) = await diagnosed(lab, "versions-differ")
        assert f"{address} is 9." in found.evidence


async def test_wrong_passwords(sentinel_lab):
    lab, ours = sentinel_lab, target(sentinel_lab)
    wrong = Access(password="not-the-password")
    found = await diagnoses(lab, at=replace(ours, sentinel=wrong))
    assert found["sentinel-denied"].status is Status.CRITICAL
    found = await diagnoses(lab, at=replace(ours, redis=wrong))
    assert "check ARAGORA_REDIS_PASSWORD" in found["server-denied"].evidence
    lab.trouble("noauth", "replica-0")
    (differs,) = await diagnosed(lab, "passwords-differ")
    assert differs.subject == str(lab.node("redis-1").address)


async def test_instances_with_another_digest_key(single):
    other = {"ARAGORA_DIGEST_KEY": "another-key-of-some-length", "ARAGORA_INSTANCE_ID": "the-other"}
    async with instances(single, 2), instances(single, 1, **other):
        (found,) = await diagnosed(single, "digest-keys-differ")
        assert found.subject == "instances the-other"
        assert "another-key" not in str(found)
        rows, beats = "aragora:p:{presence}:rows", "aragora:p:{presence}:beats"
        ask(single, "primary", "HSET", rows, b"\xff\xfe", b"\x80 is no row", "text", "nor is this")
        ask(single, "primary", "ZADD", beats, int(time.time() * 1000), b"\xfd")
        every = (await examined(single)).diagnoses
        told = {each.subject for each in every if each.name == "presence-garbled"}
        assert told == {rf'the row "{boot}" of the presence' for boot in (r"\xff\xfe", "text")}
        assert {each.name for each in every} == {"presence-garbled", "digest-keys-differ"}
        assert any(each.fix.endswith(r'{presence}:rows "\xff\xfe"') for each in every)


async def test_instances_tell_of_their_outbox(single, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    env = {"ARAGORA_TOKENS_OUTBOX": str(volume / "outbox"), "ARAGORA_INSTANCE_ID": "the-one"}
    async with instances(single, 1, **env) as (one,), instances(single) as (bare,):
        await one.tokens.revoke("x", expires_at=time.time() + 60)
        notes: tuple[str, ...] = ()
        while not notes:
            notes = (await examined(single)).notes
        assert f"of 2 instances not {bare.boot_id} keeps" in notes[0]
        shutil.rmtree(volume)
        await one.tokens.revoke("y", expires_at=time.time() + 60)
        (found,) = await diagnosed(single, "outbox-in-trouble")
        assert (found.subject, found.status) == ("instance the-one", Status.WARNING)
        assert "refused by its disk" in found.evidence
        volume.mkdir()
        (boot,) = {one.boot_id} & (await seen(single)).boots
        for killed in (one, bare):
            followed: Any = killed._redis
            followed.presence.accepted_at = None  # so that it cannot say that it ends
    # Their rows stay, as nobody is there to take them away.
    while boot in (await seen(single)).boots:  # noqa: ASYNC110 - Redis forgets, and tells nobody
        await asyncio.sleep(0.2)
    assert boot in (await seen(single)).alive[single.node("primary").address].rows


async def test_our_own_instances(sentinel_lab, tmp_path):
    lab = sentinel_lab
    policies = tmp_path / "policies.toml"
    policies.write_text('[limits.api]\nrate = "1/second"\n', "utf-8")
    other = {"ARAGORA_POLICIES": str(policies), "ARAGORA_INSTANCE_ID": "the-other"}
    open_ = {"ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}
    async with instances(lab, 2, **open_) as (one, _), instances(lab, 1, **other, **open_):
        (found,) = await diagnosed(lab, "policies-differ")
        assert found.subject == "instances the-other"
        for name in ("sentinel-1", "sentinel-2", "replica-0"):
            await asyncio.to_thread(lab.kill, name)
        await until(lambda: one.status().health == "degraded")

        async def load():
            while True:
                await one.rate_limits.check("api", "u", cost=0)
                await asyncio.sleep(0.01)

        loading = asyncio.create_task(load())
        await diagnosed(lab, "instance-behind", "instance-decides-alone")
        loading.cancel()
