"""Which revocations concern a token, given its verified claims (RFC 7519)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from ..errors import InvalidInputError
from .entry import RevocationKind, member_of

SEEN = "cut_offs_seen"
"""The claim of a login that came right after cut-offs: the score of each, by whom it cut off.

A cut-off lies ahead by as much as clocks may differ, so `iat` alone cannot tell such a login from
those that are meant. A later cut-off has a greater score, and covers it."""


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


class Judged(NamedTuple):
    """By which rule, and under which digest, a token is revoked."""

    verdict: Verdict
    member: bytes


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """The claims that say whose a token is, beside the registered `sub`.

    Attributes:
        tenant: of the organisation (Auth0 calls it `org_id`, Microsoft Entra `tid`).
        family: of the login (`sid` in OpenID Connect Front-Channel Logout 1.0).
    """

    tenant: str = "org_id"
    family: str = "sid"


def judge(
    claims: Mapping[str, Any],
    key: bytes,
    score: Callable[[bytes], int | None],
    names: ClaimNames = ClaimNames(),
) -> Judged | None:
    """Whether, and by which rule, a token with these claims is revoked.

    A cut-off covers tokens issued "at or before" it, since `iat` is in whole seconds; a token
    without `iat` cannot prove that it is younger, so a cut-off covers it too, unless the token says
    that it came after that very one (`SEEN`). Of the cut-offs of
    its user, its tenant and its family the latest decides.

    Args:
        claims: the verified claims; `jti`, `sub`, `iat`, tenant and family are looked at.
        key: the fleet's digest key.
        score: the replica's look-up.
        names: what the claims of tenant and family are called.

    Raises:
        InvalidInputError: the claims name neither a token nor anybody, or are of wrong types.
    """
    if type(claims) is not dict and not isinstance(claims, Mapping):
        raise InvalidInputError("the claims of a token are a mapping")
    get = claims.get
    jti = get("jti")
    if jti is not None:
        member = member_of(key, RevocationKind.JTI, _text(jti, "jti"))
        if score(member) is not None:
            return Judged(Verdict.JTI, member)
    scopes = _scopes(claims, names)
    issued = get("iat")
    if issued is not None and (
        isinstance(issued, bool) or not isinstance(issued, int | float) or not abs(issued) < 1e15
    ):
        raise InvalidInputError("the claim iat must be a number")
    if jti is None and not any(name for _, name in scopes):
        raise InvalidInputError(
            "the claims name no token (jti), user (sub), tenant or family",
            remedy="issue tokens with a jti",
        )
    latest: tuple[int, Judged] | None = None
    for verdict, name in scopes:
        member = member_of(key, _KINDS[verdict], name)
        cut_off = score(member)
        if (
            cut_off is not None
            and (latest is None or cut_off > latest[0])
            and not _came_after(get(SEEN), verdict, cut_off)
        ):
            latest = (cut_off, Judged(verdict, member))
    if latest is not None and (issued is None or issued * 1000 <= latest[0]):
        return latest[1]
    return None


def cut_offs_ahead(
    claims: Mapping[str, Any],
    key: bytes,
    score: Callable[[bytes], int | None],
    now: float,
    names: ClaimNames = ClaimNames(),
) -> dict[str, int]:
    """What a login at `now` (Unix seconds) says in its claim `SEEN`.

    The cut-offs of its user and tenant that would cover it, though it came after them. Other args
    and errors as of `judge`.
    """
    found = {
        verdict.value: score(member_of(key, _KINDS[verdict], name))
        for verdict, name in _scopes(claims, names)
        if verdict is not Verdict.FAMILY  # which is over: no login begins it anew
    }
    return {scope: at for scope, at in found.items() if at is not None and at >= int(now) * 1000}


def _came_after(seen: Any, verdict: Verdict, cut_off: int) -> bool:
    """Whether a token says that it came after that very cut-off, or a later one."""
    known = seen.get(verdict.value) if isinstance(seen, Mapping) else None
    return type(known) is int and cut_off <= known


def _scopes(claims: Mapping[str, Any], names: ClaimNames) -> list[tuple[Verdict, str]]:
    """Whose a token is; an empty name of a tenant or family is an issuer's way to say none."""
    get = claims.get
    user, tenant, family = get("sub"), get(names.tenant), get(names.family)
    scopes = []
    if user is not None:
        scopes.append((Verdict.USER, _text(user, "sub")))
    if tenant is not None and (name := _name(tenant, names.tenant)):
        scopes.append((Verdict.TENANT, name))
    if family is not None and (name := _name(family, names.family)):
        scopes.append((Verdict.FAMILY, name))
    return scopes


_KINDS = {verdict: verdict.kind for verdict in Verdict}


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
