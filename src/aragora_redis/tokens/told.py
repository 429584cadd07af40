"""A revocation as people are shown it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .entry import DAY, Entry, RevocationKind
from .note import Note
from .pardon import PARDONED, is_pardon

_WORDS = {
    RevocationKind.JTI: "token",
    RevocationKind.USER: "user",
    RevocationKind.TENANT: "tenant",
    RevocationKind.FAMILY: "family",
    RevocationKind.SESSION: "sessions",
}


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. Instants are Unix seconds.

    Attributes:
        digest: stands for what is revoked.
        what: `token` (or an ended session, which looks alike), `user`, `tenant`, `family`, or
            `sessions`, all of everybody; or `pardon`, what undoes one of these.
        moment: when the token ends by itself; or up to when tokens that were issued, or sessions
            that began, are refused.
        reason: as it was given.
        actor: who did it, as they named themselves.
        pardoned: whether it was undone.
    """

    digest: str
    what: str
    moment: float
    reason: str | None = None
    actor: str | None = None
    pardoned: bool = False

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """Some revocations, and how many are kept, those of today that are over by now included."""

    total: int
    shown: tuple[Revocation, ...]

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return asdict(self)


def digest_of(member: bytes) -> str:
    """What stands for an id in records and lists: equal for equal ids, and opens nothing."""
    return member.hex()[:16]


def told(entry: Entry, *, kind: RevocationKind | None = None, pardoned: bool = False) -> Revocation:
    """An entry for people; `kind` where it is known otherwise than by its note."""
    note = Note.read(entry.note)
    kind = kind or note.kind
    score = entry.score
    if is_pardon(score):
        what, score = "pardon", score - PARDONED
    elif kind is not None and kind in _WORDS:
        what = _WORDS[kind]
    else:
        what = "user" if entry.day > score // 1000 // DAY else "token"
    return Revocation(
        digest_of(entry.member),
        what,
        score / 1000,
        note.reason or None,
        note.actor or None,
        pardoned,
    )
