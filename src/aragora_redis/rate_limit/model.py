"""The rules of the limit scripts in Python, for where there is no Redis; see `gcra.py`.

Each function takes the KEYS and ARGV of its script, less `not_after`, and answers as it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..memory import Memory, Model
from .gcra import Mode, Tat, decide, ttl_ms
from .policy import LimitPolicy

_Keys = tuple[bytes, ...]


def check(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`gcra.lua`, for one item."""
    count, period_us, burst, cost = (int(arg) for arg in args[:4])
    policy = LimitPolicy(name="model", count=count, period_us=period_us, burst=burst)
    before, now = Tat.parse(memory.get(keys[0])), memory.now
    mode: Mode = "charge" if args[4] == b"charge" else "check"
    reply, after = decide(policy, before, cost, now, mode)
    if cost and after is not None and reply >= 0:
        memory.put(keys[0], after.encode())
        memory.expire_at(keys[0], now + ttl_ms(policy, reply) * 1000)
    return reply


def reset(memory: Memory, keys: _Keys, _args: _Keys) -> Any:
    """`reset.lua`."""
    return int(memory.get(keys[0]) is not None and memory.delete(keys[0]))


MODELS: Mapping[str, Model] = {"gcra": check, "reset": reset}
