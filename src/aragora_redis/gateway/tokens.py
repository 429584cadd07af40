"""`/v1/tokens`: revoke, and ask whether something is revoked."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, TypeAdapter, model_validator

from ..errors import InvalidInputError
from ..state.revocations.receipt import Level, Receipt
from ..state.shared import SharedState
from ..state.tokens.tokens import Tokens
from ..state.tokens.verification import TokenVerification
from .auth import Caller, Role, needs
from .bodies import Actor, Body, Instant, JsonRoute, Jwt, Note, Text
from .problems import JSON_ANSWERS, answers
from .rendered import Rendered

LevelWord = Literal["local", "primary", "replicated", "fsynced"]


class Revocation(Body):
    """What to revoke: one token by its `jti` or whole, or all that was issued so far.

    That is to a user, to the users of a tenant, or in a family: one login and what it refreshed.
    """

    jti: Text | None = None
    user: Text | None = None
    tenant: Text | None = None
    family: Text | None = None
    token: Jwt | None = None
    expires_at: Instant | None = None
    """For a `jti`, and for a token that does not say itself when it expires."""
    issued_before: Instant | None = None
    """For a cut-off: tokens issued at or before it are refused; now by default."""
    users: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """For a tenant, and needed there: how many users this logs out, by your own directory."""
    reason: Note = ""
    """For people: it is stored as it is, and only its first 200 characters."""
    actor: Actor = ""
    """Who does this: it is stored beside the reason, and the act is recorded (`/v1/audit`).

    A cut-off is recorded in any case. Leave it out at a logout that revokes one token.
    """
    level: LevelWord | None = None
    """What to wait for; the deployment's highest by default."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        one_of(
            jti=self.jti,
            user=self.user,
            tenant=self.tenant,
            family=self.family,
            token=self.token,
        )
        cut_off = self.jti is None and self.token is None
        if self.jti is not None and self.expires_at is None:
            raise ValueError("a jti needs expires_at, the expiry of its token")
        if cut_off and self.expires_at is not None:
            raise ValueError("expires_at belongs to a jti or a token; others take issued_before")
        if not cut_off and self.issued_before is not None:
            raise ValueError("issued_before belongs to a user, tenant or family")
        if (self.tenant is None) is not (self.users is None):
            raise ValueError("a tenant needs users, how many this logs out; others take none")
        return self


