"""Shared state in Redis that keeps its word through a failover."""

from __future__ import annotations

from .errors import AragoraRedisError
from .rate_limit.gcra import Decision
from .rate_limit.joint import JointDecision, LimitCheck
from .rate_limit.policy import Rate
from .state.receipt import Level, Receipt
from .state.shared import SharedState

__all__ = [
    "AragoraRedisError",
    "Decision",
    "JointDecision",
    "Level",
    "LimitCheck",
    "Rate",
    "Receipt",
    "SharedState",
]
