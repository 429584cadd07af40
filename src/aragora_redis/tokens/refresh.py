"""Refresh tokens: each is used once, and one that comes again ends its family (RFC 9700, 4.14.2).

A token carries its family and its generation, both signed. Rotation is no join: a rollback can undo
it. So what is presented counts for more than what is stored, of one generation only one token is
good, and how far a family was used up is joined to the revocations (kind `r`): one number for all
tokens of it, which only grows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import (
    InvalidInputError,
    RefreshRacedError,
    RefreshReusedError,
    TokenRevokedError,
    UnexpectedReplyError,
)
from ..operation import Fence, Kind, Lane, Operation
from ..scripts.catalog import load
from .entry import DAY, DIGEST_BYTES, SHARDS, Entry, RevocationKind, full_digest, member_of

GENERATION = "generation"
"""The claim that counts the tokens of a family, from 0; no other token has it."""
LOGIN_AT = "login_iat"
"""The claim of when the login was from which a token was refreshed: no cut-off since spares it."""
FAMILY_END = "family_exp"
"""The claim beyond which no token of the family lives, where it has one."""
AGAIN_WITHIN = 300.0
"""Seconds for which who got no answer may ask again with its nonce: failovers are shorter."""
LATE_WITHIN = 10.0
"""Seconds for which who was too late, with another nonce, is no thief."""
GENERATIONS = 1_000_000_000
"""Every generation is below, and every cut-off in milliseconds above."""
_END = 1e11
"""Unix seconds beyond which an instant is none."""
_NONCE = 1024


class Presented(NamedTuple):
    """What a refresh token says, verified."""

    family: str
    generation: int
    jti: str
    issued_at: float | None
    expires_at: float
    family_ends_at: float | None = None

    def __repr__(self) -> str:
        return f"Presented(generation={self.generation})"


def presented(claims: Mapping[str, Any], family_claim: str) -> Presented:
    """What verified claims say of a refresh token.

    Raises:
        InvalidInputError: they are none of one.
    """
    family, generation = claims.get(family_claim), claims.get(GENERATION)
    jti, expires_at = claims.get("jti"), claims.get("exp")
    issued_at, family_ends_at = claims.get("iat"), claims.get(FAMILY_END)
    if not isinstance(family, str) or not isinstance(jti, str):
        raise InvalidInputError(f"a refresh token has the texts {family_claim} and jti")
    if type(generation) is not int or not 0 <= generation < GENERATIONS:
        raise InvalidInputError(
            f"a refresh token has a {GENERATION}, a whole number from 0; an access token has none",
            remedy="give the claims of a refresh token; revoke_family ends a login without one",
        )
    for instant in (expires_at, *(i for i in (issued_at, family_ends_at) if i is not None)):
        number = isinstance(instant, int | float) and not isinstance(instant, bool)
        if not number or not 0 <= instant < _END:
            raise InvalidInputError("a refresh token has exp in Unix seconds")
    return Presented(family, generation, jti, issued_at, float(expires_at), family_ends_at)  # type: ignore[arg-type]  # looked at above


class Successor(NamedTuple):
    """The one token that may follow: the same for the same nonce."""

    jti: str
    nonce: bytes

    def __repr__(self) -> str:
        return "Successor()"


def successor(key: bytes, old: Presented, nonce: str) -> Successor:
    """What follows a token when it is refreshed with a nonce.

    Raises:
        InvalidInputError: the nonce is empty or too long.
    """
    if not isinstance(nonce, str) or not 0 < len(nonce) <= _NONCE:
        raise InvalidInputError(f"a nonce has 1 to {_NONCE} characters")
    parts = (old.family, str(old.generation), old.jti, nonce)
    message = b"refresh" + b"".join(b"%d:%b" % (len(raw), raw) for raw in map(_raw, parts))
    digest = hmac.digest(key, message, hashlib.sha256)
    jti = base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
    return Successor(jti, digest[16:])


def used_up_member(key: bytes, family: str) -> bytes:
    """The digest under which the newest generation that was used is known to every instance."""
    return member_of(key, RevocationKind.ROTATED, family)


def used_up(key: bytes, old: Presented) -> Entry:
    """What remembers that a token was used, and all of its family before it, until it expires."""
    return Entry(
        day=int(old.expires_at // DAY),
        member=used_up_member(key, old.family),
        score=old.generation,
    )


def _digest(key: bytes, jti: str) -> bytes:
    return full_digest(key, RevocationKind.JTI, jti)


def rotate(
    prefix: str,
    key: bytes,
    old: Presented,
    new: Successor,
    *,
    issued_at: float,
    ends_at: float,
    spent: bool,
) -> Operation[float]:
    """Use a token up; gives the instant at which its successor was issued (Unix seconds).

    Its result raises `RefreshRacedError`, `RefreshReusedError` and `TokenRevokedError`.
    """
    family = full_digest(key, RevocationKind.FAMILY, old.family)
    shard = family[0] % SHARDS
    return Operation(
        kind=Kind.CAS,
        keys=(f"{prefix}:t:{{t{shard}}}:family:{family.hex()}".encode(),),
        args=(
            old.generation,
            _digest(key, old.jti),
            _digest(key, new.jti),
            new.nonce[:DIGEST_BYTES],
            math.floor(issued_at * 1000),
            math.ceil(ends_at * 1000),
            "1" if spent else "0",
            int(AGAIN_WITHIN * 1000),
            int(LATE_WITHIN * 1000),
        ),
        read=_read,
        script=load("refresh_rotate"),
        fence=Fence.STANDING,
        lane=Lane.DURABLE,
    )


def _read(reply: Any) -> float:
    match reply:
        case [b"rotated", int(ms)]:
            return ms / 1000
        case [b"raced"]:
            raise RefreshRacedError("another request has just refreshed this token")
        case [b"reused"]:
            raise RefreshReusedError("a refresh token was presented again: its family has ended")
        case [b"ended"]:
            raise TokenRevokedError("the family of this refresh token has ended")
    raise UnexpectedReplyError("the answer to a refresh cannot be read")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
