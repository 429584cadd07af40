"""Reservations: an estimate is taken before the work, and what it really cost is settled after it.

A reservation that nobody ends lapses after its time, and its cost comes back, so a holder that dies
keeps nothing; one that lives keeps it for as long as it works. While Redis cannot be asked, a
fail-open policy reserves from this instance's share. When it is back it is given what is still open
to hold, and what was settled is charged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from ...errors import (
    AragoraRedisError,
    LimitExceededError,
    Ran,
)
from ...operation import Operation
from ...rate_limit import operations
from ...rate_limit.gcra import Decision, in_force, validate_payable
from ...rate_limit.held import KEPT_HERE, Held, HeldHere
from ...rate_limit.local import LocalLimiter, Record
from ...rate_limit.policy import LimitPolicy
from ...rate_limit.reservation import (
    LATE,
    LONGEST_TTL,
    TTL,
    Found,
    Kept,
    Reservation,
    Settlement,
    new_name,
    settlement,
    validate_used,
)
from ...times import Duration
from .decider import CHARGE_LIMIT, CHARGES_AT_ONCE, UNDECIDED, Decider

_log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT_EVERY = 1 / 3
"""Parts of its time after which a context keeps its reservation."""
LEAST_KEPT = 0.3
"""Seconds for which a context keeps it at least, so that it does not ask without pause."""


class Ends(Protocol):
    """Keeps and ends reservations by their ids."""

    async def keep(self, reservation: str, ttl: Duration) -> Kept:
        """Let it lapse later."""

    async def settle(self, reservation: str, cost: int) -> Settlement:
        """End it."""


class Reserved:
    """Tokens that are reserved, or the refusal to reserve them.

    Attributes:
        decision: what became of the check of the estimate.
        id: by which any instance, and the HTTP service, can end it; empty if refused.
        cost: tokens that are reserved.
        settled: what became of it in the end.
    """

    def __init__(
        self, decision: Decision, sealed: str, cost: int, limits: Ends, limiter: LocalLimiter
    ) -> None:
        self.decision = decision
        self.id = sealed
        self.cost = cost
        self.settled: Settlement | None = None
        self._limits = limits
        self._limiter = limiter  # as long as this lives, so does it: see `LimitBook.reserved`

    @property
    def allowed(self) -> bool:
        """Whether the tokens are reserved."""
        return self.decision.allowed

    async def settle(self, cost: int) -> Settlement:
        """End it with what was used, see `RateLimits.settle`. A second time changes nothing."""
        if self.settled is None:
            self.settled = await self._limits.settle(self.id, cost)
        return self.settled

    async def keep(self, ttl: Duration = TTL) -> int:
        """Let it lapse `ttl` seconds from now, see `RateLimits.keep`; how many tokens it holds."""
        kept = await self._limits.keep(self.id, ttl)
        self.id = kept.reservation
        return kept.held

    async def refund(self) -> Settlement:
        """Give everything back: the work was not done."""
        return await self.settle(0)


class Reserving:
    """What `RateLimits.reserve` returns: to be awaited for a `Reserved`, or entered.

    As a context it raises `LimitExceededError` where the tokens are refused, and keeps them as long
    as it lasts, a day at most. At its end, unless it was settled, the estimate stands; after an
    exception everything is given back. Where that cannot be, the log says so: the exception is what
    comes out.
    """

    def __init__(self, policy: str, ttl: float, made: Callable[[], Awaitable[Reserved]]) -> None:
        self._policy = policy
        self._ttl = ttl
        self._made = made
        self._reserved: Reserved | None = None
        self._keeping: asyncio.Task[None] | None = None

    def __await__(self) -> Generator[Any, None, Reserved]:
        return self._made().__await__()

    async def __aenter__(self) -> Reserved:
        reserved = self._reserved = await self._made()
        if not reserved.allowed:
            raise LimitExceededError(self._policy, reserved.decision.retry_after)
        self._keeping = asyncio.create_task(keep_alive(reserved, self._ttl))
        return reserved

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        reserved = self._reserved
        if self._keeping is not None:
            self._keeping.cancel()
        if reserved is None or reserved.settled is not None:
            return
        if error is None:
            await reserved.settle(reserved.cost)
            return
        try:
            await reserved.refund()
        except AragoraRedisError as trouble:
            log_not_returned(self._policy, trouble)


def log_not_returned(policy: str, trouble: AragoraRedisError) -> None:
    """Say that work has failed, and what it had reserved could not be given back."""
    _log.warning(
        "a reservation of the limit %r could not be given back, and lapses by itself: %s",
        policy,
        trouble,
    )


async def keep_alive(reserved: Reserved, ttl: float) -> None:
    """Keep a reservation until it is settled or this is cancelled; an outage does not end it."""
    ttl = max(ttl, LEAST_KEPT)
    for _ in range(int(LONGEST_TTL / (ttl * KEPT_EVERY))):
        await asyncio.sleep(ttl * KEPT_EVERY)
        if reserved.settled is not None:
            return
        with contextlib.suppress(AragoraRedisError):
            await reserved.keep(ttl)


class _Owed(Struct, frozen=True):
    """A settlement that Redis has not got yet."""

    policy: LimitPolicy
    reservation: Reservation
    used: int
    said: Settlement
    at: float
    record: Record | None


class Reservations:
    """Makes and ends reservations."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._here = HeldHere()
        self._owed: dict[str, _Owed] = {}

    async def make(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy, ttl: float
    ) -> tuple[Decision, Reservation]:
        """Reserve `cost` tokens for `ttl` seconds; the reservation means nothing if refused.

        Raises:
            InvalidInputError: no bucket of the limit in force could pay it.
            OverloadedError: too many reservations are open: of this subject, or here without Redis.
            LimitUnavailableError: the policy is fail-closed and Redis cannot be asked.
        """
        decider, name = self._decider, new_name()
        made = _made(limiter, record, name, cost, 0, asked=asked)
        try:
            grant = await decider.run(operations.reserve(asked, record.key, cost, name, ttl))
        except UNDECIDED as error:
            decider.service.failed(error)
            made = replace(made, until_us=self._server_us(ttl), holder=decider.own)
            held = False
            try:
                decision = self._make_here(limiter, record, made, asked=asked, ttl=ttl, error=error)
                held = decision.allowed
            finally:
                if not held and error.ran is not Ran.NO:
                    self._give_back(asked, made, record)
            return decision, made
        except asyncio.CancelledError:
            self._give_back(asked, replace(made, until_us=self._server_us(ttl)), record)
            raise
        grant.demand_room()
        decision = decider.answered(limiter, record, cost, asked, grant.answer)
        return decision, replace(made, until_us=grant.until_us or self._server_us(ttl))

    def _make_here(
        self,
        limiter: LocalLimiter,
        record: Record,
        made: Reservation,
        *,
        asked: LimitPolicy,
        ttl: float,
        error: AragoraRedisError,
    ) -> Decision:
        """Reserve of this instance's share, since Redis cannot be asked. Raises as `make` does."""
        decider, cost = self._decider, made.cost
        validate_payable(asked, cost, (record.own_at(decider.now) or asked).burst)
        share = decider.share(limiter, record, error, asked)
        now = decider.now
        self._here.require_room(now)
        decision = limiter.hold(record, cost, share, now, asked)
        if decision.allowed:
            under = record.own_at(now) or asked
            self._here.add(Held(made, limiter, record, share, under, cost, now, now + ttl))
        return decision

    def _give_back(self, policy: LimitPolicy, made: Reservation, record: Record) -> None:
        """Settle for nothing what nobody was told of: Redis may hold it for all of its time."""
        if len(self._owed) < KEPT_HERE:
            said = settlement(made.cost, 0, Found.HELD, 0, confirmed=False)
            self._owe(_Owed(policy, made, 0, said, self._decider.now, record))

    def unheld(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy, ttl: float
    ) -> Reservation:
        """A reservation for which nothing was taken: what it cost is charged when it is settled."""
        return _made(limiter, record, new_name(), cost, self._server_us(ttl), asked=asked)

    async def keep(
        self, limiter: LocalLimiter, reservation: Reservation, ttl: float
    ) -> tuple[Reservation, int]:
        """Let a reservation last for `ttl` seconds from now; how many tokens it holds.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked; it lapses as it would have.
            OverloadedError: it had lapsed, and too many others are open by now.
        """
        decider, policy = self._decider, _policy_of(limiter, reservation)
        held = self._here.known(reservation.name)
        if held is not None:
            tokens = self._here.keep(held, decider.now + ttl, decider.now)
            if tokens is not None:
                held.made = _until(held.made, self._server_us(ttl) if tokens else 0)
                return held.made, tokens
        too_late = self._server_us(0) > reservation.until_us + LATE * 1e6
        if too_late or reservation.name in self._owed:
            return reservation, 0
        try:
            grant = await decider.run(operations.hold(policy, reservation, ttl))
        except UNDECIDED as error:
            decider.service.failed(error)
            raise
        decider.service.answered()
        grant.demand_room()
        if grant.tokens and held is not None:
            self._here.forget(held)
        return _until(reservation, grant.until_us), grant.tokens

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
        policy = _policy_of(limiter, reservation)
        validate_used(policy, used)
        held = self._here.known(reservation.name)
        if held is not None:
            return self._end_here(held, policy, used)
        if reservation.name in self._owed:
            return self._owed[reservation.name].said
        found = Found.HELD if self._server_us(0) < reservation.until_us else Found.LAPSED
        said = settlement(reservation.cost, used, found, 0, confirmed=False)
        owed = _Owed(policy, reservation, used, said, self._decider.now, record)
        try:
            answer = await self._send(owed, self._decider.deadline)
        except UNDECIDED as error:
            self._decider.service.failed(error)
            if reservation.name in self._owed:  # by another, who ended it as this one waited
                return self._owed[reservation.name].said
            if self._server_us(0) > reservation.until_us + LATE * 1e6:
                return settlement(reservation.cost, used, Found.PAST, 0)
            if len(self._owed) >= KEPT_HERE:
                raise
            self._owe(owed)
            return said
        self._decider.service.answered()
        if record is not None:
            under, reply = in_force(policy, answer.answer)
            reset_after = reply / (under.count * 1e6) if reply < under.full else None
            limiter.note_returned(record, reset_after, self._decider.now)
        return answer.settlement(used)

    async def flush(self) -> None:
        """Tell Redis what it has not got yet: what is open, and how the rest has ended."""
        self._here.lapse(self._decider.now)
        for holds in _pages([*self._here]):
            told = await asyncio.gather(*(self._entrust(held) for held in holds))
            for held, done in zip(holds, told, strict=True):
                (self._here.entrusted if done else self._here.put_last)(held)
            if not any(told):
                break
        for page in _pages([*self._owed.values()]):
            told = await asyncio.gather(*(self._tell(owed) for owed in page))
            for owed, done in zip(page, told, strict=True):
                self._told(owed)
                if not done:
                    self._owe(owed)  # behind the others: its shard alone may be down
            if not any(told):
                return

    async def _entrust(self, held: Held) -> bool:
        """Have Redis hold it, or what is there of it; False if it is to be told again."""
        run, told = self._decider.executor.run, None
        try:
            while told != held.until:  # it may be kept meanwhile, for longer
                made, told = held.made, held.until
                policy = _policy_of(held.limiter, made)
                hold = operations.hold(policy, made, told - self._decider.now)
                grant = await run(hold, within=CHARGE_LIMIT)
                if grant.tokens < 0:
                    # It holds too many of this subject: this is used, whatever settles it later.
                    await run(self._settle(policy, made, made.cost), within=CHARGE_LIMIT)
        except UNDECIDED:
            return False
        except AragoraRedisError:
            pass  # it will not take it the next time either
        return True

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
        return bool(self._owed or self._here)

    def _send(self, owed: _Owed, within: float) -> Awaitable[operations.Settled]:
        settle = self._settle(owed.policy, owed.reservation, owed.used)
        return self._decider.executor.run(settle, within=within)

    def _settle(
        self, policy: LimitPolicy, reservation: Reservation, used: int
    ) -> Operation[operations.Settled]:
        channel = self._decider.channel
        return operations.settle(policy, reservation, used, late=LATE, channel=channel)

    def _server_us(self, ttl: float) -> int:
        return int((self._decider.server_now() + ttl) * 1e6)

    def _end_here(self, held: Held, policy: LimitPolicy, used: int) -> Settlement:
        if held.ended is not None:
            return held.ended
        now = self._decider.now
        said = self._here.end(held, used, now)
        if said.found is Found.PAST:
            return said
        # Under its name: whoever had no answer may settle it elsewhere, and the first one counts.
        if len(self._owed) < KEPT_HERE:
            self._owe(_Owed(policy, held.made, used, said, now, held.record))
        elif used:
            held.limiter.owe(held.record, used, held.share, now, policy)
        return said

    def _owe(self, owed: _Owed) -> None:
        self._owed[owed.reservation.name] = owed
        if owed.record is not None:
            owed.record.untold += 1

    def _told(self, owed: _Owed) -> None:
        del self._owed[owed.reservation.name]
        if owed.record is not None:
            owed.record.untold -= 1


def _pages(entries: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), CHARGES_AT_ONCE):
        yield entries[start : start + CHARGES_AT_ONCE]


def _until(reservation: Reservation, until_us: int) -> Reservation:
    """A reservation that lasts at least as long; it never lapses sooner than was said before."""
    return replace(reservation, until_us=max(reservation.until_us, until_us))


def _policy_of(limiter: LocalLimiter, reservation: Reservation) -> LimitPolicy:
    """The limit under which it was asked for."""
    return limiter.policy.at(*reservation.rate) if reservation.rate else limiter.policy


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
