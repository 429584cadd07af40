"""Whether a server keeps what it is given: memory, eviction, disk. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...address import Address
from ..report import MEMORY_FULL, MEMORY_NEARLY, Status
from ..survey import Survey
from .diagnosis import Diagnosis
from .roles import cli

_WRITES = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
CROWDED = 0.80
"""Part of maxclients."""


def more_memory(at: Address, maxmemory: int) -> str:
    """How to give a server so many bytes; its copies for disk and replicas take as much again."""
    return (
        f"first raise the memory limit of its container or service to {2 * maxmemory}, or the "
        f"kernel kills it; then {cli(at)} CONFIG SET maxmemory {maxmemory}"
    )


def memory(survey: Survey) -> Iterator[Diagnosis]:
    """Room, and what is done when there is none."""
    for at, node in survey.alive.items():
        limit, used = node.number("maxmemory"), node.number("used_memory") or 0
        policy = str(node.info.get("maxmemory_policy", node.config.get("maxmemory-policy", "")))
        if limit is None:
            continue
        if policy not in {"noeviction", ""}:
            yield Diagnosis(
                name="eviction",
                status=Status.CRITICAL if survey.keeps else Status.WARNING,
                subject=str(at),
                evidence=f"has maxmemory-policy {policy}",
                consequence=f"under memory pressure it throws away {_lost(survey)}"
                + ("" if limit else " (no maxmemory is set yet, so nothing is thrown away now)"),
                fix=f"{cli(at)} CONFIG SET maxmemory-policy noeviction, and the same in its "
                "redis.conf; caches belong on another server",
            )
        if limit == 0:
            yield Diagnosis(
                name="no-maxmemory",
                status=Status.WARNING,
                subject=str(at),
                evidence="has no maxmemory",
                consequence="it grows until the system kills it",
                fix=f"{cli(at)} CONFIG SET maxmemory 256mb (what it may have), and the same in its "
                "redis.conf",
            )
        elif used > MEMORY_NEARLY * limit:
            full = used > MEMORY_FULL * limit
            yield Diagnosis(
                name="memory-full" if full else "memory-headroom",
                status=Status.CRITICAL if full else Status.WARNING,
                subject=str(at),
                evidence=f"uses {used / limit:.0%} of its {limit} bytes (maxmemory)",
                consequence="it refuses writes when that is reached (OOM): limits are then decided "
                "by each instance and sessions are not written; revocations still get in",
                fix=f"{cli(at)} --bigkeys tells what is large; more room: "
                f"{more_memory(at, 2 * limit)}",
            )


def _lost(survey: Survey) -> str:
    if survey.keeps:
        return "revocations and sessions: revoked tokens come back"
    return "what limits and circuits have counted: they begin anew"


def persistence(survey: Survey) -> Iterator[Diagnosis]:
    """Whether a restart of everything loses everything."""
    for at, node in survey.alive.items():
        failing = [name for name in _WRITES if node.info.get(name, "ok") != "ok"]
        if failing:
            yield Diagnosis(
                name="persistence-failing",
                status=Status.CRITICAL,
                subject=str(at),
                evidence=f"cannot write to its disk ({', '.join(failing)})",
                consequence="it refuses writes (MISCONF), or loses them with a restart",
                fix="free space on its volume and see its log",
            )
        if node.config.get("appendonly") == "no" and not node.config.get("save", "-"):
            yield Diagnosis(
                name="persistence-off",
                status=Status.WARNING,
                subject=str(at),
                evidence="writes nothing to disk (appendonly no, save '')",
                consequence="restarted as a primary it comes back empty, and its replicas empty "
                "themselves too",
                fix=f"{cli(at)} CONFIG SET appendonly yes, and the same in its redis.conf",
            )


def clients(survey: Survey) -> Iterator[Diagnosis]:
    """Room for connections, and whether they last."""
    for at, node in survey.alive.items():
        count, most = node.number("connected_clients"), node.number("maxclients")
        if count is not None and most and count > CROWDED * most:
            yield Diagnosis(
                name="many-clients",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"has {count} of {most} connections (maxclients)",
                consequence="new ones are refused, ours and those of the Sentinels among them",
                fix=f"see who they are: {cli(at)} CLIENT LIST",
            )
        idle = node.setting("timeout")
        if idle:
            yield Diagnosis(
                name="idle-timeout",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"closes connections that are idle for {idle} s (timeout)",
                consequence="links are lost and made again, each time with a moment of outage",
                fix=f"{cli(at)} CONFIG SET timeout 0, and the same in its redis.conf",
            )
        if node.setting("tcp-keepalive") == 0:
            yield Diagnosis(
                name="no-keepalive",
                status=Status.WARNING,
                subject=str(at),
                evidence="never asks whether idle connections are still there (tcp-keepalive 0)",
                consequence="clients that vanished hold their connections for ever",
                fix=f"{cli(at)} CONFIG SET tcp-keepalive 60, and the same in its redis.conf",
            )


CHECKS = (memory, persistence, clients)
