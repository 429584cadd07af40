"""Operations without a Redis: the models of the scripts, on a data set of this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..circuit.model import MODELS as CIRCUIT_MODELS
from ..clock import Clock
from ..errors import AragoraRedisError, UnexpectedReplyError
from ..memory import Memory, Model
from ..operation import Argument, Operation
from ..rate_limit.model import MODELS as LIMIT_MODELS
from ..sessions.model import MODELS as SESSION_MODELS
from ..tokens.entry import SHARDS
from ..tokens.refresh_model import MODELS as REFRESH_MODELS
from ..tokens.shard import Shard
from .audit.log import MemoryAuditLog

T = TypeVar("T")

MODELS: Mapping[str, Model] = {
    **LIMIT_MODELS,
    **SESSION_MODELS,
    **CIRCUIT_MODELS,
    **REFRESH_MODELS,
}


class Embedded:
    """What there is instead of a Redis: as that would, it lasts while a state is closed.

    Attributes:
        executor: runs operations,
        shards: the revocations,
        notes: why, by member,
        acts: the record of acts by hand.
    """

    def __init__(self, clock: Clock) -> None:
        self.executor = EmbeddedExecutor(clock)
        self.shards = [Shard(index) for index in range(SHARDS)]
        self.notes: dict[bytes, str] = {}
        self.acts = MemoryAuditLog()


class EmbeddedExecutor:
    """Runs operations as an `Executor` does, at once and without a wire.

    Attributes:
        outage: raised instead of running anything, for tests of what happens without Redis.
    """

    def __init__(self, clock: Clock) -> None:
        self._memory = Memory(lambda: int(clock.wall() * 1_000_000))
        self.outage: AragoraRedisError | None = None

    async def run(self, operation: Operation[T], *, within: float) -> T:  # noqa: ARG002 - nothing takes time here
        """Run one operation.

        Raises:
            AragoraRedisError: as the operation itself says, or `outage`.
        """
        if self.outage is not None:
            raise self.outage
        if operation.script is None:
            raise UnexpectedReplyError("a plain command has no model")
        model = MODELS[operation.script.name]
        args = tuple(_wire(arg) for arg in (*operation.shared, *operation.args))
        return operation.result(model(self._memory, operation.keys, args))


def _wire(argument: Argument) -> bytes:
    """An argument as Redis gets it."""
    return argument if isinstance(argument, bytes) else str(argument).encode()
