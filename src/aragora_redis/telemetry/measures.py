"""Events as measurements: which instrument, by how much, with which labels. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias, get_args

from ..address import Address
from ..events import (
    GIVEN_UP,
    ActLost,
    CircuitChanged,
    CircuitRefused,
    ClientsTurnedAway,
    DeadlineMissed,
    Decided,
    Degraded,
    DiskTrouble,
    EraChanged,
    Event,
    FullSync,
    KeysFetched,
    LinkLost,
    LinkUp,
    MembersChanged,
    OfRedis,
    OutboxAdopted,
    OutboxKept,
    OutboxTrouble,
    Recovered,
    RenewalFailed,
    Revoked,
    SessionRefused,
    SessionServed,
    SessionWrite,
    TokenJudged,
    ViewChanged,
)
from ..operation import Lane
from ..state.circuits.circuits import CIRCUITS
from . import instruments
from .failover import FailoverTimers, Phase
from .instruments import Instrument, features_label

Features: TypeAlias = tuple[str, ...]
"""Those whose Redis something is of; none where it is that of all."""


class Measurement(NamedTuple):
    """A value for an instrument: what a counter grows by, a gauge becomes, a histogram takes in."""

    instrument: Instrument
    value: float
    labels: tuple[str, ...] = ()


class Measures:
    """Turns events into measurements; it remembers links, failovers and circuits."""

    def __init__(self) -> None:
        self._timer = FailoverTimers()
        self._circuits: set[str] = set()
        self._links: defaultdict[tuple[Features, str], dict[str, bool]] = defaultdict(dict)
        """Whether there is a link, by where it leads, for each Redis and lane."""
        self._heard_of: set[Features] = set()
        """The features whose Redis anything was told of."""
        self._renewed: set[tuple[Features, str]] = set()
        """Addresses that another server has taken, and that are not linked to since."""

    def of(self, event: Event, now: float) -> Iterator[Measurement]:
        """What an event at `now` (monotonic seconds) adds."""
        parts = (
            _of_call,
            _of_session,
            self._of_circuit,
            _of_service,
            _of_revocations,
            _of_outbox,
            self._of_link,
            _of_access,
        )
        yield from self._of_begin(event)
        yield from next((found for part in parts if (found := part(event))), ())
        for span in self._timer.see(event, now):
            features = features_label(span.features)
            if span.phase is Phase.WHOLE:
                yield Measurement(instruments.FAILOVER_SECONDS, span.seconds, (features,))
            else:
                labels = (span.phase.value, features)
                yield Measurement(instruments.FAILOVER_PHASE_SECONDS, span.seconds, labels)

    def _of_begin(self, event: Event) -> Iterator[Measurement]:
        """What is so of a Redis that is heard of for the first time."""
        if isinstance(event, OfRedis) and event.features not in self._heard_of:
            self._heard_of.add(event.features)
            yield _degraded(event.features, now=False)
            # A series that begins with its first change has not increased, to Prometheus.
            yield _failovers(event.features, 0)
            for lane in Lane:
                yield self._link_up(lane, event.features)

    def _of_circuit(self, event: Event) -> tuple[Measurement, ...]:
        match event:
            case CircuitRefused(circuit, state):
                name = self._told_apart(circuit)
                return (Measurement(instruments.CIRCUIT_REFUSALS, 1, (name, state)),)
            case CircuitChanged(circuit, state, source=source):
                name = self._told_apart(circuit)
                return (Measurement(instruments.CIRCUIT_CHANGES, 1, (name, state, source)),)
        return ()

    def _told_apart(self, circuit: str) -> str:
        """What it is called: clients may name ever others, and no label is forgotten."""
        if len(self._circuits) < CIRCUITS:
            self._circuits.add(circuit)
        return circuit if circuit in self._circuits else instruments.OTHERS

    def _of_link(self, event: Event) -> tuple[Measurement, ...]:
        match event:
            case LinkUp(address, lane, features=features):
                self._renewed.discard((features, address))
                self._links[features, lane][address] = True
                return (self._link_up(lane, features),)
            case LinkLost(address, lane, reason, features=features):
                known = self._links[features, lane]
                if reason == GIVEN_UP:
                    if (features, address) not in self._renewed:  # else it was the one before
                        known.pop(address, None)
                    return (self._link_up(lane, features),)
                if address in known:  # and has not been replaced
                    known[address] = False
                lost = Measurement(instruments.LINK_LOST, 1, (lane, features_label(features)))
                return (self._link_up(lane, features), lost)
            case ViewChanged(Address() as old, new, features=features):
                self._replace(features, str(old), str(new))
                ups = (self._link_up(lane, features) for lane in Lane)
                return (_failovers(features, 1), *ups)
        return ()

    def _replace(self, features: Features, old: str, new: str) -> None:
        if old == new:
            self._renewed.add((features, old))
        else:
            self._renewed.discard((features, old))
        for lane in Lane:
            known = self._links[features, lane]
            if known.pop(old, None) is not None:
                known.setdefault(new, False)

    def _link_up(self, lane: str, features: Features) -> Measurement:
        known = self._links[features, lane].values()
        labels = (str(lane), features_label(features))
        return Measurement(instruments.LINK_UP, bool(known) and all(known), labels)


def zeros() -> Iterator[Measurement]:
    """What is so before anything has happened."""
    yield from _outbox_troubles(None)


def _degraded(features: Features, *, now: bool) -> Measurement:
    return Measurement(instruments.DEGRADED, now, (features_label(features),))


def _failovers(features: Features, more: int) -> Measurement:
    return Measurement(instruments.FAILOVERS, more, (features_label(features),))


def _of_service(event: Event) -> tuple[Measurement, ...]:
    match event:
        case Revoked(kind, level, seconds):
            return (
                Measurement(instruments.REVOCATIONS, 1, (kind, level)),
                Measurement(instruments.REVOKE_SECONDS, seconds),
            )
        case Degraded(features=features):
            return (_degraded(features, now=True),)
        case Recovered(features=features):
            return (_degraded(features, now=False),)
    return ()


def _of_call(event: Event) -> tuple[Measurement, ...]:
    match event:
        case Decided(policy, allowed, source, shadow):
            labels = (policy, "shadow" if shadow else _word(allowed), source)
            return (Measurement(instruments.DECISIONS, 1, labels),)
        case TokenJudged(outcome):
            return (Measurement(instruments.TOKENS_JUDGED, 1, (outcome,)),)
        case ClientsTurnedAway(reason, connections):
            return (Measurement(instruments.CLIENTS_TURNED_AWAY, connections, (reason,)),)
        case ActLost():
            return (Measurement(instruments.ACTS_LOST, 1),)
        case DeadlineMissed(lane, sent):
            return (Measurement(instruments.DEADLINE_MISSED, 1, (lane, _word(sent))),)
    return ()


def _of_session(event: Event) -> tuple[Measurement, ...]:
    match event:
        case SessionServed(source):
            return (Measurement(instruments.SESSIONS_SERVED, 1, (source,)),)
        case SessionRefused(reason):
            return (Measurement(instruments.SESSIONS_REFUSED, 1, (reason,)),)
        case SessionWrite(operation, outcome):
            return (Measurement(instruments.SESSION_WRITES, 1, (operation, outcome)),)
    return ()


def _of_revocations(event: Event) -> tuple[Measurement, ...]:
    match event:
        case EraChanged():
            lost = event.republish_own + event.republish_learned
            return (
                Measurement(instruments.ERA_CHANGES, 1),
                Measurement(instruments.REPUBLISHED, lost),
            )
        case FullSync(pushed=pushed):
            return (
                Measurement(instruments.FULL_SYNCS, 1),
                Measurement(instruments.REPUBLISHED, pushed),
            )
        case MembersChanged():
            return (Measurement(instruments.MEMBERS_CHANGED, 1),)
    return ()


def _of_outbox(event: Event) -> tuple[Measurement, ...]:
    match event:
        case OutboxTrouble(kind=kind):
            return _outbox_troubles(kind)
        case OutboxKept():
            return _outbox_troubles(None)
        case OutboxAdopted(files=files):
            return (Measurement(instruments.OUTBOX_ADOPTED, files),)
    return ()


def _outbox_troubles(present: DiskTrouble | None) -> tuple[Measurement, ...]:
    kinds = get_args(DiskTrouble)
    return tuple(
        Measurement(instruments.OUTBOX_TROUBLE, kind == present, (kind,)) for kind in kinds
    )


def _of_access(event: Event) -> tuple[Measurement, ...]:
    match event:
        case KeysFetched(trouble=trouble):
            labels = ("failed" if trouble else "ok",)
            return (Measurement(instruments.KEY_FETCHES, 1, labels),)
        case RenewalFailed():
            return (Measurement(instruments.RENEWALS_FAILED, 1),)
    return ()


def _word(flag: bool) -> str:  # noqa: FBT001 - the value that is worded
    return "true" if flag else "false"
