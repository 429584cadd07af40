"""Who decides a rate limit: Redis, or, while it cannot be asked, this instance within its share.

Invariant I2, an outage is not an amnesty: while Redis cannot answer, a fail-open policy admits this
instance's share of the limit and no more, a fail-closed one nothing, and neither waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

from ...clock import Clock
from ...errors import (
    AragoraRedisError,
    LimitUnavailableError,
    OutageError,
    OutcomeUnknownError,
    Ran,
    UnexpectedReplyError,
)
from ...operation import Operation, Runs
from ...rate_limit import operations
from ...rate_limit.gcra import Answer, Decision, Source, decode, in_force, validate_payable
from ...rate_limit.joint import Asked, decide_here, decode_all
from ...rate_limit.local import LocalLimiter, Record
from ...rate_limit.policy import LimitPolicy, OnOutage
from ...rate_limit.share import FleetSize, Share, share_of
from ..life import Life
from ..service import Service

T = TypeVar("T")

UNDECIDED = (OutageError, OutcomeUnknownError, UnexpectedReplyError)
"""What Redis answers, or does not, when this instance has to decide."""
CHARGES_AT_ONCE = 128
CHARGE_LIMIT = 0.5
"""Seconds that one charge may take."""


@dataclass(frozen=True, slots=True)
class Decider:
    """What decisions are made with.

    Attributes:
        life: from when to when anything is decided.
        executor: the way to Redis, or this process alone.
        across_slots: whether one primary holds all hash slots, and takes calls across them.
        source: who it is that decides there.
        fail_open: what policies do in an outage that do not say so themselves.
        fleet: how many instances share a limit then.
        own: boot id of this instance.
        channel: where instances hear of resets.
        server_now: the clock of a primary in Unix seconds.
        deadline: seconds that a decision may take.
    """

    life: Life
    executor: Runs
    across_slots: Callable[[], bool]
    source: Source
    clock: Clock
    service: Service
    fleet: FleetSize
    own: str
    prefix: str
    digest_key: bytes = field(repr=False)
    channel: bytes
    fail_open: bool
    deadline: float
    server_now: Callable[[], float]

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self.clock.monotonic()

    async def run(self, operation: Operation[T]) -> T:
        """Run one operation within the deadline; raises as the executor does."""
        return await self.executor.run(operation, within=self.deadline)

    async def ask(
        self,
        limiter: LocalLimiter,
        record: Record,
        cost: int,
        asked: LimitPolicy,
        *,
        within: float | None = None,
    ) -> Decision:
        """Decide one check, within the deadline or what is left of it.

        Raises:
            InvalidInputError: no bucket of the limit in force could pay it.
            LimitUnavailableError: the policy is fail-closed and Redis cannot be asked.
        """
        try:
            answer = await self.executor.run(
                record.check(asked, cost),
                within=self.deadline if within is None else within,
            )
        except UNDECIDED as error:
            return self.undecided(limiter, record, cost, asked, error)
        return self.answered(limiter, record, cost, asked, answer)

    def answered(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy, answer: Answer
    ) -> Decision:
        """Take in what Redis said to a check.

        Raises:
            InvalidInputError: no bucket of the limit in force could pay it.
        """
        decision = self.heard(limiter, record, cost, asked, answer)
        if not decision.allowed:
            validate_payable(asked, cost, decision.limit)
        # A refusal writes nothing, so it says nothing about a Redis that refuses writes.
        elif cost:
            self.service.answered()
        return decision

    def heard(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy, answer: Answer
    ) -> Decision:
        """Read what Redis said of a subject's bucket, and remember it."""
        policy, reply = in_force(asked, answer)
        decision = decode(policy, cost, reply, self.source)
        self.remember(limiter, record, cost, decision, asked=asked, answer=answer)
        return decision

    def remember(
        self,
        limiter: LocalLimiter,
        record: Record,
        cost: int,
        decision: Decision,
        *,
        asked: LimitPolicy,
        answer: Answer,
    ) -> None:
        """Remember a decision, and the limit that operators have set for the subject, if any."""
        now = self.clock.monotonic()
        if isinstance(answer, int):
            limiter.note(record, cost, decision, now, asked=asked)
            return
        own, _ = in_force(asked, answer)
        left = answer.until / 1e6 - self.server_now() if answer.until else inf
        limiter.note(record, cost, decision, now, asked=asked, own=own, own_until=now + left)

    def recent_denial(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy
    ) -> Decision | None:
        """A refusal of a moment ago, which Redis would repeat. From any thread.

        Raises:
            InvalidInputError: no bucket of the limit in force could ever pay it.
        """
        denial = limiter.recent_denial(record, cost, self.clock.monotonic(), asked)
        if denial is not None:
            validate_payable(asked, cost, denial.limit)
        return denial

    def undecided(
        self,
        limiter: LocalLimiter,
        record: Record,
        cost: int,
        asked: LimitPolicy,
        error: AragoraRedisError,
    ) -> Decision:
        """Decide a check within this instance's share, since Redis did not; raises as `ask`."""
        self.service.failed(error)
        validate_payable(asked, cost, (record.own_at(self.now) or asked).burst)
        share = self.share(limiter, record, error, asked)
        return limiter.decide(record, cost, share, self.now, asked)

    async def ask_all(self, step: Sequence[Asked]) -> Sequence[Decision]:
        """Decide one step of a check of several limits; raises as `ask` does."""
        if len(step) == 1:
            return [await self.ask(*step[0])]
        try:
            answers = await self.run(
                operations.check_all([(each.policy, each.record.key, each.cost) for each in step])
            )
        except UNDECIDED as error:
            self.service.failed(error)
            shares = [self.share(each.limiter, each.record, error, each.policy) for each in step]
            return decide_here(step, shares, self.now)
        decisions = decode_all(step, answers, self.source)
        if step[0].cost and all(decision.allowed for decision in decisions):
            self.service.answered()
        for each, answer, decision in zip(step, answers, decisions, strict=True):
            if not decision.allowed:
                validate_payable(in_force(each.policy, answer)[0], each.cost, decision.limit)
            self.remember(
                each.limiter, each.record, each.cost, decision, asked=each.policy, answer=answer
            )
        return decisions

    def share(
        self,
        limiter: LocalLimiter,
        record: Record,
        error: AragoraRedisError,
        asked: LimitPolicy | None = None,
    ) -> Share:
        """What this instance may give of a limit while Redis cannot be asked.

        Raises:
            LimitUnavailableError: nothing.
        """
        policy = record.own_at(self.now) or asked or limiter.policy
        on_outage = limiter.policy.on_outage
        fail_open = on_outage is OnOutage.FAIL_OPEN if on_outage else self.fail_open
        if not fail_open:
            helps = error.remedy if isinstance(error, OutageError) else ""
            refusal = LimitUnavailableError(
                f"the limit {policy.name!r} cannot be decided: {error.message}",
                remedy=f"{helps or OutageError.remedy}; on_outage = fail-open would decide locally",
            )
            refusal.ran = error.ran  # refused here, and perhaps counted there
            raise refusal from error
        share = share_of(policy, self.fleet, own=self.own, digest=record.digest)
        if share is None:
            refusal = LimitUnavailableError(
                f"the limit {policy.name!r} cannot be shared out: the fleet was not seen yet",
                remedy="wait until the state has started, or set ARAGORA_EXPECTED_INSTANCES",
            )
            refusal.ran = error.ran
            raise refusal from error
        return share

    async def settle_debts(self, limiters: Iterable[LocalLimiter]) -> None:
        """Charge to Redis what was admitted without it, so that an outage is no second burst."""
        for limiter in limiters:
            for _ in range(0, limiter.debtors, CHARGES_AT_ONCE):
                debts = limiter.debts(self.now, CHARGES_AT_ONCE)
                await asyncio.gather(*(self._charge(limiter, *debt) for debt in debts))

    async def _charge(self, limiter: LocalLimiter, record: Record, cost: int) -> None:
        charge = operations.charge(record.owed_under or limiter.policy, record.key, cost)
        record.untold += 1
        try:
            await self.executor.run(charge, within=CHARGE_LIMIT)
        except AragoraRedisError as error:
            if error.ran is Ran.NO:
                limiter.restore(record, cost, self.now)
        finally:
            record.untold -= 1
