"""What the provider of a managed service does next. Pure.

It knows what each node said when it was looked at, and decides as the services do: who is silent
for long enough is replaced by a replica that has its data; the name follows later; whoever says
that it is a primary and is not to be one is made a replica as soon as that is seen, and not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .look import Known
from .records import Order, Record

# Redis tells the age of a lost link no finer.
_WHOLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How long the provider waits for what, in seconds."""

    down_after: float
    """Silence after which a node is down."""
    name_delay: float
    """For how long the name still leads to the old primary."""


@dataclass(frozen=True, slots=True)
class Elect:
    """Have a replica take the place of a primary that is down."""

    node: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Tell the one who is to be primary."""

    node: str


@dataclass(frozen=True, slots=True)
class Follow:
    """Make a node a replica of the primary, and write that down."""

    node: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Have the primary give its place to a replica once that has all."""

    node: str
    order: str


@dataclass(frozen=True, slots=True)
class Succeed:
    """The heir is primary."""

    node: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A planned failover comes to nothing."""

    order: str
    reason: str


@dataclass(frozen=True, slots=True)
class Point:
    """Move the name."""

    node: str


@dataclass(frozen=True, slots=True)
class SetPasswords:
    """Have a node take the passwords that are in force."""

    node: str


Step: TypeAlias = Elect | Promote | Follow | HandOver | Succeed | Refuse | Point | SetPasswords


@dataclass(frozen=True, slots=True)
class Wishes:
    """What those who run the service want."""

    order: Order | None = None
    digests: frozenset[str] = frozenset()
    """The passwords in force."""


def decide(
    record: Record,
    known: Mapping[str, Known],
    leads_to: str | None,
    wishes: Wishes,
    *,
    now: float,
    rules: Rules,
) -> tuple[Step, ...]:
    """What to do now; what fails is decided again at the next look.

    Args:
        record: what was decided before.
        known: of each of the two nodes.
        leads_to: the node that the name leads to.
        wishes: what is asked for.
        now: monotonic seconds.
        rules: how long to wait for what.
    """
    passwords = tuple(
        SetPasswords(name)
        for name, each in known.items()
        if each.answer is not None and each.answer.digests != wishes.digests
    )
    if record.heir is not None:
        return (*passwords, *_finish(record, record.heir, known, now, rules))
    return (
        *passwords,
        *_lead(record, known, wishes.order, now, rules),
        *_demote(record, known),
        *_name(record, known, leads_to, now, rules),
    )


def _finish(
    record: Record, heir: str, known: Mapping[str, Known], now: float, rules: Rules
) -> Iterator[Step]:
    """Go on with what a primary was told to hand over."""
    primary, after = known[record.primary], known[heir]
    if after.answer is not None and after.answer.is_primary:
        yield Succeed(heir)
    elif primary.is_down(now, rules.down_after):
        yield Refuse(record.order, f"{record.primary} fell silent while it handed over")
    elif primary.answer and primary.answer.is_primary and not primary.answer.handing_over:
        yield Refuse(record.order, f"{heir} did not catch up in time")


def _lead(
    record: Record, known: Mapping[str, Known], order: Order | None, now: float, rules: Rules
) -> Iterator[Step]:
    """See to it that there is a primary, the one that is asked for if possible."""
    primary = known[record.primary]
    heir = next(name for name in known if name != record.primary)
    if order is not None and order.order != record.order:
        yield _take_up(order, record.primary, known)
    elif primary.is_down(now, rules.down_after):
        lag = known[heir].lag(primary, now)
        # A replica that lost its primary long before that fell silent lacks what came in between.
        if lag is not None and lag <= rules.down_after + _WHOLE_SECONDS:
            yield Elect(heir)
    elif primary.answer is not None and not primary.answer.is_primary:
        yield Promote(record.primary)


def _take_up(order: Order, primary: str, known: Mapping[str, Known]) -> HandOver | Refuse:
    if order.to == primary:
        return Refuse(order.order, f"{primary} is the primary already")
    giver, taker = known[primary].answer, known[order.to].answer
    if giver is None or not giver.is_primary:
        return Refuse(order.order, f"{primary} does not answer as a primary")
    if taker is None or taker.link_lost != 0:
        return Refuse(order.order, f"{order.to} does not follow {primary}")
    return HandOver(order.to, order.order)


def _demote(record: Record, known: Mapping[str, Known]) -> Iterator[Step]:
    """Make a replica of whoever is not to be primary, and was not told yet or forgot it."""
    for name, each in known.items():
        if name == record.primary or each.answer is None:
            continue
        obeys = not each.answer.is_primary and each.answer.follows == record.primary
        if not obeys or name not in record.followers:
            yield Follow(name)


def _name(
    record: Record, known: Mapping[str, Known], leads_to: str | None, now: float, rules: Rules
) -> Iterator[Step]:
    """Move the name when its time has come."""
    since = known[record.primary].primary_since
    if leads_to != record.primary and since is not None and now - since >= rules.name_delay:
        yield Point(record.primary)
