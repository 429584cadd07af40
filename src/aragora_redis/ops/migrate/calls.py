"""Calls to either side that end in time, and what is said where they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from ...address import Address
from ...errors import AragoraRedisError, Ran
from ...link.replies import without_arguments

T = TypeVar("T")
Words = tuple[Any, ...]

_LONGEST = 40
"""Bytes of a key that are shown."""


class CopyError(AragoraRedisError):
    """The copy cannot go on. Nothing was changed in what the source holds; the target has part."""

    ran = Ran.UNKNOWN
    remedy = "mend that, and run the migration again: it reads everything once more"


async def answered(
    who: str,
    call: Awaitable[T],
    seconds: float,
) -> T:
    """The answer of a server, which may be that it refuses.

    Args:
        who: what the server is called.
        call: to be answered.
        seconds: that it has.

    Raises:
        CopyError: there is no answer.
        ResponseError: it refuses.
    """
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError as error:
        raise CopyError(f"{who} does not answer within {seconds:.0f} s") from error
    except ResponseError:
        raise
    except (RedisError, OSError) as error:
        raise CopyError(f"{who} cannot be reached: {told(error)}") from error


async def pipelined(
    who: str, client: Redis, commands: Sequence[Words], seconds: float
) -> list[Any]:
    """The answers to commands in their order; a refused one is answered by its error.

    Raises:
        CopyError: there are no answers.
    """
    if not commands:
        return []
    pipe = client.pipeline(transaction=False)
    for words in commands:
        pipe.execute_command(*words)
    return await answered(who, pipe.execute(raise_on_error=False), seconds)


def forbidden(error: Exception) -> bool:
    """Whether a server does not let us, or does not know the command."""
    return isinstance(error, NoPermissionError) or "unknown command" in str(error).lower()


def told(error: Exception) -> str:
    """What an error says, without values that Redis quotes."""
    return without_arguments(str(error)) or type(error).__name__


def shown(key: bytes) -> str:
    """A key as it may be shown: what follows the last colon may be a session's id or a name."""
    head, colon, _ = key.rpartition(b":")
    text = ascii((head + colon)[:_LONGEST])[2:-1]
    return f"'{text}...' of {len(key)} bytes"


def named(site: str, address: Address) -> str:
    """What a server of a side is called."""
    return f"{site} ({address})"


def as_map(reply: Any) -> Mapping[bytes, Any]:
    """A reply of names and values, which RESP2 gives as a list."""
    if isinstance(reply, Mapping):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))
