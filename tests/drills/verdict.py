"""What a drill is judged by, and a broken promise. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

AT_ONCE = 0.005
"""Seconds that 99 of 100 checks take at most once Redis is known to stand still."""

STALENESS = 5.0
"""Seconds: the default of ARAGORA_TOKENS_MAX_STALENESS."""

IDLE = 1800.0
"""Seconds: the default after which a session that nobody uses has ended."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    invariant: str
    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at:.3f}: {self.text}"


class Limit(NamedTuple):
    """A limit: its tokens a second, and its burst."""

    name: str
    rate: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What the drill's policies promise.

    Attributes:
        limits: those whose admissions are counted.
        instances: how many processes share them.
        deadline: seconds that a check may take.
        probes: places for trial calls of the circuit.
        at_once: seconds within which 99 of 100 checks are decided while Redis is away.
        fail_open: whether an outage is decided without Redis, or refused.
        staleness: seconds for which an instance that refuses may vouch for tokens without Redis.
        idle: seconds after which a session that nobody uses has ended.
    """

    limits: tuple[Limit, ...] = (Limit("hot", 20.0, 20), Limit("slow", 10 / 60, 10))
    instances: int = 4
    deadline: float = 0.05
    probes: int = 3
    at_once: float = AT_ONCE
    fail_open: bool = True
    staleness: float = STALENESS
    idle: float = IDLE
