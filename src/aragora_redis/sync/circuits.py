"""Circuits for threads; see `aragora_redis.state.circuits.circuits`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from ..circuit.operations import Reporter
from ..circuit.outcome import DEFAULT, Classify, Kinds, Outcome, Rules
from ..circuit.permit import Permit
from ..errors import NotStartedError
from ..names import validate_name
from ..state.circuits.circuit import Circuit as AsyncCircuit
from ..state.circuits.circuits import CIRCUITS, Forced
from ..state.circuits.entered import Entered
from ..state.circuits.status import CircuitStatus
from ..state.decorated import threaded
from ..state.sessions.endable import WRITE_LIMIT
from ..state.shared import SharedState
from ..times import Duration, in_seconds
from .crossing import Crossing
from .process import current

T = TypeVar("T")
Y = TypeVar("Y")
S = TypeVar("S")
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


class Circuits:
    """See `aragora_redis.state.circuits.circuits.Circuits`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing
        self._found: tuple[SharedState | None, dict[str, AsyncCircuit]] = None, {}

    def __getitem__(self, name: str) -> Circuit:
        """The circuit of a name; it begins closed.

        Raises:
            InvalidInputError: the name cannot be one.
        """
        validate_name(name, "a circuit")
        return Circuit(self._crossing, name, self._find)

    def _find(self, here: SharedState, name: str) -> AsyncCircuit:
        """What lives in the loop under a name; it is asked there but once."""
        state, found = self._found
        if state is not here:
            found = {}
            self._found = here, found
        circuit = found.get(name)
        if circuit is None:

            async def find(state: SharedState) -> AsyncCircuit:
                return state.circuits[name]

            circuit = self._crossing.cross(find, 0)
            if len(found) >= CIRCUITS:
                found.clear()
            found[name] = circuit
        return circuit

    def all(self) -> list[CircuitStatus]:
        """All circuits in use in the fleet, by name."""
        return self._crossing.cross(lambda state: state.circuits.all(), WRITE_LIMIT)

    def look(self, name: str) -> CircuitStatus:
        """One circuit, as Redis tells it; nothing is begun by looking."""
        return self._crossing.cross(
            lambda state: state.circuits.look(name), self._crossing.deadline
        )

    def reporters(self, name: str) -> list[Reporter]:
        """What each instance has told of a circuit's calls."""
        return self._crossing.cross(
            lambda state: state.circuits.reporters(name), self._crossing.deadline
        )

    def force(
        self,
        name: str,
        state: Forced,
        *,
        reason: str = "",
        actor: str = "",
        ttl: Duration | None = None,
    ) -> CircuitStatus:
        """Hold a circuit open or closed, or let its calls decide again."""
        return self._crossing.cross(
            lambda there: there.circuits.force(name, state, reason=reason, actor=actor, ttl=ttl),
            2 * self._crossing.deadline,
        )


