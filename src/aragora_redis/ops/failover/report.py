"""What became of a switchover."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ...address import Address
from ...errors import Ran
from ..report import Status


class Phase(StrEnum):
    """What a switchover does, in this order; that of a shard has the first, PROMOTE and VERIFY."""

    PREFLIGHT = "preflight"
    """Ask all servers whether it would hurt."""
    PREFER = "prefer"
    """Give the chosen replica the best priority, and wait until the Sentinels would promote it."""
    PAUSE = "pause"
    """Hold writes on the old primary; they wait, and are not refused."""
    DRAIN = "drain"
    """Wait until the replicas have everything that was acknowledged."""
    PROMOTE = "promote"
    """Have the Sentinels fail over, and wait until most of them name another primary. In a cluster
    the replica does this and the two before by itself."""
    DEMOTE = "demote"
    """Make the old primary a replica of the new one."""
    RESUME = "resume"
    """Let the held writes go, to be refused there, and close the connections of clients."""
    VERIFY = "verify"
    """Wait until everybody follows the new primary."""


@dataclass(slots=True)
class Progress:
    """How far it came."""

    old: Address | None = None
    new: Address | None = None
    seconds: dict[Phase, float] = field(default_factory=dict)
    pause: float | None = None
    """Seconds for which nothing could be written."""
    drained: bool = False
    """The replicas had everything when one was promoted."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SwitchoverReport:
    """The outcome, fit for text and JSON."""

    status: Status
    headline: str
    progress: Progress = field(default_factory=Progress)
    replaced: Ran = Ran.NO
    """Whether another primary is there."""

    @property
    def exit_code(self) -> int:
        """0 done, 1 done with something left to look at, or refused; 2 failed."""
        return int(self.status)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        done = self.progress
        return {
            "status": self.status.name,
            "headline": self.headline,
            "old": str(done.old) if done.old else None,
            "new": str(done.new) if done.new else None,
            "write_pause_seconds": done.pause,
            "phases": {phase.value: round(took, 3) for phase, took in done.seconds.items()},
            "notes": done.notes,
        }
