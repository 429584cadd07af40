"""Carry keys from one side to the other as they are: DUMP here, RESTORE there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ...address import Address
from ..commands import to_the_end
from .calls import CopyError, Words, answered, as_map, forbidden, named, pipelined, shown, told
from .changes import Key, batches
from .pair import Pair
from .sites import Clients

_MODULES: Final = frozenset({6, 7})
_STREAMS: Final = frozenset({15, 19, 21, 26})
"""What the first byte of a payload says of its kind (rdb.h)."""
_RATE: Final = 1 << 20
"""Bytes a second that a server has at least for a value."""
_UNKNOWN: Final = 1 << 16
"""Bytes that a value is taken for where MEMORY USAGE is forbidden."""
# A value that has expired long ago: RESTORE with it removes a key. So one command does it all,
# which a server may permit us and nobody else. Its form is that of RDB 6, which all understand.
_GONE: Final = (1, b"\x00\x01x\x06\x00\xb4m\xee\xdfH\xbdtC")

_REMEDIES: Final = {
    "DUMP payload version": "the target is of an older version than the source; choose another",
    "OUTOFMEMORY": "give the target more memory, and run the migration again",
    "NOREPLICAS": "let the target take writes, and run the migration again",
    "READONLY": "it is no longer primary; run the migration again, which finds out who is",
    "MOVED": "slots have moved; run the migration again, which finds out who holds them",
    "CLUSTERDOWN": "have the cluster whole again, and run the migration again",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A key as its source gives it."""

    key: bytes
    at: int
    """When it expires, in Unix milliseconds; 0 never."""
    payload: bytes


