"""Signs of life, asked for before a silence begins, or grows long.

A silence in which most Sentinels cannot be heard would leave a doubt that nobody can clear, and
services end connections on which nothing is said.
"""

from __future__ import annotations

from typing import Any

from ..clock import Clock
from .pipe import Lost, Pipe, pack
from .trust import Trust

WARM = 0.1
"""Seconds of silence after which a lane is asked for a sign of life."""
KEEP_ALIVE = 2.0
"""Seconds of silence after which any lane is asked for one."""
FENCED_FOR = 60.0
"""Seconds since the last fenced operation for which that goes on."""
DEAD_AFTER = 1.0
"""Seconds without an answer after which the connection is closed."""


class Pulse:
    """Of one lane.

    Args:
        trust: takes in the answers.
    """

    def __init__(self, trust: Trust, clock: Clock) -> None:
        self._trust = trust
        self._clock = clock
        self._asked_at: float | None = None
        self._fenced_at = float("-inf")

    def fenced(self, now: float) -> None:
        """An operation came (monotonic seconds) that a doubt would hold up."""
        self._fenced_at = now

    def beat(self, pipe: Pipe, *, idle: bool) -> None:
        """Ask for a sign of life where one is due; close a connection that gave none.

        Args:
            pipe: the lane's connection.
            idle: whether no other answer is waited for, and it may be written to.
        """
        now = self._clock.monotonic()
        if self._asked_at is not None:
            if now - self._asked_at > DEAD_AFTER:
                pipe.close(f"no sign of life for {now - self._asked_at:.1f} s")
            return
        silence = WARM if now - self._fenced_at < FENCED_FOR else KEEP_ALIVE
        if idle and self._trust.silent_for(now) > silence:
            self._asked_at = now
            pipe.send(pack(("PING",)), [self._on_reply])

    def _on_reply(self, reply: Any) -> None:
        self._asked_at = None
        if not isinstance(reply, Lost):
            self._trust.answered(self._clock.monotonic())
