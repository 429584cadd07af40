"""How long it counts that a server has proved to be the primary. Pure.

A primary that is frozen, replaced and resumed goes on as if nothing had been: what lies in its
sockets it executes, and answers. So bytes pass, in both directions, only for a moment after a
proof. The moment is shorter than a failover: Sentinels wait for `down-after-milliseconds` and then
vote. So what a program is told to be written was written by the primary of that moment.
"""

from __future__ import annotations

from ..link.trust import FRESH

RENEW_AFTER = FRESH / 2
"""Seconds after which traffic calls for another one, so that it seldom waits for it."""


class Proof:
    """When it was last asked what proved it. Instants are monotonic seconds."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")

    def answered(self, asked_at: float, now: float) -> bool:
        """The server has just said that it is the primary; whether that came in time to count."""
        if now - asked_at > FRESH:
            return False
        self._asked_at = asked_at
        return True

    def void(self) -> None:
        """What was said counts no longer."""
        self._asked_at = float("-inf")

    def holds(self, now: float) -> bool:
        """Whether bytes may pass."""
        return now - self._asked_at <= FRESH

    def ages(self, now: float) -> bool:
        """Whether it is time for another one."""
        return now - self._asked_at > RENEW_AFTER
