"""Whom the Sentinels of a target are to forget, though they list it by another address."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate import migration, sentinels
from aragora_redis.ops.migrate.migration import Migration
from aragora_redis.ops.migrate.replication import Server
from aragora_redis.ops.survey import NodeSurvey, SentinelSurvey, Survey
from aragora_redis.ops.targets import SentinelTarget

SOURCE, SEEN_AS = Address("old-redis", 6379), Address("10.244.1.7", 6379)
PRIMARY, REPLICA = Address("10.0.0.10", 6379), Address("10.0.0.11", 6379)
SENTINEL = Address("10.0.0.20", 26379)
TARGET = SentinelTarget((SENTINEL,), "m")
RUN_ID, ANOTHER = "a" * 40, "b" * 40


def row(at, run_id):
    return {"ip": at.host, "port": str(at.port), "runid": run_id}


class Sentinel:
    """Lists replicas: those that it has, and once it was reset, those that their primary names."""

    def __init__(self, *looks):
        self._looks = [list(rows) for rows in looks]
        self.resets = 0

    async def execute_command(self, *words):
        match words:
            case ("SENTINEL REPLICAS", _):
                return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
            case ("SENTINEL SENTINELS", _):
                return []
            case ("SENTINEL RESET", _):
                self.resets += 1
        return None

    @asynccontextmanager
    async def connected(self, _at, _access):
        yield self


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(sentinels, "HEARD_LIMIT", 0.3)


async def forget(monkeypatch, *looks):
    sentinel = Sentinel(*looks)
    monkeypatch.setattr(sentinels, "connected", sentinel.connected)
    await sentinels.forget(TARGET, SOURCE, RUN_ID, (SENTINEL,), SYSTEM_CLOCK)
    return sentinel.resets


OTHERS = [row(REPLICA, ANOTHER)]


@pytest.mark.parametrize(
    ("before", "resets"),
    [
        ([row(SEEN_AS, RUN_ID)], 1),
        ([row(SOURCE, "c" * 40)], 1),
        ([row(SEEN_AS, "")], 1),
        ([], 0),
    ],
    ids=["by its run id", "by its address", "perhaps", "no more"],
)
async def test_a_source_that_takes_writes_is_forgotten(monkeypatch, before, resets):
    assert await forget(monkeypatch, [*OTHERS, *before], OTHERS) == resets


async def test_whom_a_sentinel_has_only_just_heard_of_is_waited_for(monkeypatch):
    """It has each replica without a run id for a moment, after every reset."""
    unknown = [row(REPLICA, "")]
    assert await forget(monkeypatch, [*OTHERS, row(SEEN_AS, RUN_ID)], unknown, OTHERS) == 1


@pytest.mark.parametrize("run_id", [RUN_ID, ""], ids=["counted", "unknown"])
async def test_who_is_counted_for_good_is_told(monkeypatch, run_id):
    with pytest.raises(sentinels.GuardError, match=f"still counts {SOURCE}"):
        await forget(monkeypatch, [row(SEEN_AS, run_id)])


async def test_the_source_is_no_replica_of_the_target_by_whatever_address(monkeypatch, tmp_path):
    """After the move it replicates that, and needs not have what it gave itself."""

    def node(role, run_id):
        return NodeSurvey(role=role, source=None, info={"run_id": run_id}, config={})

    master = {"config-epoch": 1, "quorum": 1, "flags": "master", "down-after-milliseconds": 5000}
    told: dict[str, Any] = {"id": "s", "replicas": (), "fellows": (), "info": {}}
    seen = Survey(
        master_name="m",
        sentinels={SENTINEL: SentinelSurvey(named=PRIMARY, master=master, **told)},
        nodes={
            PRIMARY: node("master", "c" * 40),
            REPLICA: node("slave", ANOTHER),
            SEEN_AS: node("slave", RUN_ID),
        },
        now=0.0,
    )

    async def survey(*_, **__):
        return seen

    monkeypatch.setattr(migration, "survey", survey)
    ours = Migration(
        Server(SOURCE, Access()), TARGET, prefix="p", path=tmp_path / "j", clock=SYSTEM_CLOCK
    )
    found = await ours._target_servers(RUN_ID, ())
    assert [each.address for each in found.replicas] == [REPLICA]
