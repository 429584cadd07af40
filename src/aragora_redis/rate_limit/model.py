"""The rules of the limit scripts in Python, for where there is no Redis; see `gcra.py`.

Each function takes the KEYS and ARGV of its script, less `not_after`, and answers as it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..memory import Memory, Model
from . import own_model
from .bucket import Bucket, Hold, with_quota
from .gcra import decide, decide_all, tat_of
from .policy import LimitPolicy

_Keys = tuple[bytes, ...]
_SMALLEST = -(2**53)


def check(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`gcra.lua`, for one item."""
    now, numbers = memory.now, [int(arg) for arg in args[1:]]
    buckets = [_open(memory, key, numbers[4 * at : 4 * at + 3], now) for at, key in enumerate(keys)]
    costs = numbers[3::4]
    items = [
        (bucket.policy, tat_of(bucket.policy, bucket.level, now), cost)
        for bucket, cost in zip(buckets, costs, strict=True)
    ]
    if args[0] == b"charge":
        decided = [decide(*item, now, "charge") for item in items]
    else:
        decided = decide_all(items, now)
    replies = [reply for reply, _ in decided]
    given = all(reply >= 0 for reply in replies)
    for key, bucket, cost, reply in zip(keys, buckets, costs, replies, strict=True):
        if cost and given:
            bucket.take(reply, cost)
        if cost and (given or bucket.went_back):
            _store(memory, key, bucket)
    said = [
        _answer(bucket, max(reply, _SMALLEST))
        for bucket, reply in zip(buckets, replies, strict=True)
    ]
    return said if len(said) > 1 else said[0]


def reset(memory: Memory, keys: _Keys, _args: _Keys) -> Any:
    """`reset.lua`, for one bucket."""
    [key] = keys
    stored = memory.get(key)
    if stored is None:
        return 0
    bucket = Bucket.open(_policy(1, 1, 1), stored, memory.now)
    if bucket.quota_until is None:
        return int(memory.delete(key))
    taken = bucket.level > 0 or bool(bucket.holds)
    bucket.level = bucket.beyond = 0
    bucket.holds.clear()
    _store(memory, key, bucket)
    return int(taken)


def reserve(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`reserve.lua`."""
    now, (key, *outcome_keys) = memory.now, keys
    count, period_us, burst, least, most, shares = (int(arg) for arg in args[:6])
    name, lasts_us, keeps, open_at_most, ended_name, used = args[6:]
    bucket = _open(memory, key, (count, period_us, burst), now)
    if (known := bucket.holds.get(name)) is not None:
        until = max(known.until, now + int(lasts_us))
        if until > known.until:
            bucket.keep(known, until)
            _store(memory, key, bucket)
        return [known.cost, until, _answer(bucket, max(bucket.level, 0))]
    if any(memory.get(outcome_key) is not None for outcome_key in outcome_keys):
        return [0, 0, _answer(bucket, max(bucket.level, 0))]
    ended = bucket.holds.get(ended_name)
    if ended is not None:
        bucket.settle(ended, int(used))
    level, policy = max(bucket.level, 0), bucket.policy
    free = (policy.full - level) // policy.period_us
    granted, until, said = 0, 0, level
    if free < least:
        said = max(policy.full - level - least * policy.period_us, _SMALLEST)
    elif most > 0 and len(bucket.holds) >= int(open_at_most):
        granted = -1
    else:
        granted = max(least, min(most, free // int(shares)))
    if granted > 0:
        until = now + int(lasts_us)
        bucket.hold(Hold(name, granted, until, keeps == b"1"))
        said = bucket.level
    if granted > 0 or ended is not None or bucket.went_back:
        _store(memory, key, bucket)
    return [granted, until, _answer(bucket, said)]


def settle(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`settle.lua`."""
    now, (key, outcome_key) = memory.now, keys
    name = args[3]
    used, until, late_us = (int(arg) for arg in args[4:7])
    ends = until + late_us
    bucket = _open(memory, key, [int(arg) for arg in args[:3]], now)
    if now > ends:
        return [b"past", 0, _answer(bucket, max(bucket.level, 0)), 0, 0]
    if (before := memory.get(outcome_key)) is not None:
        was_found, was_unpaid, *was = before
        return [was_found, was_unpaid, _answer(bucket, max(bucket.level, 0)), *was]
    hold, policy = bucket.holds.get(name), bucket.policy
    if hold is not None:
        ends = max(ends, hold.until + late_us)
        found, over = b"held", bucket.settle(hold, used)
    else:
        found = b"lost" if now < until else b"lapsed"
        raised = max(bucket.level, 0) + used * policy.period_us
        over = max(raised - policy.full, 0)
        bucket.take(min(raised, policy.full), used)
    unpaid = -(-over // policy.period_us)
    held = hold.cost if hold is not None else 0
    memory.put(outcome_key, (found, unpaid, used, held))
    memory.expire_at(outcome_key, ends + 1_000_000)
    _store(memory, key, bucket)
    return [found, unpaid, _answer(bucket, max(bucket.level, 0)), used, held]


def quota(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`quota.lua`."""
    now, [key] = memory.now, keys
    numbers = [int(arg) for arg in (*args[:3], *args[4:])]
    bucket = _open(memory, key, numbers[:3], now)
    had = bucket.quota_until is not None
    if numbers[3]:
        until = now + numbers[6] if numbers[6] else 0
        bucket = with_quota(bucket, _policy(*numbers[3:6]), until)
    else:
        bucket = with_quota(bucket, _policy(*numbers[:3]), None)
    _store(memory, key, bucket)
    return int(had)


def _policy(count: int, period_us: int, burst: int) -> LimitPolicy:
    return LimitPolicy(name="model", count=count, period_us=period_us, burst=burst)


def _open(memory: Memory, key: bytes, limit: Sequence[int], now: int) -> Bucket:
    return Bucket.open(_policy(*limit), memory.get(key), now)


def _store(memory: Memory, key: bytes, bucket: Bucket) -> None:
    memory.put(key, bucket.encode())
    left = bucket.ttl_ms
    memory.expire_at(key, None if left is None else bucket.now + left * 1000)


def _answer(bucket: Bucket, said: int) -> Any:
    if bucket.quota_until is None:
        return said
    policy = bucket.policy
    return [said, policy.count, policy.period_us, policy.burst, bucket.quota_until]


MODELS: Mapping[str, Model] = {
    "gcra": check,
    "reset": reset,
    "reserve": reserve,
    "settle": settle,
    "quota": quota,
    "own_listed": own_model.listed,
    "own_page": own_model.page,
    "own_dropped": own_model.dropped,
}
