"""Ask every node of a cluster which primary holds which slot: each second, and when in trouble.

A cluster publishes no news, so while a primary is missed its nodes are asked ten times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..address import Address
from ..clock import Clock, full_jitter
from ..errors import AragoraRedisError, LinkDownError
from ..events import Events, Unreachable
from ..settings import names
from ..topology.cluster import ClusterMap, ClusterPanel
from ..topology.nodes import NodeStatement, read_nodes
from .connection import Login, connect
from .pipe import Pipe
from .supervision import supervised

POLL_EVERY, HURRIED = 1.0, 0.1
ASK_LIMIT = 0.5
"""Seconds that a node has to answer."""
CONNECT_LIMIT = 1.0
RETRY_BASE, RETRY_CAP = 0.05, 1.0
NODE_LIMIT = 64
"""Nodes watched at most, beside the primaries, of whom a majority must be heard."""


class ClusterWatcher:
    """Keeps a `ClusterPanel` up to date, and says when its map changes.

    Args:
        seeds: the configured nodes; the others are learned.
        login: credentials for all nodes.
        on_map: told of each new map.
        on_heard: told of each statement, whether it changed anything or not.
    """

    def __init__(
        self,
        seeds: Sequence[Address],
        login: Login,
        *,
        clock: Clock,
        events: Events,
        on_map: Callable[[ClusterMap], None],
        on_heard: Callable[[], None],
    ) -> None:
        self._seeds = tuple(seeds)
        self._login = login
        self._clock = clock
        self._events = events
        self._on_map = on_map
        self._on_heard = on_heard
        # Certificates are for names.
        self._by_name = login.encryption is not None and login.encryption.by_name
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._pokes: dict[Address, asyncio.Event] = {}
        self._known: dict[Address, frozenset[Address]] = {}
        self.panel = ClusterPanel()
        self.troubles: dict[Address, str] = {}
        """Why a node cannot be asked now, by address."""

    def start(self) -> None:
        """Begin to watch the configured nodes."""
        for address in self._seeds:
            self._watch(address)

    async def close(self) -> None:
        """Stop watching."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def poke(self) -> None:
        """Ask every node now rather than at the next poll."""
        for poke in self._pokes.values():
            poke.set()

    def _watch(self, address: Address, *, limit: int | None = NODE_LIMIT) -> None:
        if address not in self._tasks and (limit is None or len(self._tasks) < limit):
            self._pokes[address] = asyncio.Event()
            self._tasks[address] = asyncio.create_task(
                supervised(f"the watch on {address}", partial(self._follow, address))
            )

    async def _follow(self, address: Address) -> None:
        attempt = 0
        while True:
            pipe: Pipe | None = None
            try:
                pipe = await connect(
                    address, self._login, timeout=CONNECT_LIMIT, on_push=lambda _push: None
                )
                poke = self._pokes[address]
                while True:
                    poke.clear()  # before the question: its answer may be older than the next poke
                    await self._ask(address, pipe)
                    attempt = 0
                    await self._pause(poke)
            except AragoraRedisError as error:
                self._note_trouble(address, error)
                attempt += 1
            finally:
                if pipe is not None:
                    pipe.close("no longer watched")
            await asyncio.sleep(full_jitter(attempt, base=RETRY_BASE, cap=RETRY_CAP))

    async def _pause(self, poke: asyncio.Event) -> None:
        hurried = self.panel.replacing(self._clock.monotonic()) or self.panel.map.gaps > 0
        try:
            async with asyncio.timeout(HURRIED if hurried else POLL_EVERY):
                await poke.wait()
        except TimeoutError:
            return
        # Trouble comes in bursts, and one question answers them all.
        await asyncio.sleep(0.005)

    async def _ask(self, address: Address, pipe: Pipe) -> None:
        asked_at = self._clock.monotonic()
        reply = await pipe.request("CLUSTER", "NODES", timeout=ASK_LIMIT)
        statement = self.read(reply, address, asked_at)
        belongs = self.panel.record(statement)
        self._known[address] = statement.addresses if belongs else frozenset()
        if self.panel.decide(self._clock.monotonic()):
            self._on_map(self.panel.map)
        misled = self.panel.misled(statement.node_id, address, self._clock.monotonic())
        if not misled:
            self.troubles.pop(address, None)
        self._learn()
        self._on_heard()
        if misled:
            raise LinkDownError(
                f"{address} leads to another node than the one that the others have there",
                remedy="where it was replaced, DNS or "
                f"{self._login.variable(names.HOSTS_FILE)} is behind",
            )

    def read(self, reply: Any, asked: Address, asked_at: float) -> NodeStatement:
        """What a node says in its answer to `CLUSTER NODES`.

        Raises:
            UnexpectedReplyError: it is none.
        """
        return read_nodes(
            reply,
            asked=asked,
            asked_at=asked_at,
            by_name=self._by_name,
            endpoint=self._seeds[0].host,
        )

    def _learn(self) -> None:
        """Watch the nodes that any of them knows, and no longer those that have left."""
        for shard in self.panel.map.shards:
            self._watch(shard.address, limit=None)
        listed = frozenset().union(*self._known.values())
        for address in listed:
            self._watch(address)
        for gone in [at for at in self.troubles if at not in listed and at not in self._seeds]:
            if (task := self._tasks.pop(gone, None)) is not None:
                task.cancel()
            for known in (self._pokes, self.troubles, self._known):
                known.pop(gone, None)

    def _explain(self, error: AragoraRedisError) -> str:
        if "cluster support disabled" in str(error):
            nodes = self._login.variable(names.CLUSTER_NODES)
            return f"this is no node of a cluster (check {nodes})"
        return str(error)

    def _note_trouble(self, address: Address, error: AragoraRedisError) -> None:
        reason = self._explain(error)
        if self.troubles.get(address) != reason:
            self._events.emit(Unreachable(f"node {address}", reason))
        self.troubles[address] = reason
        self._known.pop(address, None)
        self._on_heard()
