"""Ask a server what it holds and what it can, and change nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ...address import Address
from ...clock import SYSTEM_CLOCK
from ..access import Access, Failure, connected, failure

SAMPLED = 1_000
"""Keys whose type and size are looked at."""
ASK_LIMIT = 10.0
"""Seconds for all questions to one server."""
_PAUSES_WRITES = (6, 2, 0)
LARGE = 64 * 1024 * 1024
"""Bytes of a value from which it is named."""

_SENTINEL = re.compile("sentinel-[0-9a-f]+-cmd")
"""What a Sentinel calls its connection for commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One server.

    Attributes:
        flavour: `redis` or `valkey`.
        version: of the server, in that flavour.
        run_id: of the process, unlike that of any other; empty where it does not tell.
        primary: it takes writes.
        leader: whom it replicates, as it was told.
        clustered: it is a node of a Redis Cluster.
        keys: by database.
        expiring: how many of them all have a time to live.
        memory, max_memory: bytes; 0 is no bound.
        policy: what it does when memory is full; empty where it does not tell.
        types: of the keys sampled.
        large: keys of those sampled whose value is large, with their bytes.
        modules: what is loaded into it.
        functions: libraries of functions that it has (Redis 7.0).
        users: of its ACL, beside `default`.
        follows: it can be made a replica.
        feeds: it lets others replicate it.
        pauses: it can hold the writes of clients (CLIENT PAUSE WRITE, 6.2).
        replicas: who replicates it.
        sentinels: how many watch it, as far as it tells who is connected.
        ahead: seconds by which its clock is ahead of ours.
        encrypted: it is reached over TLS, by us and so by whoever follows it.
        trusts: the authority by which it knows whom it follows over TLS; empty where it has none or
            no certificate, without which it does not start TLS; None where it does not tell.
    """

    address: Address
    flavour: str
    version: tuple[int, int, int]
    run_id: str = ""
    primary: bool
    clustered: bool
    keys: Mapping[int, int]
    expiring: int
    memory: int
    max_memory: int
    policy: str
    types: Mapping[str, int] = field(default_factory=dict)
    large: Mapping[str, int] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    follows: bool = True
    feeds: bool = True
    pauses: bool = True
    replicas: int = 0
    sentinels: int = 0
    ahead: float = 0.0
    leader: Address | None = None
    encrypted: bool = False
    trusts: str | None = None

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"{self.flavour.capitalize()} {'.'.join(map(str, self.version))}"

    @property
    def total(self) -> int:
        """Keys of all databases."""
        return sum(self.keys.values())


async def take(address: Address, access: Access, variable: str) -> Inventory | Failure:
    """What a server holds and can.

    Args:
        address: of the server.
        access: how to log in.
        variable: sets its password, to be named where that is the trouble.
    """
    try:
        async with asyncio.timeout(ASK_LIMIT), connected(address, access) as client:
            return await _ask(address, client, access)
    except (RedisError, OSError, TimeoutError) as error:
        return failure(error, access, variable, ASK_LIMIT)


async def _ask(address: Address, client: Redis, access: Access) -> Inventory:
    info: Any = await client.info("everything")
    held = {int(name[2:]): row for name, row in info.items() if _is_keyspace(name, row)}
    flavour = "valkey" if "valkey_version" in info else "redis"
    version = _version(str(info.get(f"{flavour}_version", "0")))
    config = await _or(client.config_get("maxmemory-policy"), {})
    types: Counter[str] = Counter()
    large: dict[str, int] = {}
    for db in sorted(held):
        async with connected(address, access, db=db, binary=True) as there:
            await _sample(there, types, large)
    return Inventory(
        address=address,
        flavour=flavour,
        version=version,
        run_id=str(info.get("run_id", "")),
        primary=info.get("role", "master") == "master",
        clustered=bool(info.get("cluster_enabled")),
        keys={db: int(row["keys"]) for db, row in sorted(held.items())},
        expiring=sum(int(row["expires"]) for row in held.values()),
        memory=int(info.get("used_memory", 0)),
        max_memory=int(info.get("maxmemory", 0)),
        policy=str(config.get("maxmemory-policy", info.get("maxmemory_policy", ""))),
        types=dict(types),
        large=large,
        modules=await _names(client, "MODULE", "LIST"),
        functions=await _names(client, "FUNCTION", "LIST"),
        users=tuple(name for name in await _or(client.acl_users(), []) if str(name) != "default"),
        follows=await _knows(client, "REPLICAOF"),
        # Harmless on a connection of our own, and refused where replication is.
        feeds=await _takes(client, "REPLCONF", "listening-port", "0"),
        pauses=version >= _PAUSES_WRITES and await _knows(client, "CLIENT"),
        replicas=int(info.get("connected_slaves", 0)),
        sentinels=await _sentinels(client),
        ahead=await _ahead(client),
        encrypted=access.tls is not None,
        trusts=_trusts(await _or(client.config_get("tls-*"), None)),
        leader=Address(str(info["master_host"]), int(info["master_port"]))
        if "master_host" in info
        else None,
    )


def _trusts(config: Mapping[str, str] | None) -> str | None:
    if config is None:
        return None
    if not config.get("tls-cert-file"):
        return ""
    return config.get("tls-ca-cert-file") or config.get("tls-ca-cert-dir") or ""


def _is_keyspace(name: str, row: object) -> bool:
    return name.startswith("db") and name[2:].isdecimal() and isinstance(row, dict)


async def _sample(client: Redis, types: Counter[str], large: dict[str, int]) -> None:
    cursor = 0
    while types.total() < SAMPLED:
        found: Any = await client.scan(cursor, count=200)
        cursor, page = found
        pipe = client.pipeline(transaction=False)
        for key in page:
            pipe.type(key)
            pipe.memory_usage(key, samples=5)
        said = await pipe.execute(raise_on_error=False) if page else []
        for key, kind, size in zip(page, said[::2], said[1::2], strict=True):
            types[kind.decode() if isinstance(kind, bytes) else "unknown"] += 1
            if isinstance(size, int) and size > LARGE:
                large[key.decode("utf-8", "backslashreplace")] = size
        if not cursor:
            break


async def _sentinels(client: Redis) -> int:
    rows: Any = await _or(client.client_list(), [])
    return sum(_SENTINEL.fullmatch(str(row.get("name"))) is not None for row in rows)


async def _ahead(client: Redis) -> float:
    began = SYSTEM_CLOCK.wall()
    said: Any = await _or(client.time(), None)
    if said is None:
        return 0.0
    seconds, micros = said
    return float(seconds + micros / 1e6 - (began + SYSTEM_CLOCK.wall()) / 2)


async def _names(client: Redis, *command: str) -> tuple[str, ...]:
    ask: Any = client.execute_command
    rows = await _or(ask(*command), [])
    found = []
    for row in rows:
        named = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=False))
        found.append(str(named.get("name") or named.get("library_name")))
    return tuple(found)


async def _knows(client: Redis, command: str) -> bool:
    ask: Any = client.execute_command
    said: Any = await _or(ask("COMMAND INFO", command), {command: True})
    rows = said.values() if isinstance(said, dict) else said
    return any(rows)


async def _takes(client: Redis, *command: str) -> bool:
    ask: Any = client.execute_command
    try:
        await ask(*command)
    except ResponseError:
        return False
    return True


async def _or(asked: Any, otherwise: Any) -> Any:
    with contextlib.suppress(ResponseError, TypeError, ValueError):
        return await asked
    return otherwise


def _version(text: str) -> tuple[int, int, int]:
    parts = [int(part) if part.isdecimal() else 0 for part in (*text.split("."), "0", "0")[:3]]
    return (parts[0], parts[1], parts[2])
