"""A rollback that fails is gone on with by the next one, which lets nobody go."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate import by_replication, sentinels
from aragora_redis.ops.migrate import journal as journals
from aragora_redis.ops.migrate.by_replication import TargetServers
from aragora_redis.ops.migrate.journal import Journal, State
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.migrate.plan import Way
from aragora_redis.ops.migrate.sentinels import GuardError
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import SentinelTarget

SOURCE, TARGET = Address("old-redis", 6379), Address("10.0.0.10", 6379)
HISTORY = "a" * 40


class Server:
    """Is a primary, or follows one, as it is told."""

    access = Access()

    def __init__(self, address, follows=None):
        self.address = address
        self.follows = follows

    @asynccontextmanager
    async def open(self):
        yield self

    async def info(self, _section):
        replication: dict[str, Any] = {"master_replid": HISTORY, "master_replid2": "0" * 40}
        if self.follows is None:
            return replication | {"role": "master", "master_repl_offset": 10}
        host, port = self.follows
        replication |= {"master_host": host, "master_port": port, "master_link_status": "up"}
        return replication | {"role": "slave", "slave_repl_offset": 10}

    async def config_get(self, _name):
        return {}

    async def execute_command(self, *words):
        match words:
            case ("REPLICAOF", "NO", "ONE"):
                self.follows = None
            case ("REPLICAOF", host, port):
                self.follows = Address(host, port)


async def test_the_target_is_not_let_go_before_a_rollback_has_come_to_its_end(
    monkeypatch, tmp_path
):
    source: Any = Server(SOURCE, follows=TARGET)
    target: Any = Server(TARGET)
    path = tmp_path / "journal"
    journals.write(
        path, Journal(source=str(SOURCE), target="m", way=Way.REPLICATION, state=State.MOVED)
    )
    failures = 2

    async def forget(*_):
        nonlocal failures
        if failures:
            failures -= 1
            raise GuardError("a Sentinel cannot be told")

    async def hand_over(giver, taker, _fellows, _clock, on_goal):
        on_goal((HISTORY, 10))
        giver.follows, taker.follows = taker.address, None
        return 0.5

    async def wait_for_copy(*_):
        pass

    async def plan(*_, **__):
        return SimpleNamespace(source=SimpleNamespace(run_id="r" * 40))

    async def target_servers(*_):
        return TargetServers(target, (), ())

    monkeypatch.setattr(sentinels, "forget", forget)
    monkeypatch.setattr(by_replication, "hand_over", hand_over)
    monkeypatch.setattr(by_replication, "wait_for_copy", wait_for_copy)
    monkeypatch.setattr(Migration, "plan", plan)
    monkeypatch.setattr(Migration, "_target_servers", target_servers)
    migration = Migration(
        source, SentinelTarget((), "m"), prefix="p", path=path, clock=SYSTEM_CLOCK
    )
    for status in (Status.CRITICAL, Status.CRITICAL, Status.OK):
        report = await migration.rollback()
        assert report.status is status, report.headline
        assert (source.follows, target.follows) == (None, SOURCE)
    assert (await migration.rollback()).status is Status.OK
    assert (source.follows, target.follows) == (None, None)
