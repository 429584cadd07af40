"""Facts that the parts state, and that logs, metrics and dashboards listen to.

A part emits what it saw and never asks who hears it. Listeners run at once, in the emitter's turn
of the loop, so they must be quick; one that raises is dropped from no list and stops nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .address import Address

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True, slots=True)
class ViewChanged(Event):
    """The Sentinels name another primary, or the same one under a newer epoch.

    In a cluster: a primary has taken the place of another, or is the first that is known. Of one
    name: it leads elsewhere, and nobody counts epochs.
    """

    old: Address | None
    new: Address
    epoch: int | None


@dataclass(frozen=True, slots=True)
class SlotsMoved(Event):
    """Slots of a cluster have passed from one living primary to another."""

    slots: int


@dataclass(frozen=True, slots=True)
class SwitchAnnounced(Event):
    """A Sentinel pushed `+switch-master`; writes stop until the view is confirmed."""

    sentinel: Address


@dataclass(frozen=True, slots=True)
class EpochReset(Event):
    """A lower epoch was accepted, because a majority of rebuilt Sentinels insists on it."""

    address: Address
    old_epoch: int
    new_epoch: int


@dataclass(frozen=True, slots=True)
class SentinelsSplit(Event):
    """The configured Sentinels belong to two groups that do not know each other."""

    detail: str


@dataclass(frozen=True, slots=True)
class LinkUp(Event):
    """A verified connection to the primary carries operations again."""

    address: str
    lane: str
    after: float
    """Seconds since the lane was last usable; 0 for the first time."""


@dataclass(frozen=True, slots=True)
class LinkLost(Event):
    """A connection to the primary is not used any more."""

    address: str
    lane: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unreachable(Event):
    """A server cannot be used; said again only when the reason changes."""

    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class MaintenanceAnnounced(Event):
    """A managed service is about to work on its servers, or has (see `topology.maintenance`)."""

    work: str
    seconds: float
    """How long it takes, or until then; 0 where it is over."""


@dataclass(frozen=True, slots=True)
class RenewalFailed(Event):
    """A credential could not be renewed, or not presented; the old one may hold for a while."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServiceLacks(Event):
    """A server does not offer all that is used; what it lacks has changed since the last link.

    Attributes:
        lacks: what each lack costs, as sentences.
    """

    server: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Degraded(Event):
    """Operations are answered without Redis from now on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Recovered(Event):
    """Operations reach Redis again."""

    after: float
    """Seconds spent degraded."""


UNAVAILABLE = "unavailable"
"""Source of a refusal where nobody could decide, and the policy is fail-closed."""


@dataclass(frozen=True, slots=True)
class Decided(Event):
    """A rate limit was decided, or refused because it could not be.

    Attributes:
        shadow: it would have been refused, were the limit not in shadow mode.
    """

    policy: str
    allowed: bool
    source: str
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Revoked(Event):
    """This instance revoked something, at the acknowledgement level that it reached."""

    kind: str
    level: str
    seconds: float


DiskTrouble = Literal["full", "error", "hung", "unread"]


@dataclass(frozen=True, slots=True)
class OutboxTrouble(Event):
    """The outbox on disk does not do its part, until `OutboxKept`; revocations hold all the same.

    Attributes:
        kind: what is revoked here is in memory alone because the disk is `full`, answers with an
            `error`, or does not answer (`hung`); or files of dead instances stay `unread`.
    """

    reason: str
    kind: DiskTrouble


@dataclass(frozen=True, slots=True)
class OutboxKept(Event):
    """The outbox does its part again: what was revoked meanwhile is on disk too.

    Attributes:
        missing: revocations that are not, the oldest: more than can wait for the disk did.
    """

    missing: int = 0


@dataclass(frozen=True, slots=True)
class OutboxAdopted(Event):
    """What dead instances had kept on disk was taken over, and is published again.

    Attributes:
        damaged: lines that were not as they had been written, torn ends among them.
        foreign: why other files there were left alone, as sentences.
    """

    files: int
    entries: int
    damaged: int
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenJudged(Event):
    """A token was `accepted`, `invalid`, `expired`, `revoked`, or nobody could say (`unknown`)."""

    outcome: str


@dataclass(frozen=True, slots=True)
class KeysFetched(Event):
    """The keys that verify tokens were looked at again.

    Attributes:
        keys: how many are in use.
        trouble: why there are no newer ones, if it failed.
        changed: whether `trouble` is another one than the last time.
    """

    keys: int
    trouble: str | None
    changed: bool


@dataclass(frozen=True, slots=True)
class PardonsIgnored(Event):
    """Redis holds pardons that this instance cannot have from one of its own."""

    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Acted(Event):
    """Somebody did something by hand through this instance; see `aragora_redis.audit.act.Act`."""

    actor: str
    action: str
    target: str
    outcome: str
    via: str


@dataclass(frozen=True, slots=True)
class ActLost(Event):
    """What somebody did by hand could not be recorded, and is told only here."""

    actor: str
    action: str
    target: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class AuditTrouble(Event):
    """Acts by hand wait to be recorded; said again only after they were."""

    waiting: int
    reason: str


@dataclass(frozen=True, slots=True)
class SessionServed(Event):
    """A session was read, from `redis` or, while that cannot be asked, as a `copy`."""

    source: str


@dataclass(frozen=True, slots=True)
class SessionRefused(Event):
    """A session that is stored counted as none.

    Attributes:
        reason: `unknown-key`, `tampered`, `plain` or `not-json`, see `SessionUnreadableError`;
            `rolled-back` where the client has seen a later state of it.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class SessionWrite(Event):
    """A change of a session came out `ok`, in `conflict`, `gone`, `refused` or `failed`."""

    operation: str
    outcome: str


