"""The faults of a drill, each an async context: it is there inside, and undone after it.

What each allows is said by its band: whether writes that a dying primary has acknowledged may be
lost, whether all of Redis comes back empty, who is cut off, which slots it concerns.
"""

from __future__ import annotations

from .. import settable
from . import cluster, links, managed, sentinel
from .stage import Fault, Ground

FAULTS: dict[str, dict[str, Fault]] = {
    "sentinel": sentinel.FAULTS,
    "managed": managed.FAULTS,
    "cluster": cluster.FAULTS,
}
"""By the mode of the lab."""
GROUNDS: dict[str, type[Ground]] = {
    "sentinel": sentinel.SentinelGround,
    "managed": managed.ManagedGround,
    "cluster": cluster.ClusterGround,
}
NEED_CUTS = {"cut", "cut-with-clients", "island", "one-sentinel", *links.FAULTS}
NEED_SETTABLE = {"server-clock", "heir-clock"}
EXTINGUISH = NEED_OUTBOX = {"extinction"}


def offered(mode: str) -> list[str]:
    """The faults of a mode that this machine can have."""
    out = NEED_SETTABLE if settable.why_not() else set()
    return [name for name in FAULTS[mode] if name not in out]
