"""Several limits asked as one: what is asked, in which steps, and what became of it.

All of them give or none does, where one step can decide them: one primary holds all their buckets,
or they share a hash slot. In a Redis Cluster limits of several slots are asked in turn, and what
the earlier ones gave stays given when a later one refuses. Nothing is undone across slots: the
undoing could be lost where the taking was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

from ..errors import InvalidInputError
from ..slots import key_slot
from .gcra import Answer, Decision, Source, decode, in_force
from .local import LocalLimiter, Record
from .policy import LimitPolicy, Rate
from .share import Share

MOST_LIMITS: Final = 8
"""Limits that may be asked as one."""


class LimitCheck(NamedTuple):
    """One of several limits to ask.

    Attributes:
        policy: name of a policy in the policies file.
        subject: whom it counts.
        cost: whole tokens, at most the policy's burst. 0 only looks, and then all do.
        at: subject of the limit that this one is co-located with, if that is not asked as well.
        limit: that holds for the subject instead of the policy's.
    """

    policy: str
    subject: str
    cost: int = 1
    at: str | None = None
    limit: Rate | None = None


class Asked(NamedTuple):
    """One limit as it is asked, with what is known of its subject here."""

    limiter: LocalLimiter
    record: Record
    cost: int
    policy: LimitPolicy


@dataclass(frozen=True, slots=True)
class JointDecision:
    """What became of several limits asked as one.

    Attributes:
        allowed: all of them gave; otherwise see the module for what stays taken.
        decisions: what each of them said, in the order asked. Where another one refused, `allowed`
            says that this one would have given; None that it was not asked any more.
    """

    allowed: bool
    decisions: tuple[Decision | None, ...]

    @property
    def retry_after(self) -> float:
        """Seconds until all that refused may give; 0 when allowed."""
        refused = (said for said in self.decisions if said is not None and not said.allowed)
        return max((said.retry_after for said in refused), default=0.0)


def located(checks: Sequence[LimitCheck], of: str) -> str | None:
    """The subject at which a limit is counted that is co-located with the limit `of`.

    Raises:
        InvalidInputError: that limit is asked for several subjects.
    """
    found = {check.subject for check in checks if check.policy == of}
    if len(found) > 1:
        raise InvalidInputError(
            f"the limit {of!r} is asked for several subjects, and another is co-located with it",
            remedy="say with `at` which of them is meant",
        )
    return found.pop() if found else None


def validate_together(asked: Sequence[Asked]) -> None:
    """Accept limits that can be asked as one.

    Raises:
        InvalidInputError: there are none or too many, one of them comes twice, or some are only
            looked at: what those say is not a condition for the others.
    """
    if not 1 <= len(asked) <= MOST_LIMITS:
        raise InvalidInputError(f"1 to {MOST_LIMITS} limits can be asked as one")
    if len({each.record.key for each in asked}) < len(asked):
        raise InvalidInputError(
            "the same limit of the same subject is asked twice", remedy="add up the costs"
        )
    if len({each.cost > 0 for each in asked}) > 1:
        raise InvalidInputError(
            "some of the limits are to be taken from and others looked at",
            remedy="look at them in a call of their own",
        )


def steps(asked: Iterable[Asked], *, across_slots: bool) -> list[list[Asked]]:
    """Which limits are decided together, in the order in which they are asked.

    What is taken in vain is back after its cost has regenerated, so who gives back soonest is asked
    first.

    Args:
        asked: the limits.
        across_slots: one primary holds all of them.
    """
    if across_slots:
        return [list(asked)]
    together = groupby(sorted(asked, key=_slot), key=_slot)
    return sorted((list(group) for _, group in together), key=_regained_after)


def _slot(asked: Asked) -> int:
    return key_slot(asked.record.key)


def _regained_after(group: Iterable[Asked]) -> float:
    return max(each.cost * each.policy.interval for each in group)


def decode_all(asked: Sequence[Asked], answers: Sequence[Answer], source: Source) -> list[Decision]:
    """Read what one step was answered."""
    said = [in_force(each.policy, one) for each, one in zip(asked, answers, strict=True)]
    given = all(reply >= 0 for _, reply in said)
    return [
        decode(policy, each.cost if given or reply < 0 else 0, reply, source)
        for each, (policy, reply) in zip(asked, said, strict=True)
    ]


def decide_here(asked: Sequence[Asked], shares: Sequence[Share], now: float) -> list[Decision]:
    """Decide one step without Redis, within this instance's shares; see `LocalLimiter.decide`."""
    seen = [
        each.limiter.look(each.record, each.cost, share, now, each.policy)
        for each, share in zip(asked, shares, strict=True)
    ]
    given = all(decision.allowed for decision in seen)
    return [
        each.limiter.decide(each.record, each.cost if given else 0, share, now, each.policy)
        if decision.allowed
        else decision
        for each, share, decision in zip(asked, shares, seen, strict=True)
    ]
