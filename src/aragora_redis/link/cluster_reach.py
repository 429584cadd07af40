"""The way to all primaries of a Redis Cluster: a route to each, and who holds which slot."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ..address import Address
from ..clock import Clock
from ..errors import LinkDownError
from ..events import Events, MaintenanceAnnounced, SlotsMoved, ViewChanged
from ..operation import Lane
from ..settings import Cluster, Settings
from ..slots import key_slot
from ..topology.cluster import ClusterMap, Shard, ShardPanel
from ..topology.maintenance import read_notice
from .account import account_of
from .cluster_watcher import ClusterWatcher
from .connection import Login, Target
from .encryption import encryption_of
from .executor import Executor
from .names import Names
from .primary import PrimaryLinks
from .replies import RedirectError
from .route import Route
from .supervision import supervised
from .verification import Verification


class ClusterReach:
    """Watcher, routes and executor, wired. See `Reach` for what is asked of it.

    Args:
        on_push: gets every message that is published by the holder of its channel's slot.
        on_up: told that a lane of a route is usable.
        on_doubt: told why a primary may no longer speak for the fleet, when that begins.
        on_moved: told that slots have other holders.
    """

    watcher: None = None
    """There are no Sentinels."""

    def __init__(
        self,
        settings: Settings,
        topology: Cluster,
        *,
        clock: Clock,
        events: Events,
        prepares: bool,
        instances: Callable[[], int],
        on_push: Callable[[list[Any]], None],
        on_up: Callable[[Route, Lane], None],
        on_doubt: Callable[[str], None],
        on_moved: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._events = events
        self._instances = instances
        self._on_push = on_push
        self._on_up = on_up
        self._on_doubt = on_doubt
        self._on_moved = on_moved
        self._account = account_of(
            settings.credentials, setting=settings.password_setting, clock=clock, events=events
        )
        self._renewal: asyncio.Task[None] | None = None
        self._names = Names(settings.hosts)
        self._login = Login(
            self._account, 0, encryption_of(settings.tls), self._names, settings.variable
        )
        self._layout_key = f"{settings.prefix}:layout".encode()
        self._verification = Verification(
            clock,
            layout_key=self._layout_key,
            by_slot=True,
            prepares=prepares,
            judge_node=self._judge_node,
        )
        self._routes: dict[Address, Route] = {}
        self._overrides: dict[int, Address] = {}
        self._redirected_to: set[Address] = set()
        """Where a redirection led before the map did."""
        self._redirected_at: float | None = None
        self._ended: set[asyncio.Task[None]] = set()
        self._closed = False
        self.channels: Sequence[bytes] = ()
        """What every route subscribes to: a message is heard at every node of a cluster."""
        self.nodes = ClusterWatcher(
            topology.nodes,
            self._login,
            clock=clock,
            events=events,
            on_map=self._on_map,
            on_heard=self._on_heard,
        )
        self.panel = self.nodes.panel
        self._told = self.panel.map
        self.executor = Executor(self, clock, by_slot=True)

    def start(self) -> None:
        """Connect and follow in the background."""
        self._renewal = asyncio.create_task(supervised("the credentials", self._account.run))
        self.nodes.start()

    async def close(self) -> None:
        """End all connections and tasks."""
        self._closed = True
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        self._account.close()
        self._names.close()
        await self.nodes.close()
        routes, self._routes = list(self._routes.values()), {}
        await asyncio.gather(*(route.close() for route in routes), *self._ended)

    # --- routing ----------------------------------------------------------------------------

    @property
    def routes(self) -> Sequence[Route]:
        """One for each primary that holds slots, in their order."""
        found = (self._routes.get(shard.address) for shard in self.panel.map.shards)
        return tuple(route for route in found if route is not None)

    def lead(self, slot: int | None) -> Route | None:
        """The route to the primary of a slot, or to any for None; None where nobody holds it."""
        if slot is None:
            return next(iter(self.routes), None)
        address = self._overrides.get(slot)
        if address is None:
            shard = self.panel.map.owners[slot]
            address = shard.address if shard is not None else None
        return self._routes.get(address) if address is not None else None

    def at(self, address: Address) -> Route | None:
        """The route to a node, if it is a primary that is known."""
        found = self.panel.resolve(address)
        return self._routes.get(found) if found is not None else None

    def redirected(self, error: RedirectError) -> bool:
        """Believe it until the nodes have been asked; another attempt goes there."""
        address = self.panel.resolve(error.address)
        if address is not None:
            if address not in self._routes:
                self._open(address)
                self._redirected_to.add(address)
            self._redirected_at = self._clock.monotonic()
            if error.code == "MOVED":
                self._overrides[error.slot] = address
        self.nodes.poke()
        return True

    def _on_map(self, found: ClusterMap) -> None:
        self._overrides.clear()
        before, self._told = self._told, found
        changes = Counter(
            (old.address if old is not None else None, new.address)
            for old, new in zip(before.owners, found.owners, strict=True)
            if old is not new and new is not None and (old is None or old.address != new.address)
        )
        holders = {shard.address for shard in found.shards}
        were = {shard.address: shard.node_id for shard in before.shards}
        renewed = {s.address for s in found.shards if were.get(s.address, s.node_id) != s.node_id}
        # Under the name of the old one, to which the connections lead as long as it answers.
        self._close(renewed)
        heirs = holders - (self._routes.keys() - self._redirected_to)
        self._redirected_to.clear()
        for address in heirs - self._routes.keys():
            self._open(address)
        for address in renewed:
            self._events.emit(ViewChanged(address, address, found.epoch))
        self._tell(changes, found)
        # Who was no primary before has taken a place: what the old one still answers is unknown.
        self._close({old for old, new in changes if old is not None and new in heirs} - holders)
        self._close_idle()
        self._on_moved()

    def _tell(
        self, changes: Mapping[tuple[Address | None, Address], int], found: ClusterMap
    ) -> None:
        """Say who replaced whom, and what moved otherwise."""
        living = {shard.address for shard in found.shards}
        moved = 0
        for (old, new), slots in changes.items():
            if old in living:
                moved += slots
            else:
                self._events.emit(ViewChanged(old, new, found.epoch))
        if moved:
            self._events.emit(SlotsMoved(moved))

    def _on_heard(self) -> None:
        told = self._redirected_at
        if told is not None and self.panel.heard_majority_since(told):
            self._redirected_at = None
            self._overrides.clear()
        if self._redirected_at is None and len(self._routes) > len(self.panel.map.shards):
            self._close_idle()
        for address in self.panel.idle(self._clock.monotonic()) - self._routes.keys():
            self._open(address)

    def _close_idle(self) -> None:
        """Those that hold nothing may be about to, unless they have been replaced.

        One whose last slot has just moved says of itself what it said before, and is then idle.
        """
        kept = {shard.address for shard in self.panel.map.shards}
        kept |= self.panel.primaries(self._clock.monotonic())
        self._close(self._routes.keys() - kept)

    def _close(self, addresses: Collection[Address]) -> None:
        for address in self._routes.keys() & addresses:
            route = self._routes.pop(address)
            # It ends with the next turns of the loop; nothing must go out before.
            route.links.retire("another node has its slots")
            task = asyncio.create_task(route.close())
            self._ended.add(task)
            task.add_done_callback(self._ended.discard)

    def _open(self, address: Address) -> None:
        if self._closed:  # an answer that was under way sends us elsewhere
            return
        shard = partial(self._shard_at, address)
        panel = ShardPanel(self.panel, shard)
        links = PrimaryLinks(
            self._login,
            clock=self._clock,
            events=self._events,
            deadline=self._settings.deadline,
            verification=self._verification,
            has_layout=self._has_layout,
            by_slot=True,
            instances=self._instances,
            on_push=partial(self._pushed, address),
            heard_majority_since=panel.heard_majority_since,
            on_up=partial(self._up, address),
            on_trouble=self.nodes.poke,
        )
        links.channels = self.channels
        route = self._routes[address] = Route(
            links,
            clock=self._clock,
            vouching=panel,
            required=lambda: self._required(shard()),
            on_doubt=self._on_doubt,
            on_redirect=self.redirected,
        )
        route.start()
        links.aim(address)

    def _shard_at(self, address: Address) -> Shard | None:
        return next((each for each in self.panel.map.shards if each.address == address), None)

    def _judge_node(self, target: Target, nodes: Any) -> str | None:
        """What is wrong with the node that a name has just led to, by its `CLUSTER NODES`."""
        if not isinstance(target, Address):
            return None
        said = self.nodes.read(nodes, target, self._clock.monotonic())
        return "it was replaced" if self.panel.overtaken(said, target) else None

    def _has_layout(self, target: Target) -> bool:
        shard = self.panel.map.owners[key_slot(self._layout_key)]
        return shard is not None and shard.address == target

    def _up(self, address: Address, lane: Lane) -> None:
        if (route := self._routes.get(address)) is not None:
            self._on_up(route, lane)

    def _pushed(self, address: Address, push: list[Any]) -> None:
        """Every node tells of every message; the holder of the channel's slot is believed.

        While that one is away, anybody is: a message that comes again changes nothing.
        """
        notice = read_notice(push)
        if notice is not None:
            self._events.emit(MaintenanceAnnounced(notice.work, notice.seconds))
            self.nodes.poke()
            return
        if len(push) > 1 and isinstance(push[1], bytes):
            route = self.lead(key_slot(push[1]))
            heard = route is not None and route.links.lanes[Lane.BULK].down is None
            if heard and route is not self._routes.get(address):
                return
        self._on_push(push)

    # --- how it is --------------------------------------------------------------------------

    @property
    def down(self) -> str | None:
        """Why part of Redis cannot be written now, or None."""
        found = self.panel.map
        if not found.shards:
            return "no node of the cluster has told who holds which slot" + self._why()
        if found.gaps:
            return f"nobody holds {found.gaps} of the slots"
        for shard in found.shards:
            route = self._routes.get(shard.address)
            down = "not connected yet" if route is None else route.links.lanes[Lane.FAST].down
            if down is not None:
                return f"{shard.address}: {down}"
        return None

    def _why(self) -> str:
        at, reason = next(iter(self.nodes.troubles.items()), (None, ""))
        return "" if at is None else f"; {at}: {reason}"

    @property
    def doubted(self) -> bool:
        """Whether a primary may no longer speak for the fleet."""
        return any(route.doubt is not None for route in self.routes)

    @property
    def replicating(self) -> bool:
        """Whether somebody's word makes an acknowledgement count."""
        return True

    @property
    def replacing(self) -> bool:
        """Whether anybody misses a primary."""
        return self.panel.replacing(self._clock.monotonic())

    def required_replicas(self, slot: int | None = None) -> int:
        """How many replicas must acknowledge; for None the least of all primaries."""
        if slot is not None:
            return self._required(self.panel.map.owners[slot])
        return min((self._required(shard) for shard in self.panel.map.shards), default=0)

    def _required(self, shard: Shard | None) -> int:
        now = self._clock.monotonic()
        return self.panel.required_replicas(shard, now) if shard is not None else 0

    def proven_at(self, slot: int, accepted: float | None) -> float | None:
        """When most primaries last named the holder of a slot; a beat reaches only one of them."""
        del accepted
        shard = self.panel.map.owners[slot]
        return self.panel.named_at(shard) if shard is not None else None

    @property
    def primary(self) -> str | None:
        """Where it writes."""
        return ", ".join(str(shard.address) for shard in self.panel.map.shards) or None

    @property
    def epoch(self) -> int | None:
        """The highest configuration epoch under which a slot is held."""
        return self.panel.map.epoch if self.panel.map.shards else None

    @property
    def across_slots(self) -> bool:
        """Slots move from node to node one by one."""
        return False

    @property
    def lacks(self) -> tuple[str, ...]:
        """What any primary does not offer, and what it costs."""
        return tuple(dict.fromkeys(each for route in self.routes for each in route.links.lacks))

    @property
    def troubles(self) -> dict[str, str]:
        """What cannot be reached now, and why."""
        return {f"node {at}": why for at, why in self.nodes.troubles.items()}

    async def ready(self, until: float) -> None:
        """Wait until everything can be written.

        Raises:
            LinkDownError: it cannot before `until` (monotonic seconds).
        """
        while self.down is not None or not self._lanes_up():
            if self._clock.monotonic() >= until:
                raise LinkDownError(f"the cluster cannot be reached: {self.down}")
            await asyncio.sleep(0.01)

    def _lanes_up(self) -> bool:
        return all(mux.down is None for route in self.routes for mux in route.links.lanes.values())
