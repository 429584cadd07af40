"""Our clock and Redis's, for what depends on which days are over."""

from __future__ import annotations

from ...clock import Clock, ServerTime
from ...errors import OutageError
from ...events import ClockSkew, Events
from ...tokens.shard import Head

SKEW_LIMIT = 300.0
"""Seconds by which the two may differ."""
SET_BY = 5.0
"""Seconds by which a clock that was set has left its way; the answer to TIME is less late."""


class FeedClocks:
    """What the heads of the shards have told of Redis's clock."""

    def __init__(self, clock: Clock, events: Events) -> None:
        self._clock = clock
        self._events = events
        self._skewed = False
        self._read: tuple[float, float] | None = None
        self._samples: dict[int, ServerTime] = {}

    def see(self, head: Head) -> None:
        """Take in the time at which a head was read."""
        self._read = (head.server_now / 1_000_000, self._clock.monotonic())

    def note(self, shard: int, sample: ServerTime) -> None:
        """Take in what a holder's clock said, for `was_set` to tell what it says later from."""
        self._samples[shard] = sample

    def was_set(self, shard: int, sample: ServerTime | None) -> bool:
        """Whether the clock of a shard's holder was set since this was asked last.

        One that was a day ahead has called over what is not, and has forgotten it.
        """
        if sample is None:
            return False
        before = self._samples.get(shard, sample)
        self._samples[shard] = sample
        return abs(sample.micros - before.at(sample.sampled_at)) > SET_BY * 1_000_000

    def certainly_past(self) -> float | None:
        """The earlier of our clock and Redis's: one that is ahead must not purge the living.

        None while Redis's is not known: then ours alone would decide.
        """
        if self._read is None:
            return None
        read, at = self._read
        return min(self._clock.wall(), read + self._clock.monotonic() - at)

    def demand_agreement(self, head: Head) -> None:
        """Refuse to compare where the clocks disagree about which days are over.

        Raises:
            OutageError: they are more than `SKEW_LIMIT` apart.
        """
        self.see(head)
        skew = head.server_now / 1_000_000 - self._clock.wall()
        skewed = abs(skew) > SKEW_LIMIT
        if skewed and not self._skewed:
            self._events.emit(ClockSkew(skew))
        self._skewed = skewed
        if skewed:
            raise OutageError(
                f"Redis's clock is {skew:+.0f} s from ours, so revocations are not compared",
                remedy="synchronise the clocks (NTP)",
            )
