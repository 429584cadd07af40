"""When an issuer is asked for its keys, and for how long those that it gave count. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from ..clock import full_jitter

AHEAD = 0.8
"""Part of a document's life after which the next one is fetched."""
PERIOD = 300.0
"""Seconds that a document lives whose issuer does not say (`Cache-Control: max-age`)."""
SHORTEST, LONGEST = 60.0, 3600.0
"""Bounds of what an issuer may say."""
COOL_DOWN = 10.0
"""Seconds after an attempt for which an unknown `kid` asks for no other one."""
_RETRY_BASE, _RETRY_CAP = 2.0, 60.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """What became of the attempts so far; instants are monotonic seconds.

    Attributes:
        hold: seconds for which keys count while the issuer cannot be asked.
        fetched_at: when the present keys were asked for.
        failures: attempts that failed since.
        due: when the next attempt is to be made.
    """

    hold: float
    fetched_at: float = float("-inf")
    attempted_at: float = float("-inf")
    failures: int = 0
    due: float = float("-inf")

    def succeeded(self, started: float, life: float | None) -> Self:
        """An attempt that began at `started` has brought keys that live `life` seconds."""
        kept = min(max(PERIOD if life is None else life, SHORTEST), LONGEST)
        due = started + min(AHEAD * kept, self.hold / 2)
        return replace(self, fetched_at=started, attempted_at=started, failures=0, due=due)

    def failed(self, started: float, now: float) -> Self:
        """An attempt that began at `started` has failed."""
        pause = 1.0 + full_jitter(self.failures, base=_RETRY_BASE, cap=_RETRY_CAP)
        return replace(self, attempted_at=started, failures=self.failures + 1, due=now + pause)

    def counts(self, now: float) -> bool:
        """Whether the present keys may be used."""
        return now - self.fetched_at <= self.hold

    def cool_down(self, now: float) -> float:
        """Seconds before an unknown `kid` may ask again; 0 where it may now."""
        return max(self.attempted_at + COOL_DOWN - now, 0.0)
