"""From a single Redis to a primary with Sentinels, under a writer that never stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.integration.fleet import apart, until

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import InvalidInputError
from aragora_redis.ops import pid_file
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate import by_copying, hand_over, inventory, wait_for_copy
from aragora_redis.ops.migrate.by_replication import ByReplication
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.migrate.replication import Server
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env

GAP = 2.0
"""Seconds without an acknowledged write, at most; a move takes hundredths of one."""


class Labs:
    """The source, the target, and where a writer and a migration find them."""

    def __init__(self, single, sentinel, path):
        self.single, self.sentinel, self.path = single, sentinel, path

    def migration(self, *, host=None, **options):
        """Of the source as its environment names it, or by another name."""
        found: Any = target_of(from_env(self.single.env()))
        target: Any = target_of(from_env(self.sentinel.env()))
        source = Server(Address(host or found.address.host, found.address.port), found.redis)
        settings = {"prefix": "aragora", "path": self.path, "clock": SYSTEM_CLOCK}
        return Migration(source, target, **settings | options)

    async def run(self, *, host=None, **options):
        return await self.migration(host=host).run(**options)

    def client(self, *, moved):
        lab, name = (self.sentinel, "primary") if moved else (self.single, "redis-0")
        node = lab.node(name)
        where = {"host": node.address.host, "port": node.port, "password": lab.password(node)}
        return redis.Redis(**where, socket_timeout=5, decode_responses=True)

    def seed(self):
        node = self.sentinel.node("redis-1")
        where = {"host": node.address.host, "port": node.port}
        return where | {"password": self.sentinel.password(node)}

    def sentinels(self):
        nodes = [self.sentinel.node(f"sentinel-{ordinal}") for ordinal in range(3)]
        secret = self.sentinel.password(nodes[0])
        return [
            redis.Redis(host=node.address.host, port=node.port, password=secret) for node in nodes
        ]

    def roles(self):
        return [self.client(moved=moved).info("replication")["role"] for moved in (False, True)]


@pytest.fixture
def labs(make_lab, sentinel_lab, tmp_path):
    single = make_lab("standalone")
    single.start()
    return Labs(single, sentinel_lab, tmp_path / "journal.json")


class Writer:
    """Writes one number after the other, to whoever takes them."""

    def __init__(self, labs):
        self.labs = labs
        self.acknowledged = 0
        self.gap = 0.0
        self.moved = False
        self._over = False

    async def __aenter__(self):
        self._task = asyncio.create_task(asyncio.to_thread(self._write))
        await until(lambda: self.acknowledged > 100)
        return self

    async def __aexit__(self, *_):
        more = self.acknowledged + 100
        try:
            await until(lambda: self.acknowledged > more)
        finally:
            self._over = True
            await self._task

    def _write(self):
        client, last = self.labs.client(moved=self.moved), time.monotonic()
        while not self._over:
            try:
                client.rpush("numbers", self.acknowledged + 1)
            except redis.exceptions.ReadOnlyError:
                self.moved = not self.moved
                client = self.labs.client(moved=self.moved)
                continue
            except redis.RedisError:
                time.sleep(0.01)
                continue
            self.acknowledged += 1
            now = time.monotonic()
            self.gap, last = max(self.gap, now - last), now

    def lost(self):
        kept = set(map(int, self.labs.client(moved=self.moved).lrange("numbers", 0, -1)))
        return self.acknowledged - len(kept & set(range(1, self.acknowledged + 1)))


@pytest.mark.paired
async def test_there_and_back_and_there_without_losing_a_write(labs):
    source = labs.client(moved=False)
    source.set(b"\xff", b"\x00\xff", px=3_600_000)
    source.xadd("stream", {"a": 1})
    source.xgroup_create("stream", "group", 0)
    async with Writer(labs) as writer:
        assert (await labs.run(move=False)).status is Status.OK
        assert labs.roles() == ["master", "slave"]
        report = await labs.run()
        assert report.status is Status.OK, report
        await until(lambda: writer.moved)
        assert labs.roles() == ["slave", "master"]
        assert (await labs.migration().rollback()).status is Status.OK
        await until(lambda: not writer.moved)
        assert (await labs.run()).status is Status.OK
    assert writer.moved
    assert writer.lost() == 0
    assert writer.gap < GAP
    target = labs.client(moved=True)
    assert target.xinfo_groups("stream")[0]["name"] == "group"
    assert 3_500_000 < target.pttl(b"\xff") < 3_600_000
    committed = await labs.migration().commit()
    assert committed.status is Status.OK
    assert labs.roles() == ["slave", "master"]
    assert (await labs.migration().rollback()).status is Status.WARNING


async def test_the_sentinels_elect_nobody_meanwhile_and_watch_again_afterwards(labs):
    primary = labs.sentinel.node("primary").address

    def patience():
        rows: Any = [each.sentinel_master("aragora-master") for each in labs.sentinels()]
        return {int(row["down-after-milliseconds"]) for row in rows}

    before = patience()
    assert (await labs.run(move=False)).status is Status.OK
    assert min(patience()) > 86_400_000
    assert (await labs.run()).status is Status.OK
    assert patience() == before
    assert labs.sentinel.node("primary").address == primary
    labs.sentinel.kill("primary")
    await until(lambda: labs.sentinel.node("primary").address != primary)
    assert labs.client(moved=True).set("after", 1)


def fork_and_die(work):
    """Do it in a process that kills itself."""
    child = os.fork()
    if not child:
        try:
            asyncio.run(work())
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"it ended by itself: {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("step", [1, 3])
async def test_a_run_that_is_killed_is_gone_on_with(labs, step):
    told = []

    def on_step(text):
        told.append(text)
        if len(told) > step:
            kill()

    async with Writer(labs) as writer:
        await asyncio.to_thread(fork_and_die, lambda: labs.migration(on_step=on_step).run())
        assert labs.roles()[0] == "master"
        assert (await labs.run()).status is Status.OK
        await until(lambda: writer.moved)
    assert writer.lost() == 0


@pytest.mark.parametrize("way", ["there", "back"])
async def test_killed_between_giving_up_and_taking_the_writes(labs, way, monkeypatch):
    """Nobody takes writes then, and never two."""
    if way == "back":
        assert (await labs.run()).status is Status.OK
    async with Writer(labs) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(hand_over, "promote", kill)
            begin = labs.migration().run if way == "there" else labs.migration().rollback
            await asyncio.to_thread(fork_and_die, begin)
        assert labs.roles() == ["slave", "slave"]
        again = labs.migration().run if way == "there" else labs.migration().rollback
        report = await again()
        assert report.status is Status.OK, report
        await until(lambda: writer.moved is (way == "there"))
    assert writer.lost() == 0


async def test_killed_after_the_taker_was_promoted(labs, monkeypatch):
    async with Writer(labs) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(hand_over, "_unpause", kill)
            await asyncio.to_thread(fork_and_die, labs.migration().run)
        assert labs.roles() == ["slave", "master"]
        assert (await labs.run()).status is Status.OK
        await until(lambda: writer.moved, within=40)
    assert writer.lost() == 0


async def test_a_source_that_dies_or_a_target_that_stands_still_meanwhile(labs, monkeypatch):
    monkeypatch.setattr(wait_for_copy, "STALL", 5.0)
    monkeypatch.setattr(inventory, "ASK_LIMIT", 1.0)
    labs.client(moved=False).set("kept", "yes")
    labs.client(moved=False).bgsave()
    assert (await labs.run(move=False)).status is Status.OK
    labs.sentinel.freeze("primary")
    report = await labs.run()
    assert report.status is Status.CRITICAL
    assert str(labs.sentinel.node("redis-0").address) in report.headline
    assert labs.client(moved=False).ping(), "the source goes on"
    labs.sentinel.thaw("redis-0")
    assert (await labs.run(move=False)).status is Status.OK
    labs.single.kill("redis-0")
    report = await labs.run()
    assert report.status is Status.CRITICAL
    labs.single.start_node("redis-0")
    assert (await labs.run()).status is Status.OK
    assert labs.client(moved=True).get("kept") == "yes"


async def test_to_a_cluster_and_back_by_copying(make_lab, cluster_lab, tmp_path, monkeypatch):
    """Nobody can follow there, so what changes is copied after it."""
    single = make_lab("standalone")
    single.start()
    labs = Labs(single, cluster_lab, tmp_path / "journal.json")
    source = labs.client(moved=False)
    source.mset({f"key:{number}": number for number in range(500)})

    def held():
        cluster = redis.RedisCluster(**labs.seed(), decode_responses=True)
        return [cluster.get(f"key:{number}") for number in range(500)]

    with monkeypatch.context() as patched:
        patched.setattr(by_copying, "lift_guard", kill)
        await asyncio.to_thread(fork_and_die, labs.migration().run)
    report = await labs.run()
    assert report.status is Status.OK, report
    assert held() == [str(number) for number in range(500)]
    with pytest.raises(redis.RedisError):
        source.set("key:0", "lost")
    cluster = redis.RedisCluster(**labs.seed(), decode_responses=True)
    cluster.set("key:1", "written since")
    cluster.delete("key:2")
    assert (await labs.migration().verify()).counts
    assert (await labs.migration().rollback()).status is Status.OK
    assert source.mget("key:1", "key:2") == ["written since", None]
    assert source.set("key:0", "served again")
    with pytest.raises(redis.RedisError):
        cluster.set("key:0", "lost")
    assert (await labs.run(move=False)).status is Status.OK
    assert cluster.get("key:0") == "served again"
    assert not (await labs.migration().verify()).different
    assert (await labs.migration().rollback()).status is Status.OK
    assert cluster.set("key:0", "by itself")


def test_the_command_says_what_is_wrong_and_changes_nothing(cli, standalone_lab, sentinel_lab):
    target = ("--lab", str(sentinel_lab.directory))
    node = standalone_lab.node("redis-0")
    where = ("--from", f"redis://{node.address}")
    for words, said in (
        (("plan", *target), "no single Redis to move from is named"),
        (("plan", "--from", "http://x", *target), "ARAGORA_MIGRATE_FROM_URL"),
        (("plan", *where, *target), "requires a password; set ARAGORA_MIGRATE_FROM_PASSWORD"),
        (("run", *where, *target), "nothing was done"),
        (("run", "--from", "redis://127.0.0.1:1", *target), "refuses connections"),
        (("rollback", *where, *target), "no migration was begun"),
        (("commit", *where, *target), "no migration was begun"),
        (("verify", *where, *target), "nothing was compared"),
        (("plan", "--from-lab", target[1], *target), "no single Redis to move from"),
    ):
        done, out, err = cli("migrate", *words)
        assert (done, said in out + err) == (2, True), (words, done, out, err)
    assert not [each for each in Path.cwd().iterdir() if each.suffix != ".lock"], "no journal"
    secret = standalone_lab.password(node) or ""
    path = Path("journal.json")
    path.write_text("{")
    known = {"ARAGORA_MIGRATE_FROM_PASSWORD": secret}
    done, out, err = cli("migrate", "run", *where, *target, "--journal", str(path), **known)
    assert (done, "is no journal" in err) == (2, True), (out, err)
    done, out, _ = cli("migrate", "plan", *where, *target, "--json")
    assert json.loads(out)["way"] in {"replication", None}
    assert secret not in out


def test_the_target_may_be_the_redis_of_a_feature(cli, standalone_lab, sentinel_lab):
    """What others have too is not taken from them."""
    single = standalone_lab.env()
    source = {
        name.replace("ARAGORA_REDIS_", "ARAGORA_MIGRATE_FROM_"): text
        for name, text in single.items()
        if name.startswith("ARAGORA_REDIS_")
    }
    env = single | source | apart(sentinel_lab, "TOKENS")
    for command in ("plan", "run"):
        done, out, err = cli("migrate", command, "--of", "tokens", **env)
        assert done == 2
        assert "is the Redis of sessions, limits, circuits too" in out + err
        assert "tokens export" in out + err
    assert takes(connect_to(standalone_lab), "still")
    env = apart(sentinel_lab, "TOKENS", "SESSIONS", "RATE_LIMIT", "CIRCUITS")
    done, out, err = cli("migrate", "plan", "--of", "tokens", "--json", **env)
    assert done < 2, (out, err)
    primary = sentinel_lab.node("primary").address
    assert any(str(primary) in json.dumps(each) for each in json.loads(out)["target"])


def connect_to(lab):
    node = lab.node("redis-0")
    return redis.Redis(node.address.host, node.port, password=lab.password(node), socket_timeout=5)


def takes(client, key):
    try:
        return client.set(key, "yes")
    except redis.RedisError:
        return False


async def test_what_the_target_took_by_itself_is_not_replaced_unasked(labs):
    """The journal says that it follows; the servers say that it does not."""
    assert (await labs.run(move=False)).status is Status.OK
    target = labs.client(moved=True)
    target.replicaof("NO", "ONE")
    await until(lambda: takes(target, "taken"))
    report = await labs.run()
    assert report.status is Status.CRITICAL
    assert "--overwrite" in report.headline
    assert target.get("taken") == "yes"
    assert (await labs.run(overwrite=True)).status is Status.OK
    assert target.get("taken") is None


async def test_a_source_that_takes_writes_after_the_move_is_noticed(labs):
    assert (await labs.run()).status is Status.OK
    source = labs.client(moved=False)
    source.replicaof("NO", "ONE")
    source.set("taken", "by the source")
    for work in (labs.run, labs.migration().rollback, labs.migration().commit):
        report = await work()
        assert report.status is Status.CRITICAL
        assert "take writes" in report.headline
    assert source.get("taken") == "by the source"
    assert (await labs.run(overwrite=True)).status is Status.OK
    assert labs.roles() == ["slave", "master"]


@pytest.mark.parametrize("host", [None, "localhost"], ids=["its address", "a name"])
async def test_after_the_way_back_nobody_makes_the_source_a_replica(make_lab, tmp_path, host):
    """Sentinels would, if they knew its password and counted it; a restart would, by its file.

    They count it by the address from which it followed, whatever the migration calls it.
    """
    sentinel, single = make_lab("sentinel"), make_lab("standalone")
    sentinel.start()
    single.start()
    labs = Labs(single, sentinel, tmp_path / "journal.json")
    password = sentinel.password(sentinel.node("redis-0"))
    node = single.node("redis-0")
    source = labs.client(moved=False)
    source.acl_setuser("default", enabled=True, passwords=[f"+{password}"])

    def counted(sentinel):
        rows: Any = sentinel.sentinel_slaves("aragora-master")
        return str(node.address.port) in {str(row["port"]) for row in rows}

    for _ in range(2):
        assert (await labs.run(host=host)).status is Status.OK
        await until(lambda: any(map(counted, labs.sentinels())))
        assert (await labs.migration(host=host).rollback()).status is Status.OK
    assert (await labs.migration(host=host).rollback()).status is Status.OK
    assert labs.roles() == ["master", "master"]
    assert not any(map(counted, labs.sentinels()))
    source.set("after", "1")
    single.restart()
    source = labs.client(moved=False)
    assert (source.info("replication")["role"], source.get("after")) == ("master", "1")


async def test_two_runs_at_once_and_a_commit_before_everything_is_given_back(labs, monkeypatch):
    lock = pid_file.claim(labs.path.with_name(labs.path.name + ".lock"))
    assert lock is not None
    with pytest.raises(InvalidInputError, match="another run works on"):
        await labs.run()
    os.close(lock)
    with monkeypatch.context() as patched:
        patched.setattr(ByReplication, "settle", kill)
        await asyncio.to_thread(fork_and_die, labs.migration().run)
    assert (await labs.migration().commit()).status is Status.OK
    for each in labs.sentinels():
        row: Any = each.sentinel_master("aragora-master")
        assert int(row["down-after-milliseconds"]) < 60_000


async def test_sentinels_that_watch_a_source_are_seen(sentinel_lab):
    node = sentinel_lab.node("primary")
    access = Access(password=sentinel_lab.password(node))
    found: Any = await inventory.take(node.address, access, "ARAGORA_MIGRATE_FROM_PASSWORD")
    assert found.sentinels == 3
    assert abs(found.ahead) < 0.5
