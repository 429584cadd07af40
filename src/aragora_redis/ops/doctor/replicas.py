"""Whether a replica could take over now, and what would be lost if one did. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...address import Address
from ..report import MOST_BACKLOG, Status
from ..survey import NodeSurvey, Survey, address_of, flags_of
from .diagnosis import Diagnosis
from .roles import cli
from .storage import more_memory

LAG_SECONDS = 5
"""Seconds without an acknowledgement after which a replica is behind; it gives one each second."""
MAX_LAG = 10
"""The longest sensible `min-replicas-max-lag`, in seconds, and the server's default."""
BACKLOG_SECONDS = 60
"""Seconds of writes that the backlog should hold: as long as a replica takes to restart."""
OUTPUT_LIMIT = 64 * 1024 * 1024
"""Bytes that the server should keep for a replica, at least, before it drops it."""


def good_replicas(survey: Survey) -> Iterator[Diagnosis]:
    """Whether there is anybody to take over."""
    replicas = _replicas(survey)
    if survey.master_name is None or not survey.heard:
        return
    known = {address_of(row) for s in survey.heard.values() for row in s.replicas}
    down = {
        at
        for at in known
        if all(
            flags_of(row) & {"s_down", "disconnected"} or row.get("master-link-status") != "ok"
            for s in survey.heard.values()
            for row in s.replicas
            if address_of(row) == at
        )
    }
    if not known - down - {survey.primary}:
        yield Diagnosis(
            name="no-good-replica",
            status=Status.CRITICAL,
            subject=f"the primary {survey.primary}",
            evidence=f"has {len(known)} replicas, and none is up and in step",
            consequence="nobody can take over: a failover is aborted "
            "(-failover-abort-no-good-slave), and tried again after twice the failover-timeout",
            fix="bring a replica back; one that cannot log in needs masterauth",
        )
    priorities = {at: node.setting("replica-priority") for at, node in survey.alive.items()}
    barred = [at for at in replicas if priorities.get(at) == 0]
    for at in barred:
        yield Diagnosis(
            name="replica-priority-0",
            status=Status.CRITICAL if len(barred) == len(replicas) else Status.WARNING,
            subject=str(at),
            evidence="has replica-priority 0",
            consequence="the Sentinels never promote it",
            fix=f"{cli(at)} CONFIG SET replica-priority 100, and the same in its redis.conf",
        )
    told = {value for value in priorities.values() if value}
    if len(told) > 1:
        yield Diagnosis(
            name="replica-priorities-differ",
            status=Status.WARNING,
            subject="the servers:",
            evidence=", ".join(f"{at} has priority {each}" for at, each in priorities.items()),
            consequence="the Sentinels may promote a replica that has less data than another",
            fix="give all of them the same: CONFIG SET replica-priority 100",
        )


def links(survey: Survey) -> Iterator[Diagnosis]:
    """Replicas that have lost the primary, or take writes of their own."""
    for at, node in _replicas(survey).items():
        if node.info.get("master_link_status", "up") != "up":
            seconds = node.number("master_link_down_since_seconds")
            yield Diagnosis(
                name="link-down",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"has no link to {node.source}"
                + (f" for {seconds} s" if seconds is not None and seconds >= 0 else ""),
                consequence="it gets no writes, and what it is asked is old",
                fix="see its log for the reason; its password for the primary is masterauth: "
                f"{cli(at)} CONFIG GET masterauth",
            )
        if node.config.get("replica-read-only") == "no":
            yield Diagnosis(
                name="replica-writable",
                status=Status.WARNING,
                subject=str(at),
                evidence="takes writes of its own (replica-read-only no)",
                consequence="they exist nowhere else, and differ for ever",
                fix=f"{cli(at)} CONFIG SET replica-read-only yes, and the same in its redis.conf",
            )


def lag(survey: Survey) -> Iterator[Diagnosis]:
    """Replicas that the primary has not heard of lately."""
    for at, node in survey.alive.items():
        for follower, row in node.followers.items():
            silent = int(row["lag"]) if row.get("state") == "online" else 0
            if silent > LAG_SECONDS:
                behind = (node.number("master_repl_offset") or 0) - int(row["offset"])
                yield Diagnosis(
                    name="replica-behind",
                    status=Status.WARNING,
                    subject=str(follower),
                    evidence=f"has acknowledged nothing to {at} for {silent} s, and is {behind} "
                    "bytes behind",
                    consequence="what it has not seen yet is lost if it is promoted",
                    fix="see whether its machine is paused or busy, or its network slow",
                )


