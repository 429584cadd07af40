"""`/oauth`: revocation (RFC 7009) and introspection (RFC 7662) for those who speak OAuth.

Who cannot say answers 503, and never that a token is inactive or revoked.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from ..errors import InvalidInputError
from ..jwt import VerifiedToken
from ..state.revocations.receipt import Level, Receipt
from ..state.shared import SharedState
from ..tokens.refresh import GENERATION
from .auth import Role
from .oauth_protocol import (
    FORM,
    OAuthError,
    OAuthErrorBody,
    OAuthRoute,
    form_of,
    insufficient_scope,
    invalid_request,
    unavailable,
)

SCHEMES = {"HTTPBasic": {"type": "http", "scheme": "basic"}}
"""How a client may authenticate too: with its token as the password of any name."""
_REASON = "oauth"
_INSTANTS = ("exp", "iat", "nbf")
_AS_THEY_ARE = ("client_id", "username", "sub", "aud", "iss", "jti")
_NO_KEY = "no key is set here to read tokens with (ARAGORA_JWT_SECRET or ARAGORA_JWT_JWKS_URL)"


class Introspection(BaseModel):
    """What is known of a token: nothing but `active`, unless it is (RFC 7662 section 2.2)."""

    active: bool
    token_type: Literal["Bearer"] | None = None
    scope: str | None = None
    client_id: str | None = None
    username: str | None = None
    exp: int | None = None
    iat: int | None = None
    nbf: int | None = None
    sub: str | None = None
    aud: str | list[str] | None = None
    iss: str | None = None
    jti: str | None = None


def _described(summary: str) -> dict[str, Any]:
    properties = {
        "token": {"type": "string"},
        "token_type_hint": {"type": "string", "description": "Accepted, and not needed."},
    }
    schema = {"type": "object", "required": ["token"], "properties": properties}
    return {
        "summary": summary,
        "security": [{"HTTPBearer": []}, {"HTTPBasic": []}],
        "requestBody": {"required": True, "content": {FORM: {"schema": schema}}},
    }


_ERRORS: dict[int | str, dict[str, Any]] = {
    status.value: {"model": OAuthErrorBody, "description": status.phrase}
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    router = APIRouter(prefix="/oauth", tags=["oauth"], route_class=OAuthRoute, responses=_ERRORS)
    verification = state.tokens.verification

    @router.post("/revoke", response_class=Response, openapi_extra=_described("Revoke a token"))
    async def revoke(request: Request) -> Response:
        """RFC 7009: 200 without a body, also for what is no token. Needs the admin token.

        A refresh token ends its family. A token that lives for more than ten years is revoked for
        ten. 400 where it names nothing that can be revoked. 503 where the revocation is in force at
        this gateway alone, or the token cannot be read now: ask again.
        """
        text = await _token_of(request, Role.ADMIN)
        if not verification.has_key:
            raise OAuthError(HTTPStatus.BAD_REQUEST, "unsupported_token_type", _NO_KEY)
        try:
            token = await verification.verifier.verify(text, alive=False)
        except InvalidInputError:  # it is not ours
            return Response()
        try:
            receipt = await _revoked(state, token)
        except InvalidInputError as error:
            raise invalid_request(f"nothing was revoked: {error.message}") from None
        if receipt.level is Level.LOCAL and receipt.wanted > Level.LOCAL:
            raise unavailable("the revocation is in force at this gateway alone")
        return Response()

    @router.post(
        "/introspect",
        response_model=Introspection,
        openapi_extra=_described("Ask what a token is"),
    )
    async def introspect(request: Request) -> Response:
        """RFC 7662: what a token allows, or `{"active": false}` and nothing else.

        503 where this instance cannot say.
        """
        text = await _token_of(request, Role.GATEWAY)
        if not verification.has_key:
            raise OAuthError(HTTPStatus.SERVICE_UNAVAILABLE, "server_error", _NO_KEY)
        # A claim may hold what UTF-8 cannot say, a lone surrogate; JSON can spell it.
        told = json.dumps(await _introspected(state, text))
        return Response(told, media_type="application/json")

    return router


async def _token_of(request: Request, role: Role) -> str:
    """The token that is asked about, where the client may do so."""
    if request.state.role < role:
        raise insufficient_scope()
    fields = form_of(request.headers.get("content-type", ""), await request.body())
    if "token" not in fields:
        raise invalid_request("the parameter token is missing")
    return fields["token"]


async def _revoked(state: SharedState, token: VerifiedToken) -> Receipt:
    """Revoke a token; a refresh token with all that was issued in its family."""
    if GENERATION in token.claims:
        return await state.refresh_tokens.end(token.claims, reason=_REASON)
    expires_at = state.tokens.revoked_until(token.claims.get("exp", float("inf")))
    if expires_at is None:
        return Receipt(Level.LOCAL, Level.LOCAL)
    return await state.tokens.revoke(token.id, expires_at=expires_at, reason=_REASON)


async def _introspected(state: SharedState, text: str) -> dict[str, Any]:
    try:
        token = await state.tokens.verification.verify(text, refresh=None)
        active = not state.refresh_tokens.is_used_up(token.claims)
    except InvalidInputError:
        active = False
    return _told(token) if active else {"active": False}


def _told(token: VerifiedToken) -> dict[str, Any]:
    claims, told = token.claims, dict[str, Any](active=True)
    if GENERATION not in claims:
        told["token_type"] = "Bearer"  # noqa: S105 - it is a type
    if token.scopes:
        said = claims.get("scope")
        told["scope"] = said if isinstance(said, str) else " ".join(sorted(token.scopes))
    told |= {name: int(claims[name]) for name in _INSTANTS if name in claims}
    return told | {name: claims[name] for name in _AS_THEY_ARE if name in claims}
