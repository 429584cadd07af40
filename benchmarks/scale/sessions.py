"""Live sessions: what they take, their lists, their common end, and what is left of them."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any

from aragora_redis import SharedState
from aragora_redis.operation import Operation
from aragora_redis.sessions import operations
from aragora_redis.sessions.ids import fresh_id, user_ref
from aragora_redis.sessions.operations import SessionKeys
from aragora_redis.sessions.policy import SessionPolicy

from ..suite.servers import BenchServer
from . import loading
from .child import resident
from .findings import Curve, Findings, Table
from .ground import ground
from .strain import strained

MEGA = 1e6
MANY = 1_000
"""Sessions of one user, beside all the others."""
READ = 5_000
SETTLED = 10.0
BRIEF = SessionPolicy(idle=10.0, absolute=10.0)
FIELDS = {"theme": b'"dark"', "cart": b'"%b"' % (b"x" * 100), "seen": b"1700000000"}


async def measure(sizes: tuple[int, ...]) -> Findings:
    """Of each size."""
    stored, asked = [], []
    for size in sizes:
        with ground() as server:
            first, second = await _of(server, size)
            stored.append(first)
            asked.append(second)
            print(*first, *second, sep=" | ", file=sys.stderr, flush=True)
    tables = (
        Table(
            "What the server holds, three fields and 130 bytes of data in each session",
            (
                *("sessions", "bytes each", "of this the user's index", "begun a second"),
                *("over but still there after 10 s, % of all keys", "server CPU meanwhile, s"),
                "foreign PING p99, most, ms",
            ),
            stored,
        ),
        Table(
            "What is asked",
            (
                *("sessions", f"list of a user with {MANY:,}, ms".replace(",", " ")),
                *("longest command meanwhile, ms", "end of everybody acknowledged, ms"),
                *("bytes written for it", "5 000 read: instance, MB more", "median ms of a read"),
            ),
            asked,
        ),
    )
    curve = Curve(
        "sessions",
        "One Redis, by live sessions",
        ("live sessions", [float(size) for size in sizes]),
        {
            "bytes a session": [row[1] for row in stored],
            "begun a second": [row[3] for row in stored],
            "median ms of a read": [row[6] for row in asked],
        },
    )
    return Findings("Sessions", tables, (curve,) if len(sizes) > 1 else ())


async def _of(server: BenchServer, size: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    client, ids = server.client, list[str]()
    async with SharedState.from_env(server.target.env) as state:
        key = state.settings.digest_key.reveal_bytes()
        before = client.info("memory")["used_memory"]
        took = await asyncio.to_thread(
            loading.run, client, _begun(key, size, state.policies.sessions, ids)
        )
        used = client.info("memory")["used_memory"] - before
        index = client.memory_usage(_index_of(key, "user:1"))
        listed, slowest = await _listed(server, state, key)
        more, median = await _read(state, ids)
        async with strained(server) as strain:
            began = time.perf_counter()
            await state.sessions.end_all()
            ended = time.perf_counter() - began
        gone, cpu, pings = await _expired(server, key, size // 4)
    return (
        (size, used / size, index, size / took, gone, cpu, pings),
        (
            size,
            listed * 1e3,
            slowest * 1e3,
            ended * 1e3,
            strain.received,
            more / MEGA,
            median * 1e3,
        ),
    )


def _begun(
    key: bytes, count: int, policy: SessionPolicy, ids: list[str], user: str | None = None
) -> Iterator[Operation[Any]]:
    """So many, each of a user of its own where none is named."""
    keys = SessionKeys("aragora")
    for number in range(count):
        owner = user or f"user:{number}"
        home = user_ref(key, owner)
        text, ref = fresh_id(key, home.shard)
        if len(ids) < READ:
            ids.append(text)
        yield operations.create(
            keys,
            ref,
            policy,
            user=owner,
            index=home,
            fields=FIELDS,
            nonce=secrets.token_hex(8),
        )


def _index_of(key: bytes, user: str) -> bytes:
    return SessionKeys("aragora").index(user_ref(key, user))


async def _listed(server: BenchServer, state: SharedState, key: bytes) -> tuple[float, float]:
    one = _begun(key, MANY, state.policies.sessions, [], "many")
    await asyncio.to_thread(loading.run, server.client, one)
    async with strained(server) as strain:
        began = time.perf_counter()
        found = await state.sessions.of_user("many", within=10)
        took = time.perf_counter() - began
    if len(found) != MANY:
        raise RuntimeError(f"{len(found)} sessions of {MANY} were listed")
    return took, strain.slowest


async def _read(state: SharedState, ids: list[str]) -> tuple[float, float]:
    before, took = resident(), []
    for each in ids:
        began = time.perf_counter()
        if await state.sessions.get(each) is None:
            raise RuntimeError("a session is gone")
        took.append(time.perf_counter() - began)
    took.sort()
    return resident() - before, took[len(took) // 2]


async def _expired(server: BenchServer, key: bytes, count: int) -> tuple[float, float, str]:
    """How many of those that are over are still there after a while, in all keys."""
    client = server.client
    staying = client.dbsize()
    await asyncio.to_thread(loading.run, client, _begun(key, count, BRIEF, []))
    await asyncio.sleep(BRIEF.absolute)
    async with strained(server) as strain:
        await asyncio.sleep(SETTLED)
    left = client.dbsize()
    pings = ", ".join(f"{ping * 1e3:.2g}" for ping in strain.pings[1:])
    return max(left - staying, 0) / left * 100, strain.cpu, pings
