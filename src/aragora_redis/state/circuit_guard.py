"""One call through a circuit, from the leave to make it to what it says of the dependency."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ..circuit.outcome import Outcome, Rules
from ..circuit.permit import Permit

if TYPE_CHECKING:
    from .circuit import Circuit

R = TypeVar("R")


class Guard:
    """A context for one call at a time: a result on leaving, an error on entering an open circuit.

    Of a call that has ended well `result` may say what it returned, and `answered` when the answer
    began: what comes after that, such as a stream of minutes, counts as no slowness.
    """

    def __init__(self, circuit: Circuit, rules: Rules) -> None:
        self._circuit = circuit
        self._rules = rules
        self._permit: Permit | None = None
        self._inside = False
        self._started = 0.0
        self._took: float | None = None
        self._outcome: Outcome = "ok"

    async def __aenter__(self) -> Self:
        permit = await self._circuit.enter()
        self._inside, self._permit, self._outcome = True, permit, "ok"
        self._started, self._took = self._circuit.monotonic(), None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end(self._outcome if error is None else self._rules.of_error(error))

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
        permit, self._permit = self._permit, None
        if permit is None:
            return
        self._leave()
        if outcome == "released":
            await self._circuit.release(permit)
            return
        took = self._circuit.monotonic() - self._started if self._took is None else self._took
        await self._circuit.report(permit, ok=outcome == "ok", duration=took)

    def abandon(self) -> None:
        """Give the leave back without waiting: whoever held the call has dropped it."""
        permit, self._permit = self._permit, None
        if permit is not None:
            self._leave()
            self._circuit.give_up(permit)

    def _leave(self) -> None:
        if self._inside:
            self._inside = False
            self._circuit.bulkhead.leave()
