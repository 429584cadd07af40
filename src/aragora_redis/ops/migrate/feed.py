"""What a server tells of its keys: the setting that makes it, and a connection that listens."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from .calls import CopyError, answered, as_map, forbidden, pipelined, told
from .changes import told_of

SETTING = "notify-keyspace-events"
_ONE_OF_EACH: Final = (
    ("SET", 1),
    ("RPUSH", 1),
    ("SADD", 1),
    ("ZADD", 1, 1),
    ("HSET", 1, 1),
    ("XADD", "*", 1, 1),
)
Changed = Callable[[int, bytes], None]
"""Told of the database and the key, at once and in order."""


class Feed:
    """The keyspace notifications of one server.

    They are heard on one connection of its own that is never made anew by itself: what is told
    while there is none is lost, and that must not go unseen.
    """

    def __init__(self, who: str, client: Redis, dbs: Iterable[int], changed: Changed) -> None:
        self._who = who
        self._client = client
        self._patterns = [f"__keyspace@{db}__:*" for db in dbs]
        self._changed = changed
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._subscribed = 0
        self._ready = asyncio.Event()
        self._pongs: dict[bytes, asyncio.Event] = {}
        self._numbers = count()
        self.lost: str | None = None
        """Why it hears nothing any more; None while it does."""
        self.forbidden = False
        """Whether that is because the server does not let us."""

    async def open(self, seconds: float) -> None:
        """Listen; once this returns, every later change is told.

        Raises:
            CopyError: the server does not answer, or does not let us.
        """
        pool: Any = self._client.connection_pool
        self._connection = await answered(self._who, pool.get_connection(), seconds)
        self._reader = asyncio.create_task(self._read())
        await self._send("PSUBSCRIBE", *self._patterns)
        await self._heard_of(self._ready, seconds)

    async def settle(self, seconds: float) -> None:
        """Wait until all that was told before now has been heard.

        The answer to a PING comes on the same connection behind what was told before, and PING is
        held by no pause of writes, as PUBLISH is.

        Raises:
            CopyError: the connection is lost, or the server does not answer.
        """
        pong, word = asyncio.Event(), b"aragora-%d" % next(self._numbers)
        self._pongs[word] = pong
        try:
            await self._send("PING", word)
            await self._heard_of(pong, seconds)
        finally:
            del self._pongs[word]

    async def close(self) -> None:
        """Listen no more."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait((self._reader,))
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._connection.disconnect(nowait=True)
                await self._client.connection_pool.release(self._connection)
            self._connection = None

    async def _send(self, *words: Any) -> None:
        try:
            await self._connection.send_command(*words)
        except (RedisError, OSError) as error:
            self.lost = self.lost or told(error)

    async def _heard_of(self, event: asyncio.Event, seconds: float) -> None:
        if self.lost is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()
            if not event.is_set():
                self.lost = f"no answer within {seconds:.0f} s"
        if self.lost is not None:
            raise CopyError(f"{self._who} no longer tells of changes: {self.lost}")

    async def _read(self) -> None:
        try:
            while True:
                self._hear(
                    await self._connection.read_response(timeout=math.inf, push_request=True)
                )
        except (RedisError, OSError) as error:
            self.lost = told(error)
            self.forbidden = forbidden(error)
        finally:
            # Whoever waits is to look at once.
            self.lost = self.lost or "closed"
            for event in (self._ready, *self._pongs.values()):
                event.set()

    def _hear(self, said: Any) -> None:
        match said:
            # Somebody may want to know of keys that are missed, which our own reads do.
            case [b"pmessage", _, _, b"keymiss"]:
                pass
            case [b"pmessage", _, channel, _]:
                place, _, key = channel.partition(b"__:")
                self._changed(int(place.removeprefix(b"__keyspace@")), key)
            case [b"psubscribe", *_]:
                self._subscribed += 1
                if self._subscribed == len(self._patterns):
                    self._ready.set()
            # RESP2 says so by a message.
            case [b"pong", word] | word:
                if isinstance(word, bytes) and word in self._pongs:
                    self._pongs[word].set()


async def tells_all(who: str, client: Redis, db: int, key: bytes, seconds: float) -> bool:
    """Whether a server tells of all that we need, tried on a key that is written and removed.

    For those that do not let us read the setting. What expires or is evicted cannot be tried: the
    former goes at the target by itself.

    Raises:
        CopyError: the server does not answer.
    """
    heard: list[bytes] = []
    feed = Feed(who, client, (db,), lambda _db, changed: heard.append(changed))
    writes = [
        each for write in _ONE_OF_EACH for each in ((write[0], key, *write[1:]), ("DEL", key))
    ]
    try:
        with contextlib.suppress(CopyError):
            await feed.open(seconds)
            await pipelined(who, client, writes, seconds)
            await feed.settle(seconds)
    finally:
        await feed.close()
    return heard.count(key) == len(writes)


async def flags_of(who: str, client: Redis, seconds: float) -> str | None:
    """notify-keyspace-events; None where CONFIG GET is forbidden.

    Raises:
        CopyError: the server does not answer.
    """
    ask: Any = client.execute_command
    try:
        reply = as_map(await answered(who, ask("CONFIG", "GET", SETTING), seconds))
    except ResponseError:
        return None
    return str(reply[SETTING.encode()], "ascii", "replace")


async def switch(who: str, client: Redis, flags: str, seconds: float) -> bool:
    """Set notify-keyspace-events; whether the server lets us.

    Raises:
        CopyError: it does not answer.
    """
    ask: Any = client.execute_command
    try:
        await answered(who, ask("CONFIG", "SET", SETTING, flags), seconds)
    except ResponseError:
        return False
    return True


async def switch_back(who: str, client: Redis, former: str, ours: str, seconds: float) -> bool:
    """Give notify-keyspace-events back, unless somebody has changed it since; whether that is done.

    Raises:
        CopyError: the server does not answer.
    """
    now = await flags_of(who, client, seconds)
    if now is None or told_of(now) != told_of(ours):
        return now is not None
    return await switch(who, client, former, seconds)
