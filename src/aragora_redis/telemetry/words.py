"""Events in words: one line for each thing that an operator acts on, none for a request. Pure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ..events import (
    Acted,
    ActLost,
    AuditTrouble,
    CircuitChanged,
    ClientsTurnedAway,
    ClockSkew,
    Decided,
    Degraded,
    EpochReset,
    EraChanged,
    Event,
    FullSync,
    KeysFetched,
    LinkLost,
    LinkUp,
    MaintenanceAnnounced,
    MembersChanged,
    OfRedis,
    OutboxAdopted,
    OutboxKept,
    OutboxTrouble,
    PardonsIgnored,
    PoliciesDiffer,
    PoliciesRefused,
    PoliciesReloaded,
    Recovered,
    RenewalFailed,
    SentinelsSplit,
    ServiceLacks,
    SlotsMoved,
    SwitchAnnounced,
    Unreachable,
    ViewChanged,
)
from ..state.outage_log import told_of_outage

TOGETHER = (EraChanged, FullSync, MembersChanged)
"""Events that come for many token shards at once, so they are one line: see `told_together`."""


@dataclass(frozen=True, slots=True)
class Told:
    """A line, and how much it matters (a level of `logging`)."""

    level: int
    text: str


def told(event: Event) -> Told | None:
    """An event in words; None for one that is no line of its own."""
    match event:
        case Decided():  # one for each check
            return None
        case Degraded() | Recovered():
            return Told(logging.WARNING, told_of_outage(event))
    line = (
        _told_of_service(event)
        or _told_of_acts(event)
        or _told_of_outbox(event)
        or _told_of_policies(event)
        or _told_of_access(event)
        or _told_of_links(event)
        or _told_of_sentinels(event)
    )
    if line is None or not isinstance(event, OfRedis) or not event.features:
        return line
    return Told(line.level, f"{event.redis}: {line.text}")


def _told_of_acts(event: Event) -> Told | None:
    match event:
        case Acted(actor, action, target, outcome):
            return Told(logging.INFO, f"by hand: {action} {target}, by {actor}: {outcome}")
        case ActLost(actor, action, target, outcome, reason):
            text = f"not recorded: {action} {target}, by {actor}: {outcome} ({reason})"
            return Told(logging.ERROR, text)
        case AuditTrouble(waiting, reason):
            return Told(logging.WARNING, f"{waiting} acts by hand wait to be recorded: {reason}")
    return None


def _told_of_policies(event: Event) -> Told | None:
    match event:
        case PoliciesReloaded(digest):
            return Told(logging.WARNING, f"the policies file has changed: {digest} is in force")
        case PoliciesRefused(reason):
            text = f"the policies file has changed and is not used, the old one holds: {reason}"
            return Told(logging.ERROR, text)
        case PoliciesDiffer(0):
            return Told(logging.WARNING, "all instances go by the same policies again")
        case PoliciesDiffer(others):
            text = f"{others} instances go by other policies than this one"
            return Told(logging.WARNING, text)
    return None


def _told_of_service(event: Event) -> Told | None:
    match event:
        case CircuitChanged(circuit, state, _, source):
            level = logging.INFO if state == "closed" else logging.WARNING
            return Told(level, f"circuit {circuit} is {state} (decided by {source})")
        case ClientsTurnedAway(reason, connections):
            text = f"{connections} connections of HTTP clients were ended: {reason}"
            return Told(logging.WARNING, text)
        case ClockSkew(seconds):
            text = (
                f"Redis's clock is {seconds:+.0f} s from ours: "
                "revocations are not compared until they agree"
            )
            return Told(logging.CRITICAL, text)
    return None


def _told_of_outbox(event: Event) -> Told | None:
    match event:
        case OutboxTrouble(reason, "unread"):
            text = f"what instances that ended had left in the outbox is not taken in: {reason}"
            return Told(logging.ERROR, text)
        case OutboxTrouble(reason):
            text = f"revocations are kept in memory alone, and not in the outbox: {reason}"
            return Told(logging.ERROR, text)
        case PardonsIgnored(_, reason):
            return Told(logging.ERROR, reason)
        case OutboxKept(missing):
            text = "revocations are kept in the outbox again"
            if missing:
                text += f", but {missing} of meanwhile stay in memory alone: too many waited for it"
            return Told(logging.ERROR if missing else logging.WARNING, text)
        case OutboxAdopted(files, entries, damaged, foreign):
            text = (
                f"{files} outbox files of instances that ended were adopted: "
                f"{entries} revocations are published again, {damaged} lines were damaged"
            )
            level = logging.WARNING if damaged or foreign else logging.INFO
            return Told(level, "; ".join((text, *foreign)))
    return None


def _told_of_access(event: Event) -> Told | None:
    match event:
        case MaintenanceAnnounced(work, seconds):
            when = f" ({seconds:g} s)" if seconds else ""
            return Told(logging.INFO, f"the service announces: {work}{when}")
        case KeysFetched(keys, None, changed=True):
            return Told(logging.INFO, f"tokens are verified with {keys} keys")
        case KeysFetched(keys, str(trouble), changed=True):
            text = f"the keys that verify tokens are not renewed ({keys} are held): {trouble}"
            return Told(logging.WARNING, text)
        case RenewalFailed(reason):
            return Told(logging.WARNING, f"the credentials are not renewed yet: {reason}")
        case ServiceLacks(server, lacks):
            text = "; ".join(lacks) or "nothing of what is used"
            return Told(logging.WARNING if lacks else logging.INFO, f"{server} lacks: {text}")
    return None


def _told_of_links(event: Event) -> Told | None:
    match event:
        case LinkUp(address, lane, after):
            text = f"linked to {address} ({lane} lane, {after:.3f} s without)"
            return Told(logging.INFO, text)
        case LinkLost(address, lane, reason):
            return Told(logging.INFO, f"the link to {address} is lost ({lane} lane): {reason}")
        case Unreachable(server, reason):
            return Told(logging.WARNING, f"{server} cannot be used: {reason}")
        case SlotsMoved(slots):
            return Told(logging.INFO, f"{slots} slots have another holder")
    return None


def _told_of_sentinels(event: Event) -> Told | None:
    match event:
        case ViewChanged(None, new, epoch):
            return Told(logging.INFO, f"the primary is {new} (epoch {epoch})")
        case ViewChanged(old, new, epoch):
            how = "by the name's addresses" if epoch is None else f"epoch {epoch}"
            before = "another node there" if old == new else str(old)
            text = f"failover: the primary was {before} and is {new} ({how})"
            return Told(logging.WARNING, text)
        case EpochReset(address, old_epoch, new_epoch):
            text = (
                f"epoch {new_epoch} of {address} was accepted after {old_epoch}: "
                "the Sentinels were rebuilt"
            )
            return Told(logging.WARNING, text)
        case SentinelsSplit(detail):
            text = (
                "the Sentinels belong to groups that do not know each other, "
                f"correct the list of hosts: {detail}"
            )
            return Told(logging.CRITICAL, text)
        case SwitchAnnounced(sentinel):
            text = f"Sentinel {sentinel} announced another primary: writes wait"
            return Told(logging.INFO, text)
    return None


def told_together(events: Sequence[Event]) -> Told:
    """What happened to many token shards at once; the events are of one type of `TOGETHER`."""
    eras = [event for event in events if isinstance(event, EraChanged)]
    syncs = [event for event in events if isinstance(event, FullSync)]
    changes = [event for event in events if isinstance(event, MembersChanged)]
    if changes:
        return Told(
            logging.ERROR,
            f"something else than aragora-redis changed the revocations of "
            f"{len({each.shard for each in changes})} token shards "
            f"in Redis (an eviction, a hand, a clock): {sum(each.recorded for each in changes)} "
            f"were to be there, {sum(each.found for each in changes)} were found; "
            "all instances publish what they know",
        )
    if eras:
        return Told(
            logging.INFO,
            f"the data of {len({event.shard for event in eras})} token shards began a new history: "
            f"{sum(event.republish_own for event in eras)} own and "
            f"{sum(event.republish_learned for event in eras)} learned revocations "
            "are published again",
        )
    return Told(
        logging.INFO,
        f"{len({event.shard for event in syncs})} token shards were compared in full: "
        f"{sum(event.pulled for event in syncs)} revocations learned, "
        f"{sum(event.pushed for event in syncs)} published again",
    )
