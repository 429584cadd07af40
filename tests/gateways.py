"""The gateway of a test, in its own process: what it answers, but for the network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from aragora_redis.gateway.app import create_app
from aragora_redis.gateway.worker import Worker
from aragora_redis.lab import Lab
from aragora_redis.state.shared import SharedState


@asynccontextmanager
async def client_of(
    state: SharedState,
    token: str | None = None,
    *,
    lab: Lab | None = None,
    hot: bool = True,
    worker: Worker | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that bears a token, if any; the state is started and closed with its gateway.

    An exception in the gateway is an answer (500), as over a network. Without `hot`, the framework
    calls all routes.
    """
    app = create_app(state, lab=lab, worker=worker)
    if not hot:
        guards: Any = app.front
        guards._app = guards._app._app
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://localhost:8080",
            headers={"Authorization": f"Bearer {token}"} if token else {},
        ) as client,
    ):
        yield client
