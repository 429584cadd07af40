"""Move slots of a cluster from node to node while clients go on, as `redis-cli` reshards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import redis

from ..errors import LabError
from ..slots import SLOTS
from . import admin
from .cluster import ORDER_SECONDS, living_views
from .hint import command
from .members import View, decide_owner
from .node import Node
from .topology import Site
from .waiting import wait_until

_MIGRATE_MS = 5_000
_KEYS_AT_ONCE = 100
_AGREE_SECONDS = 10.0
# The second is Valkey's, which waits for its replicas before it answers.
_NOT_A_PRIMARY = ("only with masters", "master -> replica")


@dataclass(frozen=True, slots=True)
class _Party:
    """A living primary, and a connection to it."""

    node: Node
    name: str
    client: redis.Redis

    def order(self, *words: str | int | bytes) -> list[bytes]:
        """Have it do something to the cluster; what it lists, where it lists something."""
        reply = admin.order(self.client, self.node, *words)
        return reply if isinstance(reply, list) else []


def move_slots(site: Site, slots: Iterable[int], target: Node) -> int:
    """Have a primary own slots, with their keys; returns how many had to move.

    Raises:
        LabError: there is no cluster or no such slot, it is no living primary, the owner of a slot
            is dead, or a node did not do its part. What has moved by then stays moved, and the same
            call goes on from there.
    """
    wanted = sorted(set(slots))
    if not site.clustered:
        raise LabError(
            "only a cluster has slots",
            remedy="start one with: aragora-redis lab start --mode cluster",
        )
    if any(not 0 <= slot < SLOTS for slot in wanted):
        raise LabError("that is no slot", remedy=f"slots are 0 to {SLOTS - 1}")
    views = living_views(site)
    _demand_primary(target, views)
    owners = {slot: decide_owner(slot, tuple(views.values())) for slot in wanted}
    with ExitStack() as connections:
        parties = {
            view.me.node_id: _Party(
                node,
                view.me.node_id,
                connections.enter_context(site.access(node).connect(node, timeout=ORDER_SECONDS)),
            )
            for node, view in views.items()
            if not view.me.primary_id
        }
        taker = parties[views[target].me.node_id]
        moving = {slot: name for slot, name in owners.items() if name != taker.name}
        if absent := [slot for slot, name in moving.items() if name not in parties]:
            raise LabError(
                f"nobody that lives owns slot {absent[0]}",
                remedy="bring its owner back with: "
                f"{command('start --all', target.directory.parent)}",
            )
        for slot, name in moving.items():
            _move(slot, parties[name or ""], taker, parties, password=site.access(target).password)
    _await_agreement(site)
    return len(moving)


def _demand_primary(target: Node, views: Mapping[Node, View]) -> None:
    view = views.get(target)
    if view is None:
        raise LabError(f"{target.name} does not answer", remedy="bring it back first")
    if view.me.primary_id:
        primary = next(
            (n.name for n, v in views.items() if v.me.node_id == view.me.primary_id), None
        )
        raise LabError(
            f"{target.name} is a replica{f' of {primary}' if primary else ''}",
            remedy="name a primary",
        )


def _move(
    slot: int, giver: _Party, taker: _Party, parties: Mapping[str, _Party], *, password: str
) -> None:
    # The taker is told first: were it the giver, and were it to end then, nobody would be left who
    # takes the slot for its own.
    taker.order("CLUSTER", "SETSLOT", slot, "IMPORTING", giver.name)
    giver.order("CLUSTER", "SETSLOT", slot, "MIGRATING", taker.name)
    while keys := giver.order("CLUSTER", "GETKEYSINSLOT", slot, _KEYS_AT_ONCE):
        host, port = taker.node.address
        giver.order("MIGRATE", host, port, "", 0, _MIGRATE_MS, "AUTH", password, "KEYS", *keys)
    rest = [each for each in parties.values() if each not in (giver, taker)]
    for party in (taker, giver, *rest):
        try:
            party.order("CLUSTER", "SETSLOT", slot, "NODE", taker.name)
        except LabError as error:
            # With its last slot gone, a primary becomes a replica of whoever has it.
            if not any(each in str(error) for each in _NOT_A_PRIMARY):
                raise


def _await_agreement(site: Site) -> None:
    def lacking() -> str:
        (first, *rest) = living_views(site).values()
        differ = any(view.layout != first.layout for view in rest)
        return "the nodes do not agree who owns the slots" if differ else ""

    if lacked := wait_until(lacking, seconds=_AGREE_SECONDS):
        raise LabError(
            f"after {_AGREE_SECONDS:g} s {lacked}", remedy="bring all of them back, and try again"
        )
