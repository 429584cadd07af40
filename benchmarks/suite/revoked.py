"""Revocations as an instance has them once they are loaded: of tokens of the next month."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from aragora_redis.tokens.entry import DAY, MEMBER_BYTES, SHARDS
from aragora_redis.tokens.shard import Shard

PAGE = 1_000
"""Members that are read from Redis at once."""
DAYS = 30
Page = tuple[int, int, dict[bytes, int]]
"""Shard, day, and members with their scores."""


def pages(entries: int, first: int, seed: int = 1) -> Iterator[Page]:
    """So many revocations, from a day on; the tokens expire at whole seconds, as `exp` is."""
    rng = random.Random(seed)
    for start in range(0, entries, PAGE):
        number = start // PAGE
        shard, day = number % SHARDS, first + number // SHARDS % DAYS
        raw = rng.randbytes(min(PAGE, entries - start) * MEMBER_BYTES)
        ends = (day * DAY + (start + at) % DAY for at in range(PAGE))
        members = (raw[at : at + MEMBER_BYTES] for at in range(0, len(raw), MEMBER_BYTES))
        yield (
            shard,
            day,
            {
                bytes((each[0] & ~15 | shard,)) + each[1:]: end * 1000
                for each, end in zip(members, ends, strict=False)
            },
        )


def fill(shards: Sequence[Shard], entries: int, first: int) -> None:
    """Have an instance hold so many."""
    for shard, day, members in pages(entries, first):
        shards[shard].replica.join(day, members.items())
