"""What the operations of a feature run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from ..operation import Runs
from ..rate_limit.share import FleetSize
from .service import Service

if TYPE_CHECKING:
    from ..link.reach import Reach


class Ground(Struct, frozen=True):
    """A Redis, or this process alone.

    Attributes:
        executor: runs them,
        service: and is told whether they reach it.
        fleet: the instances that use it.
        server_now: its clock in Unix seconds.
        reach: the way there; None where this process is all there is.
    """

    executor: Runs
    service: Service
    fleet: FleetSize
    server_now: Callable[[], float]
    reach: Reach | None = None

    @property
    def across_slots(self) -> bool:
        """Whether one call may use keys of several hash slots."""
        return self.reach is None or self.reach.across_slots