class Circuit:
    """See `aragora_redis.state.circuits.circuit.Circuit`.

    One object may be used by many threads at once. Where a signal's handler raises at the first
    instruction of leaving it as a context, its place is lost; `guard` has no such gap.
    """

    def __init__(
        self, crossing: Crossing, name: str, find: Callable[[SharedState, str], AsyncCircuit]
    ) -> None:
        self._crossing = crossing
        self._name = name
        self._find = find
        self._entered: Entered[threading.Thread, Guard] = Entered(
            threading.current_thread, lambda thread: not thread.is_alive()
        )
        self._process = current()
        self._there: tuple[SharedState, AsyncCircuit] | None = None

    def __repr__(self) -> str:
        return f"<Circuit {self._name}>"

    @property
    def state(self) -> str:
        """`closed`, `open`, `half-open`, `forced-open` or `forced-closed`, as known here."""
        return self._circuit().state

    def snapshot(self) -> CircuitStatus:
        """How it is, now."""
        circuit = self._circuit()

        async def ask(_state: SharedState) -> CircuitStatus:
            return circuit.snapshot()

        return self._crossing.cross(ask, 0)

    def acquire(self) -> Permit:
        """Leave to make one call, which holds a place as the asynchronous one does.

        Only the first call, a trial call, and one of a circuit with a bulkhead waits for the loop.
        """
        circuit = self._circuit()
        admitted = None if circuit.bulkhead.bounded else circuit.admit()
        if admitted is None:
            return self._crossing.cross(
                lambda _: circuit.acquire(), self._longest(circuit), undo=circuit.give_up
            )
        permit = admitted.with_place()
        self._crossing.later(lambda: circuit.acquired(permit), can_wait=True)
        return permit

    def report(self, permit: Permit, *, ok: bool, duration: Duration) -> None:
        """Tell how a call went that was let through; `duration` in seconds."""
        duration = in_seconds(duration, "duration")
        circuit = self._circuit()
        if permit.trial:
            self._settle(permit, lambda _: circuit.report(permit, ok=ok, duration=duration))
        else:
            self._crossing.later(
                lambda: circuit.count(permit, ok=ok, duration=duration), can_wait=ok
            )

    def release(self, permit: Permit) -> None:
        """Give leave back without a result."""
        if permit.trial:
            circuit = self._circuit()
            self._settle(permit, lambda _: circuit.release(permit))
        else:
            self.give_up(permit)

    def _settle(
        self, permit: Permit, settle: Callable[[SharedState], Coroutine[Any, Any, None]]
    ) -> None:
        """Tell the end of a trial call: who cannot wait for that keeps no place of the fleet's."""
        try:
            self._crossing.cross(settle, self._crossing.deadline)
        except BaseException:
            with suppress(NotStartedError):
                self.give_up(permit)
            raise

    def give_up(self, permit: Permit) -> None:
        """The same without waiting, in the background."""
        if permit.trial or permit.holds_place:
            circuit = self._circuit()
            self._crossing.later(lambda: circuit.give_up(permit))

    def drop(self, permit: Permit) -> None:
        """The same of a call that has entered here, from whatever thread or destructor."""
        if permit.trial and self._there is not None:
            _, circuit = self._there
            self._crossing.later(lambda: circuit.give_up(permit))

    def follow(self, permit: Permit) -> None:
        """Keep the places of a call for as long as it takes."""
        circuit = self._circuit()
        self._crossing.later(lambda: circuit.follow(permit))

    def keep(self, permit: Permit) -> float:
        """Keep the places of a call that ends elsewhere; see the asynchronous one."""
        circuit = self._circuit()
        return self._crossing.cross(lambda _: circuit.keep(permit), self._crossing.deadline)

    def guard(
        self,
        *,
        failure_on: Kinds = DEFAULT.failure_on,
        ignore: Kinds = (),
        classify: Classify | None = None,
    ) -> Guard:
        """A context for one call at a time; see `guard` of that `Circuit`."""
        return Guard(self, Rules(failure_on, ignore, classify))

    def protect(
        self,
        *,
        failure_on: Kinds = DEFAULT.failure_on,
        ignore: Kinds = (),
        classify: Classify | None = None,
    ) -> Callable[[F], F]:
        """A decorator that guards each call of a function, or generator.

        See `aragora_redis.state.circuits.circuit.Circuit.protect`.
        """
        rules = Rules(failure_on, ignore, classify)

        def decorate(function: F) -> F:
            if threaded(function) == "generator":
                rules.fit_streams()
                return cast(F, _stream_within(function, lambda: Guard(self, rules)))

            @wraps(function)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                with Guard(self, rules) as call:
                    return call.result(function(*args, **kwargs))

            return cast(F, guarded)

        return decorate

    def enter(self) -> tuple[Permit, Callable[[], None]]:
        """Leave to make one call, and what gives its place back, whatever the policy is by then.

        That may be called again by who was interrupted in it: the place is given back once.
        """
        circuit = self._circuit()
        bulkhead = circuit.bulkhead
        admitted = None if bulkhead.bounded else circuit.admit()
        if admitted is not None:
            call = object()
            try:
                bulkhead.count(call)
            except BaseException:  # from the handler of a signal: it may have been counted
                bulkhead.over(call)
                raise
            return admitted, lambda: bulkhead.over(call)
        places = [bulkhead]

        def leave() -> None:
            if places:
                places.pop().leave()

        def undo(permit: Permit) -> None:
            leave()
            circuit.give_up(permit)

        permit = self._crossing.cross(lambda _: circuit.enter(), self._longest(circuit), undo=undo)
        return permit, lambda: self._crossing.later(leave)

    def _longest(self, circuit: AsyncCircuit) -> float:
        """Seconds that leave to make a call may take."""
        waits = circuit.policy.max_wait + 1.0 if circuit.bulkhead.bounded else 0.0
        return waits + 2 * self._crossing.deadline

    def monotonic(self) -> float:
        """The clock by which calls are timed."""
        return self._circuit().monotonic()

    def __enter__(self) -> Self:
        guard = self.guard()
        guard.__enter__()
        try:
            with current().entering:
                self._inside().add(guard)
        except BaseException:  # who is interrupted here does not come to leave it
            guard.abandon()
            with current().entering:
                self._entered.undo(guard)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        guard: Guard | None = None
        try:
            with current().entering:
                guard = self._inside().take()
            guard.__exit__(kind, error, trace)
        except BaseException:  # who is interrupted here does not come to leave it again
            if guard is None:
                with suppress(RuntimeError), current().entering:  # or nobody is inside
                    guard = self._inside().take()
            if guard is not None:
                guard.abandon()
            raise

    def _inside(self) -> Entered[threading.Thread, Guard]:
        """Who is inside, in this process: a fork has left the other threads to the parent."""
        if self._process is not current():
            self._process = current()
            self._entered.forget_those_over()
        return self._entered

    def _circuit(self) -> AsyncCircuit:
        here = self._crossing.here
        if self._there is None or self._there[0] is not here:
            self._there = (here, self._find(here, self._name))
        return self._there[1]


