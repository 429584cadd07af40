"""Facts that the parts state, and that logs, metrics and dashboards listen to.

A part emits what it saw and never asks who hears it. Listeners run at once, in the emitter's turn
of the loop, so they must be quick; one that raises is dropped from no list and stops nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct, structs

from .address import Address

_log = logging.getLogger(__name__)


class Event(Struct, frozen=True, gc=False):
    """Something that happened."""


class OfRedis(Event, frozen=True, kw_only=True):
    """Something that happened to a Redis.

    Attributes:
        features: those whose Redis it is; empty where it is that of all.
    """

    features: tuple[str, ...] = ()

    @property
    def redis(self) -> str:
        """What that Redis is called."""
        return f"the Redis of {', '.join(self.features)}" if self.features else "Redis"


class ViewChanged(OfRedis, frozen=True):
    """The Sentinels name another primary, or the same one under a newer epoch.

    In a cluster: a primary has taken the place of another, or is the first that is known. Of one
    name: it leads elsewhere, and nobody counts epochs.
    """

    old: Address | None
    new: Address
    epoch: int | None


class SlotsMoved(OfRedis, frozen=True):
    """Slots of a cluster have passed from one living primary to another."""

    slots: int


class SwitchAnnounced(OfRedis, frozen=True):
    """A Sentinel pushed `+switch-master`; writes stop until the view is confirmed."""

    sentinel: Address


class EpochReset(OfRedis, frozen=True):
    """A lower epoch was accepted, because a majority of rebuilt Sentinels insists on it."""

    address: Address
    old_epoch: int
    new_epoch: int


class SentinelsSplit(OfRedis, frozen=True):
    """The configured Sentinels belong to two groups that do not know each other."""

    detail: str


GIVEN_UP = "closed"
"""Why a link ends that nothing is wrong with: of this instance, or to a node without slots."""


class LinkUp(OfRedis, frozen=True):
    """A verified connection to the primary carries operations again."""

    address: str
    lane: str
    after: float
    """Seconds since the lane was last usable; 0 for the first time."""


class LinkLost(OfRedis, frozen=True):
    """A connection to the primary is not used any more."""

    address: str
    lane: str
    reason: str


class Unreachable(OfRedis, frozen=True):
    """A server cannot be used; said again only when the reason changes."""

    server: str
    reason: str


class MaintenanceAnnounced(OfRedis, frozen=True):
    """A managed service is about to work on its servers, or has (see `topology.maintenance`)."""

    work: str
    seconds: float
    """How long it takes, or until then; 0 where it is over."""


class RenewalFailed(OfRedis, frozen=True):
    """A credential could not be renewed, or not presented; the old one may hold for a while."""

    reason: str


class ServiceLacks(OfRedis, frozen=True):
    """A server does not offer all that is used; what it lacks has changed since the last link.

    Attributes:
        lacks: what each lack costs, as sentences.
    """

    server: str
    lacks: tuple[str, ...]


class Degraded(OfRedis, frozen=True):
    """Operations are answered without Redis from now on."""

    reason: str


class Recovered(OfRedis, frozen=True):
    """Operations reach Redis again.

    Attributes:
        after: seconds spent degraded.
    """

    after: float


UNAVAILABLE = "unavailable"
"""Source of a refusal where nobody could decide, and the policy is fail-closed."""


class Decided(Event, frozen=True):
    """A rate limit was decided, or refused because it could not be.

    Attributes:
        shadow: it would have been refused, were the limit not in shadow mode.
        subject: the digest of whom it counted, under the fleet's key.
    """

    policy: str
    allowed: bool
    source: str
    shadow: bool = False
    subject: bytes = b""


class Revoked(Event, frozen=True):
    """This instance revoked something, at the acknowledgement level that it reached."""

    kind: str
    level: str
    seconds: float


DiskTrouble = Literal["full", "error", "hung", "unread"]


class OutboxTrouble(Event, frozen=True):
    """The outbox on disk does not do its part, until `OutboxKept`; revocations hold all the same.

    Attributes:
        kind: what is revoked here is in memory alone because the disk is `full`, answers with an
            `error`, or does not answer (`hung`); or files of dead instances stay `unread`.
    """

    reason: str
    kind: DiskTrouble


class OutboxKept(Event, frozen=True):
    """The outbox does its part again: what was revoked meanwhile is on disk too.

    Attributes:
        missing: revocations that are not, the oldest: more than can wait for the disk did.
    """

    missing: int = 0


class OutboxAdopted(Event, frozen=True):
    """What dead instances had kept on disk was taken over, and is published again.

    Attributes:
        damaged: lines that were not as they had been written, torn ends among them.
        foreign: why other files there were left alone, as sentences.
    """

    files: int
    entries: int
    damaged: int
    foreign: tuple[str, ...] = ()


class TokenJudged(Event, frozen=True):
    """A token was `accepted`, `invalid`, `expired`, `revoked`, or nobody could say (`unknown`)."""

    outcome: str


class KeysFetched(Event, frozen=True):
    """The keys that verify tokens were looked at again.

    Attributes:
        keys: how many are in use.
        trouble: why there are no newer ones, if it failed.
        changed: whether `trouble` is another one than the last time.
    """

    keys: int
    trouble: str | None
    changed: bool


class PardonsIgnored(Event, frozen=True):
    """Redis holds pardons that this instance cannot have from one of its own."""

    count: int
    reason: str


class Acted(Event, frozen=True):
    """Somebody did something by hand through this instance; see `aragora_redis.audit.act.Act`."""

    actor: str
    action: str
    target: str
    outcome: str
    via: str


class ActLost(Event, frozen=True):
    """What somebody did by hand could not be recorded, and is told only here."""

    actor: str
    action: str
    target: str
    outcome: str
    reason: str


class AuditTrouble(Event, frozen=True):
    """Acts by hand wait to be recorded; said again only after they were."""

    waiting: int
    reason: str


class SessionServed(Event, frozen=True):
    """A session was read, from `redis` or, while that cannot be asked, as a `copy`."""

    source: str


class SessionRefused(Event, frozen=True):
    """A session that is stored counted as none.

    Attributes:
        reason: `unknown-key`, `tampered`, `plain` or `not-json`, see `SessionUnreadableError`;
            `rolled-back` where the client has seen a later state of it.
    """

    reason: str


class SessionWrite(Event, frozen=True):
    """A change of a session came out `ok`, in `conflict`, `gone`, `refused` or `failed`."""

    operation: str
    outcome: str


class CircuitChanged(Event, frozen=True):
    """A circuit turned `open`, `closed`, `forced-open` or `forced-closed`, as known here."""

    circuit: str
    state: str
    opens: int
    source: str
    """`redis`, or `local` where this instance has decided alone."""


class CircuitRefused(Event, frozen=True):
    """A call was not let through by a circuit in this state."""

    circuit: str
    state: str


class EraChanged(Event, frozen=True):
    """A token shard's data has begun a new history (promotion, restart or wipe)."""

    shard: int
    era: int
    republish_own: int
    republish_learned: int


