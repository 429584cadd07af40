"""Which replicas may be read, and whose turn it is. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..address import Address


class Followers:
    """What the primary has said of its replicas. Instants are monotonic seconds.

    While there is no primary nobody is linked, and the replicas are as good as they were: how far
    one is behind grows with the time since the primary last vouched for it.

    Args:
        max_lag: seconds that a replica may be behind.
    """

    def __init__(self, max_lag: float) -> None:
        self._max_lag = max_lag
        self._current_at: dict[Address, float] = {}
        self._last: Address | None = None

    def note(self, lags: Mapping[Address, int], now: float) -> None:
        """The primary lists these, each with the seconds since it was heard."""
        self._current_at |= {replica: now - lag for replica, lag in lags.items()}
        for gone in [each for each, at in self._current_at.items() if now - at > 2 * self._max_lag]:
            del self._current_at[gone]

    def usable(self, up: Collection[Address], now: float) -> list[Address]:
        """Those of `up`, which the Sentinels can reach, that are not too far behind."""
        return sorted(
            each for each in up if now - self._current_at.get(each, float("-inf")) <= self._max_lag
        )

    def next_of(self, usable: Collection[Address]) -> Address | None:
        """Whose turn it is."""
        order = sorted(usable)
        later = [each for each in order if self._last is not None and each > self._last]
        self._last = next(iter(later or order), None)
        return self._last
