"""`/v1/limits`: check a subject against a policy, and give it its whole limit back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from ..rate_limit.gcra import Source
from ..rate_limit.policy import EXACT
from ..state.shared import SharedState
from ..web.headers import fields
from .auth import Role, needs
from .bodies import Body, JsonRoute, Text
from .problems import JSON_ANSWERS, answers


class Check(Body):
    """Whom to count, and how many tokens it takes; 0 only looks."""

    subject: Text
    cost: Annotated[int, Field(ge=0, le=EXACT)] = 1


class Reset(Body):
    """Whose limit to fill again."""

    subject: Text


class DecisionBody(BaseModel):
    """What became of a check. Durations are seconds."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float
    source: Source


class ResetBody(BaseModel):
    """Whether anything had been taken."""

    reset: bool


_REFUSED = {"model": DecisionBody, "description": "Over the limit, see Retry-After"}


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    router = APIRouter(
        prefix="/v1/limits/{policy}",
        tags=["limits"],
        route_class=JsonRoute,
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(HTTPStatus.NOT_FOUND, *JSON_ANSWERS),
    )

    @router.post("/check", responses={429: _REFUSED})
    async def check(policy: str, body: Check, response: Response) -> DecisionBody:
        """Take tokens from the subject's bucket: 200 if they were there, else 429."""
        decision = await state.rate_limits.check(policy, body.subject, body.cost)
        response.headers.update(fields(state.policies.limits[policy], decision))
        if not decision.allowed:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        return DecisionBody.model_validate(decision, from_attributes=True)

    @router.post("/reset", dependencies=[needs(Role.ADMIN)])
    async def reset(policy: str, body: Reset) -> ResetBody:
        """Fill the subject's bucket again."""
        return ResetBody(reset=await state.rate_limits.reset(policy, body.subject))

    return router
