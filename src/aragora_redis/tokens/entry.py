"""A revocation as it is stored: a digest, a number that only grows, and the day it may be dropped.

Members are keyed digests, since user ids and weak jtis can be guessed: whoever reads Redis, or a
log, learns nothing from them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from hashlib import blake2b
from operator import mul
from struct import Struct
from typing import NamedTuple

from ..digests import blake2b_key
from ..errors import InvalidInputError, UnexpectedReplyError

DAY = 86_400
DAYS = 10**6
"""Every day is below: it has 6 digits on the feed."""
DIGEST_BYTES = 16
"""Bytes of a keyed digest. What is stored under one is taken for nothing else."""
MEMBER_BYTES = 8
"""How many of them name a revocation: ten million refuse one other token in 10**12."""
PARDON_BYTES = 16
"""Bytes of a pardon's member, which nobody is to make without its key."""
SHARDS = 16
ALL_SHARDS = range(SHARDS)
SCORES = 10**15
"""Every score is below: it has 15 digits on the feed."""
PARDONED = 500_000_000_000_000
"""Added to the score of what is pardoned: no revocation has such a score, and each pardon has."""
NOTE_LIMIT = 200
"""Characters of a reason that are kept."""
VALUE_LIMIT = 1024
"""Characters that a jti or a user id may have."""
_BESIDE_MEMBER = 1 + 6 + 15
_SCORES_OF = {MEMBER_BYTES: range(PARDONED), PARDON_BYTES: range(PARDONED, SCORES)}
_REVOCATION = Struct(f"B{MEMBER_BYTES}s21s")
_RECORD = re.compile(rb"(?:\x08(.{8})|\x10(.{16}))(\d{6})(\d{15})", re.DOTALL)


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
        member: the keyed digest of what is revoked, 8 bytes; or 16, which pardon something.
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


def digests(key: bytes, kind: RevocationKind, size: int = MEMBER_BYTES) -> Callable[[str], bytes]:
    """What gives `size` bytes of the digest of a text: BLAKE2b with a key (RFC 7693)."""
    # A copy of what has read the key costs half of what reading it anew does.
    begun = blake2b(kind.encode(), digest_size=DIGEST_BYTES, key=blake2b_key(key)).copy

    def digest(value: str) -> bytes:
        if not 0 < len(value) <= VALUE_LIMIT:
            raise InvalidInputError(f"an id must have 1 to {VALUE_LIMIT} characters")
        hashing = begun()
        try:
            hashing.update(value.encode())
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
            hashing.update(value.encode("utf-8", "surrogatepass"))
        return hashing.digest()[:size]

    return digest


def full_digest(key: bytes, kind: RevocationKind, value: str) -> bytes:
    """The digest under which what belongs to `value` is stored.

    Raises:
        InvalidInputError: the value is no text, empty or too long.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"an id must be text, not {type(value).__name__}")
    return digests(key, kind, DIGEST_BYTES)(value)


def member_of(key: bytes, kind: RevocationKind, value: str) -> bytes:
    """The digest under which `value` is revoked: the first bytes. Raises as `full_digest` does."""
    return full_digest(key, kind, value)[:MEMBER_BYTES]


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


def ended_session(digest: bytes, ends_at: float) -> Entry:
    """The tombstone of a session, kept until it would have ended anyway (Unix seconds)."""
    return Entry(int(ends_at // DAY), digest[:MEMBER_BYTES], math.ceil(ends_at * 1000))


def can_be(member: bytes, score: int) -> bool:
    """Whether they are a revocation's by length and score, or both are a pardon's."""
    return score in _SCORES_OF.get(len(member), ())


def all_revocations(members: Mapping[bytes, int]) -> bool:
    """Whether all of some, by length and score, are revocations and no pardons."""
    return (
        {*map(len, members)} == {MEMBER_BYTES}
        and min(members.values()) >= 0
        and max(members.values()) < PARDONED
    )


def read_blob(blob: bytes) -> list[Entry]:
    """The entries of one message or record of the feed, as the join script wrote them.

    Raises:
        UnexpectedReplyError: the bytes are not such a record.
    """
    found: list[Entry] = []
    if len(blob) % _REVOCATION.size == 0:  # of revocations alone, as nearly all are
        for size, member, digits in _REVOCATION.iter_unpack(blob):
            if size != MEMBER_BYTES or not digits.isdigit():
                break
            day, score = divmod(int(digits), SCORES)
            if score >= PARDONED:
                break
            found.append(Entry(day, member, score))
        else:
            return found
    found = [
        Entry(int(day), member or pardon, int(score))
        for member, pardon, day, score in _RECORD.findall(blob)
    ]
    if sum([len(entry.member) for entry in found]) + _BESIDE_MEMBER * len(found) != len(blob):
        raise UnexpectedReplyError("a record of the revocation feed cannot be read")
    if not all(can_be(entry.member, entry.score) for entry in found):
        raise UnexpectedReplyError("a record of the revocation feed has a score that none can have")
    return found


class DayDigest(NamedTuple):
    """Size and sum of a day's members: equal for equal sets, whatever the order of joins."""

    size: int = 0
    sum: int = 0


Joined = tuple[bytes, int, int | None]
"""What a join has changed: a member, its score, and what that was before."""
SUMS = 2**64
"""Every sum of a day is below."""


def added(members: Mapping[bytes, int]) -> int:
    """What new members add to the sum of their day, as the join script computes it modulo 2**64.

    Each member counts as many times as twice its score and one. The last eight bytes of a member,
    which alone are left of it then, are as good as random, and nobody chooses them, so two sets
    that differ have the same sum once in 2**60 times: of the twofold of a score in whole seconds
    four factors are two.
    """
    numbers = [*map(int.from_bytes, members)]
    by_score: int = sum(map(mul, numbers, members.values()))
    return 2 * by_score + sum(numbers)


def raised(joined: Iterable[Joined]) -> int:
    """What joins add to the sum of their day where some members had a score before."""
    return sum(
        int.from_bytes(member) * (2 * score + 1 if before is None else 2 * (score - before))
        for member, score, before in joined
    )


def fingerprint(member: bytes, score: int) -> int:
    """What one member adds where it is new."""
    return added({member: score}) % SUMS
