"""Whether the Sentinels can see a failure, and do something about it. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator

from ...address import Address
from ..access import Failure, Fault
from ..report import Status
from ..survey import A_MONTH, SentinelSurvey, Survey, address_of, flags_of
from .diagnosis import Diagnosis
from .roles import GO_ON_MIGRATING, cli, have_it_answer

LONG_GONE_MS = 60_000
"""Milliseconds without an answer after which a Sentinel is taken for one that will not return."""
FEW_MS, MANY_MS = 500, 30_000
"""Bounds of a sensible down-after, in milliseconds."""


def unheard(survey: Survey) -> Iterator[Diagnosis]:
    """Sentinels that gave no answer, and why."""
    for at, said in survey.sentinels.items():
        if isinstance(said, Failure):
            unknown = said.fault is Fault.UNKNOWN_MASTER
            denied = said.fault is Fault.DENIED
            yield Diagnosis(
                name="unknown-master"
                if unknown
                else "sentinel-denied"
                if denied
                else "sentinel-unreachable",
                status=Status.WARNING if survey.heard else Status.CRITICAL,
                subject=f"Sentinel {at}",
                evidence=said.text,
                consequence="it takes no part in a failover, as far as we can tell",
                fix=f"check ARAGORA_REDIS_SENTINEL_MASTER against: {cli(at)} SENTINEL MASTERS"
                if unknown
                else "see the password in its sentinel.conf (requirepass)"
                if denied
                else have_it_answer(said),
            )


def _without_majority(survey: Survey) -> str:
    if survey.primary in survey.alive:
        return (
            "bring the missing ones back; of those that are gone for good, once `status` shows all "
            f"replicas: SENTINEL RESET {survey.master_name} on each Sentinel, one after the other, "
            "and before the next wait until this one lists all replicas and Sentinels again"
        )
    # A Sentinel that is reset now forgets the replicas, and then has nobody to promote.
    return (
        "bring the missing ones back; if the old primary is dead for certain, and not only cut "
        f"off: SENTINEL FAILOVER {survey.master_name} on one that lives; no SENTINEL RESET now"
    )


def majority(survey: Survey) -> Iterator[Diagnosis]:
    """Whether enough of them live to notice, and to elect a leader."""
    if not survey.heard:
        return
    total = max(len(survey.sentinels), *(len(s.fellows) + 1 for s in survey.heard.values()))
    able = sum(not _tilted(s) for s in survey.heard.values())
    quorum = max(s.quorum for s in survey.heard.values())
    needed = max(total // 2 + 1, quorum)
    if able < needed:
        yield Diagnosis(
            name="no-majority",
            status=Status.CRITICAL,
            subject="the Sentinels:",
            evidence=f"{able} of {total} can act, and {needed} are needed "
            f"(quorum {quorum}, majority {total // 2 + 1})",
            consequence="no automatic failover is possible, whatever happens to the primary",
            fix=_without_majority(survey),
        )
    if quorum > total:
        yield Diagnosis(
            name="quorum-beyond-reach",
            status=Status.CRITICAL,
            subject="the Sentinels:",
            evidence=f"the quorum is {quorum}, and there are {total}",
            consequence="they can never agree that the primary is down",
            fix=f"on each: SENTINEL SET {survey.master_name} quorum {total // 2 + 1}",
        )
    elif quorum < total // 2 + 1:
        yield Diagnosis(
            name="quorum-below-majority",
            status=Status.WARNING,
            subject="the Sentinels:",
            evidence=f"the quorum is {quorum} of {total}, and a majority is {total // 2 + 1}",
            consequence="a minority may call the primary down, but it still takes a majority to "
            "replace it: this makes no failover possible that was not",
            fix=f"on each: SENTINEL SET {survey.master_name} quorum {total // 2 + 1}",
        )
    if total < 3:
        yield Diagnosis(
            name="too-few-sentinels",
            status=Status.WARNING,
            subject="the Sentinels:",
            evidence=f"there {'is' if total == 1 else 'are'} {total}",
            consequence="none may be lost: with the one that dies a failover becomes impossible",
            fix="run three, on machines of their own",
        )


def tilted(survey: Survey) -> Iterator[Diagnosis]:
    """Sentinels that do not trust themselves."""
    for at, sentinel in survey.heard.items():
        if _tilted(sentinel):
            since = sentinel.info.get("sentinel_tilt_since_seconds")
            yield Diagnosis(
                name="tilt",
                status=Status.WARNING,
                subject=f"Sentinel {at}",
                evidence="is in TILT mode" + (f" for {since} s" if since is not None else ""),
                consequence="it takes no part in a failover until 30 s after its clock is steady",
                fix="see whether its machine is paused, swaps, or has its clock stepped",
            )


def duplicates(survey: Survey) -> Iterator[Diagnosis]:
    """Sentinels listed twice, or long after they have gone."""
    for at, sentinel in survey.heard.items():
        places = Counter(address_of(row) for row in sentinel.fellows)
        twice = sorted(str(place) for place, count in places.items() if count > 1)
        gone = [
            row
            for row in sentinel.fellows
            if "s_down" in flags_of(row) and int(row["last-ok-ping-reply"]) > LONG_GONE_MS
        ]
        if twice or gone:
            names = twice or [str(address_of(row)) for row in gone]
            yield Diagnosis(
                name="duplicate-sentinel" if twice else "stale-sentinel",
                status=Status.WARNING,
                subject=f"Sentinel {at}",
                evidence=f"lists {', '.join(names)} "
                + ("twice" if twice else "although it has not answered for over a minute"),
                consequence="it counts towards the majority that a failover needs",
                fix=f"if it will not return: {cli(at)} SENTINEL RESET {survey.master_name}, "
                "on one Sentinel after the other, 30 s apart",
            )


def settings(survey: Survey) -> Iterator[Diagnosis]:
    """Sentinels that are configured differently, or not sensibly."""
    for name, text in (("quorum", "quorum"), ("down-after-milliseconds", "down-after")):
        if survey.migrating and name == "down-after-milliseconds":
            continue  # they are told, or given it back, one after the other
        values = {at: int(s.master[name]) for at, s in survey.heard.items()}
        if len(set(values.values())) > 1:
            yield Diagnosis(
                name="sentinel-settings-differ",
                status=Status.WARNING,
                subject="the Sentinels:",
                evidence=f"{name} is "
                + ", ".join(f"{value} at {at}" for at, value in values.items()),
                consequence=f"each goes by its own {text}: what happens depends on who leads",
                fix=f"on each: SENTINEL SET {survey.master_name} {name} VALUE",
            )
    for at, sentinel in survey.heard.items():
        after = int(sentinel.master["down-after-milliseconds"])
        if after >= A_MONTH:
            yield Diagnosis(
                name="migration-under-way",
                status=Status.WARNING,
                subject=f"Sentinel {at}",
                evidence="waits a month for its primary, as a migration has it",
                consequence="nobody takes over from a primary that dies; given less now, it might "
                "promote a replica in the middle of the migration",
                fix=GO_ON_MIGRATING,
            )
        elif not FEW_MS <= after <= MANY_MS:
            yield Diagnosis(
                name="down-after",
                status=Status.WARNING,
                subject=f"Sentinel {at}",
                evidence=f"calls a server down after {after} ms",
                consequence="a pause of the server is taken for its death"
                if after < FEW_MS
                else f"nothing can be written for {after / 1000:.0f} s after a death",
                fix=f"{cli(at)} SENTINEL SET {survey.master_name} down-after-milliseconds 5000",
            )
        if sentinel.unsaved is not None:
            yield Diagnosis(
                name="sentinel-conf-not-writable",
                status=Status.CRITICAL,
                subject=f"Sentinel {at}",
                evidence=f"cannot write its sentinel.conf: {sentinel.unsaved}",
                consequence="after a restart it has forgotten every failover and leads clients to "
                "an old primary, or does not start at all",
                fix="put the file on a writable volume, owned by its user, with space left",
            )


def names(survey: Survey) -> Iterator[Diagnosis]:
    """Servers known by name to some and by address to others; names never filled in."""
    places = {
        str(place.host): f"Sentinel {at}"
        for at, sentinel in survey.heard.items()
        for place in _places(sentinel)
    }
    kinds = {_is_address(host) for host in places}
    if len(kinds) > 1:
        named = sorted(host for host in places if not _is_address(host))
        yield Diagnosis(
            name="names-mixed-with-addresses",
            status=Status.WARNING,
            subject=places[named[0]],
            evidence=f"knows {', '.join(named[:3])} by name, and others by address",
            consequence="one server is taken for two, and a failover may choose wrongly",
            fix="set on every Sentinel `resolve-hostnames yes` and `announce-hostnames yes`, and "
            "`replica-announce-ip` on every server, or none of them",
        )
    for host, where in places.items():
        if "${" in host:
            yield Diagnosis(
                name="unexpanded-variable",
                status=Status.CRITICAL,
                subject=where,
                evidence=f"has {host!r} as an address",
                consequence="nothing fills in variables of its configuration file",
                fix="write the file with the values in it before it starts",
            )


def stalled(survey: Survey) -> Iterator[Diagnosis]:
    """A primary that is agreed to be down for long, and nobody replaces."""
    for at, sentinel in survey.heard.items():
        down = int(sentinel.master.get("o-down-time", 0) or 0)
        after = int(sentinel.master["down-after-milliseconds"])
        waiting = "failover_in_progress" not in sentinel.flags
        if "o_down" in sentinel.flags and down > 5 * after and waiting:
            timeout = int(sentinel.master.get("failover-timeout", 180_000)) / 1000
            yield Diagnosis(
                name="failover-stalled",
                status=Status.CRITICAL,
                subject=f"Sentinel {at}",
                evidence=f"has agreed for {down / 1000:.0f} s that the primary is down, and no "
                "failover is under way",
                consequence="after a failed attempt (-failover-abort-no-good-slave, -not-elected) "
                f"the next one comes {2 * timeout:.0f} s later",
                fix="bring back a replica or the missing Sentinels, then: "
                f"{cli(at)} SENTINEL FAILOVER {survey.master_name}",
            )


CHECKS = (unheard, majority, tilted, duplicates, settings, names, stalled)


def _tilted(sentinel: SentinelSurvey) -> bool:
    return bool(sentinel.info.get("sentinel_tilt"))


def _places(sentinel: SentinelSurvey) -> Iterator[Address]:
    yield sentinel.named
    for row in (*sentinel.replicas, *sentinel.fellows):
        yield address_of(row)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
