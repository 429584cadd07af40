"""How far the replicas are behind the primary, looked at now and then for the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..errors import AragoraRedisError
from ..link.executor import Executor
from ..operation import Kind, Lane, Operation
from ..topology.statement import Lag, read_lag

LOOK_EVERY = 5.0
"""Seconds between looks: INFO costs the server about 60 microseconds."""
ASK_LIMIT = 0.5
_REPLICATION = Operation(
    kind=Kind.READ,
    keys=(),
    args=("INFO", "replication"),
    read=read_lag,
    lane=Lane.BULK,
    at_once=True,
)


class ReplicaLag:
    """Asks every primary."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.last: Lag | None = None
        """The worst as it was last seen; None where nobody could say, or no replica follows."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                found = await self._executor.each(_REPLICATION, within=ASK_LIMIT)
                self.last = _worst([lag for lag in found if lag is not None])
            except AragoraRedisError:  # the links say why
                self.last = None
            await asyncio.sleep(LOOK_EVERY)


def _worst(behind: Sequence[Lag]) -> Lag | None:
    if not behind:
        return None
    return Lag(max(lag.size for lag in behind), max(lag.seconds for lag in behind))
