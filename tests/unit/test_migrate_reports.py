"""What a migration reports as done is done, or the report says what is left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate import journal as journals
from aragora_redis.ops.migrate.journal import Journal, State
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.migrate.plan import Way
from aragora_redis.ops.migrate.replication import Server
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import StandaloneTarget

SOURCE, TARGET = Address("old-redis", 6379), Address("10.0.0.10", 6379)
LOST = "nothing kept others from the source: what they wrote there is lost"


class Done:
    """Steps that come about, and leave something or not."""

    def __init__(self, left, *, shut):
        self._left, self._shut = left, shut

    async def bring(self, *, move):
        pass

    async def check(self, *, overwrite):
        pass

    async def move_back(self):
        pass

    async def settle(self):
        return self._left

    def shut(self):
        return self._shut


@pytest.mark.parametrize(
    ("left", "shut", "status"),
    [([], True, Status.OK), ([LOST], True, Status.WARNING), ([], False, Status.WARNING)],
    ids=["done", "something left", "nothing keeps writes away"],
)
@pytest.mark.parametrize("command", ["run", "run --no-move", "rollback"])
async def test_something_left_is_no_plain_success(
    monkeypatch, tmp_path, command, left, shut, status
):
    state = State.MOVED if command == "rollback" else State.FOLLOWING
    path = tmp_path / "journal"
    journals.write(path, Journal(source=str(SOURCE), target=str(TARGET), way=Way.COPY, state=state))

    async def plan(*_, **__):
        return SimpleNamespace(blocked=None, way=Way.COPY)

    async def steps(*_, **__):
        return Done(left, shut=shut)

    monkeypatch.setattr(Migration, "plan", plan)
    monkeypatch.setattr(Migration, "_steps", steps)
    migration = Migration(
        Server(SOURCE, Access()),
        StandaloneTarget(TARGET),
        prefix="p",
        path=path,
        clock=SYSTEM_CLOCK,
    )
    if command == "rollback":
        report = await migration.rollback()
    else:
        report = await migration.run(move="--no-move" not in command)
    if command == "run --no-move" and not left:
        status = Status.OK  # nobody has given up writes yet
    assert report.status is status
    assert set(left) <= set(report.notes)
