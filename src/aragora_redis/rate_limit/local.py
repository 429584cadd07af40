"""What an instance decides by itself: refusals that it knows, and its share during an outage.

A subject has one record. Its bucket is kept as the instant at which it is full again, on our own
monotonic clock. That instant is the same for the whole limit and for any share of it: a share
regenerates slower by as much as its burst is smaller. So the record simply follows what Redis
says, and at a switch the share begins as empty as the limit was (docs/protocol.md, "Rate limits").
It is full sooner only where Redis has said that something came back or that the limit is another:
one that has lost what it knew, and says less, gives no second burst here.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from math import inf
from typing import Final

from ..errors import InvalidInputError
from ..operation import Operation
from .gcra import Answer, Decision, Source
from .operations import check, limit_key, subject_digest
from .policy import LimitPolicy
from .share import Share

DENIAL_SECONDS: Final = 5.0
"""Longest time for which a refusal is repeated without asking Redis."""

SUBJECT_LIMIT: Final = 1024
"""Characters that a subject may have."""

_UNOWNED_RETRY: Final = 1.0
_LONG_SUBJECT: Final = 128
_DENY_CACHE: Final = Source.DENY_CACHE
_ROUNDING: Final = 1e-3
"""Tokens that floating point may be short of; a full share is given whole nevertheless."""

_Name = str | bytes | tuple["_Name", "_Name"]


class Record:
    """What is known of one subject under one policy. Times are monotonic seconds.

    Attributes:
        key: its key in Redis.
        digest: its digest, for `share_of`.
        full_at: when its bucket is full again, as far as is known here.
        denied_cost: the least cost that Redis has just refused.
        denied_until: until when that refusal is repeated without asking; in the past for none.
        denied_full_at: when the bucket is full again, as that refusal said.
        denied_under: the limit under which Redis refused.
        own: the limit that operators have set for it, as Redis last said; None without one.
        own_until: when that limit ends.
        owed_under: the limit under which its debt was made: what was admitted here and is still to
            be charged to Redis.
        debt_until: when all of the debt has come back by itself.
        token_seconds: how long each of its tokens takes for that.
        eased: Redis may have more by now than is known here; its next answer says how much.
        untold: reservations and charges that Redis has not heard of yet, or not for certain.
        last_asked: the limit and the cost of the last check, and the operation that asked.
    """

    __slots__ = (
        "debt_until",
        "denied_cost",
        "denied_full_at",
        "denied_under",
        "denied_until",
        "digest",
        "eased",
        "full_at",
        "key",
        "last_asked",
        "owed_under",
        "own",
        "own_until",
        "token_seconds",
        "untold",
    )

    def __init__(self, key: bytes, digest: bytes) -> None:
        self.key = key
        self.digest = digest
        self.full_at = 0.0
        self.denied_cost = 0
        self.denied_until = 0.0
        self.denied_full_at = 0.0
        self.denied_under: LimitPolicy | None = None
        self.own: LimitPolicy | None = None
        self.own_until = inf
        self.owed_under: LimitPolicy | None = None
        self.debt_until = 0.0
        self.token_seconds = 1.0
        self.eased = False
        self.untold = 0
        self.last_asked: tuple[LimitPolicy, int, Operation[Answer]] | None = None

    def check(self, asked: LimitPolicy, cost: int) -> Operation[Answer]:
        """What asks Redis; who is checked again is mostly asked the same, and many never are."""
        last = self.last_asked
        if last is not None and last[0] is asked and last[1] == cost:
            return last[2]
        operation = check(asked, self.key, cost)
        if self.full_at:
            self.last_asked = asked, cost, operation
        return operation

    def own_at(self, now: float) -> LimitPolicy | None:
        """The limit that operators have set for it, as Redis last said, until that ends."""
        return self.own if now < self.own_until else None


class LocalLimiter:
    """The local records of one policy, the least recently used dropped beyond `capacity`.

    A check asks `record`, then `recent_denial`; after Redis answered, `note`; where Redis cannot
    answer, `decide`. `now` is monotonic seconds.
    """

    def __init__(
        self, policy: LimitPolicy, *, prefix: str, digest_key: bytes, capacity: int = 50_000
    ) -> None:
        self.policy = policy
        self._prefix = prefix
        self._digest_key = digest_key
        self._capacity = capacity
        self._records: OrderedDict[_Name, Record] = OrderedDict()
        self._keyed: dict[bytes, Record] = {}
        self._indebted: dict[Record, None] = {}

    def __len__(self) -> int:
        return len(self._records)

    def record(self, subject: str, at: str | None = None) -> Record:
        """The subject's record, a new one where there is none.

        Args:
            subject: whom the limit counts.
            at: for a limit that is co-located, the subject beside whose limits it is counted.

        Raises:
            InvalidInputError: it counts no such subject.
        """
        name = self._name(subject, at)
        try:
            self._records.move_to_end(name)
        except KeyError:
            return self._begin(name, subject, at)
        return self._records[name]

    def known(self, subject: str, at: str | None = None) -> Record | None:
        """The subject's record, if there is one. Changes nothing, so any thread may ask.

        Raises:
            InvalidInputError: the limit counts no such subject.
        """
        return self._records.get(self._name(subject, at))

    def keyed(self, key: bytes) -> Record | None:
        """The record of the subject with this key in Redis, if there is one."""
        return self._keyed.get(key)

    def forget(self, subject: str, at: str | None = None) -> None:
        """Drop what is known of a subject whose limit is reset."""
        name = self._name(subject, at)
        record = self._records.pop(name, None)
        if record is not None:
            self._let_go(record)

    def on_reset(self, key: bytes) -> None:
        """Another instance has reset the limit of the subject with this key in Redis."""
        record = self._keyed.get(key)
        if record is not None:
            record.denied_until = record.full_at = 0.0

    def on_returned(self, key: bytes) -> None:
        """Tokens came back to the subject with this key, or it has another limit now."""
        record = self._keyed.get(key)
        if record is not None:
            record.denied_until, record.eased = 0.0, True

    def recent_denial(
        self, record: Record, cost: int, now: float, asked: LimitPolicy | None = None
    ) -> Decision | None:
        """The refusal that Redis would repeat, because it refused as little a moment ago.

        Args:
            record: of the subject.
            cost: whole tokens.
            now: monotonic seconds.
            asked: the limit of this call, where it brings its own.
        """
        if now >= record.denied_until or cost < record.denied_cost:
            return None
        under = record.denied_under
        asked = asked or self.policy
        if under is not asked and under != asked:
            return None
        policy = asked if record.own is None else record.own_at(now) or asked
        reset_after = record.denied_full_at - now
        wait = reset_after + (cost - policy.burst) * policy.interval
        known_for = record.denied_until - now
        return _decision(policy, reset_after, max(known_for, wait), 1.0, _DENY_CACHE)

    def note(
        self,
        record: Record,
        cost: int,
        decision: Decision,
        now: float,
        *,
        asked: LimitPolicy | None = None,
        own: LimitPolicy | None = None,
        own_until: float = inf,
    ) -> None:
        """Take in what Redis answered to a check of `cost`, and the subject's own limit."""
        full_at = now + decision.reset_after
        record.eased = record.eased or own != record.own
        # A limit that a call brings may have a shorter burst, and see no further than that.
        if record.eased and self._told(record) and (own or asked in (None, self.policy)):
            record.full_at, record.eased = full_at, False
        elif full_at > record.full_at:
            record.full_at = full_at
        record.own, record.own_until = own, own_until
        if decision.allowed:
            if cost >= record.denied_cost:
                record.denied_until = 0.0
        elif cost and (cost <= record.denied_cost or now >= record.denied_until):
            record.denied_cost = cost
            known_until = now + min(decision.retry_after, DENIAL_SECONDS)
            record.denied_until = min(known_until, own_until)
            record.denied_full_at = full_at
            record.denied_under = asked or self.policy

    def note_returned(self, record: Record, reset_after: float | None, now: float) -> None:
        """Redis has given tokens back; its bucket is full in `reset_after` seconds, if it says so.

        Where it has not been told of all that was admitted here, that is no news.
        """
        self.on_returned(record.key)
        if reset_after is not None and self._told(record):
            record.full_at, record.eased = now + reset_after, False

    def decide(
        self,
        record: Record,
        cost: int,
        share: Share,
        now: float,
        asked: LimitPolicy | None = None,
    ) -> Decision:
        """Decide without Redis, within this instance's share.

        A cost above the share's burst is refused even by a full bucket: every other instance
        might grant it as well.
        """
        decision = self.hold(record, cost, share, now, asked)
        if decision.allowed and cost:
            self.owe(record, cost, share, now, asked)
        return decision

    def hold(
        self,
        record: Record,
        cost: int,
        share: Share,
        now: float,
        asked: LimitPolicy | None = None,
    ) -> Decision:
        """Decide as `decide` does, with nothing owed to Redis yet."""
        decision = self.look(record, cost, share, now, asked)
        if decision.allowed and cost:
            record.full_at = now + decision.reset_after
        return decision

    def release(
        self,
        record: Record,
        cost: int,
        used: int,
        share: Share,
        now: float,
        *,
        under: LimitPolicy,
        since: float,
    ) -> None:
        """End what was held: what was not used comes back, more is taken, down to an empty bucket.

        What may have come back by itself meanwhile does not come a second time. That gives back
        less than Redis does where the bucket was not full, and needs no shadow.

        Args:
            record: of the subject.
            cost: whole tokens that were held.
            used: whole tokens.
            share: under which it was held.
            now: monotonic seconds.
            under: the limit under which it was held.
            since: monotonic seconds at which it was taken.
        """
        token_seconds = under.interval / share.fraction
        if used <= cost:
            returned = cost - max(used, (now - since) / token_seconds)
            record.full_at -= max(returned, 0.0) * token_seconds
            return
        raised = max(record.full_at, now) + (used - cost) * token_seconds
        record.full_at = max(record.full_at, min(raised, now + under.burst * under.interval))

    def owe(
        self,
        record: Record,
        cost: int,
        share: Share,
        now: float,
        asked: LimitPolicy | None = None,
    ) -> None:
        """What was admitted here is to be charged to Redis."""
        record.owed_under = record.own_at(now) or asked or self.policy
        self._owe(record, cost, record.owed_under.interval / share.fraction, now)

    def look(
        self,
        record: Record,
        cost: int,
        share: Share,
        now: float,
        asked: LimitPolicy | None = None,
    ) -> Decision:
        """What `decide` would say, with nothing taken."""
        policy = record.own_at(now) or asked or self.policy
        reset_after = min(max(record.full_at - now, 0.0), policy.window)
        if not share.fraction:
            return _decision(policy, reset_after, _UNOWNED_RETRY, 0.0, Source.LOCAL)
        token_seconds = policy.interval / share.fraction
        raised = reset_after + cost * token_seconds
        wait = raised - policy.window
        if wait > _ROUNDING * token_seconds:
            return _decision(policy, reset_after, wait, share.fraction, Source.LOCAL)
        return _decision(policy, raised, 0.0, share.fraction, Source.LOCAL)

    def debts(self, now: float, most: int | None = None) -> list[tuple[Record, int]]:
        """Hand over what was admitted locally and has not come back yet, to be charged to Redis.

        Args:
            now: monotonic seconds.
            most: subjects whose debts are handed over, the oldest; all by default.
        """
        debtors = [*islice(self._indebted, most)]
        owed = [(record, round(_debt(record, now))) for record in debtors]
        for record in debtors:
            record.debt_until = 0.0
            del self._indebted[record]
        return [
            (record, min(cost, (record.owed_under or self.policy).burst))
            for record, cost in owed
            if cost
        ]

    def restore(self, record: Record, cost: int, now: float) -> None:
        """Take a debt back that could not be charged."""
        self._owe(record, cost, record.token_seconds, now)

    @property
    def debtors(self) -> int:
        """Subjects to whom something was admitted locally that `debts` has not handed over."""
        return len(self._indebted)

    def _begin(self, name: _Name, subject: str, at: str | None) -> Record:
        validate_location(self.policy, at)
        digest = self._digest(subject)
        beside = self._digest(at) if at is not None else None
        record = Record(limit_key(self._prefix, self.policy.name, digest, beside), digest)
        self._records[name] = self._keyed[record.key] = record
        if len(self._records) > self._capacity:
            self._let_go(self._records.popitem(last=False)[1])
        return record

    def _let_go(self, record: Record) -> None:
        self._keyed.pop(record.key, None)
        self._indebted.pop(record, None)

    def _told(self, record: Record) -> bool:
        """Whether Redis has heard of all that was admitted here."""
        return record not in self._indebted and not record.untold

    def _owe(self, record: Record, cost: int, token_seconds: float, now: float) -> None:
        record.debt_until = now + (_debt(record, now) + cost) * token_seconds
        record.token_seconds = token_seconds
        self._indebted[record] = None

    def _name(self, subject: str, at: str | None) -> _Name:
        if at is not None:
            return (self._name(at, None), self._name(subject, None))
        # A caller may choose a subject of any length; records stay small.
        if isinstance(subject, str) and 0 < len(subject) <= _LONG_SUBJECT:
            return subject
        validate_subject(subject)
        return self._digest(subject)

    def _digest(self, subject: str) -> bytes:
        return subject_digest(self._digest_key, subject)


