"""Reservations: an estimate is taken before the work, and what it really cost is settled after it.

A reservation that nobody ends lapses after its time, and its cost comes back, so a holder that dies
keeps nothing. While Redis cannot be asked, a fail-open policy reserves from this instance's share;
what that really costs is charged to Redis when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from types import TracebackType
from typing import Any

from ..errors import (
    AragoraRedisError,
    InvalidInputError,
    LimitExceededError,
    OverloadedError,
    Ran,
)
from ..rate_limit import operations
from ..rate_limit.bucket import MOST_HOLDS
from ..rate_limit.gcra import Decision, decode, in_force, validate_payable
from ..rate_limit.local import LocalLimiter, Record
from ..rate_limit.policy import EXACT, LimitPolicy
from ..rate_limit.reservation import (
    LATE,
    LONGEST_TTL,
    Found,
    Reservation,
    Settlement,
    new_name,
    settlement,
)
from ..rate_limit.share import Share
from .limit_decider import CHARGE_LIMIT, CHARGES_AT_ONCE, UNDECIDED, Decider

KEPT_HERE = 10_000
"""Reservations made without Redis, and settlements that it has not got yet, that are kept."""

Settle = Callable[[str, int], Awaitable[Settlement]]


class Reserved:
    """Tokens that are reserved, or the refusal to reserve them.

    Attributes:
        decision: what became of the check of the estimate.
        id: by which any instance, and the HTTP service, can end it; empty if refused.
        cost: tokens that are reserved.
        settled: what became of it in the end.
    """

    def __init__(self, decision: Decision, sealed: str, cost: int, settle: Settle) -> None:
        self.decision = decision
        self.id = sealed
        self.cost = cost
        self.settled: Settlement | None = None
        self._settle = settle

    @property
    def allowed(self) -> bool:
        """Whether the tokens are reserved."""
        return self.decision.allowed

    async def settle(self, cost: int) -> Settlement:
        """End it with what was used, see `RateLimits.settle`. A second time changes nothing."""
        if self.settled is None:
            self.settled = await self._settle(self.id, cost)
        return self.settled

    async def refund(self) -> Settlement:
        """Give everything back: the work was not done."""
        return await self.settle(0)


class Reserving:
    """What `RateLimits.reserve` returns: to be awaited for a `Reserved`, or entered.

    As a context it raises `LimitExceededError` where the tokens are refused. At its end, unless it
    was settled, the estimate stands; after an exception everything is given back.
    """

    def __init__(self, policy: str, made: Callable[[], Awaitable[Reserved]]) -> None:
        self._policy = policy
        self._made = made
        self._reserved: Reserved | None = None

    def __await__(self) -> Generator[Any, None, Reserved]:
        return self._made().__await__()

    async def __aenter__(self) -> Reserved:
        reserved = self._reserved = await self._made()
        if not reserved.allowed:
            raise LimitExceededError(self._policy, reserved.decision.retry_after)
        return reserved

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        reserved = self._reserved
        if reserved is not None and reserved.settled is None:
            await reserved.settle(0 if error is not None else reserved.cost)


@dataclass(slots=True)
class _Held:
    """A reservation that was decided without Redis."""

    limiter: LocalLimiter
    record: Record
    share: Share
    under: LimitPolicy
    cost: int
    since: float
    until: float
    ended: Settlement | None = None


@dataclass(frozen=True, slots=True)
class _Owed:
    """A settlement that Redis has not got yet."""

    policy: LimitPolicy
    reservation: Reservation
    used: int
    said: Settlement
    at: float


class Reservations:
    """Makes and ends reservations."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._held: dict[str, _Held] = {}
        self._ends: list[tuple[float, str]] = []
        self._owed: dict[str, _Owed] = {}

    async def make(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy, ttl: float
    ) -> tuple[Decision, Reservation]:
        """Reserve `cost` tokens for `ttl` seconds; the reservation means nothing if refused.

        Raises:
            InvalidInputError: no bucket of the limit in force could pay it.
            OverloadedError: too many reservations of this subject are open.
            LimitUnavailableError: the policy is fail-closed and Redis cannot be asked.
        """
        decider, name = self._decider, new_name()
        made = _made(limiter, record, name, cost, 0, asked=asked)
        try:
            grant = await decider.run(operations.reserve(asked, record.key, cost, name, ttl))
            policy, reply = in_force(asked, grant.answer)
        except UNDECIDED as error:
            decider.service.failed(error)
            validate_payable(asked, cost, (record.own_at(decider.now) or asked).burst)
            share = decider.share(limiter, record, error, asked)
            now = decider.now
            under = record.own_at(now) or asked
            held = _Held(limiter, record, share, under, cost, now, now + ttl)
            return self._hold(held, replace(made, until_us=self._server_us(ttl)))
        if grant.tokens < 0:
            raise OverloadedError(
                f"{MOST_HOLDS} reservations of this subject are open",
                remedy="settle them, or give them a shorter ttl",
            )
        decision = decode(policy, cost, reply, decider.source)
        if decision.allowed:
            decider.service.answered()
        else:
            validate_payable(asked, cost, decision.limit)
        own, own_until = decider.own_of(asked, grant.answer)
        limiter.note(record, cost, decision, decider.now, asked=asked, own=own, own_until=own_until)
        return decision, replace(made, until_us=grant.until_us or self._server_us(ttl))

    def unheld(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy, ttl: float
    ) -> Reservation:
        """A reservation for which nothing was taken: what it cost is charged when it is settled."""
        return _made(limiter, record, new_name(), cost, self._server_us(ttl), asked=asked)

    async def end(
        self, limiter: LocalLimiter, record: Record | None, reservation: Reservation, used: int
    ) -> Settlement:
        """End a reservation with what was used.

        Args:
            limiter: of its policy.
            record: of its subject, where that is known here.
            reservation: what to end.
            used: whole tokens.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked, and too many wait for it.
        """
        policy = limiter.policy.at(*reservation.rate) if reservation.rate else limiter.policy
        if type(used) is not int or not 0 <= used * policy.period_us < EXACT:
            raise InvalidInputError("that many tokens cannot have been used")
        if reservation.name in self._held:
            return self._end_here(policy, reservation, used)
        if reservation.name in self._owed:
            return self._owed[reservation.name].said
        owed = _Owed(
            policy,
            reservation,
            used,
            settlement(reservation.cost, used, Found.HELD, 0, confirmed=False),
            self._decider.now,
        )
        try:
            settled = await self._send(owed, self._decider.deadline)
        except UNDECIDED as error:
            self._decider.service.failed(error)
            if self._server_us(0) > reservation.until_us + LATE * 1e6:
                return settlement(reservation.cost, used, Found.PAST, 0)
            if len(self._owed) >= KEPT_HERE:
                raise
            self._owed[reservation.name] = owed
            return owed.said
        self._decider.service.answered()
        if record is not None and not self._owed:
            under, reply = in_force(policy, settled.answer)
            reset_after = reply / (under.count * 1e6) if reply < under.full else None
            limiter.note_returned(record, reset_after, self._decider.now)
        used = used if settled.found is Found.PAST else settled.used
        return settlement(reservation.cost, used, settled.found, settled.unpaid)

    async def flush(self) -> None:
        """Tell Redis what it has not got yet."""
        waiting = [*self._owed.items()]
        for start in range(0, len(waiting), CHARGES_AT_ONCE):
            batch = waiting[start : start + CHARGES_AT_ONCE]
            told = await asyncio.gather(*(self._tell(owed) for _, owed in batch))
            for (name, owed), done in zip(batch, told, strict=True):
                del self._owed[name]
                if not done:
                    self._owed[name] = owed  # behind the others: its shard alone may be down
            if not any(told):
                return

    async def _tell(self, owed: _Owed) -> bool:
        """Tell Redis of one settlement; False if it is to be told again."""
        try:
            settled = await self._send(owed, CHARGE_LIMIT)
        except UNDECIDED:
            return False
        except AragoraRedisError:
            return True  # it will not take it the next time either
        return settled.found is not Found.PAST or await self._charge(owed)

    async def _charge(self, owed: _Owed) -> bool:
        """Charge what was settled in time here and is too late there, less what came back since."""
        since = self._decider.now - owed.at
        left = min(round(owed.used - since / owed.policy.interval), owed.policy.burst)
        if left <= 0:
            return True
        charge = operations.charge(owed.policy, owed.reservation.key, left)
        try:
            await self._decider.executor.run(charge, within=CHARGE_LIMIT)
        except AragoraRedisError as error:
            return error.ran is not Ran.NO
        return True

    @property
    def owing(self) -> bool:
        """Whether there is anything to flush."""
        return bool(self._owed)

    def _send(self, owed: _Owed, within: float) -> Awaitable[operations.Settled]:
        settle = operations.settle(
            owed.policy, owed.reservation, owed.used, late=LATE, channel=self._decider.channel
        )
        return self._decider.executor.run(settle, within=within)

    def _server_us(self, ttl: float) -> int:
        return int((self._decider.server_now() + ttl) * 1e6)

    def _hold(self, held: _Held, made: Reservation) -> tuple[Decision, Reservation]:
        now = self._decider.now
        self._lapse(now)
        if len(self._held) >= KEPT_HERE:
            raise OverloadedError(f"{KEPT_HERE} reservations made without Redis are open")
        decision = held.limiter.hold(held.record, held.cost, held.share, now, held.under)
        if decision.allowed:
            self._held[made.name] = held
            heappush(self._ends, (held.until, made.name))
        return decision, replace(made, holder=self._decider.own)

    def _end_here(self, policy: LimitPolicy, reservation: Reservation, used: int) -> Settlement:
        held, now = self._held[reservation.name], self._decider.now
        self._lapse(now)
        if held.ended is not None:
            return held.ended
        if now >= held.until + LATE:
            return settlement(held.cost, used, Found.PAST, 0)
        found = Found.HELD if now < held.until else Found.LAPSED
        self._release(held, used, now)
        held.ended = settlement(held.cost, used, found, 0, confirmed=False)
        # Under its name: whoever had no answer may settle it elsewhere, and the first one counts.
        if len(self._owed) < KEPT_HERE:
            self._owed[reservation.name] = _Owed(policy, reservation, used, held.ended, now)
        elif used:
            held.limiter.owe(held.record, used, held.share, now, policy)
        return held.ended

    def _release(self, held: _Held, used: int, now: float) -> None:
        held.limiter.release(
            held.record, held.cost, used, held.share, now, under=held.under, since=held.since
        )

    def _lapse(self, now: float) -> None:
        """Give back what nobody has settled, and forget what nobody can settle any more."""
        while self._ends and self._ends[0][0] <= now:
            _, name = heappop(self._ends)
            held = self._held[name]
            if now >= held.until + LATE:
                del self._held[name]
                continue
            if held.ended is None:
                self._release(held, 0, now)
                held.cost = 0
            heappush(self._ends, (held.until + LATE, name))


def _made(
    limiter: LocalLimiter,
    record: Record,
    name: str,
    cost: int,
    until_us: int,
    *,
    asked: LimitPolicy,
) -> Reservation:
    rate = (asked.count, asked.period_us, asked.burst) if asked is not limiter.policy else None
    return Reservation(limiter.policy.name, record.key, name, cost, until_us, rate=rate)


def validate_ttl(ttl: float) -> None:
    """Accept how long a reservation may last.

    Raises:
        InvalidInputError: it is no number of seconds from a millisecond to a day.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 1e-3 <= ttl <= LONGEST_TTL:
        raise InvalidInputError(f"a reservation lasts 0.001 to {LONGEST_TTL:.0f} seconds")
