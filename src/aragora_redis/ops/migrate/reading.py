"""Read a value by plain commands, whole or as samples: which to send, what the replies say. Pure.

What is read whole gives the digest that `digest.lua` gives, so that one side may forbid scripts.
Replies may be those of RESP2 or RESP3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from .compare import NONE

Command = tuple[bytes | int, ...]
Reading = Generator[list[Command], list[Any], list[Any]]
"""Yields commands, gets their replies, and returns what `digest.lua` replies for one key."""

_COUNTED = {
    b"string": b"STRLEN",
    b"list": b"LLEN",
    b"set": b"SCARD",
    b"hash": b"HLEN",
    b"zset": b"ZCARD",
    b"stream": b"XLEN",
}
_BYTES = 100
"""Bytes of a string that count as one element."""
_PIECE = 1024
"""Bytes of a string in one sample."""


def read(key: bytes, most: int) -> Reading:
    """Look at one key, as `digest.lua` does with at most so many elements."""
    kind, pttl = yield [(b"TYPE", key), (b"PTTL", key)]
    if kind == NONE:
        return [kind, pttl, 0, None]
    if kind not in _COUNTED:
        return [kind, pttl, -1, None]
    (count,) = yield [(_COUNTED[kind], key)]
    elements = count / _BYTES if kind == b"string" else count
    if elements > most:
        return [kind, pttl, count, None]
    if kind == b"stream":
        digest = yield from _stream(key, most)
    else:
        command, *how = _WHOLE[kind]
        (value,) = yield [(command, key, *how)]
        digest = _DIGEST[kind](value)
    return [kind, pttl, count, digest.encode()]


def samples(key: bytes, kind: bytes, count: int, most: int, random: Random) -> list[Command]:
    """What to ask the source for so many elements of a large value."""
    end = max(1, most // 2)
    match kind:
        case b"string":
            last = max(0, count - _PIECE)
            starts = [0, last, *(random.randint(0, last) for _ in range(most))]
            return [(b"GETRANGE", key, at, at + _PIECE - 1) for at in starts]
        case b"list":
            return [(b"LRANGE", key, 0, end - 1), (b"LRANGE", key, -end, -1)]
        case b"set":
            return [(b"SRANDMEMBER", key, most)]
        case b"hash":
            return [(b"HRANDFIELD", key, most, b"WITHVALUES")]
        case b"zset":
            return [(b"ZRANDMEMBER", key, most, b"WITHSCORES")]
        case _:
            return [
                (b"XRANGE", key, b"-", b"+", b"COUNT", end),
                (b"XREVRANGE", key, b"+", b"-", b"COUNT", end),
                (b"XINFO", b"STREAM", key),
                (b"XINFO", b"GROUPS", key),
            ]


def counterparts(
    key: bytes, kind: bytes, asked: list[Command], replies: Sequence[Any]
) -> list[Command]:
    """What to ask the target, to compare it with the samples of the source."""
    if kind not in _LOOKED_UP:
        return asked
    members = [pair[0] for pair in _pairs(replies[0])] if kind != b"set" else list(replies[0])
    return [(_LOOKED_UP[kind], key, *members)] if members else []


def agree(kind: bytes, replies: Sequence[Any], answers: Sequence[Any]) -> bool:
    """Whether the target's answers are what the source's samples say."""
    match kind:
        case b"set":
            return bool(replies[0]) and all(answers[0])
        case b"hash":
            values = [value for _, value in _pairs(replies[0])]
            return bool(values) and values == list(answers[0])
        case b"zset":
            scores = [float(score) for _, score in _pairs(replies[0])]
            found = [None if each is None else float(each) for each in answers[0]]
            return bool(scores) and scores == found
        case b"stream":
            return list(replies[:2]) == list(answers[:2]) and _state(replies) == _state(answers)
        case _:
            return list(replies) == list(answers)


_LOOKED_UP = {b"set": b"SMISMEMBER", b"hash": b"HMGET", b"zset": b"ZMSCORE"}


def _state(replies: Sequence[Any]) -> list[Any]:
    """What a stream has beside its entries."""
    _, _, about, groups = replies
    named = [dict(_pairs(group)) for group in groups]
    keep = (b"name", b"last-delivered-id", b"pending")
    last = dict(_pairs(about))[b"last-generated-id"]
    return [last, *([group[each] for each in keep] for group in named)]


def _stream(key: bytes, most: int) -> Generator[list[Command], list[Any], str]:
    about, entries, groups = yield [
        (b"XINFO", b"STREAM", key),
        (b"XRANGE", key, b"-", b"+"),
        (b"XINFO", b"GROUPS", key),
    ]
    parts = [dict(_pairs(about))[b"last-generated-id"]]
    for at, fields in entries:
        flat = _flat(fields)
        parts += [at, b"%d" % len(flat), *flat]
    for each in groups:
        group = dict(_pairs(each))
        parts += [group[b"name"], group[b"last-delivered-id"], b"%d" % group[b"pending"]]
        if 0 < group[b"pending"] <= most:
            (pending,) = yield [
                (b"XPENDING", key, group[b"name"], b"-", b"+", group[b"pending"]),
            ]
            for at, consumer, _idle, deliveries in pending:
                parts += [at, consumer, b"%d" % deliveries]
    return _sha1(_framed(parts))


def _pairs(reply: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs out of a map, a list of pairs, or a flat list."""
    if isinstance(reply, dict):
        yield from reply.items()
    elif reply and isinstance(reply[0], list | tuple):
        yield from ((first, second) for first, second in reply)
    else:
        yield from zip(reply[::2], reply[1::2], strict=True)


def _flat(reply: Any) -> list[bytes]:
    return [each for pair in _pairs(reply) for each in pair]


def _framed(parts: Iterable[bytes]) -> bytes:
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _added_up(parts: Iterable[bytes]) -> str:
    high = low = 0
    for part in parts:
        digest = hashlib.sha1(part, usedforsecurity=False).digest()
        high += int.from_bytes(digest[:4])
        low += int.from_bytes(digest[4:8])
    return f"{high % 2**32:08x}{low % 2**32:08x}"


def _hash_digest(value: Any) -> str:
    return _added_up(b"%d:%b%b" % (len(name), name, field) for name, field in _pairs(value))


def _zset_digest(value: Any) -> str:
    return _sha1(
        _framed(
            part for member, score in _pairs(value) for part in (member, b"%.17g" % float(score))
        )
    )


_WHOLE: Mapping[bytes, tuple[bytes | int, ...]] = {
    b"string": (b"GET",),
    b"list": (b"LRANGE", 0, -1),
    b"set": (b"SMEMBERS",),
    b"hash": (b"HGETALL",),
    b"zset": (b"ZRANGE", 0, -1, b"WITHSCORES"),
}
_DIGEST: Mapping[bytes, Callable[[Any], str]] = {
    b"string": lambda value: _sha1(value or b""),
    b"list": lambda value: _sha1(_framed(value)),
    b"set": _added_up,
    b"hash": _hash_digest,
    b"zset": _zset_digest,
}
