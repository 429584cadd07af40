"""At home in a Litestar service: a plugin, guards, sessions, problems.

Middlewares are those of `aragora_redis.web.starlette`, which are plain ASGI; that of sessions also
heeds what Litestar's requests do with one.
"""

from ...extras import imported_with

with imported_with("litestar", __name__):
    from ..problems import Problem, ProblemError
    from ..starlette import WebSession, by_address
    from .guards import RateLimit, RequireToken
    from .middleware import mounted
    from .plugin import AragoraPlugin, state_of
    from .session import session_of
    from .session_middleware import SessionMiddleware

__all__ = [
    "AragoraPlugin",
    "Problem",
    "ProblemError",
    "RateLimit",
    "RequireToken",
    "SessionMiddleware",
    "WebSession",
    "by_address",
    "mounted",
    "session_of",
    "state_of",
]
