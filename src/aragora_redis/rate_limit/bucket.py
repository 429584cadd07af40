"""What is stored of one subject's bucket, and how reservations change it: `parts/bucket.lua`.

A reservation takes its cost, and gives back what was not used. It shall not give back what would
have been lost by then had nothing been reserved: a bucket that is full stays no fuller than full.
So beside the arrival time T stands a second one, the shadow S: T as it would be had none of the
reservations that are open now ever been made. When one of cost c ends of which a were used, T
becomes max(T - (c - a), S + O), O being what other reservations hold, and never more than it was.
For a single reservation that is exactly the T of a bucket from which a had been taken in the first
place; where several overlap, it is never less.

A reservation that nobody ends lapses: its cost comes back, or, if it `keeps`, stays taken. Nothing
sweeps; whoever opens the bucket next sees it so.

One that keeps is a lease: its tokens are given away later, by whoever holds it. Until then they
count as being in the bucket, which so never fills beyond the burst less what is leased, whatever is
given back beside them: T is at least S, or now, and what is leased. And they count as used when
the lease ends, in S too: a refund that comes later does not bring them back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from ..errors import InvalidInputError
from .gcra import Tat, beyond_full, span, tat_of
from .policy import LimitPolicy

MOST_HOLDS: Final = 1024
"""Reservations of one subject that may be open at once."""

_VALUE: Final = re.compile(rb"(?P<tat>[\d:@-]+);(?P<rest>.*)", re.DOTALL)
_QUOTA: Final = re.compile(rb"q(\d+)/(\d+)/(\d+)/(\d+);")
_SHADOW: Final = re.compile(rb"s([\d:]+)/(\d+)/(\d+)/(\d+);(.+)", re.DOTALL)
_HOLD: Final = re.compile(rb"([\w-]+)/(\d+)/(\d+)/([01]);")


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation that is open.

    Attributes:
        cost: whole tokens that it has taken.
        until: when it lapses, in server microseconds.
        keeps: its cost stays taken then.
    """

    id: bytes
    cost: int
    until: int
    keeps: bool = False

    def encode(self) -> bytes:
        """Its part of the stored value."""
        return b"%b/%d/%d/%d;" % (self.id, self.cost, self.until, self.keeps)


