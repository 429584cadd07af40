"""What takes a while to see: looked at anew while somebody watches, one look at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ...clock import Clock
from ...errors import AragoraRedisError

T = TypeVar("T")

FIRST_LIMIT = 2.0
"""Seconds that a page waits for a first look."""
_log = logging.getLogger(__name__)


class Look(Generic[T]):
    """Keeps what was seen last.

    Args:
        what: is looked at, for the log.
        see: looks; it has to end by itself.
        every: seconds from the begin of one look to that of the next; may be changed.
        seen: told what was seen, as soon as it was.
    """

    def __init__(
        self,
        what: str,
        see: Callable[[], Awaitable[T]],
        *,
        every: float,
        clock: Clock,
        seen: Callable[[T], None] = lambda _: None,
    ) -> None:
        self._what = what
        self._see = see
        self.every = every
        self._clock = clock
        self._seen = seen
        self._began_at = float("-inf")
        self._looking: asyncio.Future[None] | None = None
        self._poked = False
        self._last: T | None = None
        self.trouble: str | None = None
        """Why the last look saw nothing."""

    def last(self) -> T | None:
        """What was seen last; a new look begins where that is old."""
        now = self._clock.monotonic()
        if self._looking is None and now - self._began_at >= self.every:
            self._began_at = now
            self._looking = asyncio.ensure_future(self._look())
        return self._last

    def poke(self) -> None:
        """Something has changed: what was seen is old."""
        self._began_at, self._poked = float("-inf"), True

    async def first(self) -> None:
        """Wait until it was seen once, and since the last change, for who cannot follow."""
        poked = self._poked
        if (self.last() is None or poked) and self._looking is not None:
            await asyncio.wait((self._looking,), timeout=FIRST_LIMIT)

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        self._poked = False
        try:
            self._last = await self._see()
            self.trouble = None
            self._seen(self._last)
        except AragoraRedisError as error:
            self.trouble = error.message
        except Exception:  # noqa: BLE001 - what is shown must not end with it
            self.trouble = "the gateway's log says why"
            _log.exception("could not look at %s", self._what)
        finally:
            self._looking = None
