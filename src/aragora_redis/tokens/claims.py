"""Which revocations concern a token, given its verified claims (RFC 7519)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from ..errors import InvalidInputError
from .entry import RevocationKind, member_of


class Verdict(StrEnum):
    """Why a token is refused."""

    JTI = "jti"
    """This very token was revoked."""
    USER = "user"
    """All that was issued to its user at or before a later moment was revoked."""


def judge(
    claims: Mapping[str, Any], key: bytes, score: Callable[[bytes], int | None]
) -> Verdict | None:
    """Whether, and by which rule, a token with these claims is revoked.

    A user's cut-off covers tokens issued "at or before" it, since `iat` is in whole seconds; a
    token without `iat` cannot prove that it is younger, so a cut-off covers it too.

    Args:
        claims: the verified claims; `jti`, `sub` and `iat` are looked at.
        key: the fleet's digest key.
        score: the replica's look-up.

    Raises:
        InvalidInputError: the claims name neither a token nor a user, or are of wrong types.
    """
    if not isinstance(claims, Mapping):
        raise InvalidInputError("the claims of a token are a mapping")
    jti, user, issued = claims.get("jti"), claims.get("sub"), claims.get("iat")
    if jti is None and user is None:
        raise InvalidInputError(
            "the claims have neither jti nor sub", remedy="issue tokens with a jti"
        )
    for name, value in (("jti", jti), ("sub", user)):
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"the claim {name} must be text")
    if issued is not None and (
        isinstance(issued, bool) or not isinstance(issued, int | float) or not abs(issued) < 1e15
    ):
        raise InvalidInputError("the claim iat must be a number")
    if jti is not None and score(member_of(key, RevocationKind.JTI, jti)) is not None:
        return Verdict.JTI
    if user is not None:
        cut_off = score(member_of(key, RevocationKind.USER, user))
        if cut_off is not None and (issued is None or issued * 1000 <= cut_off):
            return Verdict.USER
    return None
