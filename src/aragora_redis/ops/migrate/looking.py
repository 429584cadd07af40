"""Look at the keys of one side of a migration, and change nothing there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any

from hiredis import ReplyError
from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ...errors import OutageError
from ...link.pipe import Lost, Pipe, pack
from ...link.replies import without_arguments
from ...scripts.catalog import parse
from ...settings import names
from ...slots import key_slot
from ..access import failure
from .compare import NONE, Look
from .reading import Command, read
from .sites import Clients

PAGE = 512
"""Keys that SCAN is asked for at once."""
_SHARE = 32
"""Keys of one call of the script."""
_PLAIN = 64
"""Keys whose whole values are under way at once where scripts are forbidden."""
_SCRIPT = parse("digest", files(__package__).joinpath("digest.lua").read_text("utf-8"))
_SHA = _SCRIPT.sha.encode()
_CHANGED = ("WRONGTYPE", "no such key", "NOGROUP")
"""In errors about a key that became another between two questions."""


class Looker:
    """Asks the primaries of one side about keys of one database, each on one connection.

    Every method raises `OutageError` where a primary gives no answer within the deadline, or
    refuses one.

    Args:
        clients: to the primaries.
        most: elements of a value that are read as a whole.
        clock: ours.
        deadline: seconds for each round trip.
    """

    def __init__(self, clients: Clients, most: int, clock: Clock, deadline: float) -> None:
        self._clients = clients
        self._site = clients.site
        self._most = most
        self._clock = clock
        self._deadline = deadline
        self._pipes: dict[Address, Pipe] = {}
        self._calls: dict[Address, bytes | None] = {}

    async def begin(self) -> None:
        """Connect, and find out by which command each primary runs a script, if it does."""
        for address, client in self._clients.by_address.items():
            try:
                async with asyncio.timeout(self._deadline):
                    connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            except (RedisError, OSError) as error:
                told = failure(error, self._site.access, names.PASSWORD, self._deadline)
                raise self._outage(address, told.text) from error
            self._pipes[address] = Pipe(connection, lambda _: None)
            self._calls[address] = await self._call_of(address)

    def end(self) -> None:
        """Close the connections."""
        for pipe in self._pipes.values():
            pipe.close("it is done")

    async def size(self) -> int:
        """The number of keys (DBSIZE)."""
        sizes = [await self._ask(address, [(b"DBSIZE",)]) for address in self._site.primaries]
        return sum(size for (size,) in sizes)

    async def pages(self) -> AsyncIterator[list[bytes]]:
        """All keys, a page at a time; SCAN may give one more than once."""
        for address in self._site.primaries:
            cursor = b"0"
            while True:
                command = (b"SCAN", cursor, b"COUNT", PAGE)
                ((cursor, keys),) = await self._ask(address, [command])
                if keys:
                    yield keys
                if int(cursor) == 0:
                    break

    async def look(self, keys: Iterable[bytes]) -> dict[bytes, Look]:
        """What there is under each key."""
        found: dict[bytes, Look] = {}
        held = self._by_holder(keys)
        for each in await asyncio.gather(*(self._look_at(*its) for its in held.items())):
            found |= each
        return found

    async def absent(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those of the keys that are not there."""
        found = []
        for address, its in self._by_holder(keys).items():
            shares = list(self._shares(its, PAGE))
            there = await self._ask(address, [(b"EXISTS", *share) for share in shares])
            unsure = [
                key
                for share, number in zip(shares, there, strict=True)
                if number < len(share)
                for key in share
            ]
            each = await self._ask(address, [(b"EXISTS", key) for key in unsure])
            found += [key for key, number in zip(unsure, each, strict=True) if not number]
        return found

    async def ask(self, key: bytes, commands: Sequence[Command]) -> list[Any] | None:
        """The replies of who holds a key; None where it is of another type by now."""
        replies = await self._ask(self._site.holder(key), commands)
        return None if any(isinstance(each, ReplyError) for each in replies) else replies

    def _by_holder(self, keys: Iterable[bytes]) -> dict[Address, list[bytes]]:
        held: dict[Address, list[bytes]] = defaultdict(list)
        if not self._site.clustered:
            return {next(iter(self._site.primaries)): list(keys)}
        for key in keys:
            held[self._site.holder(key)].append(key)
        return held

    def _shares(self, keys: list[bytes], most: int) -> Iterator[list[bytes]]:
        """Keys that one command may name: a cluster takes those of one slot."""
        groups: dict[int, list[bytes]] = defaultdict(list)
        for key in keys:
            groups[key_slot(key) if self._site.clustered else 0].append(key)
        for group in groups.values():
            yield from (group[at : at + most] for at in range(0, len(group), most))

    async def _call_of(self, address: Address) -> bytes | None:
        # What may not write also runs while writes are paused. Redis 6.2 does not know it.
        for evaluate, call in ((b"EVAL_RO", b"EVALSHA_RO"), (b"EVAL", b"EVALSHA")):
            trial: list[Command] = [
                (evaluate, b"return 1", 0),
                (b"SCRIPT", b"LOAD", _SCRIPT.source),
            ]
            replies = await self._send(address, trial)
            if not any(isinstance(each, ReplyError) for each in replies):
                return call
        return None

    async def _look_at(self, address: Address, keys: list[bytes]) -> dict[bytes, Look]:
        call = self._calls[address]
        if call is None:
            return await self._read(address, keys)
        return await self._run(address, call, keys)

    async def _run(self, address: Address, call: bytes, keys: list[bytes]) -> dict[bytes, Look]:
        found: dict[bytes, Look] = {}
        todo = list(self._shares(keys, _SHARE))
        while todo:
            begun = self._clock.monotonic()
            replies = await self._ask(
                address,
                [(call, _SCRIPT.sha.encode(), len(each), *each, self._most) for each in todo],
            )
            ended = self._clock.monotonic()
            rest = []
            for share, reply in zip(todo, replies, strict=True):
                for key, each in zip(share, reply, strict=False):
                    found[key] = Look.of(each, begun, ended)
                if len(reply) < len(share):
                    rest.append(share[len(reply) :])
            todo = rest
        return found

    async def _read(self, address: Address, keys: list[bytes]) -> dict[bytes, Look]:
        found: dict[bytes, Look] = {}
        for at in range(0, len(keys), _PLAIN):
            begun = self._clock.monotonic()
            replies = await self._converse(address, keys[at : at + _PLAIN])
            ended = self._clock.monotonic()
            found |= {key: Look.of(reply, begun, ended) for key, reply in replies.items()}
        return found

    async def _converse(self, address: Address, keys: list[bytes]) -> dict[bytes, list[Any]]:
        """Read values by plain commands, all of them one step at a time."""
        readings = {key: read(key, self._most) for key in keys}
        asked = {key: next(reading) for key, reading in readings.items()}
        found: dict[bytes, list[Any]] = {}
        while asked:
            together = [command for commands in asked.values() for command in commands]
            replies = iter(await self._ask(address, together))
            steps, asked = asked, {}
            for key, commands in steps.items():
                answers = [next(replies) for _ in commands]
                if any(isinstance(each, ReplyError) for each in answers):
                    # As if it were gone: it differs, and is looked at again.
                    found[key] = [NONE, -2, 0, None]
                    continue
                try:
                    asked[key] = readings[key].send(answers)
                except StopIteration as end:
                    found[key] = end.value
        return found

    async def _ask(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        """The replies; an error only where a key became another."""
        replies = await self._send(address, commands)
        for each in replies:
            if isinstance(each, ReplyError) and not any(one in str(each) for one in _CHANGED):
                if str(each).startswith(("MOVED ", "ASK ")):
                    raise self._outage(address, "no longer holds a slot that it held at first")
                raise self._outage(address, f"refuses to answer: {without_arguments(str(each))}")
        return replies

    async def _send(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        pipe = self._pipes[address]
        answered = asyncio.get_running_loop().create_future()
        replies: list[Any] = []

        def take(reply: Any) -> None:
            replies.append(reply)
            if len(replies) == len(commands) and not answered.done():
                answered.set_result(None)

        pipe.send(b"".join(map(pack, commands)), [take] * len(commands))
        try:
            async with asyncio.timeout(self._deadline):
                await answered
        except TimeoutError:
            raise self._outage(address, f"does not answer within {self._deadline:g} s") from None
        if isinstance(replies[-1], Lost):
            raise self._outage(address, f"is lost: {replies[-1].reason}")
        return replies

    def _outage(self, address: Address, what: str) -> OutageError:
        return OutageError(f"{self._site.name} ({address}) {what}")
