"""At home in Django: a session engine, middleware, decorators, system checks.

Nothing here touches models, so `INSTALLED_APPS` may name this package.
"""

from ...extras import imported_with

with imported_with("django", __name__):
    from .clients import by_address
    from .problem_middleware import ProblemMiddleware
    from .rate_limit import RateLimitMiddleware, limited
    from .session_middleware import SessionMiddleware
    from .sessions import SessionStore, session_of
    from .state import get_state
    from .tokens import TokenMiddleware, require_token, token_of

__all__ = [
    "ProblemMiddleware",
    "RateLimitMiddleware",
    "SessionMiddleware",
    "SessionStore",
    "TokenMiddleware",
    "by_address",
    "get_state",
    "limited",
    "require_token",
    "session_of",
    "token_of",
]
