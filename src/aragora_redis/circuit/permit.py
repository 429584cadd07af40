"""The leave to make one call, as a value and as the text that goes over HTTP."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ..errors import InvalidInputError

_TEXT: Final = re.compile(
    r"([clp])\.(\d{1,15})\.(\d{1,15})\.(\d{1,9})\.([0-9a-f]{16}|-)\.([0-9a-f]{16}|-)", re.ASCII
)

Kind = Literal["c", "l", "p"]


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make one call; its result is reported with it.

    Attributes:
        kind: `c` for a call through a closed circuit, `p` for a trial call with a place of the
            fleet's, `l` for one that this instance allowed itself while Redis could not be asked.
        era: history, and
        n: number of the state in which it was given.
        turn: which decision of an instance without Redis it goes by; 0 where Redis decides.
        token: names a trial call.
        place: names a place of this instance's bulkhead that is held for the call, if one is.
    """

    kind: Kind
    era: int
    n: int
    turn: int = 0
    token: str = field(default="-", repr=False)
    place: str = field(default="-", repr=False)

    @property
    def trial(self) -> bool:
        """Whether the call tries a circuit that is half-open."""
        return self.kind != "c"

    @property
    def holds_place(self) -> bool:
        """Whether a place of a bulkhead was taken under it."""
        return self.place != "-"

    @property
    def generation(self) -> tuple[int, int]:
        """The state in which it was given."""
        return self.era, self.n

    def __str__(self) -> str:
        return f"{self.kind}.{self.era}.{self.n}.{self.turn}.{self.token}.{self.place}"

    def with_place(self) -> Permit:
        """The same, with a name of its own for its place."""
        return replace(self, place=secrets.token_hex(8))

    @classmethod
    def parse(cls, text: str) -> Permit:
        """Read the text of a permit.

        Raises:
            InvalidInputError: no circuit has given it.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None or (found[1] == "c") != (found[5] == "-"):
            raise InvalidInputError("this is no permit", remedy="send what acquire has answered")
        kind: Kind = found[1]  # type: ignore[assignment]  # the pattern has no other
        return cls(kind, int(found[2]), int(found[3]), int(found[4]), found[5], found[6])
