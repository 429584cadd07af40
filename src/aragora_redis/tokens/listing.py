"""A revocation as people are shown it. Pure."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

from ..digests import digest_of
from ..errors import InvalidInputError
from .entry import DAY, PARDONED, Entry, RevocationKind
from .note import Note
from .pardon import is_pardon

_PLACE: Final = re.compile(r"(\d{1,6})\.(\d{1,16})\.([0-9a-f]{16})", re.ASCII)
_WORDS = {
    RevocationKind.JTI: "token",
    RevocationKind.USER: "user",
    RevocationKind.TENANT: "tenant",
    RevocationKind.FAMILY: "family",
    RevocationKind.SESSION: "sessions",
}


class Revocation(Struct, frozen=True):
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


class RevocationList(Struct, frozen=True):
    """A page of revocations, those first that may be forgotten first.

    Attributes:
        total: how many are kept, those of today that are over by now included.
        after: where the next page begins; None after the last.
    """

    total: int
    shown: tuple[Revocation, ...]
    after: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return asdict(self) | {"shown": [each.as_dict() for each in self.shown]}


class Place(NamedTuple):
    """Where an entry stands among all, in the order in which they may be forgotten."""

    day: int
    score: int
    begins: bytes
    """The first bytes of its digest."""

    @classmethod
    def of(cls, entry: Entry) -> Place:
        """The place of an entry."""
        return cls(entry.day, entry.score, entry.member[:8])

    def __str__(self) -> str:
        return f"{self.day}.{self.score}.{self.begins.hex()}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read what a page has told.

        Raises:
            InvalidInputError: none has told it.
        """
        found = _PLACE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise InvalidInputError(
                "this is no place among revocations", remedy="give the `after` of the page before"
            )
        return cls(int(found[1]), int(found[2]), bytes.fromhex(found[3]))


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
