"""Histories of checks, reservations and leases: what is used is never more than the limit.

A check uses its tokens at once, a reservation what it is settled with when it was made, a lease
what is not brought back when it ends; until then all of it may be used.
"""

from __future__ import annotations

import random
from typing import Any

from aragora_redis.memory import Memory
from aragora_redis.rate_limit import operations
from aragora_redis.rate_limit.model import MODELS
from aragora_redis.rate_limit.policy import LimitPolicy
from aragora_redis.rate_limit.reservation import Reservation

LIMIT = LimitPolicy("api", 1, 1_000_000, 10)
KEY = b"t:l:{s}:api"
EPOCH = 1_795_400_000
STEPS = ("pass", "pass", "check", "check", "reserve", "settle", "lease", "return")


class History:
    """One subject's bucket, and what was used of it. Times are seconds."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.memory = Memory(lambda: self.now * 1_000_000)
        self.used: list[tuple[int, int]] = []
        self.reserved: dict[str, tuple[int, int, int]] = {}
        self.leased: dict[str, tuple[int, int]] = {}

    def run(self, operation: Any) -> Any:
        args = (*operation.shared, *operation.args)
        sent = tuple(each if isinstance(each, bytes) else str(each).encode() for each in args)
        return operation.read(MODELS[operation.script.name](self.memory, operation.keys, sent))

    def out(self) -> float:
        """Tokens that are used or may be, and have not come back."""
        level, last = 0, EPOCH
        for at, cost in [*sorted(self.used), (self.now, 0)]:
            level, last = max(level - (at - last), 0) + cost, at
            if level > LIMIT.burst:
                break
        return level + sum(tokens for tokens, _ in self.leased.values())

    def end_lapsed(self) -> None:
        self.reserved = {n: one for n, one in self.reserved.items() if one[1] > self.now}
        for name, (tokens, until) in [*self.leased.items()]:
            if until <= self.now:
                self.used.append((until, tokens))
                del self.leased[name]

    def step(self, chance: random.Random, name: str) -> None:
        kind, cost, ttl = chance.choice(STEPS), chance.randint(1, 8), chance.choice([3, 10, 30])
        if kind == "pass":
            self.now += chance.choice([1, 1, 2, 5, 12])
        self.end_lapsed()
        if kind == "check" and self.run(operations.check(LIMIT, KEY, cost)) >= 0:
            self.used.append((self.now, cost))
        elif kind == "reserve" and self.run(operations.reserve(LIMIT, KEY, cost, name, ttl)).tokens:
            self.reserved[name] = cost, self.now + ttl, self.now
        elif kind == "settle" and self.reserved:
            name, (cost, until, made) = chance.choice([*self.reserved.items()])
            held, used = (
                Reservation("api", KEY, name, cost, until * 1_000_000),
                chance.randint(0, cost),
            )
            self.run(operations.settle(LIMIT, held, used, late=300, channel=b"c"))
            self.used.append((made, used))
            del self.reserved[name]
        elif kind == "lease":
            wanted = operations.Lease(1, cost, 1, name, ttl, "", 0)
            if tokens := self.run(operations.lease(LIMIT, KEY, wanted)).tokens:
                self.leased[name] = tokens, self.now + ttl
        elif kind == "return" and self.leased:
            name, (tokens, _) = chance.choice([*self.leased.items()])
            used = chance.randint(0, tokens)
            self.run(operations.lease(LIMIT, KEY, operations.Lease(0, 0, 1, "", 1, name, used)))
            self.used.append((self.now, used))
            del self.leased[name]


def test_no_history_uses_more_than_the_limit():
    for seed in range(400):
        history, chance = History(), random.Random(seed)
        for step in range(40):
            history.step(chance, f"{step:016}")
            assert history.out() <= LIMIT.burst, (seed, step)
