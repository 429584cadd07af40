"""`aragora-redis health`: ask every server, then judge.

What answers is believed only for what it can know: Sentinels for who is primary and how many
servers live, the primary itself for whether it takes commands now; nodes of a cluster for what most
of them say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.exceptions import BusyLoadingError, ResponseError

from ..address import Address
from ..clock import SYSTEM_CLOCK
from .access import Access, Failure, Fault, connected, failure
from .asking import survey
from .cluster_verdict import judge_cluster, judge_cluster_probe
from .cluster_view import view_of
from .offered import Trial
from .probe import Probe, judge_probe
from .questions import Questions
from .report import HealthReport
from .survey import address_of
from .targets import ClusterTarget, SentinelTarget, StandaloneTarget, Target
from .verdict import NodeSeen, SentinelSeen, Usage, judge_node, judge_sentinel, named_primary

_GONE = {"s_down", "o_down", "disconnected"}


async def check_health(
    target: Target,
    *,
    probe: Probe | None = None,
    deadline: float = 2.0,
    prefix: str = "aragora",
) -> HealthReport:
    """How healthy the Redis of an application is, redundancy included.

    Args:
        target: what the application is configured for.
        probe: the one question to ask instead.
        deadline: seconds that each server has for its answer. All Sentinels are asked at once,
            then the primary, so the whole takes at most twice as long; in a cluster the
            configured nodes, then those that they name.
        prefix: of this library's keys. Where a managed service tells nobody its role, a key that is
            not there is removed under it.
    """
    began = SYSTEM_CLOCK.monotonic()
    report = await _judged(target, probe, deadline, f"{prefix}:health")
    report.facts["seconds"] = round(SYSTEM_CLOCK.monotonic() - began, 4)
    return report


async def _judged(target: Target, probe: Probe | None, deadline: float, key: str) -> HealthReport:
    match target:
        case StandaloneTarget(address, access):
            node = await _node(address, access, deadline, key, alone=True)
            return judge_node(address, node) if probe is None else judge_probe(probe, {}, node)
        case SentinelTarget(sentinels, master_name):
            seen = await asyncio.gather(*(_sentinel(each, target, deadline) for each in sentinels))
            answers = dict(zip(sentinels, seen, strict=True))
            primary = named_primary(answers)
            found = None if primary is None else await _node(primary, target.redis, deadline, key)
            if probe is not None:
                return judge_probe(probe, answers, found)
            return judge_sentinel(master_name, answers, found)
        case ClusterTarget():
            said = await survey(
                target, prefix="", clock=SYSTEM_CLOCK, deadline=deadline, details=False
            )
            view = said.cluster or view_of({})
            if probe is not None:
                return judge_cluster_probe(probe, said, view)
            return judge_cluster(said, view)


async def _sentinel(
    address: Address, target: SentinelTarget, deadline: float
) -> SentinelSeen | Failure:
    name = target.master_name
    try:
        async with asyncio.timeout(deadline), connected(address, target.sentinel) as client:
            master: Any = await client.sentinel_master(name)
            replicas: Any = await client.sentinel_slaves(name)
            fellows: Any = await client.sentinel_sentinels(name)
            info: Any = await client.info("sentinel")
            return SentinelSeen(
                primary=address_of(master),
                epoch=int(master["config-epoch"]),
                flags=_flags(master),
                quorum=int(master["quorum"]),
                others=len(fellows),
                others_alive=sum(not _flags(fellow) & _GONE for fellow in fellows),
                replicas={
                    address_of(replica): not _flags(replica) & _GONE
                    and replica["master-link-status"] == "ok"
                    for replica in replicas
                },
                tilted=bool(info.get("sentinel_tilt")),
            )
    except ResponseError as error:
        if "No such master" in str(error):
            return Failure(Fault.UNKNOWN_MASTER, f"knows no master named {name!r}")
        return failure(error, target.sentinel, target.sentinel_setting, deadline)
    except Exception as error:  # noqa: BLE001 - see `failure`
        return failure(error, target.sentinel, target.sentinel_setting, deadline)


async def _node(
    address: Address, access: Access, deadline: float, key: str, *, alone: bool = False
) -> NodeSeen | Failure:
    try:
        async with asyncio.timeout(deadline), connected(address, access) as client:
            asked = Questions(client, alone=alone)
            await client.ping()
            said = await asked.ask_if_allowed("ROLE")
            info: Mapping[str, Any] = await asked.ask("INFO") or {}
            role = str(said[0]) if said else info.get("role")
            trial = Trial(role) if role else await asked.try_write(key)
            config = await asked.ask_if_allowed("CONFIG GET", "min-replicas-to-write") or {}
            least = config.get("min-replicas-to-write")
            return NodeSeen(
                role=trial.role,
                loading=False,
                linked=_linked(info),
                good_replicas=_whole(info, "min_slaves_good_slaves"),
                min_replicas=None if least is None else int(least),
                usage=_usage(info),
                refusal=trial.refusal,
                forbidden=asked.forbidden,
            )
    except BusyLoadingError:
        return NodeSeen(
            "master", loading=True, linked=frozenset(), good_replicas=None, min_replicas=None
        )
    except Exception as error:  # noqa: BLE001 - see `failure`
        return failure(error, access, access.setting, deadline)


def _linked(info: Mapping[str, Any]) -> frozenset[Address]:
    return frozenset(map(address_of, _online(info)))


def _online(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = (row for key, row in info.items() if key.startswith("slave") and isinstance(row, dict))
    return [row for row in rows if row["state"] == "online"]


def _usage(info: Mapping[str, Any]) -> Usage:
    return Usage(
        lag=max((int(row["lag"]) for row in _online(info)), default=None),
        clients=_whole(info, "connected_clients"),
        memory=_whole(info, "used_memory"),
        max_memory=_whole(info, "maxmemory") or None,
    )


def _whole(info: Mapping[str, Any], name: str) -> int | None:
    value = info.get(name)
    return None if value is None else int(value)


def _flags(reply: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(reply["flags"]).split(","))
