"""`/v1/limits`: check a subject against a policy, and give it its whole limit back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from ..rate_limit.gcra import Source
from ..rate_limit.joint import MOST_LIMITS, LimitCheck
from ..rate_limit.policy import EXACT
from ..state.shared import SharedState
from ..web.headers import fields, joint_fields
from .auth import Role, needs
from .bodies import Body, JsonRoute, Text
from .problems import JSON_ANSWERS, answers


class Reset(Body):
    """Whose limit to fill again; `at` is the subject of the limit that it is co-located with."""

    subject: Text
    at: Text | None = None


class Check(Reset):
    """Whom to count, and how many tokens it takes; 0 only looks."""

    cost: Annotated[int, Field(ge=0, le=EXACT)] = 1


class OneOfAll(Check):
    """One of several limits to check as one."""

    policy: Text


class CheckAll(Body):
    """The limits of which all give, or none."""

    checks: Annotated[list[OneOfAll], Field(min_length=1, max_length=MOST_LIMITS)]


class DecisionBody(BaseModel):
    """What became of a check. Durations are seconds."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float
    source: Source


class JointBody(BaseModel):
    """What became of several limits, in the order asked; null was not asked any more."""

    allowed: bool
    retry_after: float
    decisions: list[DecisionBody | None]


class ResetBody(BaseModel):
    """Whether anything had been taken."""

    reset: bool


_REFUSED = {"model": DecisionBody, "description": "Over the limit, see Retry-After"}
_ONE_REFUSED = {"model": JointBody, "description": "Over one of the limits, see Retry-After"}


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    router = APIRouter(
        prefix="/v1/limits",
        tags=["limits"],
        route_class=JsonRoute,
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(HTTPStatus.NOT_FOUND, *JSON_ANSWERS),
    )

    @router.post("/check", responses={429: _ONE_REFUSED})
    async def check_all(body: CheckAll, response: Response) -> JointBody:
        """Take from the buckets of all these limits: 200 if all gave, else 429 and none did.

        In a Redis Cluster limits of several hash slots are asked in turn.
        """
        checks = [LimitCheck(one.policy, one.subject, one.cost, one.at) for one in body.checks]
        joint = await state.rate_limits.check_all(*checks)
        told = [
            (state.policies.limits[check.policy], decision)
            for check, decision in zip(checks, joint.decisions, strict=True)
            if decision is not None
        ]
        response.headers.update(joint_fields(told, joint.retry_after))
        if not joint.allowed:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        return JointBody.model_validate(joint, from_attributes=True)

    @router.post("/{policy}/check", responses={429: _REFUSED})
    async def check(policy: str, body: Check, response: Response) -> DecisionBody:
        """Take tokens from the subject's bucket: 200 if they were there, else 429."""
        decision = await state.rate_limits.check(policy, body.subject, body.cost, at=body.at)
        response.headers.update(fields(state.policies.limits[policy], decision))
        if not decision.allowed:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        return DecisionBody.model_validate(decision, from_attributes=True)

    @router.post("/{policy}/reset", dependencies=[needs(Role.ADMIN)])
    async def reset(policy: str, body: Reset) -> ResetBody:
        """Fill the subject's bucket again."""
        return ResetBody(reset=await state.rate_limits.reset(policy, body.subject, at=body.at))

    return router
