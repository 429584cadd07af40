"""Rate limits for threads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from ..errors import AragoraRedisError, LimitExceededError
from ..rate_limit.gcra import Decision, Peek
from ..rate_limit.joint import JointDecision, LimitCheck
from ..rate_limit.policy import LimitPolicy, Rate
from ..rate_limit.reservation import TTL, Kept, Settlement
from ..state.decorated import threaded
from ..state.rate_limits.limited import subject_of_call
from ..state.rate_limits.own_limits import LOOK_LIMIT, MOST_ON_A_PAGE, OwnLimits
from ..state.rate_limits.reservations import Reserved as ReservedThere
from ..state.rate_limits.reservations import keep_alive, log_not_returned
from ..state.shared import SharedState
from ..times import Duration, in_seconds
from .crossing import Crossing

P = ParamSpec("P")
R = TypeVar("R")


class Reserved:
    """See `aragora_redis.state.rate_limits.reservations.Reserved`.

    A context, as what makes that one is. It is kept no more once that is left, or dropped.
    """

    _keeping: asyncio.Task[None] | None = None

    def __init__(self, crossing: Crossing, policy: str, ttl: float, there: ReservedThere) -> None:
        self._crossing = crossing
        self._policy = policy
        self._ttl = ttl
        self._there = there
        self.decision = there.decision
        self.cost = there.cost

    @property
    def id(self) -> str:
        """By which any instance, and the HTTP service, can end it; empty if refused."""
        return self._there.id

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

    def keep(self, ttl: Duration = TTL) -> int:
        """Let it lapse `ttl` seconds from now; how many tokens it holds."""
        return self._crossing.cross(lambda _state: self._there.keep(ttl), self._crossing.deadline)

    def __enter__(self) -> Self:
        if not self.allowed:
            raise LimitExceededError(self._policy, self.decision.retry_after)

        async def start(_state: SharedState) -> asyncio.Task[None]:
            return asyncio.create_task(keep_alive(self._there, self._ttl))

        def undo(keeping: asyncio.Task[None]) -> None:
            keeping.cancel()

        self._keeping = self._crossing.cross(start, self._crossing.deadline, undo=undo)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._let_lapse()
        except BaseException:  # from the handler of a signal: nobody comes to leave it again
            self._let_lapse()
            raise
        if self.settled is not None:
            return
        if error is None:
            self.settle(self.cost)
            return
        try:
            self.refund()
        except AragoraRedisError as trouble:
            log_not_returned(self._policy, trouble)

    def __del__(self) -> None:
        self._let_lapse()

    def _let_lapse(self) -> None:
        """Keep it no more: it lapses in its time, unless it is settled before."""
        if self._keeping is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended, and so has it
                self._keeping.get_loop().call_soon_threadsafe(self._keeping.cancel)
            self._keeping = None


@dataclass(frozen=True, slots=True)
class Limited:
    """See `aragora_redis.state.rate_limits.limited.Limited`."""

    policy: str
    acquire: Callable[[str], Decision]
    subject: str | None = None
    key: Callable[..., str] | None = None

    def __enter__(self) -> Decision:
        return self._enter(subject_of_call(self.subject, self.key, (), {}))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, work: Callable[P, R]) -> Callable[P, R]:
        """Limit a function, or generator: that as it is called.

        Raises:
            InvalidInputError: it is async.
        """
        threaded(work)

        @wraps(work)
        def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            self._enter(subject_of_call(self.subject, self.key, args, kwargs))
            return work(*args, **kwargs)

        return limited

    def _enter(self, subject: str) -> Decision:
        decision = self.acquire(subject)
        if not decision.allowed:
            raise LimitExceededError(self.policy, decision.retry_after)
        return decision


class RateLimits:
    """See `aragora_redis.state.rate_limits.rate_limits.RateLimits`."""

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

    def acquire_all(self, *checks: LimitCheck, wait: Duration) -> JointDecision:
        """Take from all of several limits, and wait for them for at most `wait` seconds."""
        wait = in_seconds(wait, "wait")
        return self._crossing.cross(
            lambda state: state.rate_limits.acquire_all(*checks, wait=wait),
            wait + self._crossing.deadline * len(checks),
        )

    def acquire(
        self,
        policy: str,
        subject: str,
        cost: int = 1,
        *,
        wait: Duration,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Decision:
        """Take tokens as `check` does, and wait for them for at most `wait` seconds."""
        wait = in_seconds(wait, "wait")
        return self._crossing.cross(
            lambda state: state.rate_limits.acquire(
                policy, subject, cost, wait=wait, at=at, limit=limit
            ),
            wait + self._crossing.deadline,
        )

    def limit(
        self,
        policy: str,
        subject: str | None = None,
        *,
        key: Callable[..., str] | None = None,
        cost: int = 1,
        wait: Duration = 0.0,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Limited:
        """A limit around work: `with` it, or decorate a function with it."""
        wait = in_seconds(wait, "wait")

        def acquire(whom: str) -> Decision:
            if not wait:
                return self.check(policy, whom, cost, at=at, limit=limit)
            return self.acquire(policy, whom, cost, wait=wait, at=at, limit=limit)

        return Limited(policy, acquire, subject, key)

    def reserve(
        self,
        policy: str,
        subject: str,
        estimate: int,
        *,
        ttl: Duration = TTL,
        at: str | None = None,
        limit: Rate | None = None,
    ) -> Reserved:
        """Take an estimate now, and settle what the work really cost after it."""
        ttl = in_seconds(ttl, "ttl")

        async def made(state: SharedState) -> ReservedThere:
            return await state.rate_limits.reserve(
                policy, subject, estimate, ttl=ttl, at=at, limit=limit
            )

        there = self._crossing.cross(made, self._crossing.deadline)
        return Reserved(self._crossing, policy, ttl, there)

    def keep(self, reservation: str, ttl: Duration = TTL) -> Kept:
        """Let a reservation lapse `ttl` seconds from now, if it would have before."""
        return self._crossing.cross(
            lambda state: state.rate_limits.keep(reservation, ttl), self._crossing.deadline
        )

    def settle(self, reservation: str, cost: int) -> Settlement:
        """End a reservation with what was really used."""
        return self._crossing.cross(
            lambda state: state.rate_limits.settle(reservation, cost), self._crossing.deadline
        )

    def refund(self, reservation: str) -> Settlement:
        """Give a reservation back whole."""
        return self.settle(reservation, 0)

    def policy(self, name: str) -> LimitPolicy:
        """The policy of that name."""
        return self._crossing.seen.rate_limits.policy(name)

    def peek(self, policy: str, subject: str, *, at: str | None = None) -> Peek:
        """What a check of the subject would meet now, and under which limit; takes nothing."""
        return self._crossing.cross(
            lambda state: state.rate_limits.peek(policy, subject, at=at), self._crossing.deadline
        )

    def set_limit(
        self,
        policy: str,
        subject: str,
        limit: Rate | None,
        *,
        ttl: Duration | None = None,
        at: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> bool:
        """Give a subject a limit of its own, for the whole fleet; True if it had one before."""
        return self._crossing.cross(
            lambda state: state.rate_limits.set_limit(
                policy, subject, limit, ttl=ttl, at=at, reason=reason, actor=actor
            ),
            2 * self._crossing.deadline,
        )

    def unset_listed(
        self, policy: str, digest: str, *, at: str | None = None, reason: str = "", actor: str = ""
    ) -> bool:
        """Let the policy's limit hold again for a subject that `own_limits` shows."""
        return self._crossing.cross(
            lambda state: state.rate_limits.unset_listed(
                policy, digest, at=at, reason=reason, actor=actor
            ),
            2 * LOOK_LIMIT,
        )

    def own_limits(self, policy: str, *, after: int = 0, limit: int = MOST_ON_A_PAGE) -> OwnLimits:
        """A page of the subjects that have a limit of their own."""
        return self._crossing.cross(
            lambda state: state.rate_limits.own_limits(policy, after=after, limit=limit),
            2 * LOOK_LIMIT,
        )

    def reset(
        self,
        policy: str,
        subject: str,
        *,
        at: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> bool:
        """Fill the subject's bucket again; True if anything had been taken."""
        return self._crossing.cross(
            lambda state: state.rate_limits.reset(
                policy, subject, at=at, reason=reason, actor=actor
            ),
            self._crossing.deadline,
        )
