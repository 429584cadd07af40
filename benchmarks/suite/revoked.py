"""Revocations as an instance has them once they are loaded: of tokens of the next month."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from aragora_redis.tokens.entry import DAY, MEMBER_BYTES, SHARDS
from aragora_redis.tokens.shard import Shard

PAGE = 1_000
"""Members that are read from Redis at once."""
DAYS = 30
Page = tuple[int, dict[bytes, int]]
"""Day, and members with their scores."""


def pages(entries: int, shard: int, first: int) -> Iterator[Page]:
    """So many of one shard, from a day on; the tokens expire at whole seconds, as `exp` is."""
    rng = random.Random(shard)
    a_day = -(-entries // DAYS)
    for start in range(0, entries, PAGE):
        raw = rng.randbytes(min(PAGE, entries - start) * MEMBER_BYTES)
        day = first + start // a_day
        ends = (day * DAY + (start + at) % DAY for at in range(PAGE))
        members = (raw[at : at + MEMBER_BYTES] for at in range(0, len(raw), MEMBER_BYTES))
        yield (
            day,
            {
                bytes((each[0] & ~15 | shard,)) + each[1:]: end * 1000
                for each, end in zip(members, ends, strict=False)
            },
        )


def fill(shards: Sequence[Shard], entries: int, first: int) -> float:
    """Have an instance hold so many, as it loads them; seconds of processor time that took."""
    spent = 0.0
    for shard in shards:
        share = entries // SHARDS
        shard.replica.expect(share)
        for day, members in pages(share, shard.index, first):
            began = time.process_time()
            shard.replica.join(day, members)
            spent += time.process_time() - began
    return spent