class ClockSkew(Event, frozen=True):
    """Redis's clock is too far from ours for revocations to be compared."""

    seconds: float


class FullSync(Event, frozen=True):
    """A token shard was compared bucket by bucket with Redis."""

    shard: int
    pulled: int
    pushed: int
    seconds: float


class MembersChanged(Event, frozen=True):
    """Something else than this library changed revocations in Redis; all publish theirs again.

    Attributes:
        shard: the token shard.
        recorded: how many one of its days is to have by its digest.
        found: how many it has.
    """

    shard: int
    recorded: int
    found: int


class PoliciesReloaded(Event, frozen=True):
    """The policies file has changed, or can be used again, and what it says is in force."""

    hash: str


class PoliciesRefused(Event, frozen=True):
    """The policies file has changed and cannot be used: what it said before stays in force."""

    reason: str


class PoliciesDiffer(Event, frozen=True):
    """Live instances began to go by other policies than this one, or none does any more."""

    others: int


class ClientsTurnedAway(Event, frozen=True):
    """The gateway ended connections of clients that kept to no limit, since it last said so.

    Attributes:
        reason: a word, see `gateway.crowd.Why`.
        connections: how many.
    """

    reason: str
    connections: int


class DeadlineMissed(Event, frozen=True):
    """An operation was given up at its deadline."""

    lane: str
    sent: bool


Listener = Callable[[Event], None]


class _Listening(Struct, eq=False):
    """A listener, and the kinds that it listens to."""

    listener: Listener
    to: tuple[type[Event], ...]


class Events:
    """Hands each event to those who listen to its kind."""

    def __init__(self) -> None:
        self._listeners: tuple[_Listening, ...] = ()
        self._hearers: dict[type[Event], tuple[Listener, ...]] = {}
        self._logs = 0

    @property
    def logged(self) -> bool:
        """Whether a listener writes all of them to the log."""
        return self._logs > 0

    def subscribe(
        self, listener: Listener, *, to: Iterable[type[Event]] = (Event,), logs: bool = False
    ) -> Callable[[], None]:
        """Add a listener; the returned call removes it.

        Args:
            listener: called with each event.
            to: the kinds that it is called with; all by default. Every check of a limit is a
                `Decided`, so who has no use for those says what it wants.
            logs: whether it writes all of them to the log, so that nobody else needs to.
        """
        listening = _Listening(listener, tuple(to))
        self._listeners += (listening,)
        self._logs += logs
        self._hearers = {}

        def end() -> None:
            if listening in self._listeners:
                self._listeners = tuple(each for each in self._listeners if each is not listening)
                self._logs -= logs
                self._hearers = {}

        return end

    def emit(self, event: Event) -> None:
        """Tell all who listen to its kind."""
        hearers = self._hearers.get(type(event))
        if hearers is None:
            hearers = self._find(type(event))
        for listener in hearers:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener's fault must not stop what it listens to
                _log.exception("an event listener failed on %s", type(event).__name__)

    def of(self, features: tuple[str, ...]) -> Events:
        """For who tells of the Redis of some features alone; these, where it is that of all."""
        return _EventsOf(self, features) if features else self

    def _find(self, kind: type[Event]) -> tuple[Listener, ...]:
        hearers = self._hearers  # before the listeners: another thread may add one meanwhile
        found = tuple(each.listener for each in self._listeners if issubclass(kind, each.to))
        hearers[kind] = found
        return found


class _EventsOf(Events):
    def __init__(self, whole: Events, features: tuple[str, ...]) -> None:
        super().__init__()
        self._whole = whole
        self._features = features

    @property
    def logged(self) -> bool:
        return self._whole.logged

    def subscribe(
        self, listener: Listener, *, to: Iterable[type[Event]] = (Event,), logs: bool = False
    ) -> Callable[[], None]:
        return self._whole.subscribe(listener, to=to, logs=logs)

    def emit(self, event: Event) -> None:
        if isinstance(event, OfRedis):
            event = structs.replace(event, features=self._features)
        self._whole.emit(event)
