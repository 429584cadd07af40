"""One call through a circuit, from the leave to make it to what it says of the dependency."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ...circuit.outcome import Outcome, Rules
from ...circuit.permit import Permit

if TYPE_CHECKING:
    from .circuit import Circuit

R = TypeVar("R")


class Guard:
    """A context for one call at a time: a result on leaving, an error on entering an open circuit.

    Of a call that has ended well `result` may say what it returned, and `answered` when the answer
    began: what comes after that, such as a stream of minutes, counts as no slowness.
    """

    __slots__ = (
        *("_bulkhead", "_circuit", "_outcome", "_permit", "_rules", "_started", "_took", "outer"),
    )

    _started: float
    _took: float | None
    _outcome: Outcome
    outer: Guard | None
    """See `Entered`."""

    def __init__(self, circuit: Circuit, rules: Rules) -> None:
        self._circuit = circuit
        self._rules = rules
        self._permit: Permit | None = None

    async def __aenter__(self) -> Self:
        if (waits := self.begin()) is not None:
            await waits
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if (telling := self.leave(error)) is not None:
            await telling

    def begin(self) -> Awaitable[None] | None:
        """Enter; what is to be awaited for that, where Redis or others must be waited for."""
        now = self._circuit.monotonic()
        permit = self._circuit.step_in(now)
        if permit is None:
            return self._wait()
        self._go(permit, now)
        return None

    async def _wait(self) -> None:
        permit = await self._circuit.enter()
        self._go(permit, self._circuit.monotonic())

    def _go(self, permit: Permit, now: float) -> None:
        self._permit, self._started, self._took, self._outcome = permit, now, None, "ok"
        # Where its place is: the circuit has another one once its state was started anew.
        self._bulkhead = self._circuit.bulkhead

    def result(self, value: R) -> R:
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

    async def end(self, outcome: Outcome) -> None:
        """Tell how the call went, once; "released" says nothing of the dependency."""
        if (telling := self._ended(outcome)) is not None:
            await telling

    def leave(self, error: BaseException | None) -> Awaitable[None] | None:
        """End it; what is to be awaited for that, where Redis is to be told."""
        return self._ended(self._outcome if error is None else self._rules.of_error(error))

    def _ended(self, outcome: Outcome) -> Awaitable[None] | None:
        permit, self._permit = self._permit, None
        if permit is None:
            return None
        circuit = self._circuit
        self._bulkhead.leave()
        if outcome == "released":
            return circuit.release(permit)
        now = circuit.monotonic()
        took = now - self._started if self._took is None else self._took
        if permit.trial:
            return circuit.report(permit, ok=outcome == "ok", duration=took)
        circuit.count_at(now, permit, ok=outcome == "ok", duration=took)
        return None

    @property
    def under_way(self) -> bool:
        """Whether the call has begun and its end was not told."""
        return self._permit is not None

    def abandon(self) -> None:
        """Give the leave back without waiting: whoever held the call has dropped it."""
        permit, self._permit = self._permit, None
        if permit is not None:
            self._bulkhead.leave()
            self._circuit.give_up(permit)
