"""Rate limits: asked of Redis, and decided here where Redis need not, or cannot, be asked.

Invariant I2, an outage is not an amnesty: while Redis cannot answer, a fail-open policy admits this
instance's share of the limit and no more, a fail-closed one nothing, and neither waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..clock import Clock
from ..errors import (
    AragoraRedisError,
    LimitUnavailableError,
    OutageError,
    OutcomeUnknownError,
    Ran,
    UnexpectedReplyError,
    UnknownPolicyError,
)
from ..events import UNAVAILABLE, Decided, Events
from ..operation import Runs
from ..rate_limit import operations
from ..rate_limit.gcra import Decision, Source, decode, validate_cost
from ..rate_limit.joint import (
    Asked,
    JointDecision,
    LimitCheck,
    decide_here,
    decode_all,
    located,
    steps,
    validate_together,
)
from ..rate_limit.local import LocalLimiter, Record, validate_location, validate_subject
from ..rate_limit.policy import LimitPolicy, OnOutage
from ..rate_limit.share import FleetSize, Share, share_of
from .service import Service

_UNDECIDED = (OutageError, OutcomeUnknownError, UnexpectedReplyError)
CHARGES_AT_ONCE = 128
CHARGE_LIMIT = 0.5
"""Seconds that one charge may take."""


class RateLimits:
    """Checks subjects against named policies.

    Args:
        executor: the way to Redis, or this process alone.
        across_slots: whether one primary holds all hash slots, and takes calls across them.
        source: who it is that decides there.
        fail_open: what policies do in an outage that do not say so themselves.
        fleet: how many instances share a limit then.
        own: boot id of this instance.
    """

    def __init__(
        self,
        policies: Mapping[str, LimitPolicy],
        *,
        executor: Runs,
        across_slots: Callable[[], bool],
        source: Source,
        clock: Clock,
        events: Events,
        service: Service,
        fleet: FleetSize,
        own: str,
        prefix: str,
        digest_key: bytes,
        fail_open: bool,
        deadline: float,
    ) -> None:
        self._executor = executor
        self._across_slots = across_slots
        self._source = source
        self._clock = clock
        self._events = events
        self._service = service
        self._fleet = fleet
        self._own = own
        self._reset_channel = operations.reset_channel(prefix)
        self._fail_open = fail_open
        self._deadline = deadline
        self._limiters = {
            name: LocalLimiter(policy, prefix=prefix, digest_key=digest_key)
            for name, policy in policies.items()
        }

    def __iter__(self) -> Iterator[LimitPolicy]:
        return (limiter.policy for limiter in self._limiters.values())

    async def check(
        self, policy: str, subject: str, cost: int = 1, *, at: str | None = None
    ) -> Decision:
        """Take `cost` tokens from the subject's bucket, if they are there.

        Args:
            policy: name of a policy in the policies file.
            subject: whom the limit counts, such as `ip:203.0.113.9`; only a digest leaves this
                process.
            cost: whole tokens, at most the policy's burst.
            at: for a limit with `co_locate`, the subject of that other limit.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments; nothing was counted.
            LimitUnavailableError: the policy is fail-closed and Redis cannot be asked.
        """
        limiter = self._limiter(policy, subject, at)
        validate_cost(limiter.policy, cost)
        record = limiter.record(subject, at)
        decision = limiter.recent_denial(record, cost, self._clock.monotonic())
        if decision is None:
            try:
                decision = await self._ask(limiter, record, cost)
            except LimitUnavailableError:
                self._events.emit(Decided(policy, allowed=False, source=UNAVAILABLE))
                raise
        self._events.emit(Decided(policy, decision.allowed, decision.source.value))
        return decision

    async def check_all(self, *checks: LimitCheck) -> JointDecision:
        """Take from the buckets of several limits, or from none of them.

        In a Redis Cluster that holds for limits in one hash slot: those of one subject, and those
        that their policies co-locate. Others are asked in turn, see `rate_limit.joint`.

        Args:
            checks: 1 to 8 limits, none of them twice for the same subject.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments; nothing was counted.
            LimitUnavailableError: one of the policies is fail-closed and Redis cannot be asked.
        """
        asked = [self._asked(check, checks) for check in checks]
        validate_together(asked)
        now = self._clock.monotonic()
        said = {
            each: denial
            for each in asked
            if (denial := each.limiter.recent_denial(each.record, each.cost, now)) is not None
        }
        looks = not asked[0].cost
        left = [] if said else steps(asked, across_slots=self._across_slots())
        try:
            while left and (looks or all(decision.allowed for decision in said.values())):
                step = left.pop(0)
                said |= zip(step, await self._ask_all(step), strict=True)
        except LimitUnavailableError:
            for each in asked:
                self._decided(each, allowed=False, source=UNAVAILABLE)
            raise
        allowed = all(decision.allowed for decision in said.values())
        for each, decision in said.items():
            if decision.allowed == allowed:
                self._decided(each, allowed=allowed, source=decision.source.value)
        return JointDecision(allowed, tuple(said.get(each) for each in asked))

    def denial(
        self, policy: str, subject: str, cost: int = 1, *, at: str | None = None
    ) -> Decision | None:
        """The refusal that `check` would repeat without asking Redis, or None.

        It changes nothing but counts, so any thread may ask. Raises as `check` does.
        """
        limiter = self._limiter(policy, subject, at)
        validate_cost(limiter.policy, cost)
        record = limiter.known(subject, at)
        if record is None:
            return None
        decision = limiter.recent_denial(record, cost, self._clock.monotonic())
        if decision is not None:
            self._events.emit(Decided(policy, decision.allowed, decision.source.value))
        return decision

    async def reset(self, policy: str, subject: str, *, at: str | None = None) -> bool:
        """Fill the subject's bucket again; True if anything had been taken.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        limiter = self._limiter(policy, subject, at)
        key = limiter.record(subject, at).key
        limiter.forget(subject, at)
        reset = operations.reset(key, self._reset_channel)
        return await self._executor.run(reset, within=self._deadline)

    def on_push(self, push: list[Any]) -> None:
        """Take in a published message; those of other channels are not ours."""
        if len(push) == 3 and push[:2] == [b"message", self._reset_channel]:
            for limiter in self._limiters.values():
                limiter.on_reset(push[2])

    async def settle_debts(self) -> None:
        """Charge to Redis what was admitted without it, so that an outage is no second burst."""
        for limiter in self._limiters.values():
            debts = limiter.debts(self._clock.monotonic())
            for start in range(0, len(debts), CHARGES_AT_ONCE):
                await asyncio.gather(
                    *(
                        self._charge(limiter, record, cost)
                        for record, cost in debts[start : start + CHARGES_AT_ONCE]
                    )
                )

    @property
    def in_debt(self) -> bool:
        """Whether there is anything to settle."""
        return any(limiter.in_debt for limiter in self._limiters.values())

    async def _charge(self, limiter: LocalLimiter, record: Record, cost: int) -> None:
        charge = operations.charge(limiter.policy, record.key, cost)
        try:
            await self._executor.run(charge, within=CHARGE_LIMIT)
        except AragoraRedisError as error:
            if error.ran is Ran.NO:
                limiter.restore(record, cost, self._clock.monotonic())

    def policy(self, name: str) -> LimitPolicy:
        """The policy of that name.

        Raises:
            UnknownPolicyError: there is none.
        """
        return self._named(name).policy

    def _named(self, policy: str) -> LocalLimiter:
        limiter = self._limiters.get(policy) if isinstance(policy, str) else None
        if limiter is None:
            raise UnknownPolicyError(
                f"there is no limit named {str(policy)[:80]!r}",
                remedy="define it in the file that ARAGORA_POLICIES names",
            )
        return limiter

    def _limiter(self, policy: str, subject: str, at: str | None = None) -> LocalLimiter:
        limiter = self._named(policy)
        validate_subject(subject)
        validate_location(limiter.policy, at)
        return limiter

    def _asked(self, check: LimitCheck, among: Sequence[LimitCheck]) -> Asked:
        policy, subject, cost, at = check
        beside = self._named(policy).policy.co_locate
        if at is None and beside is not None:
            at = located(among, beside)
        limiter = self._limiter(policy, subject, at)
        validate_cost(limiter.policy, cost)
        return Asked(limiter, limiter.record(subject, at), cost)

    def _decided(self, asked: Asked, *, allowed: bool, source: str) -> None:
        self._events.emit(Decided(asked.limiter.policy.name, allowed, source))

    async def _ask(self, limiter: LocalLimiter, record: Record, cost: int) -> Decision:
        policy = limiter.policy
        try:
            reply = await self._executor.run(
                operations.check(policy, record.key, cost), within=self._deadline
            )
            decision = decode(policy, cost, reply, self._source)
        except _UNDECIDED as error:
            self._service.failed(error)
            share = self._share(limiter, record, error)
            return limiter.decide(record, cost, share, self._clock.monotonic())
        # A refusal writes nothing, so it says nothing about a Redis that refuses writes.
        if decision.allowed and cost:
            self._service.answered()
        limiter.note(record, cost, decision, self._clock.monotonic())
        return decision

    async def _ask_all(self, step: Sequence[Asked]) -> Sequence[Decision]:
        if len(step) == 1:
            return [await self._ask(*step[0])]
        try:
            replies = await self._executor.run(
                operations.check_all(
                    [(limiter.policy, record.key, cost) for limiter, record, cost in step]
                ),
                within=self._deadline,
            )
        except _UNDECIDED as error:
            self._service.failed(error)
            shares = [self._share(each.limiter, each.record, error) for each in step]
            return decide_here(step, shares, self._clock.monotonic())
        decisions = decode_all(step, replies, self._source)
        if step[0].cost and all(decision.allowed for decision in decisions):
            self._service.answered()
        now = self._clock.monotonic()
        for each, decision in zip(step, decisions, strict=True):
            each.limiter.note(each.record, each.cost, decision, now)
        return decisions

    def _share(self, limiter: LocalLimiter, record: Record, error: AragoraRedisError) -> Share:
        """What this instance may give of a limit while Redis cannot be asked.

        Raises:
            LimitUnavailableError: nothing.
        """
        policy = limiter.policy
        on_outage = policy.on_outage
        fail_open = on_outage is OnOutage.FAIL_OPEN if on_outage else self._fail_open
        if not fail_open:
            raise LimitUnavailableError(
                f"the limit {policy.name!r} cannot be decided: {error.message}",
                remedy="try again shortly; on_outage = fail-open would decide locally",
            ) from error
        share = share_of(
            policy, size=self._fleet.size, own=self._own, ids=self._fleet.ids, digest=record.digest
        )
        if share is None:
            raise LimitUnavailableError(
                f"the limit {policy.name!r} cannot be shared out: the fleet's size is not known",
                remedy="set ARAGORA_EXPECTED_INSTANCES",
            ) from error
        return share
