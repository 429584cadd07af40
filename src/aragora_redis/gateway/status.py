"""How the instance is: for people, for whoever restarts it or sends it requests, for Prometheus."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from ..errors import NotReadyError
from ..settings import Mode
from ..state.shared import SharedState
from ..state.status import Health, OnDisk, RedisStatus
from ..telemetry.prometheus import Metrics, merged
from ..topology.statement import Lag
from .auth import Role, needs
from .problems import answers

if TYPE_CHECKING:
    from .siblings import Siblings


class StatusBody(BaseModel):
    """`health` says whether this instance can serve; see `aragora_redis.state.status.Status`."""

    mode: Mode
    health: Health
    reason: str | None
    ready: bool
    primary: str | None
    epoch: int | None
    replicas: int
    instances: int
    policies: str
    """Digest of the policies in force here."""
    differing: int
    """Live instances that go by others."""
    sentinels: int | None
    tokens: int
    outbox: int
    disk: OnDisk | None
    """The outbox on disk; null where there is none."""
    staleness: float | None
    """Seconds; null while it has never been in step."""
    lag: Lag | None
    """How far the primary's replicas are behind it; null where none is known."""
    keys_age: float | None
    """Seconds since the issuer's keys were fetched; null where none are published, or never."""
    lacks: tuple[str, ...]
    troubles: dict[str, str]
    redis: tuple[RedisStatus, ...]
    """Each Redis, where features have one of their own; else empty."""


class Alive(BaseModel):
    """The process serves."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Tokens can be judged."""

    ready: Literal[True] = True


_EXPOSITION: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


def routes(state: SharedState, metrics: Metrics, siblings: Siblings | None) -> APIRouter:
    """The routes over one state; `siblings` are those of all workers that share the port."""
    router = APIRouter(tags=["status"], responses=answers(HTTPStatus.MISDIRECTED_REQUEST))

    @router.get(
        "/v1/status",
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(HTTPStatus.UNAUTHORIZED, HTTPStatus.INTERNAL_SERVER_ERROR),
    )
    async def status() -> StatusBody:
        """How this instance is, and what it follows."""
        now = state.status()
        ages = {
            name: age if age is not None and math.isfinite(age) else None
            for name, age in (("staleness", now.staleness), ("keys_age", now.keys_age))
        }
        facts = {name: getattr(now, name) for name in StatusBody.model_fields}
        return StatusBody.model_validate(facts | ages | {"troubles": dict(now.troubles)})

    @router.get("/healthz")
    async def healthz() -> Alive:
        """Whether the process serves: restart it if not."""
        return Alive()

    @router.get("/readyz", responses=answers(HTTPStatus.SERVICE_UNAVAILABLE))
    async def readyz(request: Request) -> Ready:
        """Whether to send requests here: 503 until the revocations are loaded, then for good.

        Of several workers on one port all have to be once; then one may be replaced meanwhile.
        """
        ready = state.ready
        if siblings is not None and siblings.are_meant(request):
            ready = await siblings.ready(own=ready)
        if not ready:
            raise NotReadyError(
                "the revocations are not loaded yet",
                remedy="wait; if it lasts, /v1/status says what cannot be reached",
            )
        return Ready()

    @router.get(
        "/metrics",
        response_class=Response,
        responses=_EXPOSITION | answers(HTTPStatus.UNAUTHORIZED),
    )
    async def exposition(request: Request) -> Response:
        """All metrics, for Prometheus. Needs a token unless the gateway is bound to loopback.

        Several workers on one port are told apart by the label `worker`.
        """
        accept = request.headers.get("accept", "")
        if siblings is not None and siblings.are_meant(request):
            told = await siblings.expositions(request.headers.get("authorization"))
            content, media_type = merged(told, "worker", accept)
        else:
            content, media_type = metrics.exposition(accept)
        return Response(content, headers={"Content-Type": media_type})

    return router
