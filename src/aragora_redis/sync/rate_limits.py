"""Rate limits for threads."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..errors import LimitExceededError
from ..rate_limit.gcra import Decision, Look
from ..rate_limit.joint import JointDecision, LimitCheck
from ..rate_limit.policy import Rate
from ..rate_limit.reservation import TTL, Settlement
from ..state.reservations import Reserved as ReservedThere
from ..state.shared import SharedState
from .crossing import Crossing


class Reserved:
    """See `aragora_redis.state.reservations.Reserved`; a context as what makes that one is."""

    def __init__(self, crossing: Crossing, policy: str, there: ReservedThere) -> None:
        self._crossing = crossing
        self._policy = policy
        self._there = there
        self.decision = there.decision
        self.id = there.id
        self.cost = there.cost

    @property
    def allowed(self) -> bool:
        """Whether the tokens are reserved."""
        return self.decision.allowed

    @property
    def settled(self) -> Settlement | None:
        """What became of it in the end."""
        return self._there.settled

    def settle(self, cost: int) -> Settlement:
        """End it with what was used. A second time changes nothing."""
        return self._crossing.cross(
            lambda _state: self._there.settle(cost), self._crossing.deadline
        )

    def refund(self) -> Settlement:
        """Give everything back: the work was not done."""
        return self.settle(0)

    def __enter__(self) -> Self:
        if not self.allowed:
            raise LimitExceededError(self._policy, self.decision.retry_after)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.settled is None:
            self.settle(0 if error is not None else self.cost)


class RateLimits:
    """See `aragora_redis.state.rate_limits.RateLimits`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def check(
        self,
        policy: str,
        subject: str,
        cost: int = 1,
        *,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Decision:
        """Take `cost` tokens from the subject's bucket, if they are there."""
        known = self._crossing.here.rate_limits.at_hand(policy, subject, cost, at=at, limit=limit)
        if known is not None:
            return known
        return self._crossing.cross(
            lambda state: state.rate_limits.check(policy, subject, cost, at=at, limit=limit),
            self._crossing.deadline,
        )

    def check_all(self, *checks: LimitCheck) -> JointDecision:
        """Take from the buckets of several limits, or from none of them."""
        return self._crossing.cross(
            lambda state: state.rate_limits.check_all(*checks),
            self._crossing.deadline * len(checks),
        )

    def reserve(
        self,
        policy: str,
        subject: str,
        estimate: int,
        *,
        ttl: float = TTL,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Reserved:
        """Take an estimate now, and settle what the work really cost after it."""

        async def made(state: SharedState) -> ReservedThere:
            return await state.rate_limits.reserve(
                policy, subject, estimate, ttl=ttl, at=at, limit=limit
            )

        there = self._crossing.cross(made, self._crossing.deadline)
        return Reserved(self._crossing, policy, there)

    def settle(self, reservation: str, cost: int) -> Settlement:
        """End a reservation with what was really used."""
        return self._crossing.cross(
            lambda state: state.rate_limits.settle(reservation, cost), self._crossing.deadline
        )

    def refund(self, reservation: str) -> Settlement:
        """Give a reservation back whole."""
        return self.settle(reservation, 0)

    def look(self, policy: str, subject: str, *, at: str | None = None) -> Look:
        """What a check of the subject would meet now, and under which limit; takes nothing."""
        return self._crossing.cross(
            lambda state: state.rate_limits.look(policy, subject, at=at), self._crossing.deadline
        )

    def set_limit(
        self,
        policy: str,
        subject: str,
        limit: Rate | None,
        *,
        lasts: float | None = None,
        at: str | None = None,
    ) -> bool:
        """Give a subject a limit of its own, for the whole fleet; True if it had one before."""
        return self._crossing.cross(
            lambda state: state.rate_limits.set_limit(policy, subject, limit, lasts=lasts, at=at),
            self._crossing.deadline,
        )

    def reset(self, policy: str, subject: str, *, at: str | None = None) -> bool:
        """Fill the subject's bucket again; True if anything had been taken."""
        return self._crossing.cross(
            lambda state: state.rate_limits.reset(policy, subject, at=at),
            self._crossing.deadline,
        )
