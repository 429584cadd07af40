"""Puts into Redis what others would have put there, through the scripts that do so."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from redis import Redis

from aragora_redis.operation import Operation
from aragora_redis.scripts.catalog import all_scripts
from aragora_redis.tokens import operations
from aragora_redis.tokens.entry import DAY, MEMBER_BYTES, SHARDS, Entry

DAYS = 30
CALLS = 64
"""In one write."""
TOKENS_A_CALL = operations.CALL_ENTRIES


def run(client: Redis, asked: Iterator[Operation[Any]]) -> float:
    """Run operations, many in a write; seconds that this took."""
    for script in all_scripts():
        client.script_load(script.source)
    began, calls = time.monotonic(), list(_taken(asked))
    while calls:
        with client.pipeline(transaction=False) as pipeline:
            for each in calls:
                if each.script is None:
                    raise ValueError("only scripts are run so")
                pipeline.evalsha(each.script.sha, len(each.keys), *each.keys, 0, *each.args)
            pipeline.execute()
        calls = list(_taken(asked))
    return time.monotonic() - began


def _taken(asked: Iterator[Operation[Any]]) -> Iterator[Operation[Any]]:
    for _, each in zip(range(CALLS), asked, strict=False):
        yield each


def revocations(count: int, a_call: int = TOKENS_A_CALL) -> Iterator[Operation[Any]]:
    """So many, of tokens of the next month."""
    keys = [operations.ShardKeys("aragora", index) for index in range(SHARDS)]
    today = int(time.time() // DAY) + 1
    for number, first in enumerate(range(0, count, a_call)):
        shard, day = number % SHARDS, today + number // SHARDS % DAYS
        raw = os.urandom(MEMBER_BYTES * min(a_call, count - first))
        entries = [
            Entry(
                day,
                bytes((raw[at] & ~15 | shard,)) + raw[at + 1 : at + MEMBER_BYTES],
                (day * DAY + (first + at) % DAY) * 1000,
            )
            for at in range(0, len(raw), MEMBER_BYTES)
        ]
        yield operations.join(keys[shard], entries, nonce=b"scale")


def held(client: Redis) -> int:
    """How many revocations the server holds."""
    keys = list(client.scan_iter("aragora:t:*members:*", 10_000))
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.zcard(key)
        return sum(pipeline.execute())


if __name__ == "__main__":
    port, wanted, each = map(int, sys.argv[1:])
    run(Redis(port=port, password=os.environ["PASSWORD"]), revocations(wanted, each))
