"""Rate limits: policies, the exact model, what is asked of Redis, and what is decided locally."""

from .gcra import Decision, Source
from .local import LocalLimiter, Record
from .policy import LimitPolicy, OnOutage
from .share import FleetSize, Share, share_of

__all__ = [
    "Decision",
    "FleetSize",
    "LimitPolicy",
    "LocalLimiter",
    "OnOutage",
    "Record",
    "Share",
    "Source",
    "share_of",
]
