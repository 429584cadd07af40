"""Who forced a circuit, when and why, as one text that goes with the circuit's state. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import InvalidInputError
from ..names import validate_text

REASON_LIMIT = 200
"""Characters of the reason for which a circuit was forced."""
BY_LIMIT = 100
_BETWEEN = "\t"


class Note(NamedTuple):
    """Who, when (Unix seconds; 0 where that is not known) and why."""

    by: str = ""
    at: float = 0.0
    reason: str = ""


def write(note: Note) -> str:
    """The text of a note.

    Raises:
        InvalidInputError: a part cannot be one.
    """
    validate_text(note.reason, "a reason", most=REASON_LIMIT, least=0)
    validate_text(note.by, "who forces it", most=BY_LIMIT, least=0)
    if not note.by.isprintable():
        raise InvalidInputError("who forces it holds a control character")
    return _BETWEEN.join((f"{note.at:.3f}", note.by, note.reason))


def read(text: str) -> Note:
    """The note of a text; one that is in no form is all reason."""
    at, _, rest = text.partition(_BETWEEN)
    by, between, reason = rest.partition(_BETWEEN)
    try:
        return Note(by, float(at), reason) if between else Note(reason=text)
    except ValueError:
        return Note(reason=text)
