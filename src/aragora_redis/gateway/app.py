"""The application: routes, guards and listeners around one `SharedState`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..clock import SYSTEM_CLOCK
from ..lab import Lab
from ..state.shared import SharedState
from ..telemetry.logs import EventLog
from ..telemetry.prometheus import Metrics
from ..web.client_address import proxies
from . import (
    audit,
    authz,
    circuits,
    limits,
    oauth,
    problems,
    refresh,
    sessions,
    status,
    token_admin,
    tokens,
)
from .auth import AcceptedTokens
from .crowd import Crowd
from .dashboard import routes as dashboard_routes
from .dashboard.dashboard import Dashboard
from .guards import Guards, default_hosts
from .hot import HotRoutes
from .latency import Latencies
from .rendered import Rendered
from .worker import Worker

if TYPE_CHECKING:
    from .siblings import Siblings

READY_WITHIN = 10.0
"""Seconds after which a worker that takes another's place serves, ready or not."""
_log = logging.getLogger(__name__)


class Gateway(FastAPI):
    """A FastAPI application that describes its errors as what they are, and can be told to stop."""

    def __init__(self, stopping: asyncio.Event, crowd: Crowd, **options: Any) -> None:
        super().__init__(**options)
        self.front: ASGIApp = super().__call__
        """What is called first, and leads to the framework."""
        self.stopping = stopping
        """Set when the gateway stops, so that answers without an end come to theirs."""
        self.crowd = crowd
        """Who is connected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self.front(scope, receive, send)

    def setup(self) -> None:
        """Add what describes the others. To render it takes milliseconds, so that is done once."""
        described: list[bytes] = []

        async def describe(_: Request) -> Response:
            if not described:
                described.append(json.dumps(self.openapi(), separators=(",", ":")).encode())
            return Rendered(described[0])

        self.add_route(self.openapi_url or "", describe, include_in_schema=False)

    def openapi(self) -> dict[str, Any]:
        """The description at `/openapi.json`."""
        described = super().openapi()
        described["components"]["securitySchemes"] |= oauth.SCHEMES
        described["components"]["schemas"]["Problem"] = problems.ProblemBody.model_json_schema()
        return described


def create_app(
    state: SharedState,
    *,
    metrics: Metrics | None = None,
    allowed_hosts: Collection[str] | None = None,
    lab: Lab | None = None,
    worker: Worker | None = None,
) -> Gateway:
    """The HTTP service over `state`, which it starts and closes with itself.

    It serves at once; `/readyz` says when tokens can be judged.

    Args:
        state: not started yet.
        metrics: where events are counted; a registry of its own by default.
        allowed_hosts: names that the `Host` header may carry, see `guards.default_hosts`.
        lab: what the dashboard may act on; None outside a lab.
        worker: which of several on one port this is.

    Raises:
        SettingsError: anybody could connect and no token is set, or the JWT key cannot be used.
    """
    gateway = state.settings.gateway
    accepted = AcceptedTokens(gateway)
    metrics = metrics if metrics is not None else Metrics()
    metrics.watch(state.status)
    stopping = asyncio.Event()
    state.audit.via = "http"
    shared = worker is not None
    siblings = _siblings(worker)
    latencies = Latencies(SYSTEM_CLOCK)
    dashboard = Dashboard(
        state,
        latencies=latencies,
        lab=lab,
        stopping=stopping,
        worker=worker,
        siblings=siblings,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ends = (
            metrics.listen(state.events),
            EventLog().listen(state.events),
            *_told_to_opentelemetry(state),
            dashboard.listen(),
        )
        if not accepted.required:
            _log.warning(
                "no token is set: everybody on this machine may revoke tokens; "
                "set ARAGORA_GATEWAY_TOKEN and ARAGORA_ADMIN_TOKEN"
            )
        state.start()
        try:
            if worker is not None and worker.replaces:
                await state.wait_ready(READY_WITHIN)
            yield
        finally:
            await dashboard.close()
            await state.close()
            if siblings is not None:
                await siblings.close()
            for end in ends:
                end()

    judge = authz.Judge(state)
    routers = (
        limits.routes(state, stopping),
        tokens.routes(state, shared=shared),
        token_admin.routes(state),
        refresh.routes(state),
        oauth.routes(state),
        sessions.routes(state),
        circuits.routes(state, shared=shared),
        audit.routes(state),
        authz.routes(judge),
        status.routes(state, metrics, siblings),
        dashboard_routes.routes(dashboard),
    )
    # Given as they are: what includes routers builds each of their routes again at the first use.
    routes = [route for router in routers for route in router.routes]
    app = Gateway(
        stopping,
        Crowd(gateway.http, state.events),
        routes=routes,
        title="aragora-redis",
        summary="Shared state in Redis that keeps its word through a failover.",
        version=version("aragora-redis"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    problems.install(app)
    app.front = Guards(
        HotRoutes(app.front, routes=routes, judge=judge, latencies=latencies),
        tokens=accepted,
        bound=gateway.host,
        allowed_hosts=default_hosts(gateway.host) if allowed_hosts is None else allowed_hosts,
        limits=gateway.http,
        session_bytes=lambda: state.policies.sessions.max_bytes,
        trusted=proxies(gateway.trusted_proxies),
    )
    return app


def _siblings(worker: Worker | None) -> Siblings | None:
    if worker is None:
        return None
    from .siblings import Siblings  # noqa: PLC0415 - one alone has nobody to ask

    return Siblings(worker)


def _told_to_opentelemetry(state: SharedState) -> Iterator[Callable[[], None]]:
    """Tell OpenTelemetry too, where it is installed; without an SDK that does nothing."""
    if find_spec("opentelemetry") is None:
        return
    from ..telemetry.otel import OpenTelemetry  # noqa: PLC0415 - what it needs is an extra

    told = OpenTelemetry()
    yield told.watch(state.status)
    yield told.listen(state.events)
