"""The limits that Aragora's handlers keep in memory, among them those of login and registration.

They are made by `aragora.server.handlers.utils.rate_limit`, in 2.11 with no hook at all. Each
keeps deciding as it did, over a sliding minute of this process; the fleet's bucket decides beside
it, so that a limit never becomes looser than it was.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from ..rate_limit.gcra import Source
from .limits import limit_name
from .seam import Finding, Where
from .shared import Shared
from .versions import Checked

_HOME = "aragora.server.handlers.utils.rate_limit"
_NAME = "_aragora_redis_name"


def name_of(
    limiter: Any, named: Mapping[str, Any], modules: Iterable[tuple[str, Any]]
) -> str | None:
    """What all instances call a limiter: its name, or the variable of the module that holds it."""
    for name, each in list(named.items()):
        if each is limiter:
            return name
    for module, held in modules:
        for variable, each in list(getattr(held, "__dict__", {}).items()):
            if each is limiter:
                return f"{module}.{variable}"
    return None


def decided_together(
    alone: Callable[[Any, str], bool],
    shared: Shared,
    name: Callable[[Any], str | None],
) -> Callable[[Any, str], bool]:
    """`RateLimiter.is_allowed`, decided by this process and by the fleet.

    Args:
        alone: Aragora's own method.
        shared: the fleet.
        name: what a limiter is called; None where it has no name, and stays alone.
    """

    def is_allowed(limiter: Any, key: str) -> bool:
        if not alone(limiter, key):
            return False
        called = name(limiter)
        policy = limit_name(limiter.rpm, limiter.rpm) if called else None
        decision = shared.take(policy, f"handler:{called}:{key}") if policy else None
        return decision is None or decision.allowed

    return is_allowed


class HandlerLimits:
    """The seam."""

    feature = "login and other handler limits"
    checked = Checked("2.11", "2.12")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def install(self) -> None:
        """Let the fleet decide beside each limiter of the class."""
        home: Any = import_module(_HOME)
        alone = home.RateLimiter.is_allowed

        def is_allowed(limiter: Any, key: str) -> bool:
            return True if home.RATE_LIMITING_DISABLED else together(limiter, key)

        together = decided_together(alone, self._shared, _called)
        home.RateLimiter.is_allowed = is_allowed

    def verify(self) -> Finding:
        """Take one of ten through Aragora's function, and see our bucket with one less."""
        home = import_module(_HOME)
        whom, name = f"self-check-{secrets.token_hex(8)}", "aragora-redis-self-check"
        home._get_limiter(name, 10).is_allowed(whom)  # noqa: SLF001 - the seam
        left = self._shared.look(limit_name(10, 10) or "", f"handler:{name}:{whom}")
        if left is None or left.source is not Source.REDIS:
            detail = "each instance decides for itself"
            return Finding(self.feature, Where.UNSEEN, detail)
        if left.remaining != 9:
            return Finding(self.feature, Where.MEMORY, "they count for themselves")
        return Finding(self.feature, Where.REDIS, "RateLimiter.is_allowed of the handlers")


def _called(limiter: Any) -> str | None:
    """The name of a limiter, which it keeps once it was looked for."""
    held = vars(limiter)
    if _NAME not in held:
        modules = [each for each in sys.modules.items() if each[0].startswith("aragora.")]
        held[_NAME] = name_of(limiter, import_module(_HOME)._limiters, modules)  # noqa: SLF001 - the seam
    name: str | None = held[_NAME]
    return name
