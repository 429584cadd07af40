"""What is asked of Redis, as a value: script or command, keys, and whether a replay is safe.

A primitive builds operations and reads their replies. It never knows nodes; the link never knows
what an operation means beyond what is declared here.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import force_setattr

from .errors import AragoraRedisError, UnexpectedReplyError
from .scripts.catalog import Script
from .slots import key_slot

T = TypeVar("T")

Argument = bytes | str | int


# Hot paths bind enum members to module names: on 3.11 each attribute lookup costs 0.2 µs.
class Kind(StrEnum):
    """What a second run would do (docs/protocol.md, "Words")."""

    READ = "read"
    """Changes nothing."""
    JOIN = "join"
    """A set union or a maximum: running it again, at any time, changes nothing more."""
    CAS = "cas"
    """Carries the version that it applies to, so a second run is refused by itself."""
    EFFECT = "effect"
    """Counts each run: never replayed once it may have run."""


class Fence(StrEnum):
    """What must be known of the primary before the operation is written to it."""

    NONE = "none"
    STANDING = "standing"
    """That it may speak for the fleet, see `link/standing.py`."""
    PROBE = "probe"
    """That too, and that it is still the primary, if its link has been silent."""


class Lane(StrEnum):
    """Which of the connections to the primary carries the operation."""

    FAST = "fast"
    BULK = "bulk"
    DURABLE = "durable"


class Operation(Struct, Generic[T], frozen=True, gc=False):
    """One request to one hash slot, unless it says otherwise.

    Operations of a `batchable` script that share `script` and `shared` travel as one call:
    `KEYS` are all their keys, `ARGV` is `not_after`, then `shared`, then each one's `args`; the
    reply is an array with one element for each.
    """

    kind: Kind
    keys: tuple[bytes, ...]
    args: tuple[Argument, ...]
    read: Callable[[Any], T]
    """Turns the reply into the result; raises `UnexpectedReplyError` where it cannot."""
    script: Script | None = None
    """The script to run, or None where `args` is a plain command."""
    shared: tuple[Argument, ...] = ()
    fence: Fence = Fence.NONE
    lane: Lane = Lane.FAST
    at_once: bool = False
    """Whether a link that is down is an answer, because its caller has one of his own."""
    across_slots: bool = False
    """Whether its keys may be in several hash slots, all of them held by one primary."""
    refuses: Callable[[Any], bool] | None = None
    """Whether a result says that nothing was done, which is not believed of a later attempt once an
    earlier one may have run; None where a second run tells what the first has done."""
    size: int = 0
    """Bytes of its keys and arguments, about; it is found out."""

    def __post_init__(self) -> None:
        size = 0
        for key in self.keys:
            size += len(key)
        for argument in self.args:
            if not isinstance(argument, int):
                size += len(argument)
        force_setattr(self, "size", size)
        if len(self.keys) > 1 and not self.across_slots and len({*map(key_slot, self.keys)}) > 1:
            raise ValueError("an operation's keys are in one hash slot")

    def __repr__(self) -> str:
        # Arguments may be secrets.
        return f"<Operation {self.script.name if self.script else 'command'} of {self.keys}>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # A Struct has one of its own, which tells them.
        return [("script", self.script.name if self.script else None), ("keys", self.keys)]

    @property
    def slot(self) -> int | None:
        """The hash slot of its keys (Redis documentation, "Redis cluster specification")."""
        return key_slot(self.keys[0]) if self.keys else None

    def result(self, reply: Any) -> T:
        """Turn a reply into the result.

        Raises:
            UnexpectedReplyError: it is not what this operation can be answered.
            AragoraRedisError: what the reply itself says.
        """
        try:
            return self.read(reply)
        except AragoraRedisError:
            raise
        except Exception as error:
            # Whatever a server sends, it must not end as a fault of ours.
            raise UnexpectedReplyError(
                f"the reply cannot be read: {type(error).__name__}",
                remedy="check that this is the Redis that is meant, and its version",
            ) from error

    @property
    def replayable(self) -> bool:
        """Whether it may be sent again when the first outcome is unknown."""
        return self.kind in (Kind.READ, Kind.JOIN, Kind.CAS)


def returnable(part: Any) -> bytes:
    """A part of a reply that the next operation sends back: bytes, or it could not.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(part, bytes):
        return part
    raise TypeError(f"{type(part).__name__} in place of bytes")


class Runs(Protocol):
    """Whoever runs operations: the executor of a link, or the one of this process."""

    async def run(self, operation: Operation[T], *, within: float) -> T:
        """Run `operation` for at most `within` seconds; raises this package's errors."""
