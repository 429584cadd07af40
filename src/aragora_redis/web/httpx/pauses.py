"""How long hosts want to be left alone, as they have said (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
import threading
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from ...clock import Clock

LONGEST = 3600.0
"""Seconds for which a host is left alone at most: what it says may be wrong."""
_SUBJECTS = 1000
_SAID_BY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def wanted(response: httpx.Response, now: float) -> float:
    """Seconds for which a response wants its host to be left alone; 0 where it says nothing.

    Args:
        response: any.
        now: Unix seconds, to which a date is compared.
    """
    said = response.headers.get("Retry-After", "").strip()
    if response.status_code not in _SAID_BY or not said:
        return 0.0
    if said.isascii() and said.isdecimal():
        return min(float(said[:12]), LONGEST)
    try:
        at = parsedate_to_datetime(said)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST)


class Pauses:
    """Until when each subject is left alone; known to this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def left(self, subject: str) -> float:
        """Seconds until a subject may be asked again."""
        until = self._until.get(subject, -math.inf)
        return max(until - self._clock.monotonic(), 0.0)

    def take_note(self, subject: str, response: httpx.Response) -> None:
        """Leave a subject alone for as long as it wants; a shorter wish takes nothing back."""
        seconds = wanted(response, self._clock.wall())
        if not seconds:
            return
        now = self._clock.monotonic()
        with self._lock:
            if len(self._until) >= _SUBJECTS:
                self._until = {each: at for each, at in self._until.items() if at > now}
            while len(self._until) >= _SUBJECTS:
                del self._until[min(self._until, key=self._until.__getitem__)]
            self._until[subject] = max(self._until.get(subject, now), now + seconds)