def guard(survey: Survey) -> Iterator[Diagnosis]:
    """What a primary acknowledges when nobody follows it any more."""
    for at, node in survey.alive.items():
        wanted = node.setting("min-replicas-to-write")
        most = node.setting("min-replicas-max-lag")
        if survey.endpoint is not None or wanted is None or most is None:
            continue
        if at in survey.primaries and wanted and node.number("min_slaves_good_slaves") is not None:
            good = node.number("min_slaves_good_slaves") or 0
            if good < wanted:
                yield Diagnosis(
                    name="too-few-good-replicas",
                    status=Status.CRITICAL,
                    subject=f"the primary {at}",
                    evidence=f"has {good} good replicas and wants {wanted} (min-replicas-to-write)",
                    consequence="it refuses every write (NOREPLICAS)",
                    fix="bring a replica back; to go on without, knowing that writes can be lost: "
                    f"{cli(at)} CONFIG SET min-replicas-to-write 0",
                )
        # Cut off from most others, a primary of a cluster stops by itself.
        if wanted == 0 and survey.cluster is not None:
            continue
        if wanted == 0:
            yield Diagnosis(
                name="no-min-replicas",
                status=Status.WARNING,
                subject=str(at),
                evidence="has min-replicas-to-write 0",
                consequence="as a primary that is cut off it acknowledges writes that are all lost",
                fix=f"{cli(at)} CONFIG SET min-replicas-max-lag 3 && {cli(at)} CONFIG SET "
                "min-replicas-to-write 1, and the same in its redis.conf",
            )
        elif most == 0 or most > MAX_LAG:
            yield Diagnosis(
                name="no-max-lag",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"has min-replicas-max-lag {most}",
                consequence="min-replicas-to-write does nothing"
                if most == 0
                else f"cut off, it acknowledges {most} s of writes that are lost",
                fix=f"{cli(at)} CONFIG SET min-replicas-max-lag 3, and the same in its redis.conf",
            )


def logins(survey: Survey) -> Iterator[Diagnosis]:
    """Servers that could not log in to whoever is promoted."""
    if survey.master_name is None and survey.cluster is None:
        return
    for at, node in survey.alive.items():
        protected = any(n.open is False for n in survey.alive.values())
        if not node.config or not protected:
            continue
        if not node.config.get("masterauth"):
            yield Diagnosis(
                name="masterauth-missing",
                status=Status.CRITICAL,
                subject=str(at),
                evidence="has no masterauth, and the servers require a password",
                consequence="as a replica it cannot log in to its primary: now, or after the next "
                "failover, it has no link",
                fix=f"{cli(at)} CONFIG SET masterauth PASSWORD, and the same in its redis.conf",
            )
        elif node.masterauth_differs and node.config["masterauth"] == "set":
            yield Diagnosis(
                name="passwords-differ",
                status=Status.CRITICAL,
                subject=str(at),
                evidence="would log in to its primary with another password than ours (masterauth)",
                consequence="if the others require ours, it has no link after the next failover",
                fix=f"{cli(at)} CONFIG SET masterauth PASSWORD, and the same in its redis.conf",
            )


def buffers(survey: Survey) -> Iterator[Diagnosis]:
    """Whether a replica that was away for a moment can go on from where it was."""
    for at, node in survey.alive.items():
        size = node.setting("repl-backlog-size")
        rate = node.info.get("instantaneous_input_kbps")
        if size is not None and isinstance(rate, int | float):
            needed = rate * 1024 * BACKLOG_SECONDS
            enough = _round_up(needed)
            if node.followers and needed > size:
                yield Diagnosis(
                    name="backlog-small",
                    status=Status.WARNING,
                    subject=str(at),
                    evidence=f"keeps {size} bytes for replicas that were away, and takes in "
                    f"{rate:.0f} kB/s: {size / (rate * 1024):.0f} s",
                    consequence="a replica that restarts needs a full copy, and cannot take over "
                    "meanwhile",
                    fix=f"{_room(at, node, enough)}{cli(at)} CONFIG SET repl-backlog-size "
                    f"{enough}, and the same in its redis.conf",
                )
        hard = _replica_limit(node)
        if hard is not None and 0 < hard < OUTPUT_LIMIT:
            yield Diagnosis(
                name="output-buffer-small",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"drops a replica that is {hard} bytes behind "
                "(client-output-buffer-limit)",
                consequence="under load it asks for full copies again and again",
                fix=f"{cli(at)} CONFIG SET client-output-buffer-limit "
                "'replica 268435456 67108864 60', and the same in its redis.conf",
            )


CHECKS = (good_replicas, links, lag, guard, logins, buffers)


def _replicas(survey: Survey) -> dict[Address, NodeSurvey]:
    return {at: node for at, node in survey.alive.items() if node.role == "slave"}


def _replica_limit(node: NodeSurvey) -> int | None:
    """The hard limit of `client-output-buffer-limit` for replicas: CLASS HARD SOFT SECONDS..."""
    words = node.config.get("client-output-buffer-limit", "").split()
    for kind, hard in zip(words[::4], words[1::4], strict=False):
        if kind in {"slave", "replica"} and hard.isdigit():
            return int(hard)
    return None


def _room(at: Address, node: NodeSurvey, backlog: int) -> str:
    """What has to be done first where such a backlog would take the memory of the data."""
    least = int(backlog / MOST_BACKLOG)
    if not 0 < (node.number("maxmemory") or 0) < least:
        return ""
    return f"it counts towards maxmemory: {more_memory(at, least)}; then "


def _round_up(size: float) -> int:
    step = 16 * 1024 * 1024
    return (int(size) // step + 1) * step
