"""What is kept for people beside a revocation: what it names, who made it, and why."""

from __future__ import annotations

from typing import NamedTuple, Self

from ..errors import InvalidInputError
from ..names import validate_text
from .entry import NOTE_LIMIT, RevocationKind

ACTOR_LIMIT = 100
"""Characters that the name of who revokes may have."""


_CUT_OFFS = frozenset(
    {
        RevocationKind.USER,
        RevocationKind.TENANT,
        RevocationKind.FAMILY,
        RevocationKind.SESSION,  # of everybody: one alone has no note
    }
)


class Note(NamedTuple):
    """A note.

    Attributes:
        kind: what is revoked; None where that was not noted.
        actor: who did it, as they named themselves.
        reason: why, in their words.
    """

    kind: RevocationKind | None
    actor: str = ""
    reason: str = ""

    @classmethod
    def of(cls, kind: RevocationKind, actor: str, reason: str) -> Self:
        """A note on what is about to be revoked; only the first 200 characters of a reason stay.

        Raises:
            InvalidInputError: one of them is no text that can be kept.
        """
        validate_text(actor, "an actor", least=0, most=ACTOR_LIMIT)
        if actor and not actor.isprintable():
            raise InvalidInputError("an actor holds a control character")
        validate_text(reason, "a reason", least=0)
        return cls(kind, actor, reason[:NOTE_LIMIT])

    @classmethod
    def read(cls, text: str | None) -> Self:
        """A note as it is stored."""
        kind, _, rest = (text or "").partition("\t")
        actor, _, reason = rest.partition("\t")
        known = RevocationKind(kind) if kind in set(RevocationKind) else None
        return cls(known, actor, reason)

    @property
    def is_cut_off(self) -> bool:
        """Whether it is on the end of all that somebody was issued so far."""
        return self.kind in _CUT_OFFS

    @property
    def text(self) -> str:
        """It as it is stored: nothing, where it would say nothing but that a token is one."""
        said = self.actor or self.reason
        if self.kind is None or (self.kind is RevocationKind.JTI and not said):
            return ""
        return f"{self.kind}\t{self.actor}\t{self.reason}"
