"""What somebody did by hand, as it is recorded: digests and names, and no ids. Pure.

Recorded is what the command line does; over HTTP what reaches beyond one token or session
(cut-offs, pardons, imports, all sessions of a user or of everybody, forces, limits), and what names
an actor; in Python what names an actor. An everyday logout names none, and is not recorded.
"""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict

from ..errors import AragoraRedisError, InvalidInputError, Ran
from ..names import validate_text

ACTOR_LIMIT = 100
REASON_LIMIT = 200
BEGUN = "begun"
_FAILED = {Ran.NO: "did not run", Ran.YES: "ran, with an error", Ran.UNKNOWN: "unknown"}


class Act(Struct, frozen=True, kw_only=True):
    """One thing that somebody did.

    Attributes:
        at: when it began, in Unix seconds by the primary's clock.
        actor: who did it, as they named themselves, or by what they proved that they may.
        action: the command that does it, such as `tokens revoke`.
        target: a name, or the digest of what may not be shown, see `digest_of`.
        reason: why, in their words.
        outcome: what became of it; `begun` where nobody could tell any more.
        via: by what it was done: `cli`, `http`, `dashboard`, `python`, or `sync` for threads.
        instance: which instance did it; nothing for the command line, which is none.
        id: tells this act from others.
    """

    at: float = 0.0
    actor: str = ""
    action: str = ""
    target: str = ""
    reason: str = ""
    outcome: str = BEGUN
    via: str = ""
    instance: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return asdict(self)


def validate_actor(actor: str) -> None:
    """Accept who acts.

    Raises:
        InvalidInputError: nobody, or it is too long, or more than one line of text.
    """
    _validate_line(actor, "an actor", ACTOR_LIMIT)


def validate_signature(actor: str, reason: str) -> None:
    """Accept who acts, and why.

    Raises:
        InvalidInputError: one of them is missing, too long, or more than one line of text.
    """
    validate_actor(actor)
    _validate_line(reason, "a reason", REASON_LIMIT)


def outcome_of(error: AragoraRedisError) -> str:
    """What became of an act that ended with this."""
    return _FAILED[error.ran]


def _validate_line(text: str, what: str, most: int) -> None:
    validate_text(text, what, most=most)
    if not text.isprintable():
        raise InvalidInputError(f"{what} holds a control character")