def _decision(
    policy: LimitPolicy, reset_after: float, retry_after: float, fraction: float, source: Source
) -> Decision:
    tokens = int((policy.burst - reset_after / policy.interval) * fraction + _ROUNDING)
    return Decision(
        retry_after <= 0,
        policy.burst,
        max(0, tokens),
        retry_after,
        reset_after,
        source,
        policy.window,
    )


def _debt(record: Record, now: float) -> float:
    return max(record.debt_until - now, 0.0) / record.token_seconds


def validate_subject(subject: str) -> None:
    """Accept whom a limit may count.

    Raises:
        InvalidInputError: it is no text, empty or too long.
    """
    if not isinstance(subject, str):
        raise InvalidInputError("a subject must be text")
    if not subject or len(subject) > SUBJECT_LIMIT:
        raise InvalidInputError(f"a subject must have 1 to {SUBJECT_LIMIT} characters")


def validate_location(policy: LimitPolicy, at: str | None) -> None:
    """Accept where a subject is counted: at a subject of the limit it is co-located with, if any.

    Raises:
        InvalidInputError: it has to be said, or there is nothing to say.
    """
    if policy.co_locate is None:
        if at is not None:
            raise InvalidInputError(
                f"the limit {policy.name!r} is not co-located with another",
                remedy="leave `at` out, or set co_locate in its policy",
            )
    elif at is None:
        raise InvalidInputError(
            f"the limit {policy.name!r} is counted within {policy.co_locate!r}",
            remedy=f"check both at once, or give the subject of {policy.co_locate!r} as `at`",
        )
    else:
        validate_subject(at)
