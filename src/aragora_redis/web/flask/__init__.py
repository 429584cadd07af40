"""At home in a Flask service: limits, tokens, `flask.session`, problems."""

from ...extras import imported_with

with imported_with("flask", __name__):
    from ..problems import Problem, ProblemError
    from .extension import Aragora, state
    from .rate_limit import RateLimit, by_address, limited
    from .session import Session, session
    from .session_interface import RedisSessionInterface
    from .tokens import RequireToken, require_token

__all__ = [
    "Aragora",
    "Problem",
    "ProblemError",
    "RateLimit",
    "RedisSessionInterface",
    "RequireToken",
    "Session",
    "by_address",
    "limited",
    "require_token",
    "session",
    "state",
]
