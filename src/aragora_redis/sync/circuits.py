"""Circuits for threads; see `aragora_redis.state.circuits`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from ..circuit.permit import Permit
from ..state.circuit import Circuit as AsyncCircuit
from ..state.circuit import CircuitStatus
from ..state.circuits import Forced
from ..state.sessions import WRITE_LIMIT
from ..state.shared import SharedState
from .crossing import Crossing

T = TypeVar("T")
P = ParamSpec("P")


class Circuits:
    """See `aragora_redis.state.circuits.Circuits`."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def __getitem__(self, name: str) -> Circuit:
        """The circuit of a name; it begins closed."""
        return Circuit(self._crossing, name)

    def all(self) -> list[CircuitStatus]:
        """All circuits in use in the fleet, by name."""
        return self._crossing.cross(lambda state: state.circuits.all(), WRITE_LIMIT)

    def force(self, name: str, state: Forced, reason: str = "") -> CircuitStatus:
        """Hold a circuit open or closed until told otherwise, or let its calls decide again."""
        return self._crossing.cross(
            lambda there: there.circuits.force(name, state, reason), self._crossing.deadline
        )


class Circuit:
    """See `aragora_redis.state.circuit.Circuit`. One object may be used by many threads at once."""

    def __init__(self, crossing: Crossing, name: str) -> None:
        self._crossing = crossing
        self._name = name
        self._entered = threading.local()
        self._there: tuple[SharedState, AsyncCircuit] | None = None

    def __repr__(self) -> str:
        return f"<Circuit {self._name}>"

    @property
    def state(self) -> str:
        """`closed`, `open`, `half-open`, `forced-open` or `forced-closed`, as known here."""
        return self._circuit().state

    def acquire(self) -> Permit:
        """Leave to make one call; only a trial call leaves this thread."""
        circuit = self._circuit()
        permit = circuit.admit()
        if permit is not None:
            return permit
        return self._crossing.cross(lambda _: circuit.acquire(), self._crossing.deadline)

    def report(self, permit: Permit, *, ok: bool, duration: float) -> None:
        """Tell how a call went that was let through; `duration` in seconds."""
        circuit = self._circuit()
        if permit.trial or not 0 <= duration < float("inf"):
            self._crossing.cross(
                lambda _: circuit.report(permit, ok=ok, duration=duration),
                self._crossing.deadline,
            )
        else:
            self._crossing.later(lambda: circuit.count(permit, ok=ok, duration=duration))

    def release(self, permit: Permit) -> None:
        """Give leave back without a result."""
        if permit.trial:
            circuit = self._circuit()
            self._crossing.cross(lambda _: circuit.release(permit), self._crossing.deadline)

    @contextmanager
    def guard(self, *, ignore: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
        """A context for one call; exceptions of `ignore` are no result of it."""
        permit, circuit = self.acquire(), self._circuit()
        if permit.trial:
            self._crossing.later(lambda: circuit.follow(permit))
        started = circuit.monotonic()
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Exception) or isinstance(error, ignore):
                self.release(permit)
            else:
                self.report(permit, ok=False, duration=circuit.monotonic() - started)
            raise
        self.report(permit, ok=True, duration=circuit.monotonic() - started)

    def protect(
        self, *, ignore: tuple[type[BaseException], ...] = ()
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """A decorator that guards each call of a function."""

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            @wraps(function)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
                with self.guard(ignore=ignore):
                    return function(*args, **kwargs)

            return guarded

        return decorate

    def __enter__(self) -> Self:
        guard = self.guard()
        guard.__enter__()
        if not hasattr(self._entered, "guards"):
            self._entered.guards = []
        self._entered.guards.append(guard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered.guards.pop().__exit__(kind, error, trace)

    def _circuit(self) -> AsyncCircuit:
        here = self._crossing.here
        if self._there is None or self._there[0] is not here:
            self._there = (here, self._crossing.cross(self._find, 0))
        return self._there[1]

    async def _find(self, state: SharedState) -> AsyncCircuit:
        return state.circuits[self._name]
