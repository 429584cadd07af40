"""The rules of the list in Python, for where there is no Redis; see `model.py` and `own.py`."""

from __future__ import annotations

from typing import Any

from ..memory import Memory

_Keys = tuple[bytes, ...]
_FOR_GOOD = 2**52


def listed(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`own_listed.lua`."""
    now, (key, ttl, text) = memory.now, args
    positions, told = (_mapping(memory, each) for each in keys)
    ends = now + int(ttl) if int(ttl) else _FOR_GOOD + now
    ends = max(ends, positions.pop(key, 0))
    taken = set(positions.values())
    while ends in taken:
        ends += 1
    positions[key], told[key] = ends, b"%d %b" % (now, text)
    for over in [each for each, end in positions.items() if end <= now]:
        del positions[over], told[over]
    return 1


def page(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`own_page.lua`."""
    positions, told = (memory.get(key) or {} for key in keys)
    behind, most = max(int(args[0]), memory.now), int(args[1])
    found = sorted((end, key) for key, end in positions.items() if end > behind)
    return [[key, end, told.get(key, b"")] for end, key in found[:most]]


def dropped(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`own_dropped.lua`."""
    stays_us, *buckets = args
    positions, told = (memory.get(key) or {} for key in keys)
    old = [
        key
        for key in buckets
        if key in positions and int(told[key].split(b" ")[0]) + int(stays_us) < memory.now
    ]
    for key in old:
        del positions[key], told[key]
    return len(old)


def _mapping(memory: Memory, key: bytes) -> dict[bytes, Any]:
    found: dict[bytes, Any] | None = memory.get(key)
    if found is None:
        found = {}
        memory.put(key, found)
    return found
