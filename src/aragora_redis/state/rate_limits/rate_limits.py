"""Rate limits: the face. What is known here is answered here; the rest is asked, see `Asking`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...audit.act import Act
from ...digests import digest_of
from ...errors import LimitUnavailableError, OutcomeUnknownError, OverloadedError
from ...events import Events
from ...rate_limit import operations
from ...rate_limit.gcra import Decision, Peek, peeked, validate_cost
from ...rate_limit.joint import JointDecision, LimitCheck
from ...rate_limit.local import LocalLimiter
from ...rate_limit.policy import LimitPolicy, Rate, validate_rate
from ...rate_limit.reservation import (
    TTL,
    Kept,
    Settlement,
    unseal,
    validate_estimate,
    validate_ttl,
)
from ...times import Duration, in_seconds, in_seconds_if_given
from ..audit.audit import UNRECORDED, Recorder
from .asking import Asking
from .book import LimitBook
from .decider import Decider
from .leases import Leases
from .limited import Limited
from .own_limits import MOST_ON_A_PAGE, OwnLimits, OwnLimitsBook, validate_given
from .reservations import Reservations, Reserved, Reserving
from .waiting import Bar, Waiter, Waiting, longest


class RateLimits:
    """Checks subjects against named policies.

    Args:
        decider: what decisions are made with.
        audit: records what names an actor.
    """

    def __init__(
        self,
        policies: Mapping[str, LimitPolicy],
        *,
        decider: Decider,
        events: Events,
        audit: Recorder = UNRECORDED,
    ) -> None:
        self._decider = decider
        self._audit = audit
        self._events = events
        self._reservations = Reservations(decider)
        self._leases = Leases(decider)
        self._settling = asyncio.Lock()
        self._settler: asyncio.Task[None] | None = None
        self._waiting = Waiting(decider.clock)
        self._book = LimitBook(policies, prefix=decider.prefix, digest_key=decider.digest_key)
        self._asking = Asking(decider, self._leases, events)
        self._own = OwnLimitsBook(
            decider.executor, prefix=decider.prefix, deadline=decider.deadline
        )

    def use(self, policies: Mapping[str, LimitPolicy]) -> None:
        """Put other policies in force, see `LimitBook.use`."""
        self._book.use(policies)

    def __iter__(self) -> Iterator[LimitPolicy]:
        return (limiter.policy for limiter in self._book)

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
        self._decider.life.require()
        limiter = self._book.named(policy)
        asked = limiter.policy.under(limit)
        validate_cost(asked, cost)
        record = limiter.record(subject, at)
        known = self._asking.at_hand(limiter, record, cost, asked)
        return known or await self._asking.ask(limiter, record, cost, asked)

    async def acquire(
        self,
        policy: str,
        subject: str,
        cost: int = 1,
        *,
        wait: Duration,
        at: str | None = None,
        limit: Rate | None = None,
        waiter: Waiter | None = None,
    ) -> Decision:
        """Take tokens as `check` does, and wait for them for at most `wait` seconds.

        Nobody waits in vain: who cannot be served in time is refused at once, those who wait
        already counted in, and so is everybody while a thousand calls wait here. Raises as `check`
        does.

        Args:
            policy: name of a policy in the policies file.
            subject: whom the limit counts.
            cost: whole tokens.
            wait: seconds.
            at: for a limit with `co_locate`, the subject of that other limit.
            limit: as for `check`.
            waiter: of this call, by which other tasks let it give up; threads have none.
        """
        wait = in_seconds(wait, "wait")

        async def check() -> Decision:
            return await self.check(policy, subject, cost, at=at, limit=limit)

        decision = await check()
        if decision.allowed or not wait:
            return decision
        key = self._book.named(policy).record(subject, at).key
        return await self._waiting.until_given(
            waiter if waiter is not None else Waiter(),
            check,
            decision,
            lambda refusal: Bar(key, cost, refusal),
            wait,
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
            UnknownPolicyError, InvalidInputError: there is no such limit, or no such wait.
        """
        self._book.named(policy)
        wait = in_seconds(wait, "wait")

        async def acquire(whom: str) -> Decision:
            return await self.acquire(policy, whom, cost, wait=wait, at=at, limit=limit)

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
            ttl: seconds after which what was not settled, nor kept, comes back by itself.
            at: for a limit with `co_locate`, the subject of that other limit.
            limit: as for `check`.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments; nothing was counted.
        """
        limiter = self._book.named(policy)
        record = limiter.record(subject, at)
        asked = limiter.policy.under(limit)
        validate_estimate(asked, estimate)
        ttl = in_seconds(ttl, "ttl")
        validate_ttl(ttl)

        async def make() -> Reserved:
            self._decider.life.require()
            decision = self._decider.recent_denial(limiter, record, estimate, asked)
            made = self._reservations.unheld(limiter, record, estimate, asked, ttl)
            try:
                if decision is None:
                    decision, made = await self._reservations.make(
                        limiter, record, estimate, asked, ttl
                    )
            except (LimitUnavailableError, OverloadedError):
                decision = self._asking.undecided(limiter.policy, record)
            said = self._asking.said(limiter.policy, record, decision)
            sealed = made.seal(self._decider.digest_key) if said.allowed else ""
            return Reserved(said, sealed, estimate if said.allowed else 0, self, limiter)

        return Reserving(policy, ttl, make)

    async def keep(self, reservation: str, ttl: Duration = TTL) -> Kept:
        """Let a reservation lapse `ttl` seconds from now, if it would have before.

        A context does so by itself. One that has lapsed takes what is there of it again, and one
        that is settled stays settled.

        Args:
            reservation: its id.
            ttl: seconds.

        Raises:
            InvalidInputError: that is no reservation, or no such time.
            UnknownPolicyError: its limit is not defined any more, and nobody holds it here.
            OutageError, OutcomeUnknownError: Redis cannot be asked; it lapses as it would have.
            OverloadedError: it had lapsed, and too many others are open by now.
        """
        self._decider.life.require()
        ttl = in_seconds(ttl, "ttl")
        validate_ttl(ttl)
        found = unseal(reservation, self._decider.digest_key)
        kept, held = await self._reservations.keep(self._book.reserved(found.policy), found, ttl)
        return Kept(kept.seal(self._decider.digest_key), held)

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
            UnknownPolicyError: its limit is not defined any more, and nobody holds it here.
            OutageError, OutcomeUnknownError: Redis cannot be asked, and too many wait for it
                already; otherwise it is told as soon as it can be.
        """
        self._decider.life.require()
        found = unseal(reservation, self._decider.digest_key)
        limiter = self._book.reserved(found.policy)
        settled = await self._reservations.end(limiter, limiter.keyed(found.key), found, cost)
        if settled.returned:
            self._waiting.wake(found.key)
        return settled

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
        self._decider.life.require()
        return await self._asking.all_of([self._book.asked(check, checks) for check in checks])

    async def acquire_all(
        self, *checks: LimitCheck, wait: Duration, waiter: Waiter | None = None
    ) -> JointDecision:
        """Take from all of several limits, and wait for them for at most `wait` seconds.

        It waits for the one that refuses for longest; all is as for `acquire` and `check_all` else.

        Args:
            checks: as for `check_all`.
            wait: seconds.
            waiter: of this call, by which other tasks let it give up; threads have none.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments, or limits in several hash slots of
                a Redis Cluster: each attempt would take in vain from those that give.
            LimitUnavailableError: one of the policies is fail-closed and Redis cannot be asked.
        """
        wait = in_seconds(wait, "wait")
        self._decider.life.require()
        asked = [self._book.asked(check, checks) for check in checks]
        if wait:
            self._asking.require_one_step(asked)

        async def check() -> JointDecision:
            return await self.check_all(*checks)

        said = await check()
        if said.allowed or not wait:
            return said
        return await self._waiting.until_given(
            waiter if waiter is not None else Waiter(),
            check,
            said,
            lambda refusal: longest(asked, refusal),
            wait,
        )

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
        self._decider.life.require()
        limiter = self._book.named(policy)
        asked = limiter.policy.under(limit)
        validate_cost(asked, cost)
        record = limiter.known(subject, at)
        return self._asking.at_hand(limiter, record, cost, asked) if record is not None else None

    async def reset(
        self,
        policy: str,
        subject: str,
        *,
        at: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> bool:
        """Fill the subject's bucket again; True if anything had been taken.

        Args:
            policy: name of a policy in the policies file.
            subject: whom it counts.
            at: for a limit with `co_locate`, the subject of that other limit.
            reason: why, for the record.
            actor: who does this; the act is recorded then (`state.audit`).

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        self._decider.life.require()
        limiter = self._book.named(policy)
        record = limiter.record(subject, at)

        async def work() -> bool:
            try:
                taken = await self._decider.run(operations.reset(record.key, self._decider.channel))
            except OutcomeUnknownError:
                limiter.on_returned(record.key)
                raise
            # Not before: an attempt lets nobody off what was admitted without Redis.
            limiter.forget(subject, at)
            self._leases.recall(record.key, gone=True)
            self._waiting.wake(record.key)
            return taken

        target = f"{policy} {digest_of(record.digest)}"
        act = Act(actor=actor, action="limits reset", target=target, reason=reason)
        return await self._audit.act(act, work, lambda taken: "filled" if taken else "was full")

    async def peek(self, policy: str, subject: str, *, at: str | None = None) -> Peek:
        """What a check of the subject would meet now, and under which limit; takes nothing.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments.
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        self._decider.life.require()
        limiter = self._book.named(policy)
        record = limiter.record(subject, at)
        answer = await self._decider.run(operations.peek(limiter.policy, record.key))
        return peeked(limiter.policy, answer, self._decider.source, digest_of(record.digest))

    async def set_limit(
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
        """Give a subject a limit of its own, for the whole fleet; True if it had one before.

        What it has used stays used. All instances go by it with their next check.

        Args:
            policy: name of a policy in the policies file.
            subject: whom it counts.
            limit: rate and burst; None for the policy's again.
            ttl: seconds for which it holds, 10 years at most; None for good.
            at: for a limit with `co_locate`, the subject of that other limit.
            reason: as for `reset`.
            actor: as for `reset`; `own_limits` shows it.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        self._decider.life.require()
        limiter = self._book.named(policy)
        if limit is not None:
            validate_rate(limit)
        ttl = in_seconds_if_given(ttl, "ttl")
        validate_given(ttl, actor)
        record = limiter.record(subject, at)
        act = Act(
            actor=actor,
            action="limits set" if limit is not None else "limits unset",
            target=f"{policy} {digest_of(record.digest)}",
            reason=reason,
        )
        return await self._give(limiter, record.key, act, limit, ttl=ttl)

    async def unset_listed(
        self, policy: str, digest: str, *, at: str | None = None, reason: str = "", actor: str = ""
    ) -> bool:
        """Let the policy's limit hold again for a subject that `own_limits` shows; True if it did.

        Args:
            policy: name of a policy in the policies file.
            digest: what the list shows of the subject.
            at: what it shows as `at`, where several of the list have the digest.
            reason: as for `reset`.
            actor: as for `reset`.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments, or several subjects are meant.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        self._decider.life.require()
        limiter = self._book.named(policy)
        validate_given(None, actor)
        key = await self._own.named(limiter.policy, digest, at)
        if key is None:
            return False
        target = f"{policy} {digest}"
        act = Act(actor=actor, action="limits unset", target=target, reason=reason)
        return await self._give(limiter, key, act, None)

    async def _give(
        self,
        limiter: LocalLimiter,
        key: bytes,
        act: Act,
        limit: Rate | None,
        *,
        ttl: float | None = None,
    ) -> bool:
        if (record := limiter.keyed(key)) is not None:
            record.denied_until = 0.0
        said = f"{limit}" if limit is not None else "the policy's"
        had = await self._audit.act(
            act,
            lambda: self._own.give(limiter.policy, key, limit, ttl=ttl, actor=act.actor),
            lambda _had: said if ttl is None else f"{said}, for {ttl:g} s",
        )
        self._leases.recall(key, gone=False)  # what was fetched under the former limit
        self._waiting.wake(key)
        return had

    async def own_limits(
        self, policy: str, *, after: int = 0, limit: int = MOST_ON_A_PAGE
    ) -> OwnLimits:
        """A page of the subjects that have a limit of their own; those that end first in front.

        Of a subject its digest alone is known. What is shown was in force when it was looked at.

        Args:
            policy: name of a policy in the policies file.
            after: what the page before said; 0 for the first.
            limit: how many are shown, 250 at most.

        Raises:
            UnknownPolicyError, InvalidInputError: the arguments.
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        self._decider.life.require()
        known = self._book.named(policy).policy
        return await self._own.page(known, after, limit, tidies=True)

    def policy(self, name: str) -> LimitPolicy:
        """The policy of that name.

        Raises:
            UnknownPolicyError: there is none.
        """
        return self._book.named(name).policy

    def on_push(self, push: list[Any]) -> None:
        """Take in a published message; those of other channels are not ours."""
        if len(push) != 3 or push[:2] != [b"message", self._decider.channel]:
            return
        message = push[2]
        if not isinstance(message, bytes):
            return
        returned = message.endswith(operations.RETURNED)
        key = message.removesuffix(operations.RETURNED)
        self._leases.recall(key, gone=not returned)
        for limiter in self._book:
            if returned:
                limiter.on_returned(key)
            else:
                limiter.on_reset(key)
        self._waiting.wake(key)

    async def run(self) -> None:
        """Bring leases back that are not used, until cancelled."""
        await self._leases.run()

    async def finish(self) -> None:
        """Bring back what is leased and tell Redis what it has not got yet, at the end."""
        try:
            await self._leases.finish()
            await self.settle_debts()
        finally:
            if self._settler is not None:
                self._settler.cancel()

    def on_accepted(self) -> None:
        """Redis takes writes: it is told in the background what it has not got.

        That is no task of the caller's to end: `finish` waits for it.
        """
        if self.in_debt:
            self._settler = asyncio.create_task(self.settle_debts())

    async def settle_debts(self) -> None:
        """Tell Redis what was admitted and settled without it."""
        async with self._settling:
            await self._decider.settle_debts(self._book)
            await self._reservations.flush()

    @property
    def in_debt(self) -> bool:
        """Whether there is anything to settle that nobody settles just now."""
        if self._settling.locked():
            return False
        limiters = self._book
        return self._reservations.owing or any(limiter.debtors for limiter in limiters)
