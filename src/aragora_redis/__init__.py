"""Rate limits, revoked tokens, sessions and circuits in Redis, correct through failovers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import AragoraRedisError, CircuitOpenError, LimitExceededError, OutageError
    from .events import Events
    from .rate_limit.gcra import Decision
    from .rate_limit.joint import JointDecision, LimitCheck
    from .rate_limit.policy import Rate
    from .sessions.stored import Session
    from .settings import Settings
    from .state.revocations.receipt import Level, Receipt
    from .state.shared import SharedState

__all__ = [
    "AragoraRedisError",
    "CircuitOpenError",
    "Decision",
    "Events",
    "JointDecision",
    "Level",
    "LimitCheck",
    "LimitExceededError",
    "OutageError",
    "Rate",
    "Receipt",
    "Session",
    "Settings",
    "SharedState",
]

# Whoever imports one room, a command or an error say, does not pay for all the others.
_DEFINED_IN = {
    "AragoraRedisError": ".errors",
    "CircuitOpenError": ".errors",
    "Decision": ".rate_limit.gcra",
    "Events": ".events",
    "JointDecision": ".rate_limit.joint",
    "Level": ".state.revocations.receipt",
    "LimitCheck": ".rate_limit.joint",
    "LimitExceededError": ".errors",
    "OutageError": ".errors",
    "Rate": ".rate_limit.policy",
    "Receipt": ".state.revocations.receipt",
    "Session": ".sessions.stored",
    "Settings": ".settings",
    "SharedState": ".state.shared",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of these

    def __getattr__(name: str) -> Any:
        """Import what is asked for the first time (PEP 562)."""
        if name == "errors":  # the one room that is asked for by its own name
            return import_module(".errors", __name__)
        if name not in _DEFINED_IN:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_DEFINED_IN[name], __name__), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
