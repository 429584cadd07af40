"""A migration by copying that is killed, or met by what it did not expect, loses nothing."""

from __future__ import annotations

import asyncio

import pytest
import redis
from tests.integration.test_migrate import Labs, fork_and_die, kill

from aragora_redis.ops.migrate import copying
from aragora_redis.ops.migrate.plan import Way
from aragora_redis.ops.report import Status


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