class Transfer:
    """Copies keys and removes them.

    Attributes:
        grouped: streams with consumer groups, with a digest of what the target has of them. What
            groups do is not told by notifications.
        skipped: keys that cannot be carried, those of modules.
    """

    def __init__(self, pair: Pair, *, lot: int, page: int) -> None:
        """Nothing is asked yet.

        Args:
            pair: both sides.
            lot: bytes that are carried at a time; what is larger is carried alone.
            page: keys that are asked for at a time.
        """
        self._pair = pair
        self._lot, self._page = lot, page
        self._exact = False
        self.grouped: dict[Key, bytes] = {}
        self.skipped: set[Key] = set()

    async def prepare(self) -> None:
        """Find out what the sides can.

        Raises:
            CopyError: a server does not answer, or is no primary.
        """
        pair = self._pair
        for who, _, client in pair.servers(pair.source) + pair.servers(pair.target):
            if (await pair.info(who, client)).get("role") != "master":
                raise CopyError(f"{who} is no primary", remedy=_REMEDIES["READONLY"])
        versions = [
            str((await pair.info(who, client)).get("redis_version", ""))
            for who, _, client in pair.servers(pair.source)
        ]
        # PEXPIRETIME is of 7.0.
        self._exact = all(int(each.partition(".")[0] or 0) >= 7 for each in versions)

    async def pages(self, clients: Clients) -> AsyncGenerator[list[bytes], None]:
        """Keys of a database by SCAN: each that is there all the time, once or more.

        Raises:
            CopyError: a server does not answer.
        """
        for address, client in clients.by_address.items():
            ask: Any = client.execute_command
            cursor: Any = 0
            while True:
                who = named(clients.site.name, address)
                asked = ask("SCAN", cursor, "COUNT", self._page)
                cursor, keys = await self._said(who, asked)
                if keys:
                    yield keys
                if not int(cursor):
                    break

    async def copy(self, db: int, keys: Iterable[bytes]) -> None:
        """Have the target hold these keys as the source does now, or not at all.

        Raises:
            CopyError: a side fails; some of the keys may have been copied.
        """
        for address, some in _by_holder(self._pair.source[db], keys).items():
            sizes, expiries = await self._measure(db, address, some)
            lots = batches([(key, size) for key, size in zip(some, sizes, strict=True)], self._lot)
            sized = dict(zip(some, sizes, strict=True))
            at = dict(zip(some, expiries, strict=True))
            for lot in lots:
                size = sum(sized[key] for key in lot)
                values = await self._dump(db, address, lot, at, size)
                grouped = await self._grouped(db, address, values)
                here = {value.key for value in values}
                gone = [key for key in lot if key not in here and (db, key) not in self.skipped]
                await self._restore(db, values, gone)
                self._note(db, lot, values, grouped)

    async def recheck(self, keys: Iterable[Key]) -> int:
        """Copy those of these streams again that differ from what was copied; how many did.

        Raises:
            CopyError: a side fails.
        """
        differing: dict[int, list[bytes]] = defaultdict(list)
        for db, some in _by_db(keys).items():
            for address, held in _by_holder(self._pair.source[db], some).items():
                sizes, _ = await self._measure(db, address, held)
                sized = dict(zip(held, sizes, strict=True))
                for lot in batches(list(sized.items()), self._lot):
                    size = sum(sized[key] for key in lot)
                    values = await self._dump(db, address, lot, dict.fromkeys(lot, 0), size)
                    has = {value.key: _digest(value.payload) for value in values}
                    differing[db] += [k for k in lot if has.get(k) != self.grouped.get((db, k))]
        for db, changed in differing.items():
            await self.copy(db, changed)
        return sum(map(len, differing.values()))

    async def sweep(self, db: int, keys: Sequence[bytes]) -> None:
        """Remove those of the target's keys that the source has not.

        Raises:
            CopyError: a side fails.
        """
        gone: list[bytes] = []
        for address, some in _by_holder(self._pair.source[db], keys).items():
            found = await self._ask(
                self._pair.source[db],
                address,
                [("EXISTS", key) for key in some],
                self._pair.seconds,
            )
            for key, here in zip(some, found, strict=True):
                self._accept(self._pair.source[db], address, key, here)
                if not here:
                    gone.append(key)
        await self._restore(db, [], gone)

    async def functions(self) -> None:
        """Copy libraries of functions that the target has not, or others (7.0).

        Raises:
            CopyError: the target refuses them.
        """
        who, _, client = self._pair.servers(self._pair.source)[0]
        wanted = await self._libraries(who, client)
        if not wanted:
            return
        dump: Any = client.execute_command
        payload = await self._said(who, dump("FUNCTION", "DUMP"))
        for target, _, each in self._pair.servers(self._pair.target):
            if not wanted <= await self._libraries(target, each):
                restore: Any = each.execute_command
                await self._said(target, restore("FUNCTION", "RESTORE", payload, "REPLACE"))

    async def _libraries(self, who: str, client: Redis) -> set[bytes]:
        """The code of a server's functions."""
        ask: Any = client.execute_command
        try:
            found = await answered(who, ask("FUNCTION", "LIST", "WITHCODE"), self._pair.seconds)
        except ResponseError as error:
            if forbidden(error):
                return set()
            raise CopyError(f"{who} does not list its functions: {told(error)}") from error
        return {as_map(each)[b"library_code"] for each in found}

    async def _measure(
        self, db: int, address: Address, keys: Sequence[bytes]
    ) -> tuple[list[int], list[int]]:
        """Sizes in memory, and when each expires."""
        ask = "PEXPIRETIME" if self._exact else "PTTL"
        (seconds, micros), *said = await self._ask(
            self._pair.source[db],
            address,
            [
                ("TIME",),
                *((ask, key) for key in keys),
                *(("MEMORY", "USAGE", key) for key in keys),
            ],
            self._pair.seconds,
        )
        now = 0 if self._exact else int(seconds) * 1000 + int(micros) // 1000
        expiries = []
        for key, left in zip(keys, said[: len(keys)], strict=True):
            self._accept(self._pair.source[db], address, key, left)
            # One that expires at once must not become eternal.
            expiries.append(max(now + int(left), 1) if int(left) >= 0 else 0)
        return [each if isinstance(each, int) else _UNKNOWN for each in said[len(keys) :]], expiries

    async def _dump(
        self, db: int, address: Address, keys: Sequence[bytes], at: Mapping[bytes, int], size: int
    ) -> list[Value]:
        """Those that are there. A key that changed since it was measured is told of, so dirty."""
        values = []
        said = await self._ask(
            self._pair.source[db],
            address,
            [("DUMP", key) for key in keys],
            self._pair.seconds + size / _RATE,
        )
        for key, payload in zip(keys, said, strict=True):
            if isinstance(payload, ResponseError) and "module" in str(payload).lower():
                self.skipped.add((db, key))
                continue
            self._accept(self._pair.source[db], address, key, payload)
            if payload is not None:
                values.append(Value(key, at[key], payload))
        return values

    async def _grouped(self, db: int, address: Address, values: Sequence[Value]) -> set[bytes]:
        """Streams that have consumer groups; asked after the DUMP, since a new group is told of."""
        streams = [value.key for value in values if value.payload[0] in _STREAMS]
        said = await self._ask(
            self._pair.source[db],
            address,
            [("XINFO", "GROUPS", key) for key in streams],
            self._pair.seconds,
        )
        unsure = zip(streams, said, strict=True)
        return {key for key, groups in unsure if isinstance(groups, RedisError) or groups}

    async def _restore(self, db: int, values: Sequence[Value], gone: Sequence[bytes]) -> None:
        clients = self._pair.target[db]
        by_key: dict[bytes, tuple[int, bytes]] = {v.key: (v.at, v.payload) for v in values}
        by_key |= dict.fromkeys(gone, _GONE)

        async def restore(address: Address, keys: Sequence[bytes]) -> None:
            size = sum(len(by_key[key][1]) for key in keys)
            commands: list[Words] = [
                ("RESTORE", key, *by_key[key], "REPLACE", "ABSTTL") for key in keys
            ]
            said = await self._ask(clients, address, commands, self._pair.seconds + size / _RATE)
            for key, reply in zip(keys, said, strict=True):
                if "Bad data format" in str(reply) and by_key[key][1][0] in _MODULES:
                    self.skipped.add((db, key))
                else:
                    self._accept(clients, address, key, reply)

        async def all_of_them() -> None:
            spread = _by_holder(clients, by_key)
            results = await asyncio.gather(
                *(restore(address, keys) for address, keys in spread.items()),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result

        # All answers are waited for, whatever happens: a RESTORE that is still on its way would
        # put an old value over a newer one.
        await to_the_end(all_of_them())

    def _note(
        self, db: int, lot: Iterable[bytes], values: Iterable[Value], grouped: set[bytes]
    ) -> None:
        for key in lot:
            self.grouped.pop((db, key), None)
        for value in values:
            if value.key in grouped:
                self.grouped[db, value.key] = _digest(value.payload)

    async def _ask(
        self, clients: Clients, address: Address, commands: Sequence[Words], seconds: float
    ) -> list[Any]:
        who = named(clients.site.name, address)
        return await pipelined(who, clients.by_address[address], commands, seconds)

    async def _said(self, who: str, call: Any) -> Any:
        try:
            return await answered(who, call, self._pair.seconds)
        except ResponseError as error:
            raise CopyError(f"{who} refuses: {told(error)}", remedy=_remedy(error)) from error

    def _accept(self, clients: Clients, address: Address, key: bytes, reply: Any) -> None:
        """Raise what a reply about a key says against it."""
        if isinstance(reply, Exception):
            who = named(clients.site.name, address)
            raise CopyError(
                f"{who} refuses the key {shown(key)}: {told(reply)}", remedy=_remedy(reply)
            )


def _remedy(error: Exception) -> str:
    # redis-py makes classes of codes, and leaves them out of the text.
    text = f"{type(error).__name__.removesuffix('Error').upper()} {error}"
    found = (remedy for word, remedy in _REMEDIES.items() if word in text)
    return next(found, CopyError.remedy)


def _by_holder(clients: Clients, keys: Iterable[bytes]) -> dict[Address, list[bytes]]:
    """Keys by the primary that holds them, each once."""
    spread: dict[Address, list[bytes]] = defaultdict(list)
    try:
        for key in dict.fromkeys(keys):
            spread[clients.site.holder(key)].append(key)
    except KeyError as error:
        raise CopyError(f"{error.args[0]}", remedy=_REMEDIES["CLUSTERDOWN"]) from error
    return spread


def _by_db(keys: Iterable[Key]) -> dict[int, list[bytes]]:
    spread: dict[int, list[bytes]] = defaultdict(list)
    for db, key in keys:
        spread[db].append(key)
    return spread


def _digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=16).digest()
