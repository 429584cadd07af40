"""A reservation as it is carried about: sealed, so that whoever holds it can only end it. Pure.

An id says where the tokens were taken and how many, and holds nobody's name: the subject is in it
as its keyed digest. It ends with a MAC under a key that Redis never sees.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from ..digests import blake2b_key
from ..errors import InvalidInputError
from .gcra import validate_cost
from .policy import EXACT, LimitPolicy

NAME_BYTES: Final = 12
TTL: Final = 60.0
"""Seconds after which a reservation lapses that says nothing else."""
LONGEST_TTL: Final = 86_400.0
LATE: Final = 300.0
"""Seconds after it has lapsed within which a reservation may still be settled."""

_MAC_BYTES: Final = 16
_PERSON: Final = b"reservation"
_LONGEST: Final = 2048
_MARK: Final = "r"
"""Before each id: one that began with a dash would be an option on a command line."""


class Found(StrEnum):
    """How a reservation was found when it was settled."""

    HELD = "held"
    LAPSED = "lapsed"
    """Its time was over and its cost had come back: what was used is charged anew."""
    LOST = "lost"
    """A failover or a reset has forgotten it, and what it had taken: what was used is charged."""
    PAST = "past"
    """It is too late for anything."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was reserved.

    Attributes:
        policy: name of the limit.
        key: of the bucket.
        name: of the reservation, unique.
        cost: whole tokens that were reserved.
        until_us: when it lapses, in server microseconds.
        holder: boot id of the instance that decided without Redis; empty otherwise.
        rate: the limit of the call, where it brought its own: count, period, burst.
    """

    policy: str
    key: bytes
    name: str
    cost: int
    until_us: int
    holder: str = ""
    rate: tuple[int, int, int] | None = None

    @property
    def outcome_key(self) -> bytes:
        """Where it is kept what became of it."""
        return b"%b:%b" % (self.key, self.name.encode())

    def seal(self, digest_key: bytes) -> str:
        """The id by which any instance can end it."""
        numbers = " ".join(map(str, (self.cost, self.until_us, *(self.rate or ()))))
        said = f"{self.policy}\n{self.name}\n{numbers}\n{self.holder}\n".encode() + self.key
        text = urlsafe_b64encode(_mac(digest_key, said) + said).rstrip(b"=").decode()
        return _MARK + text


def unseal(sealed: str, digest_key: bytes) -> Reservation:
    """The reservation that an id stands for.

    Raises:
        InvalidInputError: nobody with this digest key has made that id.
    """
    wrong = InvalidInputError("that is no reservation", remedy="give the id as it was given")
    if not isinstance(sealed, str) or not sealed.isascii() or len(sealed) > _LONGEST:
        raise wrong
    mark, text = sealed[:1], sealed[1:]
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise wrong from None
    mac, said = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if mark != _MARK or not hmac.compare_digest(mac, _mac(digest_key, said)):
        raise wrong
    policy, name, numbers, holder, key = said.split(b"\n", 4)
    cost, until_us, *rate = (int(number) for number in numbers.split())
    return Reservation(
        policy.decode(),
        key,
        name.decode(),
        cost,
        until_us,
        holder.decode(),
        (rate[0], rate[1], rate[2]) if rate else None,
    )


def validate_ttl(ttl: float) -> None:
    """Accept how long a reservation may last.

    Raises:
        InvalidInputError: it is less than a millisecond, or more than a day.
    """
    if not 1e-3 <= ttl <= LONGEST_TTL:
        raise InvalidInputError(f"a reservation lasts 0.001 to {LONGEST_TTL:.0f} seconds")


def validate_estimate(policy: LimitPolicy, estimate: int) -> None:
    """Accept how many tokens are reserved; whether a bucket could pay them, Redis knows.

    Raises:
        InvalidInputError: it is no whole number from 1.
    """
    if type(estimate) is int and estimate < 1:
        raise InvalidInputError(
            f"an estimate for {policy.name!r} is a whole number from 1",
            remedy="reserve what is needed at least; settle tells what it was",
        )
    validate_cost(policy, estimate)


def validate_used(policy: LimitPolicy, used: int) -> None:
    """Accept how many tokens were used.

    Raises:
        InvalidInputError: it is no whole number from 0 that could have been.
    """
    if type(used) is not int or not 0 <= used * policy.period_us < EXACT:
        raise InvalidInputError("that many tokens cannot have been used")


def new_name() -> str:
    """16 characters that no other reservation has."""
    return secrets.token_urlsafe(NAME_BYTES)


def _mac(digest_key: bytes, said: bytes) -> bytes:
    key = blake2b_key(digest_key)
    return blake2b(said, digest_size=_MAC_BYTES, key=key, person=_PERSON).digest()


@dataclass(frozen=True, slots=True)
class Kept:
    """A reservation that lasts longer now.

    Attributes:
        reservation: its id from now on: it says when it lapses.
        held: tokens that it holds. Fewer than were reserved, or none, where it had lapsed before,
            and less was there to be held again; 0 once it is settled, or too late for that.
    """

    reservation: str
    held: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a reservation.

    Attributes:
        cost: tokens that were used.
        returned: tokens that came back.
        charged: tokens that were taken beyond the reservation, or anew.
        overrun: tokens that were used and that the limit could not pay: the bucket is empty.
        found: whether the reservation was still held.
        confirmed: Redis has it. False: Redis cannot be asked now, and gets it as soon as it can.
    """

    cost: int
    returned: int
    charged: int
    overrun: int
    found: Found
    confirmed: bool = True


def settlement(
    reserved: int, used: int, found: Found, unpaid: int, *, confirmed: bool = True
) -> Settlement:
    """What a settlement of `used` tokens comes to where `reserved` had been taken."""
    if found is Found.PAST:
        return Settlement(used, 0, 0, used, found, confirmed)
    held = reserved if found is Found.HELD else 0
    return Settlement(
        used,
        max(held - used, 0),
        max(used - held, 0) - unpaid,
        unpaid,
        found,
        confirmed,
    )
