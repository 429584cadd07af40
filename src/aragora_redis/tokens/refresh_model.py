"""The rules of `scripts/refresh_rotate.lua` in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..memory import Memory, Model


class _Family(NamedTuple):
    newest: int
    token: bytes = b""
    before: bytes = b""
    nonce: bytes = b""
    issued: int = 0
    when: int = 0
    ended: bool = False


def rotate(memory: Memory, keys: tuple[bytes, ...], argv: tuple[bytes, ...]) -> Any:
    """See the script."""
    (key,) = keys
    generation, token, successor, nonce, issued, ends, spent, again, late = argv
    presented, now = int(generation), memory.now // 1000
    known: _Family = memory.get(key) or _Family(newest=-1)
    if known.ended:
        return [b"ended"]

    def keep(family: _Family) -> None:
        memory.put(key, family)
        until = max(memory.expiry(key) or 0, int(ends) * 1000)
        memory.expire_at(key, until)

    if presented == known.newest - 1 and token == known.before:
        ago = abs(now - known.when)
        if nonce == known.nonce and ago <= int(again):
            return [b"rotated", known.issued]
        if ago <= int(late):
            return [b"raced"]
    forked = presented == known.newest and token != known.token
    if presented < known.newest or forked or spent == b"1":
        keep(known._replace(ended=True))
        return [b"reused"]
    keep(_Family(presented + 1, successor, token, nonce, int(issued), now))
    return [b"rotated", int(issued)]


MODELS: Mapping[str, Model] = {"refresh_rotate": rotate}
