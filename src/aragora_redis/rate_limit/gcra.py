"""The rate limit's rules, exact and in integers: the same that `scripts/gcra.lua` runs in Redis.

A bucket is one arrival time (TAT): the instant at which it will be full again. A check of cost c
moves it c tokens into the future, and is refused where that lies further ahead than a full burst.
Spans are integers in units of 1/count microseconds (see `LimitPolicy`), so 700 000 per second or
3 per 2 seconds lose nothing to rounding.

No TAT counts as further ahead than a full burst; but one that is, under a limit with a shorter
burst than the one that wrote it, stays so when it is stored anew, or nothing would have been used
under the other. And a promoted node's clock may be behind the
one that wrote it, or a clock may be set back, and nobody shall wait for the difference: with a TAT
is kept how far ahead it was when it was written, and if that moment still lies ahead, the TAT is as
far ahead now as it was then. That is stored by a refusal too, or the wait would never begin.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from ..errors import InvalidInputError
from .policy import EXACT, LimitPolicy

Mode = Literal["check", "charge"]

_STORED: Final = re.compile(rb"(\d+)(?::(\d+))?(?:@(-?\d+))?")


class Source(StrEnum):
    """Who decided."""

    REDIS = "redis"
    LOCAL = "local"
    LEASE = "lease"
    DENY_CACHE = "deny-cache"


class Decision(Struct, frozen=True, gc=False):
    """What became of a check.

    Attributes:
        limit: tokens of a full bucket.
        remaining: whole tokens left, also after a refusal.
        retry_after: seconds until the same check may pass; 0 when allowed.
        reset_after: seconds until the bucket is full.
        window: seconds in which a full bucket comes back; 0.0 where that is not known.
        shadow: the limit is in shadow mode and would have refused; `retry_after` says for how long.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float
    source: Source
    window: float = 0.0
    shadow: bool = False


class Tat(NamedTuple):
    """An arrival time: `us` + `frac`/count Unix microseconds, `frac` below count.

    Attributes:
        ahead: how far ahead `us` was when it was written; None where that is not known.
    """

    us: int
    frac: int
    ahead: int | None = None

    @classmethod
    def parse(cls, stored: bytes | None) -> Tat | None:
        """Read a stored value; what no version has written counts as absent."""
        found = _STORED.fullmatch(stored or b"")
        if found is None:
            return None
        ahead = int(found[3]) if found[3] is not None else None
        return cls(int(found[1]), int(found[2] or 0), ahead)

    def encode(self) -> bytes:
        """The value to store."""
        instant = b"%d:%d" % (self.us, self.frac) if self.frac else b"%d" % self.us
        return instant if self.ahead is None else b"%b@%d" % (instant, self.ahead)

    def went_back(self, now_us: int) -> int:
        """By how much the clock has gone back since it was written."""
        return 0 if self.ahead is None else max(self.us - self.ahead - now_us, 0)

    def on(self, now_us: int) -> Tat:
        """The same on a clock that shows this now: itself unless that has gone back."""
        back = self.went_back(now_us)
        return self._replace(us=self.us - back) if back else self


class Own(NamedTuple):
    """What Redis says of a subject that has a limit of its own: the reply, and that limit.

    Attributes:
        tokens: tokens that come back per `period_us`.
        until: when it ends, in server microseconds; 0 for never.
    """

    reply: int
    tokens: int
    period_us: int
    burst: int
    until: int


Answer = int | Own
"""A reply: a level or a wait, under the limit asked for or under the subject's own."""


class Peek(NamedTuple):
    """What a check of a subject would meet.

    Attributes:
        policy: the limit in force.
        until: Unix seconds at which a limit of its own ends, 0.0 for never; None where it has none.
        digest: stands for the subject in lists and records.
    """

    decision: Decision
    policy: LimitPolicy
    until: float | None
    digest: str


def peeked(policy: LimitPolicy, answer: Answer, source: Source, digest: str) -> Peek:
    """Read the answer to a peek at the subject with this digest."""
    under, reply = in_force(policy, answer)
    until = answer.until / 1e6 if isinstance(answer, Own) else None
    return Peek(decode(under, 0, reply, source), under, until, digest)


def span(policy: LimitPolicy, tat: Tat, now_us: int) -> int:
    """The span from now to an arrival time, no further than a full burst ahead or behind.

    The rate may have changed since the value was written; a fraction that it cannot have is
    dropped, which is less than a microsecond.
    """
    frac = tat.frac if tat.frac < policy.count else 0
    return max(min((tat.us - now_us) * policy.count + frac, policy.full), -policy.full)


