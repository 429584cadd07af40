"""One circuit, as this instance knows it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, ParamSpec, Self, TypeVar

from ..circuit import operations
from ..circuit.machine import Phase, Shown, Standing, closed, open_time, opened, trips
from ..circuit.operations import Asked, CircuitKeys, Outcome, lease_of
from ..circuit.permit import Permit
from ..circuit.policy import CircuitPolicy
from ..circuit.window import Window
from ..clock import Clock
from ..errors import AragoraRedisError, CircuitOpenError, LinkDownError, RefusedError
from ..events import CircuitChanged, CircuitRefused, Events
from ..names import validate_seconds
from ..operation import Runs
from ..rate_limit.share import FleetSize
from .lone_trials import LoneTrials

P = ParamSpec("P")
R = TypeVar("R")

FLUSH_EVERY = 1.0
"""Seconds between looks at a circuit in use, at most."""
IN_USE_FOR = 60.0
"""Seconds after its last call for which a circuit is looked at."""
PLACES_RENEWED = 1024
"""Trial calls of one circuit that are followed here."""
_GONE = (LinkDownError, RefusedError)
"""Errors after which there is no Redis to decide; a late answer is none of them."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all circuits of an instance share; see `Circuits`.

    Attributes:
        source: who it is that decides where there is an answer.
        wake: lets evidence be pooled now.
        jitter: a factor from 1 on, by which an open time is stretched.
    """

    executor: Runs
    keys: CircuitKeys
    source: Literal["redis", "local"]
    clock: Clock
    events: Events
    server_now: Callable[[], float]
    fleet: FleetSize
    own: str
    deadline: float
    wake: Callable[[], None]
    jitter: Callable[[], float]


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """How a circuit is. Rates are of the calls that this instance knows of.

    Attributes:
        retry_after: seconds until it may be tried again; 0 where it lets calls through.
        opens: how often in a row it has opened.
        calls: in the window: pooled where Redis is asked, else this instance's own.
        reason: why it was forced.
        source: who decides now.
    """

    name: str
    state: Shown
    retry_after: float
    opens: int
    calls: int
    failure_rate: float
    slow_rate: float
    reason: str
    source: Literal["redis", "local"]


class Circuit:
    """Lets calls through to a dependency, or spares it.

    Use it as an async context manager around a call, as a decorator by `protect`, or by `acquire`
    and `report`. One object serves all tasks.
    """

    def __init__(self, name: str, policy: CircuitPolicy, around: Surroundings) -> None:
        self.name = name
        self.policy = policy
        self._around = around
        self._standing = Standing()
        self._local: Standing | None = None
        self._window = Window(policy.window)
        self._pooled = self._window.seen(0.0)
        self._entered: dict[asyncio.Task[object] | None, list[Guard]] = {}
        self._places: dict[Permit, float] = {}
        self._given_up: dict[Permit, None] = {}
        self._lone = LoneTrials(
            name,
            policy,
            clock=around.clock,
            server_now=self._now,
            fleet=around.fleet,
            own=around.own,
        )
        self._turn = 0
        self._turns = itertools.count(1)
        self._asked = False
        self._answered = False
        self._used_at = around.clock.monotonic()
        self.due_at = self._used_at
        """Monotonic seconds at which it wants to be tended."""

    def __repr__(self) -> str:
        return f"<Circuit {self.name} {self.state}>"

    # --- what is known ------------------------------------------------------------------

    @property
    def state(self) -> Shown:
        """`closed`, `open`, `half-open`, `forced-open` or `forced-closed`, as known here."""
        return self._current.shown(self._now())

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting it."""
        quiet = self._around.clock.monotonic() - self._used_at > self.policy.window
        return quiet and not self._places and self._standing.phase is Phase.CLOSED

    def snapshot(self) -> CircuitStatus:
        """How it is, now."""
        current, seen = self._current, self._pooled
        if self._local is not None:
            seen = self._window.seen(self._around.clock.monotonic())
        return CircuitStatus(
            name=self.name,
            state=self.state,
            retry_after=self._wait(),
            opens=current.opens,
            calls=seen.calls,
            failure_rate=seen.failures / seen.calls if seen.calls else 0.0,
            slow_rate=seen.slow / seen.calls if seen.calls else 0.0,
            reason=current.reason,
            source=self._around.source if self._answered and self._local is None else "local",
        )

    def adopt(self, standing: Standing) -> None:
        """Take over a state that Redis has told, if it is later than what is known."""
        if standing.later_than(self._standing):
            self._standing, self._local, self._turn = standing, None, 0
            self._window.clear()
            self._turned(self._around.source)

    # --- calls --------------------------------------------------------------------------

    async def acquire(self) -> Permit:
        """Leave to make one call. Only the first, and a trial call, take a round trip.

        Raises:
            CircuitOpenError: the dependency is to be left alone now.
        """
        if not self._asked:
            await self.report_evidence()
        permit = self.admit()
        return await self._acquire_trial(self._current) if permit is None else permit

    def admit(self) -> Permit | None:
        """Leave to make one call, as far as that is known here; None where it must be asked for.

        It must for a trial call, and for the first one: the circuit may be open elsewhere.

        It changes nothing that threads share, so any thread may ask. Raises as `acquire` does.
        """
        self._used_at = self._around.clock.monotonic()
        if not self._asked:
            return None
        current = self._current
        match current.shown(self._now()):
            case "closed" | "forced-closed":
                return Permit("c", *current.generation, self._turn)
            case "half-open":
                return None
            case state:
                raise self._refusal(state, self._wait())

    async def report(self, permit: Permit, *, ok: bool, duration: float) -> None:
        """Tell how a call went that was let through; `duration` in seconds.

        A result for a state that is over is dropped.

        Raises:
            InvalidInputError: no call takes such a time.
        """
        validate_seconds(duration, "a duration")
        if permit.trial:
            slow = duration > self.policy.slow_call
            await self._settle(permit, "ok" if ok and not slow else "failed")
        else:
            self.count(permit, ok=ok, duration=duration)

    def count(self, permit: Permit, *, ok: bool, duration: float) -> None:
        """Count a call through a closed circuit; it is pooled in the background."""
        if (*permit.generation, permit.turn) == (*self._current.generation, self._turn):
            self._count(failed=not ok, slow=duration > self.policy.slow_call)

    async def release(self, permit: Permit) -> None:
        """Give leave back without a result: the call was not made, or says nothing."""
        if permit.trial:
            await self._settle(permit, "released")

    def guard(self, *, ignore: tuple[type[BaseException], ...] = ()) -> Guard:
        """A context for one call at a time; exceptions of `ignore` are no result of it."""
        return Guard(self, ignore)

    def protect(
        self, *, ignore: tuple[type[BaseException], ...] = ()
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
        """A decorator that guards each call of a coroutine function."""

        def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
            @functools.wraps(function)
            async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
                async with self.guard(ignore=ignore):
                    return await function(*args, **kwargs)

            return guarded

        return decorate

    async def __aenter__(self) -> Self:
        guard = self.guard()
        await guard.__aenter__()
        self._entered.setdefault(asyncio.current_task(), []).append(guard)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        if task not in self._entered:  # entered by a task that has ended, such as a fixture's
            task = next((other for other in self._entered if other is None or other.done()), task)
        guards = self._entered[task]
        guard = guards.pop()
        if not guards:
            del self._entered[task]
        await guard.__aexit__(kind, error, trace)

    def monotonic(self) -> float:
        """The clock by which calls are timed."""
        return self._around.clock.monotonic()

    def follow(self, permit: Permit) -> None:
        """Keep the place of a trial call of this process for as long as the call takes."""
        if permit.kind == "p" and len(self._places) < PLACES_RENEWED:
            self._places[permit] = self._around.clock.monotonic()

    # --- in the background --------------------------------------------------------------

    async def tend(self) -> None:
        """Pool what was seen, learn what others know, keep places in use and give back others."""
        now = self._around.clock.monotonic()
        in_use = now - self._used_at < IN_USE_FOR or self._window.seen(now).calls or self._places
        every = min(FLUSH_EVERY, self.policy.window / 10)
        self.due_at = now + (every if in_use else IN_USE_FOR)
        await self.report_evidence()
        for permit, at in list(self._places.items()):
            if now - at > lease_of(self.policy) / 3:
                await self._renew(permit)
        for permit in list(self._given_up):
            self._given_up.pop(permit)
            await self._settle(permit, "released")

    async def report_evidence(self) -> None:
        """Tell Redis what is seen and known here; where that fails, decide alone."""
        known, seen = self._standing, self._window.seen(self._around.clock.monotonic())
        report = operations.report(
            self._around.keys,
            self.name,
            self.policy,
            known=known,
            own=self._around.own,
            seen=seen,
            open_for=self._open_for(1),
        )
        try:
            told = await self._around.executor.run(report, within=self._around.deadline)
        except AragoraRedisError as error:
            self._asked = True
            if isinstance(error, _GONE):  # one slow answer is no outage
                self._decide_alone()
            return
        self._asked = self._answered = True
        self._pooled = told.pooled
        if told.standing == self._standing or told.standing.later_than(self._standing):
            self._return_to(told.standing)

    def _return_to(self, standing: Standing) -> None:
        """Go by what Redis says again; what was seen meanwhile is in the window, to be pooled."""
        alone = self._local is not None
        self._local, self._turn = None, 0
        if alone and standing == self._standing:
            self._turned(self._around.source)
        self.adopt(standing)

    def _decide_alone(self) -> None:
        """While Redis cannot be asked, an instance goes by what it has seen itself."""
        current = self._current
        seen = self._window.seen(self._around.clock.monotonic())
        if current.phase is Phase.CLOSED and trips(self.policy, seen):
            self._open_alone(current)

    def _open_alone(self, current: Standing) -> None:
        opens = current.opens + 1 if current.phase is Phase.OPEN else 1
        until = self._now() + int(self._open_for(opens) * 1_000_000)
        self._decide(opened(current, until))

    def _decide(self, standing: Standing) -> None:
        """Go by an own decision until Redis can be asked again."""
        self._local, self._turn = standing, next(self._turns)
        self._turned("local")

    async def _renew(self, permit: Permit) -> None:
        try:
            asked = await self._ask(permit)
        except AragoraRedisError:
            return
        if asked.word == "permit":
            self._places[permit] = self._around.clock.monotonic()
        else:
            self._places.pop(permit, None)

    # --- trial calls --------------------------------------------------------------------

    async def _acquire_trial(self, current: Standing) -> Permit:
        if self._local is not None:
            return self._try_alone(current)
        permit = Permit("p", *current.generation, token=secrets.token_hex(8))
        try:
            asked = await self._ask(permit)
        except _GONE:
            return self._try_alone(current)
        except BaseException as error:
            # The place may be taken, for a call that will not be made.
            self._give_up(permit)
            if isinstance(error, AragoraRedisError):
                raise self._refusal("half-open", self.policy.open_for) from error
            raise
        self.adopt(asked.standing)
        match asked.word:
            case "permit":
                return permit
            case "changed":
                if self.state in {"closed", "forced-closed"}:
                    return Permit("c", *self._current.generation, self._turn)
                raise self._refusal(self.state, self._wait())
        raise self._refusal("half-open" if asked.word == "busy" else "open", asked.wait)

    async def _ask(self, permit: Permit) -> Asked:
        """Ask Redis for a place, or to keep it."""
        acquire = operations.acquire(self._around.keys, self.name, self.policy, permit)
        return await self._around.executor.run(acquire, within=self._around.deadline)

    def _try_alone(self, current: Standing) -> Permit:
        token = self._lone.take()
        if token is None:
            raise self._refusal("half-open", self._lone.wait)
        return Permit("l", *current.generation, self._turn, token)

    def _give_up(self, permit: Permit) -> None:
        if len(self._given_up) < PLACES_RENEWED:
            self._given_up[permit] = None
            self.due_at = self._around.clock.monotonic()
            self._around.wake()

    async def _settle(self, permit: Permit, outcome: Outcome) -> None:
        self._places.pop(permit, None)
        if permit.kind == "l":
            if self._lone.finish(permit.token):
                self._settle_alone(permit, outcome)
            return
        settle = operations.settle(
            self._around.keys,
            self.name,
            self.policy,
            permit,
            outcome,
            open_for=self._open_for(self._current.opens + 1),
        )
        try:
            asked = await self._around.executor.run(settle, within=self._around.deadline)
        except AragoraRedisError as error:
            # The place comes free by itself. A failure holds here; a success only where there is no
            # Redis that could have counted it: one of several may not close the circuit.
            if outcome == "failed" or isinstance(error, _GONE):
                self._settle_alone(permit, outcome)
            return
        self.adopt(asked.standing)

    def _settle_alone(self, permit: Permit, outcome: Outcome) -> None:
        current = self._current
        if (*permit.generation, permit.turn) != (*current.generation, self._turn):
            return
        if current.shown(self._now()) != "half-open":
            return
        if outcome == "failed":
            self._open_alone(current)
        elif outcome == "ok":
            self._window.clear()
            self._decide(closed(current))

    # --- small parts --------------------------------------------------------------------

    @property
    def _current(self) -> Standing:
        return self._standing if self._local is None else self._local

    def _now(self) -> int:
        return int(self._around.server_now() * 1_000_000)

    def _wait(self) -> float:
        current = self._current
        if current.phase is Phase.FORCED_OPEN:
            return self.policy.open_for
        if current.phase is Phase.OPEN:
            return max(current.until - self._now(), 0) / 1e6
        return 0.0

    def _open_for(self, opens: int) -> float:
        return open_time(self.policy, opens) * self._around.jitter()

    def _count(self, *, failed: bool, slow: bool) -> None:
        now = self._around.clock.monotonic()
        self._window.add(now, failed=failed, slow=slow)
        self.due_at = min(self.due_at, now + min(FLUSH_EVERY, self.policy.window / 10))
        if (
            (failed or slow)
            and self.state == "closed"
            and trips(self.policy, self._window.seen(now))
        ):
            self.due_at = now
            self._around.wake()

    def _refusal(self, state: Shown, wait: float) -> CircuitOpenError:
        self._around.events.emit(CircuitRefused(self.name, state))
        return CircuitOpenError(self.name, state, wait)

    def _turned(self, source: Literal["redis", "local"]) -> None:
        current = self._current
        self._around.events.emit(
            CircuitChanged(self.name, current.phase.value, current.opens, source)
        )


class Guard:
    """One call through a circuit: a result on leaving, an error on entering an open one."""

    def __init__(self, circuit: Circuit, ignore: tuple[type[BaseException], ...]) -> None:
        self._circuit = circuit
        self._ignore = ignore
        self._permit: Permit | None = None
        self._started = 0.0

    async def __aenter__(self) -> Self:
        permit = await self._circuit.acquire()
        self._circuit.follow(permit)
        self._permit, self._started = permit, self._circuit.monotonic()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        permit, self._permit = self._permit, None
        if permit is None:
            return
        silent = error is not None and not isinstance(error, Exception)
        if silent or isinstance(error, self._ignore):
            await self._circuit.release(permit)
            return
        duration = self._circuit.monotonic() - self._started
        await self._circuit.report(permit, ok=error is None, duration=duration)
