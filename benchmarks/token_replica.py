"""What the revocations that every instance holds cost: bytes an entry, nanoseconds a look-up.

    python benchmarks/token_replica.py [ENTRIES]

Beside it, as a measure, one plain dict of digest to score, which lacks the days and their digests.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aragora_redis.tokens.entry import SHARDS, Entry
from aragora_redis.tokens.replica import ShardReplica

ROUNDS = 20
PROBES = 1_000
PAGE = 4_096


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def told(
    name: str, entries: int, fill: Callable[[int], None], look: Callable[[bytes], object]
) -> None:
    gc.collect()
    before, started = resident(), time.perf_counter()
    fill(entries)
    took = time.perf_counter() - started
    gc.collect()
    size = (resident() - before) / entries
    hits, misses = (best(look, members(seed, PROBES)) for seed in (1, 2))
    print(
        f"{name}: {size:.0f} B an entry, {took / entries * 1e6:.1f} us to join one, "
        f"{hits:.0f} ns a hit, {misses:.0f} ns a miss"
    )


def members(seed: int, count: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(16) for _ in range(count)]


def best(look: Callable[[bytes], object], probes: Sequence[bytes]) -> float:
    """Nanoseconds of one look-up, in the best of the rounds: the machine is shared."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for member in probes:
            look(member)
        rounds.append(time.perf_counter() - started)
    return min(rounds) / len(probes) * 1e9


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    shards = [ShardReplica() for _ in range(SHARDS)]
    plain: dict[bytes, int] = {}

    def fill_replica(count: int) -> None:
        rng = random.Random(1)
        for number in range(count):
            member = rng.randbytes(16)
            shards[member[0] % SHARDS].apply(Entry(20_000 + number % 30, member, 10**12 + number))

    def fill_dict(count: int) -> None:
        rng = random.Random(1)
        for number in range(count):
            plain[rng.randbytes(16)] = 10**12 + number

    told("replica", entries, fill_replica, lambda m: shards[m[0] % SHARDS].score(m))
    told("dict   ", entries, fill_dict, plain.get)


main()
