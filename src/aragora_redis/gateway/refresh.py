"""`/v1/tokens/refresh`: begin a login, use its refresh tokens up, and learn what to sign."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, Field
from pydantic_core import to_jsonable_python

from ..errors import InvalidInputError
from ..state.shared import SharedState
from ..state.tokens.refresh import DEFAULT_LIFETIME, LONGEST_LOGIN
from .auth import Role, needs
from .bodies import Body, JsonRoute, Jwt, Text, Unshown
from .problems import JSON_ANSWERS, answers

_SET_APART = frozenset({"self", "user", "sub", "lifetime", "absolute"})
"""What no other claim can be called: what begins a login is named so."""


def _demand_json(claims: Mapping[str, Any]) -> None:
    try:
        told = to_jsonable_python(claims)
        json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("no JSON can say it") from None


def _sent_back(claims: dict[str, Any]) -> dict[str, Any]:
    _demand_json(claims)
    if taken := sorted(claims.keys() & _SET_APART):
        raise ValueError(f"a claim cannot be called {taken[0]}")
    return claims


class Begin(Body):
    """A login whose user was checked just now."""

    user: Text
    lifetime: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_LIFETIME
    """Seconds that the first token lives."""
    in_all: Annotated[float, Field(gt=0, le=LONGEST_LOGIN, allow_inf_nan=False)] | None = None
    """Seconds after which no successor lives either; without an end by default."""
    claims: Annotated[dict[str, Any], AfterValidator(_sent_back)] = Field(default_factory=dict)
    """Others that it and its successors carry, such as the tenant's."""


class Refresh(Body):
    """A refresh token, whole; it is verified first."""

    token: Jwt
    nonce: Text | None = None
    """Of the client's request: asked again with it within five minutes, the answer is the same."""
    lifetime: Annotated[float, Field(gt=0)] | None = None
    """Seconds that the successor lives; as long as this one by default."""


class ToSign(Unshown):
    """The claims to sign for a refresh token."""

    claims: dict[str, Any]


class RotationBody(ToSign):
    """Those of the successor, and how far the rotation got."""

    level: Literal["local", "primary", "replicated"]


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    router = APIRouter(
        prefix="/v1/tokens",
        tags=["tokens"],
        route_class=JsonRoute,
        dependencies=[needs(Role.ADMIN)],
        responses=answers(*JSON_ANSWERS, HTTPStatus.CONFLICT),
    )

    @router.post("/refresh/begin")
    async def begin(body: Begin) -> ToSign:
        """The claims of the first refresh token of a new family, such as of a login.

        Nothing is stored, and nothing signed: whoever has the key signs them. Give the access
        tokens that come with it the same family (`sid`, unless the deployment calls it otherwise)
        and the same `iat`: they end with it then, and a cut-off a moment ago does not mean them.
        """
        claims = state.refresh_tokens.begin(
            body.user, lifetime=body.lifetime, absolute=body.in_all, **body.claims
        )
        return ToSign(claims=claims)

    @router.post("/refresh")
    async def refresh(body: Refresh) -> RotationBody:
        """Use a refresh token up; of all who present it, one gets its successor.

        409 `refresh-raced` where another request was faster a moment ago. 422 where the user has to
        log in again: the token is invalid, expired or revoked, or it was used before, which ends
        its family (`refresh-reused`). 503 where it is not known: with `ran` `no` the token is still
        good, with `unknown` ask again with the same nonce.
        """
        token = await state.tokens.verification.verify(body.token, refresh=True)
        try:
            _demand_json(token.claims)  # before it is used up for an answer that cannot be given
        except ValueError:
            raise InvalidInputError(
                "the token has a claim that no JSON can say",
                remedy="issue it without a lone surrogate and without NaN",
            ) from None
        rotation = await state.refresh_tokens.rotate(
            token.claims, nonce=body.nonce, lifetime=body.lifetime
        )
        return RotationBody.model_validate(
            {"claims": dict(rotation.claims), "level": rotation.level.word}
        )

    return router
