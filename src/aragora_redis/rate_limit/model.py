"""The rules of the limit scripts in Python, for where there is no Redis; see `gcra.py`.

Each function takes the KEYS and ARGV of its script, less `not_after`, and answers as it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..memory import Memory, Model
from .gcra import Tat, decide, decide_all, ttl_ms
from .policy import LimitPolicy

_Keys = tuple[bytes, ...]


def check(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`gcra.lua`, for one item."""
    now, numbers = memory.now, [int(arg) for arg in args[1:]]
    items = [
        (_policy(*numbers[4 * at : 4 * at + 3]), Tat.parse(memory.get(key)), numbers[4 * at + 3])
        for at, key in enumerate(keys)
    ]
    if args[0] == b"charge":
        decided = [decide(*item, now, "charge") for item in items]
    else:
        decided = decide_all(items, now)
    replies = [reply for reply, _ in decided]
    if all(reply >= 0 for reply in replies):
        for key, (policy, _, cost), (reply, after) in zip(keys, items, decided, strict=True):
            if cost and after is not None:
                memory.put(key, after.encode())
                memory.expire_at(key, now + ttl_ms(policy, reply) * 1000)
    return replies if len(replies) > 1 else replies[0]


def _policy(count: int, period_us: int, burst: int) -> LimitPolicy:
    return LimitPolicy(name="model", count=count, period_us=period_us, burst=burst)


def reset(memory: Memory, keys: _Keys, _args: _Keys) -> Any:
    """`reset.lua`."""
    return int(memory.get(keys[0]) is not None and memory.delete(keys[0]))


MODELS: Mapping[str, Model] = {"gcra": check, "reset": reset}