class Question(Body):
    """Which token to judge: by its `jti` alone, or by its claims or whole, which tells cut-offs."""

    jti: Text | None = None
    claims: dict[str, Any] | None = None
    """Of a token that the caller has verified: `jti`, `sub`, `iat`, `cut_offs_seen`, and those of
    tenant and family (`org_id` and `sid`, unless the deployment calls them otherwise). Others are
    not looked at. A token without a `jti` that was revoked by itself is known by `token` only."""
    token: Jwt | None = None
    """Verified here, which takes a key (`ARAGORA_JWT_SECRET`, `ARAGORA_JWT_JWKS_URL`)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        one_of(jti=self.jti, claims=self.claims, token=self.token)
        return self


class ReceiptBody(BaseModel):
    """What is known of the revocation.

    `level` is the level truly reached, `acknowledged` of `required` replicas have it, and
    `not_before` is the first `iat` of their tokens that is valid again.
    """

    level: LevelWord
    outbox: Literal["none", "memory", "disk"]
    acknowledged: int
    required: int
    not_before: int | None = None


class RevokedBody(ReceiptBody):
    """The receipt of a revocation; `detail` says where it is in force, if only in one worker."""

    detail: str | None = None


_HERE = (
    "in force in the worker that has answered; the others of this port let it pass until they "
    "have it from Redis"
)


class VerdictBody(BaseModel):
    """Whether a token is revoked, and why: the reason that was given, else by which rule.

    The rules are `jti`, `user`, `tenant` and `family`.
    """

    revoked: bool
    reason: str | None = None


_VERDICT = TypeAdapter(VerdictBody)


def one_of(**given: object) -> None:
    """Demand that exactly one is given.

    Raises:
        ValueError: it is not so.
    """
    if sum(value is not None for value in given.values()) != 1:
        raise ValueError(f"give exactly one of {', '.join(given)}")


def routes(state: SharedState, *, shared: bool = False) -> APIRouter:
    """The routes over one state.

    Args:
        state: whose tokens.
        shared: whether other workers answer on the same port.

    Raises:
        SettingsError: the key for tokens cannot be used.
    """
    verification = state.tokens.verification
    router = APIRouter(
        prefix="/v1/tokens",
        tags=["tokens"],
        route_class=JsonRoute,
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(*JSON_ANSWERS),
    )

    async def apply(body: Revocation, level: Level | None, caller: str) -> Receipt | None:
        """Revoke; None where the token has expired long ago, and nothing need be kept."""
        words: dict[str, Any] = {"reason": body.reason, "actor": body.actor, "level": level}
        if body.jti is None and body.token is None:
            words["actor"] = body.actor or caller
            return await _cut_off(state.tokens, body, words)
        jti, expires_at = await _named(body, verification)
        if body.token is not None:
            until = state.tokens.revoked_until(expires_at)
            if until is None:
                return None
            expires_at = until
        return await state.tokens.revoke(jti, expires_at=expires_at, **words)

    accepted = {"model": RevokedBody, "description": "In force, at a lower level than asked for"}

    @router.post(
        "/revoke",
        dependencies=[needs(Role.ADMIN)],
        responses={202: accepted},
        response_model_exclude_none=True,
    )
    async def revoke(body: Revocation, response: Response, caller: Caller) -> RevokedBody:
        """Refuse a token, or all tokens of a user, tenant or family, from now on.

        200 once the level asked for is reached, 202 where the time allowed reached a lower one: it
        is in force here, and is published as soon as Redis takes it. Of several workers on one port
        that is the one that answers, as `detail` says. A token that expired more than an hour ago
        needs no revocation, so it is answered with 200 and `local` and nothing is stored, in the
        spirit of RFC 7009 section 2.2; one that lives for more than ten years is revoked for ten.
        One that is not valid for another reason is refused: nobody shall believe that it was
        revoked.
        """
        level = Level[body.level.upper()] if body.level else None
        receipt = await apply(body, level, caller)
        if receipt is None:
            receipt = Receipt(Level.LOCAL, Level.LOCAL, outbox="none")
            return RevokedBody(**dict(body_of(receipt)))
        if receipt.level < receipt.wanted:
            response.status_code = HTTPStatus.ACCEPTED
        detail = _HERE if shared and receipt.level is Level.LOCAL else None
        return RevokedBody(**dict(body_of(receipt)), detail=detail)

    @router.post("/check", response_model=VerdictBody)
    async def check(body: Question) -> Response:
        """Whether a token is revoked. 503, and never 401, where this instance cannot say."""
        claims = await _claims(body, verification)
        verdict = state.tokens.verdict(claims)
        reason = None
        if verdict is not None:
            reason = await state.tokens.reason(claims) or verdict.value
        told = VerdictBody(revoked=verdict is not None, reason=reason)
        return Rendered(_VERDICT.dump_json(told, exclude_none=True))

    return router


async def _cut_off(tokens: Tokens, body: Revocation, words: dict[str, Any]) -> Receipt:
    words = words | {"issued_before": body.issued_before}
    if body.tenant is not None:
        return await tokens.revoke_tenant(body.tenant, users=body.users or 0, **words)
    if body.family is not None:
        return await tokens.revoke_family(body.family, **words)
    return await tokens.revoke_user(body.user or "", **words)


async def _named(body: Revocation, verification: TokenVerification) -> tuple[str, float]:
    """The id to revoke, and when its token expires."""
    jti, expires_at = body.jti, body.expires_at
    if body.token is not None:
        token = await verification.verifier.verify(body.token, alive=False)
        jti, expires_at = token.id, token.claims.get("exp", expires_at)
    if jti is None or expires_at is None:
        raise InvalidInputError(
            "the token does not say when it expires", remedy="send expires_at with it"
        )
    return jti, expires_at


async def _claims(question: Question, verification: TokenVerification) -> dict[str, Any]:
    if question.claims is not None:
        return question.claims
    if question.token is None:
        return {"jti": question.jti}
    return (await verification.verifier.verify(question.token)).named


def body_of(receipt: Receipt) -> ReceiptBody:
    """A receipt as it is sent."""
    facts = {name: getattr(receipt, name) for name in ReceiptBody.model_fields}
    return ReceiptBody.model_validate(facts | {"level": receipt.level.word})
