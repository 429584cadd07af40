"""Notes every write to a primary that this process knows to be replaced (invariant I3)."""

from __future__ import annotations

from typing import Any

from aragora_redis import SharedState
from aragora_redis.address import Address
from aragora_redis.events import Event, ViewChanged
from aragora_redis.link.cluster_reach import ClusterReach
from aragora_redis.link.names import Names
from aragora_redis.link.pipe import Pipe, pack
from aragora_redis.link.replies import RedirectError
from aragora_redis.link.verification import MAINTENANCE
from aragora_redis.settings import Standalone

from .history import Recorder

HARMLESS = {pack(("ROLE",)), pack(("CLIENT", "SETNAME", "aragora-redis"))}
"""The question by which the watcher has an address prove itself that most Sentinels insist on, and
how a connection that was made just before the news of a switch names itself."""
QUESTIONS = {
    "cluster": {pack(("CLUSTER", "NODES"))},
    "standalone": {pack(MAINTENANCE), pack(("WAITAOF", 1, 0, 1))},
}
"""What writes nothing: sent to a node of a cluster whoever it is now, to hear what it says of all;
and by a connection that was made just before the name moved, to hear what is offered."""


def watch_sends(state: SharedState, recorder: Recorder) -> None:
    """Look at what goes out, from now on."""
    stale: set[tuple[str, int]] = set()
    send, ask, believe = Pipe.send, Names.look_up, ClusterReach.redirected
    harmless = HARMLESS | QUESTIONS.get(state.settings.mode, set())

    def on_event(event: Event) -> None:
        if isinstance(event, ViewChanged):
            stale.discard(event.new)
            if event.old is not None:
                stale.add(event.old)

    async def look_up(self: Names, target: Address) -> tuple[str, ...]:
        found = await ask(self, target)
        # A service's name may lead back: who connects there knows that before all others do.
        stale.difference_update((host, target.port) for host in found)
        return found

    def redirected(self: ClusterReach, error: RedirectError) -> bool:
        # So may a node that takes over again: MOVED tells of it before the nodes have been asked.
        stale.difference_update({self.panel.resolve(error.address)})
        return believe(self, error)

    def looked_at(self: Pipe, data: bytes, handlers: list[Any]) -> None:
        peer = self._transport.get_extra_info("peername")
        lives = self.closed is None
        if peer and tuple(peer[:2]) in stale and lives and data not in harmless:
            recorder.happened("stale-send", text=f"{peer[0]}:{peer[1]}: {data[:60]!r}")
        send(self, data, handlers)

    state.events.subscribe(on_event)
    Pipe.send = looked_at  # type: ignore[method-assign]
    ClusterReach.redirected = redirected  # type: ignore[method-assign]
    if isinstance(state.settings.topology, Standalone):
        Names.look_up = look_up  # type: ignore[method-assign]
