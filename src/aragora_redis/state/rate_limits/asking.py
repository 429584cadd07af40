"""How limits are asked, one or several: of what is known here, else of the `Decider`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from ...errors import InvalidInputError, LimitUnavailableError, Ran
from ...events import UNAVAILABLE, Decided, Events
from ...rate_limit.gcra import Decision, Source, validate_payable
from ...rate_limit.joint import Asked, JointDecision, steps, validate_together
from ...rate_limit.local import LocalLimiter, Record
from ...rate_limit.policy import LimitPolicy
from .decider import Decider
from .leases import Leases


class Asking:
    """Asks, counts what came of it, and lets through what only a shadow refuses."""

    def __init__(self, decider: Decider, leases: Leases, events: Events) -> None:
        self._decider = decider
        self._leases = leases
        self._events = events

    def at_hand(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy
    ) -> Decision | None:
        """What is known without asking: a lease, or a refusal of a moment ago. From any thread."""
        decision = None
        if limiter.policy.lease and _is_leased(limiter.policy, cost, asked):
            decision = self._leases.take(record, cost)
        if decision is None and record.denied_until:
            decision = self._decider.recent_denial(limiter, record, cost, asked)
        return None if decision is None else self.said(limiter.policy, record, decision)

    async def ask(
        self, limiter: LocalLimiter, record: Record, cost: int, asked: LimitPolicy
    ) -> Decision:
        """Decide a check of which nothing is known; raises as `Decider.ask` does."""
        try:
            if limiter.policy.lease and _is_leased(limiter.policy, cost, asked):
                decision = await self._leases.check(limiter, record, cost)
            else:
                decision = await self._decider.ask(limiter, record, cost, asked)
        except LimitUnavailableError:
            decision = self.undecided(limiter.policy, record)
        return self.said(limiter.policy, record, decision)

    async def all_of(self, asked: Sequence[Asked]) -> JointDecision:
        """Decide several as one; raises as `RateLimits.check_all` does."""
        validate_together(asked)
        for each in asked:
            await self._require_payable(each)
        now = self._decider.now
        shadows = [each for each in asked if each.limiter.policy.shadow]
        enforced = [each for each in asked if not each.limiter.policy.shadow]
        said = {
            each: denial
            for each in enforced
            if (denial := each.limiter.recent_denial(each.record, each.cost, now, each.policy))
            is not None
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
        except LimitUnavailableError as error:
            if said and not looks:  # what an earlier step gave stays given
                error.ran = Ran.UNKNOWN
            for each in enforced:
                self._decided(each, allowed=False, source=UNAVAILABLE)
            raise
        allowed = all(decision.allowed for decision in said.values())
        for each, decision in said.items():
            if decision.allowed == allowed:
                self._decided(each, allowed=allowed, source=decision.source)
        if allowed or looks:
            # They refuse nobody, so they count what the others have let through.
            counted = [self._count(each) for each in shadows]
            said |= zip(shadows, await asyncio.gather(*counted), strict=True)
        return JointDecision(allowed, tuple(said.get(each) for each in asked))

    def require_one_step(self, asked: Sequence[Asked]) -> None:
        """Refuse limits of which some give although others will not.

        Raises:
            InvalidInputError: they lie in several hash slots.
        """
        enforced = [each for each in asked if not each.limiter.policy.shadow]
        if len(steps(enforced, across_slots=self._decider.across_slots())) > 1:
            raise InvalidInputError(
                "limits in several hash slots cannot be waited for as one",
                remedy="co-locate them (co_locate), or ask without wait",
            )

    def said(self, policy: LimitPolicy, record: Record, decision: Decision) -> Decision:
        """Count a decision, and let through what only a shadow refuses."""
        if policy.shadow and not decision.allowed:
            decision = replace(decision, allowed=True, shadow=True)
        self._events.emit(
            Decided(policy.name, decision.allowed, decision.source, decision.shadow, record.digest)
        )
        return decision

    def undecided(self, policy: LimitPolicy, record: Record) -> Decision:
        """What becomes of a check that nobody can decide, while that error is handled.

        Raises:
            LimitUnavailableError: it is refused; a shadow refuses nobody.
        """
        if not policy.shadow:
            self._events.emit(
                Decided(policy.name, allowed=False, source=UNAVAILABLE, subject=record.digest)
            )
            raise  # noqa: PLE0704 - the error that is handled
        return _undecided(policy)

    async def _count(self, shadow: Asked) -> Decision:
        return self.at_hand(*shadow) or await self.ask(*shadow)

    async def _require_payable(self, asked: Asked) -> None:
        """Refuse a cost that no bucket could pay before another limit has given anything."""
        limiter, record, cost, policy = asked
        if cost <= (record.own_at(self._decider.now) or policy).burst:
            return
        found = await self._decider.ask(limiter, record, 0, policy)
        validate_payable(policy, cost, found.limit)

    def _decided(self, asked: Asked, *, allowed: bool, source: str) -> None:
        name, subject = asked.limiter.policy.name, asked.record.digest
        self._events.emit(Decided(name, allowed, source, subject=subject))


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
