"""Whose rows are left in the presence of a fleet that was killed is neither shown nor judged."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.desk.desk import Desk
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.survey import NodeSurvey, Survey
from aragora_redis.settings import Settings
from aragora_redis.state.presence import EXPIRY

DEAD = {"boot-a": "e pol1 9.0 1 5 f1f1 ok 3 web-1", "boot-b": "e pol2 0.1 5 0 f2f2 ok 3 web-2"}
ALIVE = {"boot-c": "e pol3 0.1 5 0 f3f3 ok 3 web-3"}
NOW = 1_700_000_000.0


def test_the_last_to_end_are_not_judged_as_if_they_lived():
    node = NodeSurvey(
        role="master", source=None, info={}, config={}, rows=DEAD | ALIVE, beating=frozenset(ALIVE)
    )
    at = Address("10.0.0.1", 6379)
    survey = Survey(master_name=None, sentinels={}, nodes={at: node}, now=NOW)
    assert [instance.name for instance in survey.instances] == ["web-3"]
    assert examine(survey).diagnoses == ()


class Primary:
    """Stands in for the way to a primary that has the presence of a fleet."""

    def __init__(self, as_map):
        self.executor = self
        self._as_map = as_map

    def lead(self, slot):
        del slot

    async def run(self, operation, *, within):
        del within
        command, _, *words = operation.args
        if command == "ZRANGEBYSCORE":
            assert float(words[0]) == pytest.approx((NOW - EXPIRY) * 1000)
            return operation.read([boot.encode() for boot in ALIVE])
        rows = {boot.encode(): row.encode() for boot, row in (DEAD | ALIVE).items()}
        flat = [word for pair in rows.items() for word in pair]
        return operation.read(rows if self._as_map else flat)


@pytest.mark.parametrize("as_map", [True, False], ids=["resp3", "resp2"])
async def test_the_desk_counts_those_alone_that_have_beaten_lately(monkeypatch, as_map):
    primary = cast("Any", Primary(as_map))
    desk = Desk(Settings(), primary, primary, SYSTEM_CLOCK, prepared=True)
    monkeypatch.setattr(desk, "server_now", lambda: NOW)
    assert [instance.name for instance in await desk.fleet()] == ["web-3"]
