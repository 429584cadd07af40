"""Rate limits: policies, the exact model, what is asked of Redis, and what is decided locally."""

from .gcra import Decision, Source
from .local import LocalLimiter, Record
from .policy import LimitPolicy, OnOutage
from .policy_file import Policies, load_policies, parse_policies
from .share import FleetSize, Share, share_of

__all__ = [
    "Decision",
    "FleetSize",
    "LimitPolicy",
    "LocalLimiter",
    "OnOutage",
    "Policies",
    "Record",
    "Share",
    "Source",
    "load_policies",
    "parse_policies",
    "share_of",
]
