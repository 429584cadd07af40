"""How long a session lives, and how much it may hold."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from ..errors import InvalidInputError
from ..times import Duration, in_seconds
from .client import Remember

LONGEST = 366 * 86_400.0
"""Seconds that a session may live: its tombstone is kept for as long."""
LARGEST = 1024 * 1024
"""Bytes that a session may have: every instance reads and writes it whole."""
MOST = 1000
"""Sessions of one user that a limit may allow."""


class OnFull(StrEnum):
    """What becomes of a session too many."""

    END_OLDEST = "end-oldest"
    REFUSE = "refuse"


class SessionPolicy(Struct, frozen=True, kw_only=True):
    """What `[sessions]` says. Durations are seconds.

    Attributes:
        idle: a session that is not read for so long ends.
        absolute: it ends so long after its creation at the latest; rotation does not extend it.
        longest: what one that is begun may ask for instead of these; 0 for `absolute`.
        max_per_user: sessions that a user may have at once; 0 for no limit.
        max_bytes: names and values of its data together, as they are stored.
        remember: of the client, device and address; the `network` of the address alone, or nothing.

    Raises:
        InvalidInputError: a value is out of range.
    """

    idle: float = 1800.0
    absolute: float = 43_200.0
    longest: float = 0.0
    max_per_user: int = 0
    on_full: OnFull = OnFull.END_OLDEST
    max_bytes: int = 65_536
    remember: Remember = Remember.FULL

    def __post_init__(self) -> None:
        for name, value in (("idle", self.idle), ("absolute", self.absolute)):
            if not 1 <= value <= LONGEST:
                raise InvalidInputError(f"{name} is not from 1 second to 366 days")
        if self.longest and not 1 <= self.longest <= LONGEST:
            raise InvalidInputError("longest is not 0, or from 1 second to 366 days")
        if not 0 <= self.max_per_user <= MOST:
            raise InvalidInputError(f"max_per_user is not a whole number from 0 to {MOST}")
        if not 1 <= self.max_bytes <= LARGEST:
            raise InvalidInputError(f"max_bytes is not a whole number from 1 to {LARGEST}")

    @property
    def most(self) -> float:
        """Seconds that a session may live at the most."""
        return max(self.absolute, self.longest)

    def lasting(self, idle: Duration | None, absolute: Duration | None) -> SessionPolicy:
        """The policy of a session that asks for another life; None is as the policy says.

        Raises:
            InvalidInputError: it asks for none, or for more than it may.
        """
        asked = {"idle": idle, "absolute": absolute}
        given = {
            name: in_seconds(value, name) for name, value in asked.items() if value is not None
        }
        for name, value in given.items():
            if not 1 <= value <= self.most:
                raise InvalidInputError(
                    f"{name} is not from 1 to {self.most:g} seconds",
                    remedy="`longest` in [sessions] of the policies file allows more",
                )
        return replace(
            self, idle=given.get("idle", self.idle), absolute=given.get("absolute", self.absolute)
        )


DEFAULT = SessionPolicy()
