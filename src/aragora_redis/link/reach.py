"""The way to Redis, whatever its topology: what `state` and `ops` ask of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..clock import Clock
from ..events import Events
from ..operation import Lane
from ..settings import Cluster, Embedded, Sentinel, Settings, Standalone
from .cluster_reach import ClusterReach
from .endpoint_reach import EndpointReach
from .executor import Executor
from .route import Route
from .sentinel_reach import SentinelReach
from .watcher import SentinelWatcher


class Reach(Protocol):
    """Who watches, the routes, and what runs operations on them."""

    executor: Executor
    channels: Sequence[bytes]
    """What to subscribe to; set before `start`."""

    @property
    def watcher(self) -> SentinelWatcher | None:
        """The watch on the Sentinels, where there are any."""

    @property
    def routes(self) -> Sequence[Route]:
        """One for each primary."""

    @property
    def down(self) -> str | None:
        """Why part of Redis cannot be written now, or None."""

    @property
    def doubted(self) -> bool:
        """Whether a primary may no longer speak for the fleet."""

    @property
    def replicating(self) -> bool:
        """Whether somebody's word makes an acknowledgement count."""

    @property
    def replacing(self) -> bool:
        """Whether anybody misses a primary, or is replacing it."""

    @property
    def across_slots(self) -> bool:
        """Whether one primary holds all hash slots, and takes calls across them."""

    @property
    def primary(self) -> str | None:
        """Where it writes."""

    @property
    def epoch(self) -> int | None:
        """The configuration epoch of that."""

    @property
    def lacks(self) -> tuple[str, ...]:
        """What Redis does not offer of what is used, and what it costs, each as one sentence."""

    @property
    def troubles(self) -> dict[str, str]:
        """Who cannot be asked who is primary, and why."""

    def start(self) -> None:
        """Connect and follow in the background."""

    async def close(self) -> None:
        """End all connections and tasks."""

    def lead(self, slot: int | None) -> Route | None:
        """The route to the primary of a slot, or to any for None; None where nobody holds it."""

    def required_replicas(self, slot: int | None = None) -> int:
        """How many replicas must acknowledge what shall count as replicated; 0 where none counts.

        For no slot in particular the least of all primaries.
        """

    def proven_at(self, slot: int, accepted: float | None) -> float | None:
        """When the holder of a slot last proved to be the real primary (monotonic seconds).

        Args:
            slot: which one.
            accepted: when the last beat was sent that was accepted.
        """

    async def ready(self, until: float) -> None:
        """Wait until everything can be written.

        Raises:
            LinkDownError: it cannot before `until` (monotonic seconds).
        """


def reach(
    settings: Settings,
    *,
    clock: Clock,
    events: Events,
    prepares: bool = True,
    instances: Callable[[], int] = lambda: 0,
    on_push: Callable[[list[Any]], None] = lambda _push: None,
    on_up: Callable[[Route, Lane], None] = lambda _route, _lane: None,
    on_doubt: Callable[[str], None] = lambda _doubt: None,
    on_moved: Callable[[], None] = lambda: None,
) -> Reach:
    """Make the way to the Redis of these settings; it is not started yet.

    Args:
        settings: where it is.
        clock: for deadlines.
        events: told what happens to links.
        prepares: see `Verification`.
        instances: how many there are that lose a server together, as far as is known.
        on_push: gets every published message.
        on_up: told that a lane of a route is usable.
        on_doubt: told why a primary may no longer speak for the fleet, when that begins.
        on_moved: told that slots have other holders.
    """
    how: dict[str, Any] = {
        "clock": clock,
        "events": events,
        "prepares": prepares,
        "instances": instances,
        "on_push": on_push,
        "on_up": on_up,
        "on_doubt": on_doubt,
    }
    match settings.topology:
        case Cluster() as cluster:
            return ClusterReach(settings, cluster, on_moved=on_moved, **how)
        case Sentinel() as sentinel:
            return SentinelReach(settings, sentinel, **how)
        case Standalone() as endpoint:
            return EndpointReach(settings, endpoint, **how)
        case Embedded():
            raise ValueError("without a Redis there is no way to it")
