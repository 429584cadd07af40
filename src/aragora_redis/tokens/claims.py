"""Which revocations concern a token, given its verified claims (RFC 7519)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec import Struct

from ..errors import InvalidInputError
from .entry import SHARDS, RevocationKind, digests
from .refresh import GENERATION, LOGIN_AT

Scores = Sequence[Callable[[bytes], int | None]]
"""What gives the greatest score of a member that holds, for each shard."""

SEEN = "cut_offs_seen"
"""The claim of a login that came right after cut-offs: the score of each, by whom it cut off.

A cut-off lies ahead by as much as clocks may differ, so `iat` alone cannot tell such a login from
those that are meant. A later cut-off has a greater score, and covers it."""
KEPT = 8_192
"""Digests of each kind that are remembered: some 200 bytes each."""
_NUMBERS = (int, float)
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
    its user, its tenant and its family the latest decides. A family that was ended begins no more,
    so its refresh tokens are refused whenever they were issued: one that does not know of the end
    may have been asked for a successor.

    Args:
        key: the fleet's digest key.
        names: what the claims of tenant and family are called.
    """

    def __init__(self, key: bytes, names: ClaimNames = USUAL) -> None:
        self._jti = _Members(key, RevocationKind.JTI)
        self._scopes = (
            ("sub", Verdict.USER, _Members(key, RevocationKind.USER), _user),
            (names.tenant, Verdict.TENANT, _Members(key, RevocationKind.TENANT), _name),
            (names.family, Verdict.FAMILY, _Members(key, RevocationKind.FAMILY), _name),
        )

    def judge(self, claims: Mapping[str, Any], scores: Scores) -> Judged | None:
        """Whether, and by which rule, a token with these claims is revoked.

        Args:
            claims: the verified claims; `jti`, `sub`, `iat`, tenant and family are looked at.
            scores: the look-up of each shard.

        Raises:
            InvalidInputError: the claims name neither a token nor anybody, or are of wrong types.
        """
        if type(claims) is not dict and not isinstance(claims, Mapping):
            raise InvalidInputError("the claims of a token are a mapping")
        jti = claims.get("jti")
        if jti is not None:
            member = self._jti[jti if type(jti) is str else _text(jti, "jti")]
            if scores[member[0] % SHARDS](member) is not None:
                return Judged(Verdict.JTI, member)
            if len(claims) == 1:
                return None
        return self._by_cut_off(claims, scores, nobody=jti is None)

    def _by_cut_off(
        self, claims: Mapping[str, Any], scores: Scores, *, nobody: bool
    ) -> Judged | None:
        """The same by cut-offs alone; `nobody` is named by the claims so far."""
        # Flat, for this is asked with every request, and a call costs a tenth of a look-up.
        get = claims.get
        issued = get("iat")
        if issued is not None and (type(issued) not in _NUMBERS or not -_END < issued < _END):
            _check_instant(issued)
        latest = -1
        found: Judged | None = None
        for claim, verdict, members, read in self._scopes:
            name = get(claim)
            if name is not None and (type(name) is not str or not name):
                name = read(name, claim)
            if name is None:
                continue
            nobody = False
            member = members[name]
            cut_off = scores[member[0] % SHARDS](member)
            if (
                cut_off is not None
                and (
                    issued is None
                    or issued * 1000 <= cut_off
                    or (GENERATION in claims and _began_before(claims, verdict, cut_off))
                )
                and cut_off > latest
                and not _came_after(get(SEEN), verdict, cut_off)
            ):
                latest, found = cut_off, Judged(verdict, member)
        if nobody:
            raise InvalidInputError(
                "the claims name no token (jti), user (sub), tenant or family",
                remedy="issue tokens with a jti",
            )
        return found

    def cut_offs_ahead(
        self, claims: Mapping[str, Any], scores: Scores, now: float
    ) -> dict[str, int]:
        """What a login at `now` (Unix seconds) says in its claim `SEEN`.

        The cut-offs of its user and tenant that would cover it, though it came after them. Other
        args and errors as of `judge`.
        """
        found: dict[str, int] = {}
        for claim, verdict, members, read in self._scopes:
            name = read(claims.get(claim), claim)
            if name is None or verdict is Verdict.FAMILY:  # which is over: no login begins it anew
                continue
            member = members[name]
            cut_off = scores[member[0] % SHARDS](member)
            if cut_off is not None and cut_off >= int(now) * 1000:
                found[verdict.value] = cut_off
        return found


def _began_before(claims: Mapping[str, Any], verdict: Verdict, cut_off: int) -> bool:
    """Whether a refresh token is of a login from before a cut-off, whenever it was issued itself.

    Who had not heard of the cut-off may have given it; no login begins a family anew.
    """
    began: Any = claims.get(LOGIN_AT)
    return verdict is Verdict.FAMILY or (type(began) in _NUMBERS and began * 1000 <= cut_off)


def _came_after(seen: Any, verdict: Verdict, cut_off: int) -> bool:
    """Whether a token says that it came after that very cut-off, or a later one."""
    known = seen.get(verdict.value) if isinstance(seen, Mapping) else None
    return type(known) is int and cut_off <= known


def _check_instant(value: Any) -> None:
    number = isinstance(value, _NUMBERS) and not isinstance(value, bool)
    if not number or not -_END < value < _END:
        raise InvalidInputError("the claim iat must be a number")


def _text(value: Any, claim: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"the claim {claim} must be text")
    return value


def _user(value: Any, claim: str) -> str | None:
    return None if value is None else _text(value, claim)


def _name(value: Any, claim: str) -> str | None:
    """The name of a tenant or family: some issuers write numbers, or an empty one to say none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"the claim {claim} must be text or a whole number")
    return value or None


class _Members(dict[str, bytes]):
    """The members under which names of one kind are revoked.

    Those asked for are remembered, since they come again with each request; when there are `KEPT`
    of them they are forgotten together, which costs less than to know which came last.
    """

    def __init__(self, key: bytes, kind: RevocationKind) -> None:
        super().__init__()
        self._digest = digests(key, kind)

    def __missing__(self, name: str) -> bytes:
        member = self._digest(name)
        if len(self) >= KEPT:
            self.clear()
        self[name] = member
        return member

    def __repr__(self) -> str:
        return f"<{len(self)} members>"  # and none of their names
