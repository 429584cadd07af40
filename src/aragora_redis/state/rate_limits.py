"""Rate limits: the face. What is known here is answered here; the rest is asked, see `Decider`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import LimitUnavailableError, UnknownPolicyError
from ..events import UNAVAILABLE, Decided, Events
from ..names import validate_seconds
from ..rate_limit import operations
from ..rate_limit.gcra import Decision, Look, Source, look_at, validate_cost, validate_payable
from ..rate_limit.joint import (
    Asked,
    JointDecision,
    LimitCheck,
    located,
    steps,
    validate_together,
)
from ..rate_limit.local import LocalLimiter, Record, validate_location, validate_subject
from ..rate_limit.policy import LimitPolicy, Rate
from ..rate_limit.reservation import TTL, Settlement, unseal
from .leases import Leases
from .limit_decider import Decider
from .limited import Limited, Waiting
from .reservations import Reservations, Reserved, Reserving, validate_ttl


class RateLimits:
    """Checks subjects against named policies.

    Args:
        decider: what decisions are made with.
    """

    def __init__(
        self, policies: Mapping[str, LimitPolicy], *, decider: Decider, events: Events
    ) -> None:
        self._decider = decider
        self._events = events
        self._reservations = Reservations(decider)
        self._leases = Leases(decider)
        self._waiting = Waiting(decider.clock)
        self._limiters: dict[str, LocalLimiter] = {}
        self.use(policies)

    def use(self, policies: Mapping[str, LimitPolicy]) -> None:
        """Put other policies in force: what subjects have used stays used, refusals end.

        A bucket whose rate has changed is full at the same instant as before, at most a full burst
        from now.
        """
        limiters = {}
        for name, policy in policies.items():
            limiter = self._limiters.get(name)
            if limiter is None or limiter.policy.co_locate != policy.co_locate:
                limiter = LocalLimiter(
                    policy, prefix=self._decider.prefix, digest_key=self._decider.digest_key
                )
            limiter.policy = policy
            limiters[name] = limiter
        self._limiters = limiters

    def __iter__(self) -> Iterator[LimitPolicy]:
        return (limiter.policy for limiter in self._limiters.values())

    async def check(
        self,
        policy: str,
        subject: str,
        cost: int = 1,
        *,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Decision:
        """Take `cost` tokens from the subject's bucket, if they are there.

        Args:
            policy: name of a policy in the policies file.
            subject: whom the limit counts, such as `ip:203.0.113.9`; only a digest leaves this
                process.
            cost: whole tokens, at most the burst that is in force.
            at: for a limit with `co_locate`, the subject of that other limit.
            limit: rate and burst for this subject instead of the policy's; one that operators have
                set (`set_limit`) comes before it.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments; nothing was counted.
            LimitUnavailableError: the policy is fail-closed and Redis cannot be asked.
        """
        limiter = self._limiter(policy, subject, at)
        asked = _under(limiter.policy, limit)
        validate_cost(asked, cost)
        record = limiter.record(subject, at)
        try:
            decision = await self._decide(limiter, record, cost, asked)
        except LimitUnavailableError:
            if not limiter.policy.shadow:
                self._events.emit(Decided(policy, allowed=False, source=UNAVAILABLE))
                raise
            decision = _undecided(asked)
        return self._said(limiter.policy, decision)

    async def acquire(
        self,
        policy: str,
        subject: str,
        cost: int = 1,
        *,
        wait: float,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Decision:
        """Take tokens as `check` does, and wait for them for at most `wait` seconds.

        Nobody waits in vain: who cannot be served in time is refused at once, and so is everybody
        while a thousand calls wait here. Raises as `check` does.
        """
        validate_seconds(wait, "how long to wait")

        async def check() -> Decision:
            return await self.check(policy, subject, cost, at=at, limit=limit)

        decision = await check()
        if decision.allowed or not wait:
            return decision
        return await self._waiting.until_given((policy, subject), check, decision, wait)

    def limit(
        self,
        policy: str,
        subject: str | None = None,
        *,
        key: Callable[..., str] | None = None,
        cost: int = 1,
        wait: float = 0.0,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Limited:
        """A limit around work: `async with` it, or decorate an async function with it.

        Over the limit it raises `LimitExceededError`, after it has waited for at most `wait`
        seconds, and the work is not begun.

        Args:
            policy: name of a policy in the policies file.
            subject: whom the limit counts.
            key: says it of a decorated function's arguments, such as `lambda user: f"user:{user}"`.
            cost: whole tokens that each call takes.
            wait: seconds for which a call may wait.
            at: for a limit with `co_locate`, the subject of that other limit.
            limit: as for `check`.

        Raises:
            UnknownPolicyError: there is no such limit.
        """
        self._named(policy)

        async def acquire(whom: str) -> Decision:
            return await self.acquire(policy, whom, cost, wait=wait, at=at, limit=limit)

        return Limited(policy, acquire, subject, key)

    def reserve(
        self,
        policy: str,
        subject: str,
        estimate: int,
        *,
        ttl: float = TTL,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Reserving:
        """Take an estimate now, and settle what the work really cost after it.

            async with state.rate_limits.reserve("llm", "org:7", estimate=1200) as reserved:
                reserved_answer = await ask_the_model()
                await reserved.settle(reserved_answer.tokens)

        Without a context, `await` it for a `Reserved` that may be refused.

        Args:
            policy: name of a policy in the policies file.
            subject: whom the limit counts.
            estimate: whole tokens, from 1.
            ttl: seconds after which what was not settled comes back by itself.
            at: for a limit with `co_locate`, the subject of that other limit.
            limit: as for `check`.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments; nothing was counted.
        """
        limiter = self._limiter(policy, subject, at)
        asked = _under(limiter.policy, limit)
        validate_cost(asked, estimate)
        validate_payable(asked, 1 - estimate, 0)
        validate_ttl(ttl)

        async def make() -> Reserved:
            record = limiter.record(subject, at)
            decision = limiter.recent_denial(record, estimate, self._decider.now, asked)
            made = self._reservations.unheld(limiter, record, estimate, ttl)
            try:
                if decision is None:
                    decision, made = await self._reservations.make(
                        limiter, record, estimate, asked, ttl
                    )
            except LimitUnavailableError:
                if not limiter.policy.shadow:
                    self._events.emit(Decided(policy, allowed=False, source=UNAVAILABLE))
                    raise
                decision = _undecided(asked)
            said = self._said(limiter.policy, decision)
            sealed = made.seal(self._decider.digest_key) if said.allowed else ""
            return Reserved(said, sealed, estimate if said.allowed else 0, self.settle)

        return Reserving(policy, make)

    async def settle(self, reservation: str, cost: int) -> Settlement:
        """End a reservation with what was really used.

        Less than the estimate gives the rest back; more is charged, is never refused, and empties
        the bucket at most (`overrun` says by how much it was missed). Only the first settlement
        counts; others are told what it came to. One that has lapsed or was lost in a failover is
        charged anew; five minutes after it has lapsed nothing is done any more.

        Args:
            reservation: its id.
            cost: whole tokens that were used, from 0.

        Raises:
            InvalidInputError: that is no reservation, or no such cost.
            UnknownPolicyError: its limit is not defined any more.
            OutageError, OutcomeUnknownError: Redis cannot be asked, and too many wait for it
                already; otherwise it is told as soon as it can be.
        """
        found = unseal(reservation, self._decider.digest_key)
        limiter = self._named(found.policy)
        return await self._reservations.end(limiter, limiter.keyed(found.key), found, cost)

    async def refund(self, reservation: str) -> Settlement:
        """Give a reservation back whole; raises as `settle` does."""
        return await self.settle(reservation, 0)

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
        for each in asked:
            await self._require_payable(each)
        now = self._decider.now
        shadows = [each for each in asked if each.limiter.policy.shadow]
        enforced = [each for each in asked if not each.limiter.policy.shadow]
        said = {
            each: denial
            for each in enforced
            if (denial := each.limiter.recent_denial(each.record, each.cost, now)) is not None
        }
        looks = not asked[0].cost
        left = (
            []
            if said or not enforced
            else steps(enforced, across_slots=self._decider.across_slots())
        )
        try:
            while left and (looks or all(decision.allowed for decision in said.values())):
                step = left.pop(0)
                said |= zip(step, await self._decider.ask_all(step), strict=True)
        except LimitUnavailableError:
            for each in enforced:
                self._decided(each, allowed=False, source=UNAVAILABLE)
            raise
        allowed = all(decision.allowed for decision in said.values())
        for each, decision in said.items():
            if decision.allowed == allowed:
                self._decided(each, allowed=allowed, source=decision.source.value)
        if allowed or looks:
            # They refuse nobody, so they count what the others have let through.
            counted = [self._counted(each) for each in shadows]
            said |= zip(shadows, await asyncio.gather(*counted), strict=True)
        return JointDecision(allowed, tuple(said.get(each) for each in asked))

    def at_hand(
        self,
        policy: str,
        subject: str,
        cost: int = 1,
        *,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Decision | None:
        """What `check` would say without asking Redis; None if it would ask.

        It changes nothing but counts, so any thread may ask. Raises as `check` does.
        """
        limiter = self._limiter(policy, subject, at)
        asked = _under(limiter.policy, limit)
        validate_cost(asked, cost)
        record = limiter.known(subject, at)
        if record is None:
            return None
        decision = self._at_hand(limiter, record, cost, asked)
        return None if decision is None else self._said(limiter.policy, decision)

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
        return await self._decider.run(operations.reset(key, self._decider.channel))

    async def look(self, policy: str, subject: str, *, at: str | None = None) -> Look:
        """What a check of the subject would meet now, and under which limit; takes nothing.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments.
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        limiter = self._limiter(policy, subject, at)
        key = limiter.record(subject, at).key
        answer = await self._decider.run(operations.peek(limiter.policy, key))
        return look_at(limiter.policy, answer, self._decider.source)

    async def set_limit(
        self,
        policy: str,
        subject: str,
        limit: Rate | None,
        *,
        lasts: float | None = None,
        at: str | None = None,
    ) -> bool:
        """Give a subject a limit of its own, for the whole fleet; True if it had one before.

        What it has used stays used. All instances go by it with their next check.

        Args:
            policy: name of a policy in the policies file.
            subject: whom it counts.
            limit: rate and burst; None for the policy's again.
            lasts: seconds for which it holds; None for good.
            at: for a limit with `co_locate`, the subject of that other limit.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        limiter = self._limiter(policy, subject, at)
        if lasts is not None:
            validate_seconds(lasts, "how long a limit holds")
        record = limiter.record(subject, at)
        record.denied_until = 0.0
        return await self._decider.run(
            operations.set_quota(limiter.policy, record.key, limit, lasts, self._decider.channel)
        )

    def on_push(self, push: list[Any]) -> None:
        """Take in a published message; those of other channels are not ours."""
        if len(push) != 3 or push[:2] != [b"message", self._decider.channel]:
            return
        message: bytes = push[2]
        returned = message.endswith(operations.RETURNED)
        key = message.removesuffix(operations.RETURNED)
        self._leases.recall(key, gone=not returned)
        for limiter in self._limiters.values():
            if returned:
                limiter.on_returned(key)
            else:
                limiter.on_reset(key)

    async def run(self) -> None:
        """Bring leases back that are not used, until cancelled."""
        await self._leases.run()

    async def finish(self) -> None:
        """Bring back what is leased and tell Redis what it has not got yet, at the end."""
        await self._leases.finish()
        await self.settle_debts()

    async def settle_debts(self) -> None:
        """Tell Redis what was admitted and settled without it."""
        await self._decider.settle_debts(self._limiters.values())
        await self._reservations.flush()

    @property
    def in_debt(self) -> bool:
        """Whether there is anything to settle."""
        limiters = self._limiters.values()
        return self._reservations.owing or any(limiter.in_debt for limiter in limiters)

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

    async def _counted(self, asked: Asked) -> Decision:
        limiter, record, cost = asked
        try:
            decision = await self._decide(limiter, record, cost, limiter.policy)
        except LimitUnavailableError:
            decision = _undecided(limiter.policy)
        return self._said(limiter.policy, decision)

    async def _require_payable(self, asked: Asked) -> None:
        """Refuse a cost that no bucket could pay before another limit has given anything."""
        limiter, record, cost = asked
        if cost <= (record.own or limiter.policy).burst:
            return
        found = await self._decider.ask(limiter, record, 0, limiter.policy)
        validate_payable(limiter.policy, cost, found.limit)

    async def _decide(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy
    ) -> Decision:
        known = self._at_hand(limiter, record, cost, asked)
        if known is not None:
            return known
        if _is_leased(limiter.policy, cost, asked):
            return await self._leases.check(limiter, record, cost)
        return await self._decider.ask(limiter, record, cost, asked)

    def _at_hand(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy
    ) -> Decision | None:
        if _is_leased(limiter.policy, cost, asked):
            leased = self._leases.take(record, cost)
            if leased is not None:
                return leased
        denial = limiter.recent_denial(record, cost, self._decider.now, asked)
        if denial is not None:
            validate_payable(asked, cost, denial.limit)
        return denial

    def _said(self, policy: LimitPolicy, decision: Decision) -> Decision:
        """Count a decision, and let through what only a shadow refuses."""
        if policy.shadow and not decision.allowed:
            decision = replace(decision, allowed=True, shadow=True)
        self._events.emit(
            Decided(policy.name, decision.allowed, decision.source.value, decision.shadow)
        )
        return decision

    def _decided(self, asked: Asked, *, allowed: bool, source: str) -> None:
        self._events.emit(Decided(asked.limiter.policy.name, allowed, source))


def _under(policy: LimitPolicy, limit: Rate | None) -> LimitPolicy:
    """The policy, with the limit that a call brings."""
    return policy if limit is None else policy.at(limit.count, limit.period_us, limit.burst)


def _is_leased(policy: LimitPolicy, cost: int, asked: LimitPolicy) -> bool:
    return 0 < cost <= policy.lease and asked is policy and not policy.shadow


def _undecided(policy: LimitPolicy) -> Decision:
    """A refusal, because nobody can decide."""
    return Decision(
        allowed=False,
        limit=policy.burst,
        remaining=0,
        retry_after=1.0,
        reset_after=0.0,
        source=Source.LOCAL,
    )
