"""Hold the writes of a source for a moment, in which both sides can be compared."""

from __future__ import annotations

import contextlib
from typing import Any

from redis.exceptions import ResponseError

from .calls import CopyError, answered, named, pipelined, told
from .pair import Pair
from .sites import Clients


async def pause(pair: Pair, seconds: float) -> None:
    """Hold writes to the source for so long at most (6.2); they are given later, and not refused.

    Raises:
        CopyError: a server does not answer, or does not let us.
    """
    for who, _, client in pair.servers(pair.source):
        ask: Any = client.execute_command
        try:
            await answered(who, ask("CLIENT", "PAUSE", int(seconds * 1000), "WRITE"), pair.seconds)
        except ResponseError as error:
            raise CopyError(
                f"{who} cannot hold writes: {told(error)}; it takes writes as before",
                remedy="stop the writers, and cut over then",
            ) from error


async def unpause(pair: Pair) -> None:
    """Let writes go on, which they do by themselves where this fails."""
    await _tell_source(pair, "CLIENT", "UNPAUSE")


async def part_with_clients(clients: Clients, seconds: float) -> None:
    """Have a side's clients connect again, wherever they are to.

    One that is blocked by BLPOP was admitted before a guard: it would take away what is copied
    there, and wait for ever for what nobody may push.
    """
    for address, client in clients.by_address.items():
        ask: Any = client.execute_command
        kill = ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with contextlib.suppress(CopyError, ResponseError):
            await answered(named(clients.site.name, address), kill, seconds)
        # Ours are among them, and would be found dead by whoever uses them next.
        await client.connection_pool.disconnect(inuse_connections=False)


async def _tell_source(pair: Pair, *words: str) -> None:
    for who, _, client in pair.servers(pair.source):
        ask: Any = client.execute_command
        with contextlib.suppress(CopyError, ResponseError):
            await answered(who, ask(*words), pair.seconds)


async def miscounted(pair: Pair, skipped: dict[int, int]) -> str | None:
    """In what the sides do not agree while writes are held; None where they do.

    Args:
        pair: both sides.
        skipped: how many keys of each database were left out.

    Raises:
        CopyError: a server does not answer.
    """
    source, target = await pair.counts(pair.source), await pair.counts(pair.target)
    for db in pair.dbs:
        if not source[db].agrees(target[db], spare=skipped.get(db, 0)):
            one, other = (site.name for site in pair.sites)
            return (
                f"{one} has {source[db].keys} keys in database {db}, and {other} {target[db].keys}"
            )
    return None


async def unreplicated(pair: Pair, seconds: float) -> str | None:
    """Which of the target's primaries has replicas, and none that has all; None where none is so.

    Raises:
        CopyError: a server does not answer.
    """
    for who, _, client in pair.servers(pair.target):
        if not (await pair.info(who, client, "replication")).get("connected_slaves"):
            continue
        # WAIT asks for what was written before the last command on its own connection.
        asked = [("PING",), ("WAIT", 1, int(seconds * 1000))]
        _, reached = await pipelined(who, client, asked, pair.seconds + seconds)
        if reached == 0:
            return f"no replica of {who} has all that was copied"
    return None
