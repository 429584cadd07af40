"""At home in a Starlette or FastAPI service: middleware, sessions, problems."""

from ...extras import imported_with

with imported_with("starlette", __name__):
    from ..problems import Problem, ProblemError, problem_of, problem_outside
    from ..session import NotLoadedError, WebSession
    from .rate_limit import RateLimitMiddleware, by_address
    from .session import session_of
    from .session_middleware import SessionMiddleware
    from .tokens import TokenCheck, TokenMiddleware

__all__ = [
    "NotLoadedError",
    "Problem",
    "ProblemError",
    "RateLimitMiddleware",
    "SessionMiddleware",
    "TokenCheck",
    "TokenMiddleware",
    "WebSession",
    "by_address",
    "problem_of",
    "problem_outside",
    "session_of",
]
