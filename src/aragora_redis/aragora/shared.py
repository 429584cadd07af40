"""The shared state as Aragora may call it: from threads, from coroutines, without errors.

Aragora's handlers run in threads, and call the same functions from coroutines too. None of them
knows our errors, so what cannot be told is None here, and the caller falls back on what Aragora
has in memory: an outage of Redis is never a 500.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, TypeVar

from .. import native
from ..errors import AragoraRedisError
from ..rate_limit.gcra import Decision
from ..rate_limit.local import SUBJECT_LIMIT
from ..state.revocations.receipt import Level
from ..sync import SharedState
from .limits import FAILURES, HOLD

T = TypeVar("T")

AT_ONCE = 8
"""Calls that coroutines may have under way."""


class Shared:
    """Limits, holds and revocations of the fleet."""

    def __init__(self, state: SharedState) -> None:
        self.state = state
        self._pool: tuple[int, native.Executor] | None = None

    # --- rate limits --------------------------------------------------------------------

    def take(self, policy: str, subject: str, cost: int = 1) -> Decision | None:
        """Take from the subject's bucket; None if nobody can decide that."""
        name = _short(subject)
        return self._ask(lambda: self.state.rate_limits.check(policy, name, cost))

    def look(self, policy: str, subject: str) -> Decision | None:
        """How full the subject's bucket is, with nothing taken."""
        return self.take(policy, subject, 0)

    # --- counted failures, and holds ----------------------------------------------------

    def count_failure(self, subject: str) -> int | None:
        """Count one more; the number so far."""
        decision = self.take(FAILURES.name, subject)
        return None if decision is None else FAILURES.burst - decision.remaining

    def hold(self, subject: str, seconds: float) -> bool:
        """Let something be held for at least so long, at most a day; False if Redis cannot."""
        held = self.held_for(subject)
        if held is None:
            return False
        tenths = ceil((min(seconds, HOLD.burst / 10) - held) * 10)
        return tenths <= 0 or self.take(HOLD.name, subject, tenths) is not None

    def held_for(self, subject: str) -> float | None:
        """Seconds for which it is still held; None if Redis cannot say."""
        decision = self.look(HOLD.name, subject)
        return None if decision is None else decision.reset_after

    def let_go(self, subject: str) -> bool:
        """Hold it no longer, and forget its failures; True if there was anything."""
        name = _short(subject)
        limits = self.state.rate_limits
        held = self._ask(lambda: limits.reset(HOLD.name, name))
        failed = self._ask(lambda: limits.reset(FAILURES.name, name))
        return bool(held or failed)

    # --- tokens -------------------------------------------------------------------------

    def revoke(self, jti: str, expires_at: float, level: Level | None = None) -> Level | None:
        """Refuse a token from now on; the level reached, None if it cannot be revoked."""
        receipt = self._ask(
            lambda: self.state.tokens.revoke(jti, expires_at=expires_at, level=level)
        )
        return receipt.level if receipt is not None else None

    def refuses(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token is revoked, or cannot be vouched for. No round trip."""
        try:
            return self.state.tokens.is_revoked(claims)
        except AragoraRedisError:
            return True

    def knows(self, jti: str) -> bool:
        """Whether a token is known to be revoked. No round trip."""
        try:
            return self.state.tokens.is_revoked({"jti": jti})
        except AragoraRedisError:
            return False

    # --- crossing -----------------------------------------------------------------------

    def _ask(self, call: Callable[[], T]) -> T | None:
        """Call from any thread. A coroutine's thread waits too, as long as a deadline at most."""
        try:
            if asyncio._get_running_loop() is None:  # noqa: SLF001 - the question without a raise
                return call()
            return self._aside().submit(call).result()
        except AragoraRedisError:
            return None

    def _aside(self) -> native.Executor:
        """Threads of this process: a fork leaves those of its parent behind."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), native.Executor(AT_ONCE))
        return self._pool[1]


def _short(subject: str) -> str:
    if 0 < len(subject) <= SUBJECT_LIMIT:
        return subject
    return hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()
