"""`/v1/audit`: what was done by hand, by whom and why."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from ..state.shared import SharedState
from .auth import Role, needs
from .bodies import JsonRoute, Text
from .problems import answers


class ActBody(BaseModel):
    """One act, see `aragora_redis.audit.act.Act`; `at` is in Unix seconds."""

    at: float
    actor: str
    action: str
    target: str
    reason: str
    outcome: str
    via: str
    instance: str
    id: str


class PageBody(BaseModel):
    """Acts, the newest first; `older` is the `before` of the page that follows, null at the end."""

    acts: list[ActBody]
    older: str | None


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    router = APIRouter(
        prefix="/v1/audit",
        tags=["audit"],
        route_class=JsonRoute,
        dependencies=[needs(Role.ADMIN)],
        responses=answers(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.MISDIRECTED_REQUEST,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    )

    @router.get("")
    async def recent(
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        before: Annotated[Text | None, Query()] = None,
        actor: Annotated[Text | None, Query()] = None,
        target: Annotated[Text | None, Query()] = None,
    ) -> PageBody:
        """What was done by hand, from every face and instance.

        About the last 20 000 records are kept. `actor` and a part of a `target` choose among them.
        """
        page = await state.audit.recent(limit, before=before, actor=actor, target=target)
        return PageBody(acts=[ActBody(**act.as_dict()) for act in page.acts], older=page.older)

    return router