def beyond_full(policy: LimitPolicy, tat: Tat, now_us: int) -> int:
    """Microseconds that an arrival time lies further ahead than a full burst.

    Whoever stores it adds them, since it was another limit that took so much.
    """
    return max(min(tat.us - now_us - policy.full // policy.count, EXACT), 0)


def tat_of(policy: LimitPolicy, spanned: int, now_us: int, beyond: int = 0) -> Tat:
    """The arrival time that lies a span ahead, and `beyond` microseconds."""
    whole, frac = divmod(spanned, policy.count)
    return Tat(now_us + whole + beyond, frac, whole + beyond)


def level(policy: LimitPolicy, tat: Tat | None, now_us: int) -> int:
    """The span from now to the arrival time: 0 for a full bucket to `policy.full` for an empty."""
    return 0 if tat is None else max(span(policy, tat.on(now_us), now_us), 0)


def decide(
    policy: LimitPolicy, tat: Tat | None, cost: int, now_us: int, mode: Mode = "check"
) -> tuple[int, Tat | None]:
    """Decide one item.

    Cost 0 looks and changes nothing. A charge is never refused: it empties the bucket at most.

    Returns:
        The reply (the new level where allowed, minus the wait where refused) and the value to
        store from now on.
    """
    before = level(policy, tat, now_us)
    raised = before + cost * policy.period_us
    if mode == "charge":
        raised = min(raised, policy.full)
    if raised > policy.full:
        return policy.full - raised, _kept(policy, tat, before, now_us)
    if not cost:
        return raised, tat
    beyond = 0 if tat is None else beyond_full(policy, tat.on(now_us), now_us)
    return raised, tat_of(policy, raised, now_us, beyond)


def _kept(policy: LimitPolicy, tat: Tat | None, before: int, now_us: int) -> Tat | None:
    """What a refusal leaves: what was there, or what that is on a clock that has gone back."""
    if tat is None or not tat.went_back(now_us):
        return tat
    return tat_of(policy, before, now_us, beyond_full(policy, tat.on(now_us), now_us))


def decide_all(
    items: Sequence[tuple[LimitPolicy, Tat | None, int]], now_us: int
) -> list[tuple[int, Tat | None]]:
    """Decide several limits as one, each with its stored value and cost: all give, or none does.

    Returns:
        For each what `decide` returns; where another one refuses, the level as it stays.
    """
    decided = [decide(policy, tat, cost, now_us) for policy, tat, cost in items]
    if all(reply >= 0 for reply, _ in decided):
        return decided
    return [
        (reply if reply < 0 else before, _kept(policy, tat, before, now_us) if cost else tat)
        for (policy, tat, cost), before, (reply, _) in zip(
            items,
            (level(policy, tat, now_us) for policy, tat, _ in items),
            decided,
            strict=True,
        )
    ]


def ttl_ms(policy: LimitPolicy, raised: int) -> int:
    """Milliseconds to keep a bucket of that level: until it is full, and a second for safety."""
    return -(-raised // (policy.count * 1000)) + 1000


def in_force(policy: LimitPolicy, answer: Answer) -> tuple[LimitPolicy, int]:
    """The limit by which an answer was given, and the reply that it gives."""
    if isinstance(answer, int):
        return policy, answer
    return policy.at(answer.tokens, answer.period_us, answer.burst), answer.reply


def decode(policy: LimitPolicy, cost: int, reply: int, source: Source = Source.REDIS) -> Decision:
    """Read a reply as a decision. A look (cost 0) says what a check of cost 1 would meet."""
    period_us = policy.period_us
    if reply < 0:
        before = policy.full - reply - cost * period_us
    else:
        before = reply
        if not cost and reply + period_us > policy.full:
            reply = policy.full - reply - period_us
    per_second = policy.per_second
    return Decision(
        reply >= 0,
        policy.burst,
        (policy.full - before) // period_us,
        -reply / per_second if reply < 0 else 0.0,
        before / per_second,
        source,
        policy.window,
    )


def validate_cost(policy: LimitPolicy, cost: int) -> None:
    """Accept what a check may cost: a whole number from 0 (a look).

    Whether any bucket could pay it, Redis knows: the subject may have a limit of its own, see
    `validate_payable`.

    Raises:
        InvalidInputError: it is no such number.
    """
    if type(cost) is not int or not 0 <= cost * policy.period_us < EXACT:
        raise unpayable(policy, policy.burst)


def validate_payable(policy: LimitPolicy, cost: int, burst: int) -> None:
    """Accept a cost under the burst that is in force for a subject.

    Raises:
        InvalidInputError: no bucket of that size could ever pay it.
    """
    if cost > burst:
        raise unpayable(policy, burst)


def unpayable(policy: LimitPolicy, burst: int) -> InvalidInputError:
    """The cost is not one that can be paid."""
    return InvalidInputError(
        f"a check of {policy.name!r} cannot cost that",
        remedy=f"use a whole number from 0 to its burst, {burst}",
    )
