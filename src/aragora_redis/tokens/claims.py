"""Which revocations concern a token, given its verified claims (RFC 7519)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from msgspec import Struct

from ..errors import InvalidInputError
from .entry import RevocationKind, digests

SEEN = "cut_offs_seen"
"""The claim of a login that came right after cut-offs: the score of each, by whom it cut off.

A cut-off lies ahead by as much as clocks may differ, so `iat` alone cannot tell such a login from
those that are meant. A later cut-off has a greater score, and covers it."""
KEPT = 8_192
"""Digests of each kind that are remembered: some 300 bytes each."""
_NUMBER = (int, float)
_END = 1e15
"""Beyond any instant in Unix seconds."""


class Verdict(StrEnum):
    """Why a token is refused."""

    JTI = "jti"
    """This very token was revoked."""
    USER = "user"
    """All that was issued to its user at or before a later moment was revoked."""
    TENANT = "tenant"
    """All that was issued to users of its tenant was, in the same way."""
    FAMILY = "family"
    """All that was issued in its family, one login and what was refreshed from it, was."""

    @property
    def kind(self) -> RevocationKind:
        """What the revocation names."""
        return RevocationKind[self.name]


_USER, _TENANT, _FAMILY = Verdict.USER, Verdict.TENANT, Verdict.FAMILY


class Judged(NamedTuple):
    """By which rule, and under which digest, a token is revoked."""

    verdict: Verdict
    member: bytes


class ClaimNames(Struct, frozen=True):
    """The claims that say whose a token is, beside the registered `sub`.

    Attributes:
        tenant: of the organisation (Auth0 calls it `org_id`, Microsoft Entra `tid`).
        family: of the login (`sid` in OpenID Connect Front-Channel Logout 1.0).
    """

    tenant: str = "org_id"
    family: str = "sid"


USUAL: Final = ClaimNames()


class Judge:
    """Tells by which revocation a token is refused.

    A cut-off covers tokens issued "at or before" it, since `iat` is in whole seconds; a token
    without `iat` cannot prove that it is younger, so a cut-off covers it too, unless the token says
    that it came after that very one (`SEEN`). Of the cut-offs of
    its user, its tenant and its family the latest decides.

    Args:
        key: the fleet's digest key.
        names: what the claims of tenant and family are called.
    """

    def __init__(self, key: bytes, names: ClaimNames = USUAL) -> None:
        self._names = names
        self._jti = _kept(key, RevocationKind.JTI)
        self._user = _kept(key, RevocationKind.USER)
        self._tenant = _kept(key, RevocationKind.TENANT)
        self._family = _kept(key, RevocationKind.FAMILY)

    def judge(
        self, claims: Mapping[str, Any], score: Callable[[bytes], int | None]
    ) -> Judged | None:
        """Whether, and by which rule, a token with these claims is revoked.

        Args:
            claims: the verified claims; `jti`, `sub`, `iat`, tenant and family are looked at.
            score: the replica's look-up.

        Raises:
            InvalidInputError: the claims name neither a token nor anybody, or are of wrong types.
        """
        if type(claims) is not dict and not isinstance(claims, Mapping):
            raise InvalidInputError("the claims of a token are a mapping")
        jti = claims.get("jti")
        if jti is not None:
            member = self._jti(jti if type(jti) is str else _text(jti, "jti"))
            if score(member) is not None:
                return Judged(Verdict.JTI, member)
        issued = claims.get("iat")
        if issued is not None and (
            isinstance(issued, bool) or not isinstance(issued, _NUMBER) or not -_END < issued < _END
        ):
            raise InvalidInputError("the claim iat must be a number")
        scopes = self._scopes(claims)
        if not scopes:
            if jti is None:
                raise InvalidInputError(
                    "the claims name no token (jti), user (sub), tenant or family",
                    remedy="issue tokens with a jti",
                )
            return None
        latest = -1
        found: Judged | None = None
        for verdict, member in scopes:
            cut_off = score(member)
            if (
                cut_off is not None
                and (issued is None or issued * 1000 <= cut_off)
                and cut_off > latest
                and not _came_after(claims.get(SEEN), verdict, cut_off)
            ):
                latest, found = cut_off, Judged(verdict, member)
        return found

    def cut_offs_ahead(
        self, claims: Mapping[str, Any], score: Callable[[bytes], int | None], now: float
    ) -> dict[str, int]:
        """What a login at `now` (Unix seconds) says in its claim `SEEN`.

        The cut-offs of its user and tenant that would cover it, though it came after them. Other
        args and errors as of `judge`.
        """
        found = {
            verdict.value: score(member)
            for verdict, member in self._scopes(claims)
            if verdict is not Verdict.FAMILY  # which is over: no login begins it anew
        }
        return {name: at for name, at in found.items() if at is not None and at >= int(now) * 1000}

    def _scopes(self, claims: Mapping[str, Any]) -> list[tuple[Verdict, bytes]]:
        """Whose a token is; an empty name of a tenant or family is an issuer's way to say none."""
        get, names = claims.get, self._names
        user, tenant, family = get("sub"), get(names.tenant), get(names.family)
        found = []
        if user is not None:
            found.append((_USER, self._user(user if type(user) is str else _text(user, "sub"))))
        if tenant is not None and (name := _name(tenant, names.tenant)):
            found.append((_TENANT, self._tenant(name)))
        if family is not None and (name := _name(family, names.family)):
            found.append((_FAMILY, self._family(name)))
        return found


def _came_after(seen: Any, verdict: Verdict, cut_off: int) -> bool:
    """Whether a token says that it came after that very cut-off, or a later one."""
    known = seen.get(verdict.value) if isinstance(seen, Mapping) else None
    return type(known) is int and cut_off <= known


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"the claim {name} must be text")
    return value


def _name(value: Any, name: str) -> str:
    """The name of a tenant or family; issuers write some of them as numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InvalidInputError(f"the claim {name} must be text or a whole number")
    return value


def _kept(key: bytes, kind: RevocationKind) -> Callable[[str], bytes]:
    """What digests names, and remembers those that came last: they come again with each request."""
    return lru_cache(KEPT)(digests(key, kind))