class Guard:
    """See `aragora_redis.state.circuits.guard.Guard`.

    A signal's handler may raise anywhere, as of Ctrl-C or of a soft time limit does: what was taken
    is then given back here, or when this is dropped.
    """

    _permit: Permit | None = None
    _leave: Callable[[], None]

    def __init__(self, circuit: Circuit, rules: Rules) -> None:
        self._circuit = circuit
        self._rules = rules
        self._process = current()
        self.outer: Guard | None = None
        self._started = 0.0
        self._took: float | None = None
        self._outcome: Outcome = "ok"

    def __enter__(self) -> Self:
        self._process = current()
        self._outcome, self._took = "ok", None
        try:
            self._permit, self._leave = self._circuit.enter()
            self._started = self._circuit.monotonic()
        except BaseException:
            self.abandon()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(self._outcome if error is None else self._rules.of_error(error))

    def result(self, value: T) -> T:
        """Say what the call has returned, to be judged by `classify`; the value itself."""
        self._outcome = self._rules.of_result(value)
        return value

    def judged(self, value: object) -> Outcome:
        """How a result would be judged; who streams tells the end by `end`."""
        return self._rules.of_result(value)

    def answered(self) -> None:
        """Say that the answer has begun: how long the call took is measured until the first."""
        if self._took is None:
            self._took = self._circuit.monotonic() - self._started

    def end(self, outcome: Outcome) -> None:
        """Tell how the call went, once; "released" says nothing of the dependency."""
        permit = self._held()
        if permit is not None:
            try:
                with suppress(NotStartedError):  # it was closed meanwhile: nobody counts any more
                    self._tell(permit, outcome)
            except BaseException:
                self.abandon()
                raise
        self._permit = None

    def abandon(self) -> None:
        """Give the leave back without waiting: whoever held the call has dropped it."""
        permit = self._held()
        if permit is not None:
            with suppress(NotStartedError):
                self._leave()
                self._circuit.drop(permit)
        self._permit = None

    def __del__(self) -> None:
        if self._permit is not None:
            self.abandon()

    def _held(self) -> Permit | None:
        """The permit of a call under way; none in a fork, whose parent has it too, and ends it."""
        return self._permit if self._process is current() else None

    def _tell(self, permit: Permit, outcome: Outcome) -> None:
        self._leave()
        if outcome == "released":
            self._circuit.release(permit)
            return
        took = self._circuit.monotonic() - self._started if self._took is None else self._took
        self._circuit.report(permit, ok=outcome == "ok", duration=took)


class _Followed(Generator[Y, S, T]):
    """A generator of which each item is told; what `yield from` returns of it, it returns."""

    def __init__(self, items: Generator[Y, S, T], answered: Callable[[], None]) -> None:
        self._items = items
        self._answered = answered

    def send(self, value: S) -> Y:
        item = self._items.send(value)
        self._answered()
        return item

    def throw(self, *error: Any) -> Y:
        return self._items.throw(*error)


def _stream_within(
    work: Callable[P, Generator[Y, S, T]], guard: Callable[[], Guard]
) -> Callable[P, Generator[Y, S, T]]:
    """A generator that is guarded from its first item to its end."""

    @wraps(work)
    def stream(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, S, T]:
        with guard() as call:
            try:
                return (yield from _Followed(work(*args, **kwargs), call.answered))
            except GeneratorExit:
                call.abandon()  # without waiting: what is dropped may end in the loop's own thread
                raise

    return stream
