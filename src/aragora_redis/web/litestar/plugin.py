"""What makes a Litestar application at home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.plugins import InitPlugin

from ...state.shared import SharedState
from ..starlette.telling import TellingLimits
from .answers import HANDLERS
from .middleware import mounted
from .sockets import ClosingSockets, remember


class AragoraPlugin(InitPlugin):
    """Starts a state with the application and closes it at its end, and answers our errors.

    Handlers get it as `aragora: SharedState`, a dependency. Its errors are answered as problems
    (RFC 9457), and clients are told of the limits of their routes. What an application says itself
    of one of these goes before. A WebSocket is closed by them: with 1013 where the client is to
    come again later, 1008 where it may not, and 1011 otherwise.

    Args:
        state: the application's.
    """

    def __init__(self, state: SharedState) -> None:
        self.state = state

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar."""

        @asynccontextmanager
        async def run(_: Litestar) -> AsyncIterator[None]:
            async with self.state:
                yield

        # In front of those of the application, which may use it.
        app_config.lifespan = [run, *app_config.lifespan]
        app_config.exception_handlers = {**HANDLERS, **app_config.exception_handlers}
        app_config.dependencies = {
            "aragora": Provide(self._state, sync_to_thread=False),
            **app_config.dependencies,
        }
        app_config.middleware = [
            mounted(TellingLimits),
            mounted(ClosingSockets),
            *app_config.middleware,
        ]
        app_config.after_exception = [remember, *app_config.after_exception]
        return app_config

    def _state(self) -> SharedState:
        return self.state


def state_of(connection: ASGIConnection[Any, Any, Any, Any]) -> SharedState:
    """The state of the application that handles this.

    Raises:
        RuntimeError: it has none.
    """
    try:
        return connection.app.plugins.get(AragoraPlugin).state
    except KeyError:
        raise RuntimeError("the application has no AragoraPlugin(state)") from None
