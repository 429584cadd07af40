"""Signs of life, asked for before a silence begins, or grows long.

A silence in which most Sentinels cannot be heard would leave a doubt that nobody can clear, and
services end connections on which nothing is said.

Each carries a number that the server repeats. Replies do not name what they answer, so where one is
lost, or comes twice, callers get each other's from then on; the number shows it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import hiredis

from ..clock import Clock
from .pipe import Lost, Pipe, pack
from .trust import Trust

WARM = 0.1
"""Seconds of silence after which a lane is asked for a sign of life."""
KEEP_ALIVE = 2.0
"""Seconds after which any lane is asked for one, silent or not."""
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
        self._in_step_at = float("-inf")
        self._number = 0
        self._fenced_at = float("-inf")

    def connected(self) -> None:
        """A verified connection is in step, and its server in no doubt since now."""
        self._in_step_at = self._clock.monotonic()
        self._trust.connected(self._in_step_at)

    def fenced(self, now: float) -> None:
        """An operation came (monotonic seconds) that a doubt would hold up."""
        self._fenced_at = now

    def beat(self, pipe: Pipe, *, idle: bool, asks: bool) -> None:
        """Ask for a sign of life where one is due; close a connection that gave none.

        Args:
            pipe: the lane's connection.
            idle: whether no other answer is waited for: what is busy is closed by its lane.
            asks: whether it may be written to.
        """
        now = self._clock.monotonic()
        if self._asked_at is not None:
            if idle and now - self._asked_at > DEAD_AFTER:
                pipe.close(f"no sign of life for {now - self._asked_at:.1f} s")
            return
        silence = WARM if now - self._fenced_at < FENCED_FOR else KEEP_ALIVE
        silent = idle and self._trust.silent_for(now) > silence
        if asks and (silent or now - self._in_step_at > KEEP_ALIVE):
            self._asked_at = now
            self._number += 1
            number = b"%d" % self._number
            pipe.send(pack(("PING", number)), [partial(self._on_reply, pipe, number)])

    def _on_reply(self, pipe: Pipe, number: bytes, reply: Any) -> None:
        self._asked_at = None
        if isinstance(reply, Lost):
            return
        now = self._clock.monotonic()
        # A refusal is a sign of life as well, and so is what a proxy answers by itself.
        if reply not in (number, b"PONG") and not isinstance(reply, hiredis.ReplyError):
            pipe.close("its replies are not those to what it was asked")
            return
        self._in_step_at = now
        self._trust.answered(now)
