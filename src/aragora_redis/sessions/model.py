"""The rules of the session scripts in Python: their oracle, and what runs without a Redis.

Each function takes the KEYS and ARGV of its script, less `not_after`, and answers as it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..memory import Memory, Model

HISTORY = 32
"""Earlier versions on which an update may build."""
HISTORY_US = 60_000_000
"""Microseconds for which it may."""
MEMBERS_BEFORE = 8 * 16
"""Bytes of members that a session had before rotations."""
REPEATED_US = 10_000_000
"""Microseconds for which an end by version knows its own repetition."""

_Keys = tuple[bytes, ...]
_Hash = dict[bytes, bytes]


def create(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`session_create.lua`."""
    key, now = keys[0], memory.now
    if (there := memory.get(key)) is not None:
        return [b"session", now, _flat(there)]
    member, user, idle, absolute, limit, nonce, client, cut_off, *data = args
    index = _index(memory, keys[1]) if len(keys) > 1 else None
    if index is not None and int(limit) > 0:
        over = len(index) - int(limit)
        if over >= 0:
            ranked = sorted(index, key=lambda each: (index[each], each))
            return [b"full", now, ranked[: over + 1]]
    ends = now + int(absolute)
    created = max(now, (int(cut_off) + 2) * 1000) if int(cut_off) else now
    made: _Hash = {b"u": user, b"v": b"%d" % now, b"h": b"", b"c": b"%d" % created}
    made[b"a"] = b"%d" % ends
    made |= {b"i": idle, b"t": b"%d" % now, b"b": b"%d" % sum(map(len, data)), b"w": client}
    for name, json in zip(data[::2], data[1::2], strict=True):
        made[b"d:" + name] = b"%d %b %b" % (now, nonce, json)
    memory.put(key, made)
    _renew(memory, key)
    if index is not None:
        index[member] = ends
        memory.put(keys[1], index)
        memory.expire_at(keys[1], max(memory.expiry(keys[1]) or 0, ends))
    return [b"session", now, _flat(made)]


