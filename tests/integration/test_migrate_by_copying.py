"""A migration by copying that is killed, or met by what it did not expect, loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import redis
from tests.integration.fleet import until
from tests.integration.test_migrate import Labs, fork_and_die, kill

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import InvalidInputError
from aragora_redis.ops.migrate import by_copying, copying, guard
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.migrate.plan import Way
from aragora_redis.ops.migrate.replication import Server
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env


class Two(Labs):
    """Two servers that are no replicas of each other."""

    def client(self, *, moved, db=0):
        lab = self.sentinel if moved else self.single
        node = lab.node("redis-0")
        where = {"host": node.address.host, "port": node.port, "password": lab.password(node)}
        return redis.Redis(**where, db=db, socket_timeout=5, decode_responses=True)

    async def run(self, **options):
        return await self.migration().run(way=Way.COPY, **options)

    async def killed(self, what):
        await asyncio.to_thread(fork_and_die, what)

    def takers(self):
        """Who takes writes."""
        return [name for name in ("source", "target") if self.takes(moved=name == "target")]

    def takes(self, *, moved):
        try:
            return bool(self.client(moved=moved).set("probe", "x"))
        except redis.ResponseError:
            return False


@pytest.fixture
def two(make_lab, tmp_path):
    one, other = make_lab("standalone"), make_lab("standalone")
    one.start()
    other.start()
    labs = Two(one, other, tmp_path / "journal.json")
    labs.client(moved=False).mset({f"key:{number}": number for number in range(300)})
    return labs


async def test_what_the_target_was_given_after_a_kill_stays(two, monkeypatch):
    """Services turn to it once they are refused, so by then it is written down."""
    with monkeypatch.context() as patched:
        patched.setattr(copying, "unpause", kill)
        await two.killed(two.run)
    assert two.migration()._journal.state == "moved"
    report = await two.run()
    assert report.status is Status.OK, report
    two.client(moved=True).set("late", "acknowledged")
    assert (await two.run()).status is Status.OK
    assert two.client(moved=True).get("late") == "acknowledged"


@pytest.mark.parametrize("then", ["run", "rollback"])
async def test_who_takes_the_writes_takes_them_after_a_kill(two, monkeypatch, then):
    assert (await two.run()).status is Status.OK
    begun = two.migration().rollback
    if then == "run":
        assert (await two.migration().rollback()).status is Status.OK
        begun = two.run
    with monkeypatch.context() as patched:
        patched.setattr(by_copying, "lift_guard", kill)
        await two.killed(begun)
    assert two.takers() == []
    again = two.run if then == "run" else two.migration().rollback
    assert (await again()).status is Status.OK
    # The second rollback lets the target go its own way.
    assert two.takers() == (["target"] if then == "run" else ["source", "target"])


async def test_a_rollback_gives_back_what_a_killed_run_has_changed(two):
    source = two.client(moved=False)
    source.config_set("notify-keyspace-events", "Ex")
    await two.killed(lambda: two.migration(on_copied=kill).run(way=Way.COPY))
    assert source.config_get("notify-keyspace-events") != {"notify-keyspace-events": "xE"}
    assert (await two.migration().rollback()).status is Status.OK
    assert source.config_get("notify-keyspace-events") == {"notify-keyspace-events": "xE"}
    assert two.takers() == ["source", "target"]


async def test_a_database_that_is_first_used_meanwhile_is_not_left_behind(two):
    late = two.client(moved=False, db=5)

    def on_step(_text):
        late.set("late", "acknowledged")

    report = await two.migration(on_step=on_step).run(way=Way.COPY)
    assert report.status is Status.CRITICAL
    assert "database 5 came into use" in report.headline
    assert two.takers() == ["source"]
    assert (await two.run()).status is Status.OK
    assert two.client(moved=True, db=5).get("late") == "acknowledged"


async def test_one_server_by_two_names_is_not_copied_to_itself(two):
    found: Any = target_of(from_env(two.single.env()))
    twice = Two(two.single, two.single, two.path).migration
    by_name = Server(Address("localhost", found.address.port), found.redis)
    ours = Migration(by_name, found, prefix="aragora", path=two.path, clock=SYSTEM_CLOCK)
    for migration in (twice(), ours):
        report = await migration.run(way=Way.COPY, overwrite=True)
        assert "is both the source and the target" in report.headline
        with pytest.raises(InvalidInputError, match="is both the source and the target"):
            await migration.verify()
    assert "source" in two.takers()
    assert not two.path.exists()


async def test_nobody_writes_to_what_is_swept(two):
    source = two.client(moved=False)
    library = "#!lua name=shared\nredis.register_function('one', function() return 1 end)"
    with contextlib.suppress(redis.ResponseError):  # it is of 7.0
        source.function_load(library)
    assert (await two.run(move=False)).status is Status.OK
    assert two.takers() == ["source"]
    restart(two.sentinel)
    two.client(moved=True).set("late", "acknowledged")
    report = await two.run()
    assert report.status is Status.CRITICAL
    assert "somebody may have written to the target" in report.headline
    assert two.client(moved=True).get("late") == "acknowledged"
    assert two.takers() == ["source"]
    assert (await two.run()).status is Status.OK
    assert two.takers() == ["target"]
    if source.info("server")["redis_version"] >= "7":
        assert two.client(moved=True).fcall("one", 0) == 1
    restart(two.single)
    two.client(moved=False).set("late", "acknowledged")
    report = await two.migration().rollback()
    assert "somebody may have written to the source" in report.headline
    assert two.takers() == ["target"]
    assert (await two.migration().rollback()).status is Status.OK
    assert two.takers() == ["source"]


async def test_a_source_whose_guard_is_gone_after_the_move_is_noticed(two):
    assert (await two.run()).status is Status.OK
    restart(two.single)
    two.client(moved=False).set("late", "acknowledged")
    for work in (two.run, two.migration().commit):
        report = await work()
        assert report.status is Status.CRITICAL
        assert "somebody may have written to the source" in report.headline
    assert two.takers() == ["source", "target"]
    assert (await two.run(overwrite=True)).status is Status.OK
    assert two.takers() == ["target"]
    assert (await two.migration().commit()).status is Status.OK


async def test_what_nothing_keeps_writes_from_is_not_said_to_refuse_them(two, monkeypatch):
    async def refused(_self):
        raise redis.ResponseError("NOPERM")

    for asked in ("_users", "_settings"):
        monkeypatch.setattr(guard._One, asked, refused)
    open_ = f"nothing keeps writes from {two.single.node('redis-0').address}"
    for report in (await two.run(), await two.run()):
        assert report.status is Status.WARNING
        assert any(open_ in each for each in report.notes), report
        assert not any("refuses writes" in each for each in report.notes)
    report = await two.migration().rollback(writers_stopped=True)
    assert report.status is Status.WARNING
    assert any("nothing keeps writes from the target" in each for each in report.notes), report
    assert not any("takes none" in each for each in report.notes)


def restart(lab):
    lab.kill("redis-0")
    lab.start_node("redis-0")


async def test_a_rollback_lets_nobody_write_to_what_it_copies_to(two, monkeypatch):
    """By min-replicas our own writes are refused as well, so it would have to be opened."""

    async def refused(_self):
        raise redis.ResponseError("NOPERM")

    monkeypatch.setattr(guard._One, "_users", refused)
    report = await two.run()
    assert report.status is Status.WARNING
    assert any("nothing kept others from the target" in each for each in report.notes)
    assert two.takers() == ["target"]
    report = await two.migration().rollback()
    assert report.status is Status.CRITICAL
    assert "min-replicas-to-write" in report.headline
    assert two.takers() == ["target"]


async def test_whom_a_failover_promotes_takes_nobodys_writes_either(
    make_lab, sentinel_lab, tmp_path
):
    """The guard is on the replicas as well, and the next run goes on with the new primary."""
    single = make_lab("standalone")
    single.start()
    labs = Labs(single, sentinel_lab, tmp_path / "journal.json")
    labs.client(moved=False).set("key", "value")
    assert (await labs.migration().run(way=Way.COPY, move=False)).status is Status.OK
    old = sentinel_lab.node("primary")
    sentinel_lab.kill(old.name)
    await until(lambda: sentinel_lab.primary() != old.name)
    target = labs.client(moved=True)
    await until(lambda: target.info("replication")["role"] == "master")
    with pytest.raises(redis.exceptions.NoPermissionError):
        target.set("late", "acknowledged")
    report = await labs.run(way=Way.COPY)
    assert report.status is Status.WARNING, report
    assert any("it may refuse writes once it takes them" in each for each in report.notes)
    assert target.get("key") == "value"
    assert target.set("late", "acknowledged")
    assert (await labs.migration().commit()).status is Status.WARNING, "a server is not told"
    report = await labs.migration().commit(without=[old.address])
    assert any("has not got back" in each for each in report.notes), report
    assert report.status is Status.WARNING
    assert (await labs.migration().commit()).headline.endswith("it is committed")
