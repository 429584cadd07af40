"""An in-process data set, in which the models of scripts run where there is no Redis.

A model takes what its script takes (KEYS and ARGV as bytes) and answers what it answers, so both
are held to the same cases, and what was built on one runs on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import OverloadedError

KEY_LIMIT = 200_000
"""Keys that may live at once."""
SWEEP_EVERY = 1_000_000
"""Microseconds between sweeps of a data set that stays full: each looks at every key."""


class Memory:
    """Keys with values and expiries; time is the server's, in Unix microseconds."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._values: dict[bytes, Any] = {}
        self._expiries: dict[bytes, int] = {}
        self._sweep_at = 1024
        self._swept_at = -SWEEP_EVERY

    @property
    def now(self) -> int:
        """What `TIME` would say."""
        return self._now()

    def get(self, key: bytes) -> Any | None:
        """The value, which may be changed in place, or None."""
        ends = self._expiries.get(key)
        if ends is not None and ends <= self.now:
            self.delete(key)
        return self._values.get(key)

    def put(self, key: bytes, value: Any) -> None:
        """Set a value; one that was there keeps its expiry.

        Raises:
            OverloadedError: too many keys live; nothing was set.
        """
        if key not in self._values:
            self._make_room()
        self._values[key] = value

    def expire_at(self, key: bytes, instant: int | None) -> None:
        """Let a key end at an instant, one that is past ends it now; or, with None, let it stay."""
        if instant is None:
            self._expiries.pop(key, None)
        elif key in self._values:
            self._expiries[key] = instant

    def expiry(self, key: bytes) -> int | None:
        """When a living key ends, or None."""
        return self._expiries.get(key) if self.get(key) is not None else None

    def delete(self, key: bytes) -> bool:
        """Remove a key; True if it was there."""
        self._expiries.pop(key, None)
        return self._values.pop(key, None) is not None

    def _make_room(self) -> None:
        if len(self._values) < self._sweep_at:
            return
        now = self.now
        just_swept = self._swept_at <= now < self._swept_at + SWEEP_EVERY
        if len(self._values) < KEY_LIMIT or not just_swept:
            self._swept_at = now
            for key in [key for key, at in self._expiries.items() if at <= now]:
                self.delete(key)
        if len(self._values) >= KEY_LIMIT:
            raise OverloadedError(
                "this process holds as much state as it may", remedy="give it a Redis"
            )
        self._sweep_at = min(max(1024, 2 * len(self._values)), KEY_LIMIT)


Model = Callable[[Memory, tuple[bytes, ...], tuple[bytes, ...]], Any]
"""What a script does, in Python: the data set, KEYS, and ARGV without `not_after`."""