def read(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`session_read.lua`, for one session."""
    found: _Hash = memory.get(keys[0]) or {}
    if (refusal := _refusal(memory, found)) is not None:
        return refusal
    if memory.now - int(found.get(b"t", b"0")) >= int(found[b"i"]) / 100:
        found[b"t"] = b"%d" % memory.now
        _renew(memory, keys[0])
    if found[b"v"] == args[0]:
        return [b"same", memory.now, int(found.get(b"t", b"0")), found.get(b"w", b"")]
    return [b"session", memory.now, _flat(found)]


def update(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`session_update.lua`, for one session."""
    now = memory.now
    found: _Hash = memory.get(keys[0]) or {}
    if (refusal := _refusal(memory, found)) is not None:
        return refusal
    how, most_bytes, most_fields = args[0], int(args[1]), int(args[2])
    base, nonce, client, holds, sets = int(args[3]), args[4], args[5], args[6] == b"1", int(args[7])
    data = args[9 : 9 + 2 * sets]
    wanted = dict(zip(data[::2], data[1::2], strict=True))
    wanted |= dict.fromkeys(args[9 + 2 * sets :], b"")
    touched = {name: _parts(found[b"d:" + name]) for name in wanted if b"d:" + name in found}
    if any(by == nonce for _, by, _ in touched.values()):
        return [b"session", now, _flat(found)]
    version, earlier = int(found[b"v"]), [int(each) for each in found[b"h"].split()]
    known = base == version or (how != b"exact" and base in earlier)
    if not known or any(changed > base for changed, _, _ in touched.values()):
        return [b"conflict", now]
    recent = [version, *(v for v in earlier if now - v < HISTORY_US)][:HISTORY]
    written = {name: json for name, json in wanted.items() if json or name in touched}
    data_after = _remembered(found, recent[-1]) | written
    size = sum(len(name) + len(json) for name, json in data_after.items())
    living = sum(bool(json) for json in data_after.values())
    if (size > most_bytes and size > int(found[b"b"])) or living > most_fields:
        return [b"large", now, size]
    if written:
        made = now if now > version else version + 1 + now % 4096
        for name in [n for n in found if n.startswith(b"d:") and n[2:] not in data_after]:
            del found[name]
        found |= {b"d:" + n: b"%d %b %b" % (made, nonce, json) for n, json in written.items()}
        history = b" ".join(b"%d" % each for each in recent)
        found |= {b"v": b"%d" % made, b"h": history, b"b": b"%d" % size}
    found |= {b"t": b"%d" % now} | ({b"w": client.removeprefix(b"-")} if client else {})
    _renew(memory, keys[0])
    if holds and base == version:
        return [b"changed", now, found[b"v"], found[b"w"], int(found[b"b"])]
    return [b"session", now, _flat(found)]


def rotate(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`session_rotate.lua`."""
    old, new = keys[:2]
    if (there := memory.get(new)) is not None:
        if b"to" in there:
            return [b"conflict", memory.now]
        return [b"session", memory.now, _flat(there)]
    found: _Hash = memory.get(old) or {}
    if (refusal := _refusal(memory, found)) is not None:
        return refusal
    old_member, new_member, grace, version, client, *resealed = args
    if version != b"0" and (version, client) != (found[b"v"], found.get(b"w", b"")):
        return [b"conflict", memory.now]
    memory.delete(old)
    found[b"p"] = (found.get(b"p", b"") + old_member)[-MEMBERS_BEFORE:]
    found |= zip(resealed[::2], resealed[1::2], strict=True)
    _measure(found)
    memory.put(new, found)
    _renew(memory, new)
    if int(grace) > 0:
        memory.put(old, {b"to": new_member})
        memory.expire_at(old, min(memory.now + int(grace) * 1000, _idle_end(memory, found)))
    if len(keys) > 2:
        index = _index(memory, keys[2])
        index.pop(old_member, None)
        index[new_member] = int(found[b"a"])
        memory.put(keys[2], index)
        if memory.expiry(keys[2]) is None:
            memory.expire_at(keys[2], int(found[b"a"]))
    return [b"session", memory.now, _flat(found)]


def reseal(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`session_reseal.lua`."""
    found: _Hash = memory.get(keys[0]) or {}
    replaced = 0
    for name, old, new in zip(args[::3], args[1::3], args[2::3], strict=True):
        if found.get(name) == old:
            found[name] = new
            replaced += 1
    if replaced:
        _measure(found)
    return replaced


def end(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`session_end.lua`."""
    member, version, nonce = args
    found: _Hash = memory.get(keys[0]) or {}
    if found.get(b"by") == nonce:
        return [b"ended", memory.now, int(found[b"was"]), found[b"p"]]
    if b"to" in found:
        return [b"moved", memory.now, found[b"to"]]
    if version != b"0" and found.get(b"v", version) != version:
        return [b"conflict", memory.now]
    memory.delete(keys[0])
    if len(keys) > 1:
        _index(memory, keys[1]).pop(member, None)
    if int(found.get(b"a", b"0")) <= memory.now:
        return [b"gone", memory.now]
    before = found.get(b"p", b"")
    if version != b"0":
        memory.put(keys[0], {b"by": nonce, b"was": found[b"a"], b"p": before})
        memory.expire_at(keys[0], memory.now + REPEATED_US)
    return [b"ended", memory.now, int(found[b"a"]), before]


def index_of(memory: Memory, keys: _Keys, _args: _Keys) -> Any:
    """`session_index.lua`."""
    index = _index(memory, keys[0])
    ranked = sorted(index, key=lambda member: (index[member], member))
    return [each for member in ranked for each in (member, index[member])]


def look(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`session_list.lua`."""
    index = _index(memory, keys[0])
    replies: list[list[Any]] = []
    for key, member in zip(keys[1:], args, strict=True):
        found: _Hash = memory.get(key) or {}
        if b"c" not in found:
            index.pop(member, None)
            replies.append([])
        else:
            unused = memory.expiry(key) or memory.now
            used, client = int(found.get(b"t", found[b"c"])), found.get(b"w", b"")
            before = found.get(b"p", b"")
            replies.append([int(found[b"c"]), int(found[b"a"]), unused, used, client, before])
    return [memory.now, replies]


MODELS: Mapping[str, Model] = {
    "session_create": create,
    "session_read": read,
    "session_update": update,
    "session_rotate": rotate,
    "session_reseal": reseal,
    "session_end": end,
    "session_index": index_of,
    "session_list": look,
}


def _refusal(memory: Memory, found: _Hash) -> list[Any] | None:
    if b"to" in found:
        return [b"moved", memory.now, found[b"to"]]
    if int(found.get(b"a", b"0")) <= memory.now:
        return [b"gone", memory.now]
    return None


def _parts(value: bytes) -> tuple[int, bytes, bytes]:
    changed, by, json = value.split(b" ", 2)
    return int(changed), by, json


def _remembered(found: _Hash, oldest: int) -> dict[bytes, bytes]:
    """The data, with the removals that somebody can have missed (as empty)."""
    data = {field[2:]: _parts(value) for field, value in found.items() if field.startswith(b"d:")}
    return {name: json for name, (changed, _, json) in data.items() if json or changed > oldest}


def _measure(found: _Hash) -> None:
    """Note the bytes of the data, removals included."""
    data = {field[2:]: _parts(value) for field, value in found.items() if field.startswith(b"d:")}
    found[b"b"] = b"%d" % sum(len(name) + len(json) for name, (_, _, json) in data.items())


def _index(memory: Memory, key: bytes) -> dict[bytes, int]:
    """The living members of an index; a change to it lasts where the key is there."""
    index: dict[bytes, int] = memory.get(key) or {}
    for member in [member for member, ends in index.items() if ends <= memory.now]:
        del index[member]
    return index


def _idle_end(memory: Memory, found: _Hash) -> int:
    return memory.now + min(int(found[b"i"]), int(found[b"a"]) - memory.now)


def _renew(memory: Memory, key: bytes) -> None:
    memory.expire_at(key, _idle_end(memory, memory.get(key) or {}))


def _flat(found: _Hash) -> list[bytes]:
    return [each for pair in found.items() for each in pair]
