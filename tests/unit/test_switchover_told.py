"""What a switchover says of an old primary that failed after another one was promoted."""

from __future__ import annotations

import pytest
from redis.exceptions import NoPermissionError

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import Ran
from aragora_redis.ops.failover import Phase, switch_over, switchover
from aragora_redis.ops.failover.plan import Plan
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import SentinelTarget

OLD, NEW = Address("10.0.0.10", 6379), Address("10.0.0.11", 6379)
SENTINEL = Address("10.0.0.20", 26379)
DENIED = NoPermissionError("this user has no permissions to run the 'client|kill' command")


async def done():
    pass


async def denied():
    raise DENIED


@pytest.mark.parametrize(
    ("demote", "said"),
    [
        (denied, "could not be made a replica (this user has no permissions"),
        (done, "was made a replica, and its clients may still be connected"),
    ],
    ids=["before it was demoted", "afterwards"],
)
async def test_it_goes_by_how_far_it_came(monkeypatch, demote, said):
    async def survey(*_, **__):
        return None

    async def hand_over(_plan, _target, _prefix, steps):
        await steps.phase(Phase.DEMOTE, demote())
        await steps.phase(Phase.RESUME, denied())

    plan = Plan(master_name="m", sentinels=(SENTINEL,), majority=1, old=OLD, new=NEW, others=(NEW,))
    monkeypatch.setattr(switchover, "survey", survey)
    monkeypatch.setattr(switchover, "_plan", lambda *_, **__: plan)
    monkeypatch.setattr(switchover, "_hand_over", hand_over)
    report = await switch_over(SentinelTarget((SENTINEL,), "m"), prefix="p", clock=SYSTEM_CLOCK)
    assert (report.status, report.replaced) == (Status.WARNING, Ran.YES)
    (note,) = report.progress.notes
    assert note.startswith(f"not verified: {OLD} {said}")
    assert "log in as one who may" in note