@dataclass(slots=True)
class Bucket:
    """One subject's bucket as it is at one moment.

    Attributes:
        policy: the limit in force: the one asked for, or the one that operators have set.
        now: server microseconds.
        level: span to the arrival time, as `gcra.span` has it; below 0 it has been full for long.
        shadow: the same of the shadow; means nothing without holds.
        beyond: microseconds that both lie further ahead than `level` and `shadow` say, because
            another limit took more than a full burst of this one. Only where the level is full.
        quota_until: when the limit that operators have set ends, 0 for never; None where none is.
    """

    policy: LimitPolicy
    now: int
    level: int = 0
    shadow: int = 0
    beyond: int = 0
    holds: dict[bytes, Hold] = field(default_factory=dict)
    first: int = 0
    """No hold lapses before that."""
    last: int = 0
    quota_until: int | None = None
    went_back: int = 0
    """By how many microseconds the clock has gone back since it was written."""
    over: tuple[LimitPolicy, int] | None = None
    """The limit that operators had set, and when it ended, where that was since it was written."""

    @classmethod
    def open(cls, policy: LimitPolicy, stored: bytes | None, now: int) -> Bucket:
        """Read a stored value; what no version has written counts as absent."""
        found = _VALUE.fullmatch(stored or b"")
        tat = Tat.parse(found["tat"] if found else stored)
        bucket = cls(policy, now)
        if tat is None:
            return bucket
        rest = found["rest"] if found else b""
        bucket.went_back = tat.went_back(now)
        if (quota := _QUOTA.match(rest)) is not None:
            rest = rest[quota.end() :]
            bucket._set_quota(*(int(part) for part in quota.groups()))
        bucket.level = bucket._level_of(tat.on(now))
        if bucket.over is None:
            bucket.beyond = beyond_full(bucket.policy, tat.on(now), now)
        if (shadow := _SHADOW.fullmatch(rest)) is not None:
            bucket._read_holds(*shadow.groups())
        return bucket

    def _set_quota(self, count: int, period_us: int, burst: int, until: int) -> None:
        try:
            policy = self.policy.at(count, period_us, burst)
        except InvalidInputError:
            return
        until = until and until - self.went_back
        if not until or until > self.now:
            self.policy, self.quota_until = policy, until
        else:
            self.over = policy, until

    def _level_of(self, tat: Tat) -> int:
        """The span to an arrival time.

        What was used under a limit that is over comes back at this one's rate since its end, as
        when it is taken away by hand; never later than by the arrival time itself.
        """
        level = span(self.policy, tat, self.now)
        if self.over is None:
            return level
        before, until = self.over
        used = moved(before, self.policy, span(before, tat, until))
        since = (self.now - until) * self.policy.count
        return min(level, max(min(used, self.policy.full) - since, -self.policy.full))

    def _read_holds(
        self, shadow: bytes, first: bytes, last: bytes, _kept: bytes, holds: bytes
    ) -> None:
        tat = Tat.parse(shadow)
        if tat is None or _HOLD.match(holds) is None:
            return
        tat = tat._replace(us=tat.us - self.went_back - self.beyond)
        self.shadow = min(self._level_of(tat), self.level)
        self.first, self.last = self._moved(first), self._moved(last)
        for name, cost, until, keeps in _HOLD.findall(holds):
            self.holds[name] = Hold(name, int(cost), self._moved(until), keeps == b"1")
        if self.now >= self.first:
            self._end_lapsed()
        else:
            self.level = min(max(self.level, self.kept * self.policy.period_us), self.policy.full)

    def _end_lapsed(self) -> None:
        """What was leased counts as used when the last lease lapsed, and comes back since then."""
        count, period_us = self.policy.count, self.policy.period_us
        lapsed = [hold for hold in self.holds.values() if hold.until <= self.now]
        leases = [hold for hold in lapsed if hold.keeps]
        was = self.kept
        for hold in lapsed:
            del self.holds[hold.id]
        self.first = min((hold.until for hold in self.holds.values()), default=0)
        if leases:
            since = (self.now - max(hold.until for hold in leases)) * count
            self.level = max(self.level, was * period_us - since)
            self.shadow = max(self.shadow, -since) + (was - self.kept) * period_us
        self.level = min(max(self.level, self.kept * period_us), self.policy.full)
        self.shadow = min(self.shadow, self.level)
        for hold in lapsed:
            if not hold.keeps:
                self.settle(hold, 0)

    def _moved(self, instant: bytes) -> int:
        return max(int(instant) - self.went_back, 0)

    @property
    def kept(self) -> int:
        """Tokens that are leased."""
        return sum(hold.cost for hold in self.holds.values() if hold.keeps)

    def take(self, raised: int, cost: int) -> None:
        """A check has raised the level."""
        self.shadow = min(max(self.shadow, 0) + cost * self.policy.period_us, raised)
        self.level = raised

    def hold(self, hold: Hold) -> None:
        """Take what is reserved, which is there: the shadow does not see it."""
        if not self.holds:
            self.shadow, self.first = self.level, hold.until
        self.shadow = max(self.shadow, 0)
        self.level = max(self.level, 0) + hold.cost * self.policy.period_us
        self.holds[hold.id] = hold
        self.first, self.last = min(self.first, hold.until), max(self.last, hold.until)

    def keep(self, hold: Hold, until: int) -> None:
        """A reservation is to lapse later."""
        del self.holds[hold.id]
        self.holds[hold.id] = replace(hold, until=until)
        self.last = max(self.last, until)

    def settle(self, hold: Hold, actual: int) -> int:
        """A reservation ends, and `actual` tokens were used; what lies above empties the bucket.

        Returns:
            The span that a full burst could not pay.
        """
        self.holds.pop(hold.id, None)
        period_us, full, over = self.policy.period_us, self.policy.full, 0
        if hold.keeps:
            self.shadow = max(self.shadow, 0)
        if actual <= hold.cost:
            others = sum(other.cost for other in self.holds.values()) * period_us
            returned = self.level - (hold.cost - actual) * period_us
            level = max(returned, min(self.level, self.shadow + others))
        else:
            level = max(self.level, 0) + (actual - hold.cost) * period_us
            over = max(level - full, 0)
        self.shadow = min(self.shadow + actual * period_us, level)
        if self.kept:
            level = max(level, max(self.shadow, 0) + self.kept * period_us)
        self.level = min(level, full)
        self._draw_near()
        return over

    def _draw_near(self) -> None:
        """What lies beyond a full burst comes first: only what is left of a return is tokens."""
        room = (self.policy.full - self.level) // self.policy.count
        moved = min(self.beyond, room)
        span = moved * self.policy.count
        self.level = self.policy.full if self.beyond > room else self.level + span
        self.shadow += span
        self.beyond -= moved

    def encode(self) -> bytes:
        """The value to store."""
        policy = self.policy
        value = tat_of(policy, self.level, self.now, self.beyond).encode()
        if self.quota_until is None and not self.holds:
            return value
        value += b";"
        if self.quota_until is not None:
            limit = policy.count, policy.period_us, policy.burst, self.quota_until
            value += b"q%d/%d/%d/%d;" % limit
        if self.holds:
            tat = tat_of(policy, self.shadow, self.now, self.beyond)
            shadow = tat._replace(ahead=None).encode()
            value += b"s%b/%d/%d/%d;" % (shadow, self.first, self.last, self.kept)
            value += b"".join(hold.encode() for hold in self.holds.values())
        return value

    @property
    def ttl_ms(self) -> int | None:
        """Milliseconds to keep it, a second longer than needed; None for good."""
        if self.quota_until == 0:
            return None
        left = -(-self.level // self.policy.count) + self.beyond
        if self.holds:
            kept = -(-self.kept * self.policy.period_us // self.policy.count)
            left = max(left, self.last - self.now + kept)  # it comes back only once it is used
        if self.quota_until:
            left = max(left, self.quota_until - self.now)
        return -(-max(left, 0) // 1000) + 1000


def moved(before: LimitPolicy, policy: LimitPolicy, spanned: int) -> int:
    """The span under another limit of as many whole tokens; at the same rate, exactly as many."""
    same = (before.count, before.period_us) == (policy.count, policy.period_us)
    return spanned if same else -(-spanned // before.period_us) * policy.period_us


def with_quota(bucket: Bucket, policy: LimitPolicy, until: int | None) -> Bucket:
    """The bucket under a limit of its own, or, with None, under the policy's again.

    As many whole tokens as it has used stay used; at the same rate, exactly as many.
    """

    def clipped(spanned: int) -> int:
        return max(min(moved(bucket.policy, policy, spanned), policy.full), -policy.full)

    return replace(
        bucket,
        policy=policy,
        level=clipped(bucket.level),
        shadow=clipped(bucket.shadow),
        beyond=0,
        quota_until=until,
    )
