"""Plain ASGI middlewares among those of Litestar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from litestar.middleware import DefineMiddleware
from starlette.types import ASGIApp


def mounted(middleware: Callable[..., ASGIApp], **options: Any) -> DefineMiddleware:
    """A middleware of `aragora_redis.web.starlette`, as Litestar takes it, with its options.

        Litestar(middleware=[mounted(SessionMiddleware, state=state)], ...)

    Litestar runs middlewares for requests that it has a handler for; to limit all others too, put
    `RateLimitMiddleware` around the application itself.
    """
    # The same protocol, in types of another package.
    return DefineMiddleware(cast("Any", middleware), **options)
