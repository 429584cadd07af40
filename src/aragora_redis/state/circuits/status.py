"""How a circuit is, as it is shown. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ...circuit import note
from ...circuit.machine import Evidence, Shown, Standing
from ...circuit.policy import CircuitPolicy


class CircuitStatus(Struct, frozen=True):
    """How a circuit is. Rates are of the calls that this instance knows of.

    Attributes:
        retry_after: seconds until it may be tried again; 0 where it lets calls through.
        opens: how often in a row it has opened.
        calls: in the window: pooled where Redis is asked, else this instance's own.
        reason: why it was forced,
        forced_by: by whom,
        forced_at: and when (Unix seconds); None where it is not forced, or nobody told.
        forced_until: Unix seconds until which it is forced; None for as long as nobody ends it.
        in_flight: calls of this instance that are under way, guarded or under a permit,
        waiting: and those that wait for a place.
        source: who decides now.
    """

    name: str
    state: Shown
    retry_after: float
    opens: int
    calls: int
    failure_rate: float
    slow_rate: float
    reason: str
    forced_by: str
    forced_at: float | None
    forced_until: float | None
    in_flight: int
    waiting: int
    source: Literal["redis", "local"]


def status_of(
    name: str,
    policy: CircuitPolicy,
    standing: Standing,
    now: int,
    seen: Evidence,
    *,
    source: Literal["redis", "local"],
    in_flight: int = 0,
    waiting: int = 0,
) -> CircuitStatus:
    """How a circuit is that stands so at an instant (Unix microseconds)."""
    state = standing.shown(now)
    forced = state.startswith("forced")
    said = note.read(standing.reason) if forced else note.Note()
    return CircuitStatus(
        name=name,
        state=state,
        retry_after=standing.wait(now, policy.open_for),
        opens=standing.opens,
        calls=seen.calls,
        failure_rate=seen.failures / seen.calls if seen.calls else 0.0,
        slow_rate=seen.slow / seen.calls if seen.calls else 0.0,
        reason=said.reason,
        forced_by=said.by,
        forced_at=said.at or None,
        forced_until=standing.until / 1e6 if forced and standing.until else None,
        in_flight=in_flight,
        waiting=waiting,
        source=source,
    )
