"""A revocation as it is stored: a digest, a number that only grows, and the day it may be dropped.

Members are keyed digests, since user ids and weak jtis can be guessed: whoever reads Redis, or a
log, learns nothing from them.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from ..errors import InvalidInputError, UnexpectedReplyError

DAY = 86_400
DAYS = 10**6
"""Every day is below: it has 6 digits on the feed."""
MEMBER_BYTES = 16
SHARDS = 16
SCORES = 10**15
"""Every score is below: it has 15 digits on the feed."""
NOTE_LIMIT = 200
"""Characters of a reason that are kept."""
VALUE_LIMIT = 1024
"""Characters that a jti or a user id may have."""
_RECORD = MEMBER_BYTES + 6 + 15


class RevocationKind(StrEnum):
    """What a revocation names. The values are part of the stored digests."""

    JTI = "j"
    USER = "u"
    TENANT = "t"
    FAMILY = "f"
    SESSION = "s"
    ROTATED = "r"


class Entry(NamedTuple):
    """One revocation.

    Attributes:
        day: days since 1970 of the last day on which it matters.
        member: 16 bytes, the keyed digest of what is revoked.
        score: milliseconds of Unix time: when a jti or session ends by itself, or a cut-off.
        note: why, for people; not part of the decision.
    """

    day: int
    member: bytes
    score: int
    note: str = ""

    @property
    def shard(self) -> int:
        """The shard that holds it."""
        return self.member[0] % SHARDS

    def __repr__(self) -> str:
        return f"Entry(day={self.day}, member={self.member.hex()[:8]}..., score={self.score})"


def member_of(key: bytes, kind: RevocationKind, value: str) -> bytes:
    """The digest under which `value` is revoked: HMAC-SHA256, cut to 16 bytes (RFC 2104).

    Raises:
        InvalidInputError: the value is empty or too long.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"an id must be text, not {type(value).__name__}")
    if not value or len(value) > VALUE_LIMIT:
        raise InvalidInputError(f"an id must have 1 to {VALUE_LIMIT} characters")
    message = (kind + value).encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256")[:MEMBER_BYTES]


def jti_entry(key: bytes, jti: str, expires_at: float, note: str) -> Entry:
    """Revoke one token until it expires by itself (`expires_at`, Unix seconds)."""
    score = math.ceil(expires_at * 1000)
    return Entry(
        day=int(expires_at // DAY),
        member=member_of(key, RevocationKind.JTI, jti),
        score=score,
        note=note,
    )


def first_issue(cut_off: int) -> int:
    """The first `iat` (whole Unix seconds) that a cut-off of this score leaves valid."""
    return cut_off // 1000 + 1


def cut_off_entry(member: bytes, cut_off: float, max_lifetime: float, note: str) -> Entry:
    """Revoke all that was issued to whom `member` names at or before `cut_off` (Unix seconds)."""
    return Entry(
        day=int((cut_off + max_lifetime) // DAY),
        member=member,
        score=math.floor(cut_off * 1000),
        note=note,
    )


def ended_session(member: bytes, ends_at: float) -> Entry:
    """The tombstone of a session, kept until it would have ended anyway (Unix seconds)."""
    return Entry(day=int(ends_at // DAY), member=member, score=math.ceil(ends_at * 1000))


def read_blob(blob: bytes) -> Iterator[Entry]:
    """The entries of one message or record of the feed, as the join script wrote them.

    Raises:
        UnexpectedReplyError: the bytes are not such a record.
    """
    if len(blob) % _RECORD:
        raise UnexpectedReplyError("a record of the revocation feed is cut off")
    for start in range(0, len(blob), _RECORD):
        record = blob[start : start + _RECORD]
        member, digits = record[:MEMBER_BYTES], record[MEMBER_BYTES:]
        if not digits.isdigit():
            raise UnexpectedReplyError("a record of the revocation feed has no numbers")
        yield Entry(int(digits[:6]), member, int(digits[6:]))


class DayDigest(NamedTuple):
    """Size and XOR of a day's members: equal for equal sets, whatever the order of joins."""

    size: int = 0
    xor: int = 0


def fingerprint(member: bytes, score: int) -> int:
    """What one member adds to its day's XOR: 128 bits of SHA-1, as the join script computes it."""
    text = member + b":" + str(score).encode()
    return int.from_bytes(hashlib.sha1(text, usedforsecurity=False).digest()[:16], "big")
