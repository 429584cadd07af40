"""Either side killed in the middle of a move by replication, under a writer that never stops."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import redis
from tests.integration.fleet import until
from tests.integration.test_migrate import Labs, Writer

from aragora_redis.lab.server import find_server
from aragora_redis.ops.migrate import hand_over, inventory, replication, wait_for_copy
from aragora_redis.ops.report import Status


@pytest.fixture
def labs(make_lab, sentinel_lab, tmp_path, monkeypatch):
    monkeypatch.setattr(wait_for_copy, "STALL", 2.0)
    monkeypatch.setattr(inventory, "ASK_LIMIT", 1.0)
    single = make_lab("standalone")
    single.start()
    return Labs(single, sentinel_lab, tmp_path / "journal.json")


def start(lab, *, empty=False):
    """By its own file, as what it was; or as a new primary, as who asks the Sentinels starts it."""
    node = lab.node("redis-0")
    if empty:
        node.wipe()
        kept = [
            line
            for line in node.config_path.read_text().splitlines(keepends=True)
            if not line.startswith("replicaof")
        ]
        node.config_path.write_text("".join(kept))
    node.launch(find_server())


async def answering(client):
    """Which part it plays, once it says so."""

    def role():
        with contextlib.suppress(redis.RedisError):
            return client.info("replication")["role"]

    return await until(role)


def slow_first_copy(labs):
    """Have it take seconds."""
    source = labs.client(moved=False)
    source.mset({f"key:{number}": number for number in range(4000)})
    source.config_set("rdb-key-save-delay", 1000)
    return source


async def killed_meanwhile(labs, lab):
    """A run in which a server is killed while its first copy is on its way."""
    seen: list[object] = []
    run = asyncio.create_task(labs.migration(on_copied=seen.append).run())
    await until(lambda: seen)
    lab.kill("redis-0")
    return await run


async def test_the_target_is_killed_in_the_first_copy_and_after_it(labs):
    source = slow_first_copy(labs)
    async with Writer(labs) as writer:
        report = await killed_meanwhile(labs, labs.sentinel)
        assert report.status is Status.CRITICAL
        assert "has not got on" in report.headline
        source.config_set("rdb-key-save-delay", 0)
        start(labs.sentinel)
        assert await answering(labs.client(moved=True))
        assert (await labs.run(move=False)).status is Status.OK
        labs.sentinel.kill("redis-0")
        assert "nothing was done" in (await labs.run()).headline
        start(labs.sentinel)
        assert await answering(labs.client(moved=True)) == "slave"
        assert (await labs.run()).status is Status.OK
        await until(lambda: writer.moved)
    assert writer.lost() == 0
    assert labs.client(moved=True).get("key:3999") == "3999"


async def test_the_source_is_killed_in_the_first_copy(labs):
    slow_first_copy(labs)
    assert (await killed_meanwhile(labs, labs.single)).status is Status.CRITICAL
    start(labs.single)
    assert await answering(labs.client(moved=False)) == "master"
    assert (await labs.run()).status is Status.OK
    assert labs.client(moved=True).get("key:3999") == "3999"


def killing(monkeypatch, lab):
    """Kill a server when the giver has given the writes up and the taker has them not yet."""
    real = replication.promote

    async def promote(taker, *, instead_of):
        lab.kill("redis-0")
        await real(taker, instead_of=instead_of)

    monkeypatch.setattr(hand_over, "promote", promote)


async def test_a_taker_that_comes_back_with_less_takes_nothing_from_the_giver(labs, monkeypatch):
    """As a replica of it the giver would be emptied by whoever starts it again as a primary."""
    source = labs.client(moved=False)
    source.set("acknowledged", "x")
    with monkeypatch.context() as patched:
        killing(patched, labs.sentinel)
        report = await labs.run()
    assert "takes no writes any more" in report.headline
    start(labs.sentinel, empty=True)
    target = labs.client(moved=True)
    assert await answering(target) == "master"
    report = await labs.run()
    assert "was started again in the middle of the move" in report.headline
    assert source.get("acknowledged") == "x"
    assert (await labs.run(overwrite=True)).status is Status.OK
    assert target.get("acknowledged") == "x"
    assert labs.roles() == ["slave", "master"]


async def test_a_source_that_is_killed_then_or_is_gone_for_good(labs, monkeypatch):
    async with Writer(labs) as writer:
        with monkeypatch.context() as patched:
            killing(patched, labs.single)
            assert (await labs.run()).status is Status.OK
        start(labs.single)
        await until(lambda: writer.moved)
    assert writer.lost() == 0
    assert labs.roles() == ["slave", "master"]
    gone = labs.single.node("redis-0").address
    assert "it answers" in (await labs.migration().commit(without=[gone])).headline
    # Once more, and for good.
    assert (await labs.migration().rollback()).status is Status.OK
    labs.client(moved=False).set("last", "x")
    assert (await labs.run(move=False)).status is Status.OK
    labs.single.kill("redis-0")
    report = await labs.migration().commit()
    assert report.status is Status.WARNING, "it was not moved"
    report = await labs.migration().commit(without=[gone])
    assert report.status is Status.WARNING
    assert any("is lost" in each for each in report.notes), report
    assert labs.client(moved=True).get("last") == "x"
    for each in labs.sentinels():
        assert int(each.sentinel_master("aragora-master")["down-after-milliseconds"]) < 60_000
