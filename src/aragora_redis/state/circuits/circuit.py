"""One circuit, as this instance knows it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from ...circuit.machine import Phase, Shown, Standing, trips
from ...circuit.operations import lease_of
from ...circuit.outcome import DEFAULT, Classify, Kinds, Rules
from ...circuit.permit import Permit
from ...circuit.policy import CircuitPolicy
from ...circuit.window import Window
from ...errors import CircuitOpenError, NotStartedError
from ...events import CircuitRefused
from ...times import Duration, in_seconds
from ..decorated import asynchronous, stream_within
from .bulkhead import Bulkhead
from .entered import Entered
from .guard import Guard
from .knowledge import Knowledge, Surroundings
from .status import CircuitStatus, status_of
from .trials import NoPlaceError, Trials

F = TypeVar("F", bound=Callable[..., Awaitable[Any] | AsyncIterator[Any]])

FLUSH_EVERY = 1.0
"""Seconds between looks at a circuit in use, at most."""
IN_USE_FOR = 60.0
"""Seconds after its last call for which a circuit is looked at."""


class Circuit:
    """Lets calls through to a dependency, or spares it.

    Use it as an async context manager around a call, as a decorator by `protect`, or by `acquire`
    and `report`. One object serves all tasks.
    """

    def __init__(self, name: str, policy: CircuitPolicy, around: Surroundings) -> None:
        self.name = name
        self._entered: Entered[asyncio.Task[object] | None, Guard] = Entered(
            asyncio.current_task, lambda task: task is None or task.done()
        )
        self.begin(policy, around)

    def begin(self, policy: CircuitPolicy, around: Surroundings) -> None:
        """Begin anew, in other surroundings: whoever holds this circuit goes on with it.

        Calls that are under way end where they have begun.
        """
        self.policy = policy
        self.bulkhead = Bulkhead(self.name, policy, lambda: self._refused("full"), around.clock)
        self._around = around
        self.monotonic = around.clock.monotonic
        """The clock by which calls are timed."""
        self._life = around.life
        self._flush_every = _flush_every(policy)
        self._known = Knowledge(self.name, lambda: self.policy, around)
        self._trials = Trials(self.name, lambda: self.policy, around, self._known)
        self._used_at = around.clock.monotonic()
        self.due_at = self._used_at
        """Monotonic seconds at which it wants to be tended."""

    def __repr__(self) -> str:
        return f"<Circuit {self.name} {self.state}>"

    # --- what is known ------------------------------------------------------------------

    @property
    def state(self) -> Shown:
        """`closed`, `open`, `half-open`, `forced-open` or `forced-closed`, as known here."""
        return self._known.state

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting it.

        One that is open is kept while it spares somebody, and a window longer: Redis keeps it
        anyway, and who asks for it again asks there first.
        """
        quiet = self.monotonic() - self._used_at > self.policy.window
        if not quiet or len(self._trials) or self.bulkhead.in_flight:
            return False
        match self._known.current.phase:
            case Phase.CLOSED:
                return True
            case Phase.OPEN:
                over = self._known.current.until + self.policy.window * 1_000_000
                return self._known.now() > over
        return False

    @property
    def resting(self) -> bool:
        """Whether nobody has used it since `rest`."""
        return self._used_at == -inf and self.due_at == inf

    def rest(self) -> None:
        """Tell and learn nothing until it is used again; the next call asks for its state first."""
        self._known.ask_anew()
        self._used_at, self.due_at = -inf, inf

    def snapshot(self) -> CircuitStatus:
        """How it is, now."""
        known = self._known
        return status_of(
            self.name,
            self.policy,
            known.current,
            known.now(),
            known.window.seen(self.monotonic()) if known.alone else known.pooled,
            source=known.source,
            in_flight=self.bulkhead.in_flight,
            waiting=self.bulkhead.waiting,
        )

    def use(self, policy: CircuitPolicy) -> None:
        """Go by another policy from now on; a window of another length begins empty."""
        if policy.window != self.policy.window:
            self._known.window = Window(policy.window)
        self.policy, self._flush_every = policy, _flush_every(policy)
        self.bulkhead.use(policy)

    def adopt(self, standing: Standing, server_now: int) -> None:
        """Take over a state that Redis has told, if it is later than what is known."""
        self._known.adopt(standing, server_now)

    # --- calls --------------------------------------------------------------------------

    async def acquire(self) -> Permit:
        """Leave to make one call. Only the first, and a trial call, take a round trip.

        It holds a place of the bulkhead until it is reported or released, or for as long as the
        place of a trial call: twice the time from which a call is slow, and 5 seconds at least.

        Raises:
            CircuitFullError: as many calls as the policy allows are under way here.
            CircuitOpenError: the dependency is to be left alone now.
        """
        permit = (await self._enter()).with_place()
        self._hold(permit)
        return permit

    def acquired(self, permit: Permit) -> None:
        """Hold a place for a permit that a thread has let itself have, see `admit`."""
        self.bulkhead.take()
        self._hold(permit)

    def admit(self) -> Permit | None:
        """Leave to make one call, as far as that is known here; None where it must be asked for.

        It must for a trial call, and for the first one: the circuit may be open elsewhere.

        It changes nothing that threads share, so any thread may ask. It takes no place.

        Raises:
            CircuitOpenError: the dependency is to be left alone now.
        """
        self._life.require()
        self._used_at = self.monotonic()
        leave = self._known.leave
        if leave is not None or not self._known.asked:
            return leave
        match self.state:
            case "closed" | "forced-closed":
                return self._known.permit()
            case "half-open":
                return None
            case state:
                raise self._refusal(state, self._known.wait)

    async def report(self, permit: Permit, *, ok: bool, duration: Duration) -> None:
        """Tell how a call went that was let through, once; `duration` in seconds.

        A result for a state that is over is dropped.

        Raises:
            InvalidInputError: no call takes such a time.
        """
        duration = in_seconds(duration, "duration")
        if permit.trial:
            self.bulkhead.free(permit.place)
            slow = duration > self.policy.slow_call
            await self._trials.settle(permit, "ok" if ok and not slow else "failed")
        else:
            self.count(permit, ok=ok, duration=duration)

    def count(self, permit: Permit, *, ok: bool, duration: float) -> None:
        """Count a call through a closed circuit; it is pooled in the background."""
        self.bulkhead.free(permit.place)
        self.count_at(self.monotonic(), permit, ok=ok, duration=duration)

    def count_at(self, now: float, permit: Permit, *, ok: bool, duration: float) -> None:
        """The same of a call that holds no place by name, and ends now (monotonic seconds)."""
        known = self._known
        if permit is not known.leave and not known.holds(permit):
            return
        slow = duration > self.policy.slow_call
        window = known.window
        window.add(now, failed=not ok, slow=slow)
        if self.due_at > now + self._flush_every:  # noqa: PLR1730 - each call costs as much as the rest
            self.due_at = now + self._flush_every
        if (slow or not ok) and self.state == "closed" and trips(self.policy, window.seen(now)):
            self.due_at = now
            self._around.wake()

    async def release(self, permit: Permit) -> None:
        """Give leave back without a result: the call was not made, or says nothing."""
        self.bulkhead.free(permit.place)
        if permit.trial:
            await self._trials.settle(permit, "released")

    def give_up(self, permit: Permit) -> None:
        """The same without waiting, in the background."""
        self.bulkhead.free(permit.place)
        if permit.trial:
            self._trials.give_up(permit)
            self.due_at = self.monotonic()

    def step_in(self, now: float) -> Permit | None:
        """What `enter` does where that takes no waiting and no error, now (monotonic); or None."""
        leave = self._known.leave
        if leave is None or not self._life.lives or not self.bulkhead.step_in():
            return None
        self._used_at = now
        return leave

    async def enter(self) -> Permit:
        """Take a place of the bulkhead and leave to make one call, which is then followed.

        Raises:
            CircuitFullError: as many calls as the policy allows are under way here.
            CircuitOpenError: the dependency is to be left alone now.
        """
        permit = await self._enter()
        self.follow(permit)
        return permit

    def follow(self, permit: Permit) -> None:
        """Keep the places of a call of this process for as long as it takes."""
        self.bulkhead.keep(permit.place)
        self._trials.follow(permit)

    @property
    def lease(self) -> float:
        """Seconds for which the places of a permit are held, unless it is kept or followed."""
        return lease_of(self.policy)

    async def keep(self, permit: Permit) -> float:
        """Keep the places of a call that ends elsewhere, and goes on.

        Call it before the time is over that it tells, and again: a third of it leaves room for
        errors. The places of a bulkhead are kept only by the instance that gave the permit.

        Returns:
            Seconds for which the places are held from now; 0 where one is lost: another call may
            be under way in its stead, and the result of a trial call is dropped.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked about a trial call; ask again.
        """
        now = self.monotonic()
        self._used_at = now
        held = self.bulkhead.renew(permit.place, now + self.lease)
        tried = not permit.trial or await self._trials.keep(permit)
        return self.lease if held and tried else 0.0

    def guard(
        self,
        *,
        failure_on: Kinds = DEFAULT.failure_on,
        ignore: Kinds = (),
        classify: Classify | None = None,
    ) -> Guard:
        """A context for one call at a time.

        Args:
            failure_on: exceptions that are failures; others count as an answer.
            ignore: exceptions that say nothing of the dependency.
            classify: whether what is given to `Guard.result` is a failure; None says nothing.
        """
        return Guard(self, Rules(failure_on, ignore, classify))

    def protect(
        self,
        *,
        failure_on: Kinds = DEFAULT.failure_on,
        ignore: Kinds = (),
        classify: Classify | None = None,
    ) -> Callable[[F], F]:
        """A decorator that guards each call of an async function, or generator; see `guard`.

        A generator is guarded from its first item to its end: it fails by what it raises, is slow
        by how long its first item took, and says nothing where it is left.

        Raises:
            InvalidInputError: on decorating: the function is not async, or `classify` is to judge
                a generator, which returns nothing.
        """
        rules = Rules(failure_on, ignore, classify)

        def decorate(function: F) -> F:
            work: Callable[..., Any] = function
            if asynchronous(work) == "async generator":
                rules.fit_streams()
                return cast(
                    F, stream_within(work, lambda *_, **__: Guard(self, rules), Guard.answered)
                )

            @functools.wraps(work)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                async with Guard(self, rules) as call:
                    return call.result(await work(*args, **kwargs))

            return cast(F, guarded)

        return decorate

    async def __aenter__(self) -> Self:
        guard = Guard(self, DEFAULT)
        if (waits := guard.begin()) is not None:
            await waits
        self._entered.add(guard)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        telling = self._entered.take().leave(error)
        if telling is not None:
            await telling

    # --- in the background --------------------------------------------------------------

    async def tend(self) -> None:
        """Pool what was seen, learn what others know, keep places in use and give back others."""
        now = self.monotonic()
        seen = self._known.window.seen(now).calls
        self.bulkhead.lapse()
        self.bulkhead.let_in()  # where threads have left that came before there was a limit
        in_use = now - self._used_at < IN_USE_FOR or seen or len(self._trials)
        every = self._flush_every if in_use else IN_USE_FOR
        self.due_at = min(now + every, self.bulkhead.lapses_at)
        await self.report_evidence()
        await self._trials.tend(now)

    async def report_evidence(self) -> None:
        """Tell Redis what is seen and known here; where that fails, decide alone."""
        await self._known.report()

    # --- small parts --------------------------------------------------------------------

    async def _enter(self) -> Permit:
        self._life.require()
        bulkhead = self.bulkhead
        await bulkhead.enter()
        try:
            if not self._known.asked:
                await self.report_evidence()
            permit = self.admit()
            if permit is None:
                permit = await self._acquire_trial()
            self._require_same(bulkhead)
        except BaseException:
            bulkhead.leave()
            raise
        return permit

    def _require_same(self, bulkhead: Bulkhead) -> None:
        if bulkhead is not self.bulkhead:  # it was closed and started meanwhile
            raise NotStartedError

    def _hold(self, permit: Permit) -> None:
        until = self.monotonic() + self.lease
        self.bulkhead.hold(permit.place, until)
        self.due_at = min(self.due_at, until)

    async def _acquire_trial(self) -> Permit:
        try:
            permit = await self._trials.acquire()
        except NoPlaceError as error:
            raise self._refusal(error.state, error.wait) from error.__cause__
        finally:
            if self._trials.owing:
                self.due_at = self.monotonic()
        if permit is None:
            if self.state not in {"closed", "forced-closed"}:
                raise self._refusal(self.state, self._known.wait)
            permit = self._known.permit()
        return permit

    def _refused(self, state: str) -> None:
        self._around.events.emit(CircuitRefused(self.name, state))

    def _refusal(self, state: str, wait: float) -> CircuitOpenError:
        self._refused(state)
        return CircuitOpenError(self.name, state, wait)


def _flush_every(policy: CircuitPolicy) -> float:
    """Seconds after which what a circuit in use has counted is pooled at the latest."""
    return min(FLUSH_EVERY, policy.window / 10)
