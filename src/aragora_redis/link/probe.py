"""One look at a server that has been silent: is it still the primary?

A server that stood still and was replaced answers, when it resumes, what lies in its socket as if
nothing had been. So ROLE proves something only where it is answered at once and nothing waits
behind it, and where the Sentinels say, asked since, that nobody has taken its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

from ..clock import Clock
from .pipe import Lost, Pipe, pack

PROBE_LIMIT = 0.05
"""Seconds within which the answer to a probe counts."""
VOUCH_EVERY = 0.005
"""Seconds between looks whether the Sentinels have answered."""


class Probe:
    """Asks for the role, by itself.

    Args:
        silent_since: monotonic seconds from which on the server proved nothing.
        question: what tells its role best, see `topology.offers`.
        role_fault: judges the reply; returns what is wrong, or None.
        vouched: whether most Sentinels have been heard since an instant.
        conclude: told what is wrong, or None; not told where the connection ends before.
    """

    def __init__(
        self,
        pipe: Pipe,
        *,
        clock: Clock,
        silent_since: float,
        question: tuple[str, ...],
        role_fault: Callable[[Any], str | None],
        vouched: Callable[[float], bool],
        conclude: Callable[[str | None], None],
    ) -> None:
        self._pipe = pipe
        self._clock = clock
        self.silent_since = silent_since
        self._role_fault = role_fault
        self._vouched = vouched
        self._conclude = conclude
        self._asked = clock.monotonic()
        self._loop = asyncio.get_running_loop()
        # A little more than counts, so that an answer in time is never overtaken by the timer.
        self._overdue = self._loop.call_later(
            PROBE_LIMIT + 2 * VOUCH_EVERY, self._end, "the probe was not answered"
        )
        pipe.send(pack(question), [self._judge])

    def cancel(self) -> None:
        """Conclude nothing any more."""
        self._overdue.cancel()
        self._conclude = lambda _fault: None

    def _judge(self, reply: Any) -> None:
        if isinstance(reply, Lost):
            return
        took = self._clock.monotonic() - self._asked
        if took > PROBE_LIMIT:
            self._end(f"the probe took {took * 1000:.0f} ms")
        elif isinstance(reply, hiredis.ReplyError):
            self._end(str(reply))
        elif (fault := self._role_fault(reply)) is not None:
            self._end(fault)
        else:
            self._await_vouchers()

    def _await_vouchers(self) -> None:
        took = self._clock.monotonic() - self._asked
        # We may have stood still ourselves since it was answered.
        if took <= PROBE_LIMIT + VOUCH_EVERY and self._vouched(self.silent_since):
            self._end(None)
        elif took > PROBE_LIMIT:
            self._end("most Sentinels have been silent for as long")
        else:
            self._loop.call_later(VOUCH_EVERY, self._await_vouchers)

    def _end(self, fault: str | None) -> None:
        self._overdue.cancel()
        conclude, self._conclude = self._conclude, lambda _fault: None
        conclude(fault)
