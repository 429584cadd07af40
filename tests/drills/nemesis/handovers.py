"""A primary that lives gives its place to another, as in planned work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.lab import Lab
from aragora_redis.lab.config import MASTER_NAME
from aragora_redis.ops.failover import switch_over
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env

from .stage import UNTIL_SEEN, Stage


@asynccontextmanager
async def switchover(stage: Stage) -> AsyncIterator[None]:
    """As `aragora-redis failover` does it: nothing that was acknowledged is lost."""
    old = await stage.victim()
    settings = from_env(stage.lab.env())
    target = target_of(settings)
    assert target is not None
    shard = old.slots[0][0] if old.slots else None
    async with stage.band("switchover", old, loses=None):
        work = switch_over(target, prefix=settings.prefix, clock=SYSTEM_CLOCK, shard=shard)
        switching = asyncio.create_task(work)
        yield
        report = await switching
        if report.progress.old is None or report.status is Status.CRITICAL:
            raise RuntimeError(report.headline)
        await stage.until_switched(old)
        await stage.hold(0.2, 2)


@asynccontextmanager
async def sentinel_failover(stage: Stage) -> AsyncIterator[None]:
    """A plain SENTINEL FAILOVER: the old primary acknowledges until it is told of its heir."""
    old = await stage.victim()
    async with stage.band("sentinel failover", old) as facts:
        began = time.monotonic()
        await stage.do(order_sentinel_failover, stage.lab)
        yield
        await stage.until_switched(old)
        facts["loses"] = time.monotonic() - began + UNTIL_SEEN
        await stage.hold(0.2, 2)


@asynccontextmanager
async def cluster_failover(stage: Stage) -> AsyncIterator[None]:
    """A plain CLUSTER FAILOVER: the old primary holds writes until its replica has all."""
    old = await stage.victim()
    (replica,) = await stage.replicas(old)
    async with stage.band("cluster failover", old, loses=None):
        await stage.do(_order_cluster_failover, stage.lab, replica)
        yield
        await stage.until_switched(old)
        await stage.hold(0.2, 2)


def order_sentinel_failover(lab: Lab) -> None:
    """Have a Sentinel replace the primary now."""
    sentinel = lab.node("sentinel-0")
    with redis.Redis(port=sentinel.port, password=lab.password(sentinel)) as client:
        client.execute_command("SENTINEL", "FAILOVER", MASTER_NAME)


def _order_cluster_failover(lab: Lab, replica: str) -> None:
    node = lab.node(replica)
    with redis.Redis(port=node.port, password=lab.password(node)) as client:
        ask: Any = client.execute_command
        ask("CLUSTER", "FAILOVER")
