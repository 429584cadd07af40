"""What the nodes of a Redis Cluster together say of it. Pure.

No node is believed alone: who holds a slot is decided by epochs, as the nodes themselves decide it,
and who is down by how many of the primaries say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from ..address import Address
from ..slots import key_slot
from ..topology.cluster import ClusterMap, ClusterPanel
from ..topology.nodes import Follower, Motion, NodeStatement

Slots = tuple[range, ...]


@dataclass(frozen=True, slots=True)
class ClusterWord:
    """What one node says of its cluster."""

    statement: NodeStatement
    state: str
    """`ok`, as where it may not be asked, or `fail` where it refuses commands."""
    epoch: int | None
    """The highest that it has heard of; None where it may not be asked."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A primary that holds slots."""

    node_id: str
    address: Address
    epoch: int
    """Under which it holds them."""
    slots: Slots
    replicas: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster by all words."""

    words: Mapping[Address, ClusterWord]
    """Of those that belong to it."""
    strangers: tuple[Address, ...]
    """Nodes that answer, and that belong to another cluster or to none."""
    holders: tuple[Holder, ...]
    """In the order of their first slots."""
    gaps: Slots
    """Slots that nobody holds."""
    members: frozenset[Address]
    """All that anybody lists."""
    missed: Mapping[Address, int]
    """How many of the primaries that answer call a node down; without those that none does."""
    dissenters: tuple[Address, ...]
    """Nodes that name another holder for some slot."""

    @property
    def majority(self) -> int:
        """How many primaries are more than half: they alone vote."""
        return len(self.holders) // 2 + 1

    @property
    def voters(self) -> tuple[Holder, ...]:
        """The primaries that answer."""
        return tuple(each for each in self.holders if each.address in self.words)

    @property
    def failed(self) -> tuple[Address, ...]:
        """Nodes that refuse commands because the cluster as they see it does not work."""
        return tuple(at for at, word in self.words.items() if word.state != "ok")

    def is_missed(self, address: Address) -> bool:
        """Whether most primaries call a node down."""
        return self.missed.get(address, 0) >= self.majority

    def motions(self) -> Iterator[tuple[Address, Motion]]:
        """The slots in motion, with the primary that says so.

        Replicas of Valkey 8 say it too, so as to go on with it when they take over.
        """
        for at, word in self.words.items():
            said = word.statement
            if any(claim.node_id == said.node_id for claim in said.claims):
                for motion in said.motions:
                    yield at, motion


def view_of(words: Mapping[Address, ClusterWord]) -> ClusterView:
    """Hear all together.

    Args:
        words: of each node that answered, by the address at which it was asked.
    """
    ours = _together(words)
    statements = [word.statement for word in ours.values()]
    panel = ClusterPanel()
    for said in statements:
        panel.record(said)
    panel.decide(max((said.asked_at for said in statements), default=0.0))
    found = panel.map
    slots = _slots_of(found)
    holders = tuple(
        Holder(
            shard.node_id,
            shard.address,
            shard.epoch,
            slots[shard.node_id],
            tuple(sorted({each.address for each in _followers(shard.node_id, statements)})),
        )
        for shard in found.shards
    )
    voting = {holder.node_id for holder in holders}
    return ClusterView(
        words=ours,
        strangers=tuple(at for at in words if at not in ours),
        holders=holders,
        gaps=slots.get(None, ()),
        members=frozenset(at for said in statements for at in listed(said)),
        missed=_missed([said for said in statements if said.node_id in voting]),
        dissenters=tuple(
            at
            for at, word in ours.items()
            if _claimed(word.statement) != {h.node_id: _joined(h.slots) for h in holders}
        ),
    )


def listed(said: NodeStatement) -> frozenset[Address]:
    """All nodes that one lists, those that it calls down among them."""
    return frozenset(each.address for each in said.nodes)


def count_slots(slots: Slots) -> int:
    """How many there are."""
    return sum(map(len, slots))


def told_slots(slots: Slots, most: int = 4) -> str:
    """`0-5460, 5462`; the first few where there are many ranges."""
    told = [str(p.start) if len(p) == 1 else f"{p.start}-{p.stop - 1}" for p in slots[:most]]
    return ", ".join(told) + (" ..." if len(slots) > most else "")


def key_within(stem: str, slots: Slots) -> str:
    """A key that begins so and lies in one of the slots."""
    keys = (f"{stem}:{number}" for number in count())
    return next(key for key in keys if any(key_slot(key.encode()) in part for part in slots))


def _together(words: Mapping[Address, ClusterWord]) -> dict[Address, ClusterWord]:
    """The largest group of nodes that list each other."""
    known = {at: _ids(word.statement) for at, word in words.items()}
    own = {at: word.statement.node_id for at, word in words.items()}
    groups: list[set[Address]] = []
    for at in words:
        near = {other for other in words if own[other] in known[at] and own[at] in known[other]}
        near.add(at)
        apart = [group for group in groups if not group & near]
        groups = [*apart, near.union(*(group for group in groups if group & near))]

    def size(group: set[Address]) -> tuple[int, int]:
        held = (c.slots for at in group for c in words[at].statement.claims)
        return len({own[at] for at in group}), sum(map(count_slots, held))

    largest = max(groups, key=size, default=set())
    return {at: word for at, word in words.items() if at in largest}


def _ids(said: NodeStatement) -> frozenset[str]:
    return frozenset({said.node_id, *(each.node_id for each in said.nodes)})


def _slots_of(found: ClusterMap) -> dict[str | None, Slots]:
    """The ranges that each holds; those of nobody under None."""
    parts: dict[str | None, list[range]] = {}
    begin = 0
    for slot in range(1, len(found.owners) + 1):
        if slot == len(found.owners) or found.owners[slot] is not found.owners[begin]:
            shard = found.owners[begin]
            key = shard.node_id if shard is not None else None
            parts.setdefault(key, []).append(range(begin, slot))
            begin = slot
    return {key: tuple(ranges) for key, ranges in parts.items()}


def _followers(node_id: str, statements: Iterable[NodeStatement]) -> Iterator[Follower]:
    """The replicas of a primary, each by its own word where it answers."""
    statements = tuple(statements)
    speaking = {said.node_id for said in statements}
    for said in statements:
        for each in said.followers:
            own_word = each.node_id == said.node_id
            if each.primary_id == node_id and (own_word or each.node_id not in speaking):
                yield each


def _missed(voters: Sequence[NodeStatement]) -> dict[Address, int]:
    found: dict[Address, int] = {}
    for said in voters:
        for each in said.nodes:
            if each.down:
                found[each.address] = found.get(each.address, 0) + 1
    return found


def _claimed(said: NodeStatement) -> dict[str, Slots]:
    return {claim.node_id: _joined(claim.slots) for claim in said.claims if claim.slots}


def _joined(slots: Slots) -> Slots:
    """Ranges that touch are one."""
    found: list[range] = []
    for part in sorted(slots, key=lambda each: each.start):
        if found and found[-1].stop == part.start:
            found[-1] = range(found[-1].start, part.stop)
        else:
            found.append(part)
    return tuple(found)
