"""What answers prove: whether a server may have stood still, and been replaced meanwhile. Pure.

A reply ends a silence, but proves nothing: a resumed stale primary answers, too. So a doubt stays
until the server has proved itself, and outlives the connection: the server that was replaced as it
stood still is at the same address, says that it is the primary, and may even have a replica left.
"""

from __future__ import annotations

FRESH = 0.2
"""Seconds after which silence, or a late success, is not trusted (docs/protocol.md, "Links")."""


class Trust:
    """In one server, over one lane. Instants are monotonic seconds."""

    def __init__(self) -> None:
        self._last_reply = 0.0
        self._doubted_since: float | None = None

    def connected(self, now: float) -> None:
        """It has been verified on a new connection."""
        self._last_reply = now

    def answered(self, now: float, *, late: bool = False) -> None:
        """It has answered something; `late` if what was asked had waited for longer than FRESH."""
        self.lost(now, late=late)
        self._last_reply = now

    def lost(self, now: float, *, late: bool = False) -> None:
        """Its connection ended, or an answer came: a silence before that leaves a doubt."""
        # Only who was heard since the latest silence began knows what became of the server in it.
        if late or self.silent_for(now) > FRESH:
            self._doubted_since = self._last_reply

    def proved(self, now: float) -> None:
        """It has proved to be the primary still."""
        self._last_reply = now
        self._doubted_since = None

    def failed(self, since: float) -> None:
        """It has not: it is doubted since its silence began."""
        self._doubted_since = since

    def clear(self) -> None:
        """Another primary was named."""
        self._doubted_since = None

    def silent_for(self, now: float) -> float:
        """Seconds since its last answer."""
        return now - self._last_reply

    def doubtful(self, now: float) -> bool:
        """Whether it may have been frozen, and replaced, since it last proved itself."""
        return self._doubted_since is not None or self.silent_for(now) > FRESH

    def silent_since(self, now: float) -> float:
        """When the latest silence began in which that may have been."""
        if self._doubted_since is None or self.silent_for(now) > FRESH:
            return self._last_reply
        return self._doubted_since
