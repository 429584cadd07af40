"""Circuit breakers of Aragora: one that opens here is open everywhere, for its own cooldown.

When one opens stays Aragora's decision, on this instance's failures and the breaker's own
threshold. That it is open is held in Redis; the other instances look once a second, and only for
breakers that they use.
"""

from __future__ import annotations

import secrets
from importlib import import_module
from typing import Any

from ..clock import SYSTEM_CLOCK
from .seam import Finding, Where
from .shared import Shared
from .versions import Checked

LOOK_EVERY = 1.0
"""Seconds for which what was last seen of a breaker counts."""
_ANONYMOUS = "default"
"""What a breaker is called that nobody has named: many are, and none of them is the other."""


def breaker(base: type[Any], shared: Shared) -> type[Any]:  # noqa: C901 - it is a class
    """Aragora's `CircuitBreaker`, whose open time is known to all instances."""

    class SharedCircuitBreaker(base):  # type: ignore[misc] # a class that is known when it runs
        def __post_init__(self) -> None:
            super().__post_init__()
            self._held: dict[str | None, tuple[float, float]] = {}

        def record_failure(self, entity: str | None = None) -> bool:
            opened = bool(super().record_failure(entity))
            if opened:
                self._hold(entity)
            return opened

        def record_success(self, entity: str | None = None) -> None:
            before = super().get_status(entity)
            super().record_success(entity)
            if before != "closed" and super().get_status(entity) == "closed":
                self._let_go(entity)

        def reset(self, entity: str | None = None) -> None:
            seen = list(self._held) if entity is None else [entity]
            super().reset(entity)
            for each in {None, *seen} if entity is None else seen:
                self._let_go(each)

        def can_proceed(self, entity: str | None = None) -> bool:
            return not self._left(entity) and bool(super().can_proceed(entity))

        def is_available(self, entity: str) -> bool:
            return not self._left(entity) and bool(super().is_available(entity))

        def get_status(self, entity: str | None = None) -> str:
            return "open" if self._left(entity) else str(super().get_status(entity))

        def cooldown_remaining(self, entity: str | None = None) -> float:
            return max(self._left(entity), float(super().cooldown_remaining(entity)))

        @property
        def is_open(self) -> bool:
            return bool(self._left(None)) or bool(base.is_open.fget(self))

        @is_open.setter
        def is_open(self, value: bool) -> None:
            base.is_open.fset(self, value)
            if value:
                self._hold(None)
            else:
                self._let_go(None)

        def _subject(self, entity: str | None) -> str | None:
            if self.name == _ANONYMOUS:
                return None
            return f"breaker:{self.name}" + (f":{entity}" if entity is not None else "")

        def _hold(self, entity: str | None) -> None:
            subject = self._subject(entity)
            if subject is not None:
                shared.hold(subject, self.cooldown_seconds)

        def _let_go(self, entity: str | None) -> None:
            self._held.pop(entity, None)
            subject = self._subject(entity)
            if subject is not None:
                shared.let_go(subject)

        def _left(self, entity: str | None) -> float:
            """Seconds for which another instance, or this one, holds it open."""
            subject = self._subject(entity)
            if subject is None:
                return 0.0
            now = SYSTEM_CLOCK.monotonic()
            looked, until = self._held.get(entity, (float("-inf"), 0.0))
            if now - looked >= LOOK_EVERY:
                left = shared.held_for(subject)
                until = until if left is None else now + left
                self._held[entity] = (now, until)
            return max(until - now, 0.0)

    SharedCircuitBreaker.__name__ = SharedCircuitBreaker.__qualname__ = base.__name__
    return SharedCircuitBreaker


class Breakers:
    """The seam."""

    feature = "circuit breakers"
    checked = Checked("2.11", "2.12")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def install(self) -> None:
        """Be the class of which Aragora's registry makes its breakers."""
        module: Any = import_module("aragora.resilience.circuit_breaker")
        module.CircuitBreaker = breaker(module.CircuitBreaker, self._shared)

    def verify(self) -> Finding:
        """Open one of Aragora's registry, and see it held."""
        registry = import_module("aragora.resilience.registry")
        name = f"self-check-{secrets.token_hex(8)}"
        tried = registry.get_circuit_breaker(name, failure_threshold=1, cooldown_seconds=5.0)
        try:
            tried.record_failure()
            held = self._shared.held_for(f"breaker:{name}")
            if held is None:
                return Finding(self.feature, Where.UNSEEN, "each instance opens its own")
            if not held or tried.can_proceed():
                return Finding(self.feature, Where.MEMORY, "an open breaker was not held")
            tried.reset()
        finally:
            with registry._circuit_breakers_lock:  # noqa: SLF001 - the seam
                registry._circuit_breakers.pop(name, None)  # noqa: SLF001 - the seam
        return Finding(self.feature, Where.REDIS, "those of get_circuit_breaker")
