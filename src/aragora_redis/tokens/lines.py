"""Revocations as lines of JSON, each with a checksum of its own: on disk, and on their way. Pure.

A line that is torn or altered spoils itself and none of the others.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from .entry import NOTE_LIMIT, SCORES, Entry, can_be

LINE_LIMIT = 8192
"""Bytes that a line may have."""
_SEAL = re.compile(rb'(.*),"crc":"([0-9a-f]{8})"\}\n?', re.DOTALL)
_LAST_DAY = 999_999


def sealed(fields: Mapping[str, Any]) -> bytes:
    """One object as a line that carries the CRC-32 of itself."""
    body = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None where it is not as it was written."""
    found = _SEAL.fullmatch(line)
    if found is None or int(found[2], 16) != zlib.crc32(found[1]):
        return None
    try:
        fields = json.loads(found[1] + b"}")
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def line_of(entry: Entry) -> bytes:
    """A revocation as a line."""
    fields = {"day": entry.day, "member": entry.member.hex(), "score": entry.score}
    return sealed(fields | ({"note": entry.note} if entry.note else {}))


def entry_of(line: bytes) -> Entry | None:
    """The revocation of a line; None where it is not as it was written, or says none."""
    fields = unsealed(line)
    if fields is None:
        return None
    day, score = fields.get("day"), fields.get("score")
    member, note = fields.get("member"), fields.get("note", "")
    if not (_whole(day, _LAST_DAY) and _whole(score, SCORES - 1)):
        return None
    if not (isinstance(member, str) and isinstance(note, str) and len(note) <= 4 * NOTE_LIMIT):
        return None
    try:
        digest = bytes.fromhex(member)
        note.encode()  # JSON can say half of a surrogate pair, and no join can
    except ValueError:
        return None
    return Entry(day, digest, score, note) if can_be(digest, score) else None


def joined(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The greatest of each member and day, as a join of them would leave it."""
    greatest: dict[tuple[int, bytes], Entry] = {}
    for entry in entries:
        key = (entry.day, entry.member)
        known = greatest.get(key)
        if known is None or known.score < entry.score:
            greatest[key] = entry
    return iter(greatest.values())


def _whole(value: Any, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
