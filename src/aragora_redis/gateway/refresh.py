"""`/v1/tokens/refresh`: use a refresh token up, and learn what to sign for its successor."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from ..state.shared import SharedState
from .auth import Role, needs
from .bodies import Body, JsonRoute, Jwt, Text, Unshown
from .problems import JSON_ANSWERS, answers


class Refresh(Body):
    """A refresh token, whole; it is verified first."""

    token: Jwt
    nonce: Text | None = None
    """Of the client's request: asked again with it within ten seconds, the answer is the same."""
    lifetime: Annotated[float, Field(gt=0)] | None = None
    """Seconds that the successor lives; as long as this one by default."""


class RotationBody(Unshown):
    """The claims to sign for the successor, and how far the rotation got."""

    claims: dict[str, Any]
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

    @router.post("/refresh")
    async def refresh(body: Refresh) -> RotationBody:
        """Use a refresh token up; of all who present it, one gets its successor.

        409 `refresh-raced` where another request was faster a moment ago. 422 where the user has to
        log in again: the token is invalid, expired or revoked, or it was used before, which ends
        its family (`refresh-reused`). 503 where it is not known: with `ran` `no` the token is still
        good, with `unknown` ask again with the same nonce.
        """
        rotation = await state.refresh_tokens.rotate(
            body.token, nonce=body.nonce, lifetime=body.lifetime
        )
        return RotationBody.model_validate(
            {"claims": dict(rotation.claims), "level": rotation.level.word}
        )

    return router
