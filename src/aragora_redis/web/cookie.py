"""The cookie of a session: what it is called, how long it lasts, and what becomes of it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from ..errors import InvalidInputError
from ..sessions.stored import Session
from ..times import Duration, in_seconds

CLOCK_SLACK = 5.0
"""Seconds by which clocks that are kept may differ."""

MaxAge = int | Literal["session"] | None
GivenMaxAge = Duration | Literal["session"] | None
SameSite = Literal["lax", "strict", "none"]


def cookie_name(
    name: str | None,
    *,
    secure: bool,
    same_site: SameSite,
    path: str = "/",
    domain: str | None = None,
) -> str:
    """What the cookie is called: `__Host-session` by default, where that can be.

    A name with the prefix `__Host-` binds it to this host over HTTPS: no subdomain and no plain
    connection can set it (RFC 6265bis).

    Raises:
        InvalidInputError: the parts contradict each other; browsers would drop the cookie.
    """
    bound = secure and path == "/" and domain is None
    found = name or ("__Host-session" if bound else "session")
    if found.startswith(("__Host-", "__Secure-")) and not secure:
        raise InvalidInputError(
            f"the cookie {found} needs secure=True",
            remedy="give it another name where there is no HTTPS",
        )
    if found.startswith("__Host-") and path != "/":
        raise InvalidInputError(f'the cookie {found} needs path="/"')
    if found.startswith("__Host-") and domain is not None:
        raise InvalidInputError(
            f"the cookie {found} goes to no other host, so it can have no domain",
            remedy="give it another name, or no domain",
        )
    if same_site == "none" and not secure:
        raise InvalidInputError('same_site="none" needs secure=True')
    return found


def max_age_of(given: GivenMaxAge) -> MaxAge:
    """How long a cookie is kept, as it can say that: in whole seconds, no fewer than were given.

    Raises:
        InvalidInputError: it is no span of time.
    """
    match given:
        case None:
            return None
        case "session":
            return "session"
        case _:
            return math.ceil(in_seconds(given, "max_age"))


class Cookie(Enum):
    """What becomes of the client's cookie."""

    KEEP = auto()
    SET = auto()
    DELETE = auto()


@dataclass(frozen=True, slots=True)
class Lasting:
    """How long a client keeps its cookie, and when it is sent one anew.

    Attributes:
        max_age: seconds; `session` for as long as the session may be unused, None until the
            browser is closed.
        rolls: whether it is sent anew to whoever uses the session.
    """

    max_age: MaxAge
    rolls: bool = True

    @property
    def ends(self) -> bool:
        """Whether it ends by itself."""
        return self.max_age is not None

    def seconds(self, session: Session, now: float) -> int | None:
        """The `Max-Age` of a cookie that is sent now (Unix seconds)."""
        if self.max_age != "session":
            return self.max_age
        return max(math.ceil(min(session.idle, session.expires_at - now)), 1)

    def is_due(self, session: Session, sent_at: float | None, now: float) -> bool:
        """Whether a cookie that was sent then is over by half, and another would last longer.

        One that says it was sent later than now is due too: the clock was set back, or that of the
        primary of today is behind, and the browser's was not.
        """
        if not self.rolls:
            return False
        if sent_at is None or self.max_age is None:
            return self.ends
        if sent_at > now + CLOCK_SLACK:
            return True
        lasts = self.seconds(session, sent_at) or 0
        return now - sent_at >= lasts / 2 and sent_at + lasts < session.expires_at