@dataclass(frozen=True, slots=True)
class CircuitChanged(Event):
    """A circuit turned `open`, `closed`, `forced-open` or `forced-closed`, as known here."""

    circuit: str
    state: str
    opens: int
    source: str
    """`redis`, or `local` where this instance has decided alone."""


@dataclass(frozen=True, slots=True)
class CircuitRefused(Event):
    """A call was not let through by a circuit in this state."""

    circuit: str
    state: str


@dataclass(frozen=True, slots=True)
class EraChanged(Event):
    """A token shard's data has begun a new history (promotion, restart or wipe)."""

    shard: int
    era: int
    republish_own: int
    republish_learned: int


@dataclass(frozen=True, slots=True)
class ClockSkew(Event):
    """Redis's clock is too far from ours for revocations to be compared."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FullSync(Event):
    """A token shard was compared bucket by bucket with Redis."""

    shard: int
    pulled: int
    pushed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MembersChanged(Event):
    """Something else than this library changed revocations in Redis; all publish theirs again.

    Attributes:
        shard: the token shard.
        recorded: how many one of its days is to have by its digest.
        found: how many it has.
    """

    shard: int
    recorded: int
    found: int


@dataclass(frozen=True, slots=True)
class PoliciesReloaded(Event):
    """The policies file has changed, and what it says is in force."""

    hash: str


@dataclass(frozen=True, slots=True)
class PoliciesRefused(Event):
    """The policies file has changed and cannot be used: what it said before stays in force."""

    reason: str


@dataclass(frozen=True, slots=True)
class PoliciesDiffer(Event):
    """Live instances began to go by other policies than this one, or none does any more."""

    others: int


@dataclass(frozen=True, slots=True)
class DeadlineMissed(Event):
    """An operation was given up at its deadline."""

    lane: str
    sent: bool


Listener = Callable[[Event], None]


class Events:
    """Hands each event to every listener."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; the returned call removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, event: Event) -> None:
        """Tell all listeners."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener's fault must not stop what it listens to
                _log.exception("an event listener failed on %s", type(event).__name__)
