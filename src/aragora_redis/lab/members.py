"""What a node of a Redis Cluster knows of all of them. Pure.

Nodes answer `CLUSTER NODES` and keep `nodes.conf` in one form: a line for each node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from ..topology.nodes import NodeRow, read_rows


@dataclass(frozen=True)
class View:
    """All nodes, as one of them sees them."""

    members: tuple[NodeRow, ...]

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The view in an answer or a file; None where it does not say whose it is."""
        try:
            view = cls(read_rows(text))
        except ValueError:
            return None
        return view if any(each.mine for each in view.members) else None

    @cached_property
    def me(self) -> NodeRow:
        """The node whose view it is."""
        return next(each for each in self.members if each.mine)

    @cached_property
    def others(self) -> tuple[NodeRow, ...]:
        """All but the node whose view it is."""
        return tuple(each for each in self.members if each is not self.me)

    @property
    def layout(self) -> dict[str, tuple[str | None, tuple[range, ...]]]:
        """Whom each node replicates, and which slots it owns, by name."""
        return {each.node_id: (each.primary_id, each.slots) for each in self.members}

    def owner(self, slot: int) -> NodeRow | None:
        """The node that serves a slot."""
        return next((each for each in self.members if owns(each, slot)), None)


def owns(member: NodeRow, slot: int) -> bool:
    """Whether a node serves a slot."""
    return any(slot in run for run in member.slots)


def sure(member: NodeRow) -> bool:
    """Whether it is known, connected and well."""
    return member.linked and member.known and not member.down


def decide_owner(slot: int, living: Sequence[View], filed: Sequence[View] = ()) -> str | None:
    """The id of the node that owns a slot, or None where nobody does.

    What most of the living nodes say decides; where they differ, the claim with the highest epoch
    does, as in the cluster itself, over what the living say and what all have written down.

    Args:
        slot: which.
        living: views of the nodes that answer.
        filed: views that nodes have written down, the dead ones' too.
    """
    said = Counter(owner.node_id for view in living if (owner := view.owner(slot)))
    for name, votes in said.most_common(1):
        if votes * 2 > len(living):
            return name
    claims = [owner for view in (*living, *filed) if (owner := view.owner(slot))]
    return max(claims, key=lambda each: each.epoch).node_id if claims else None


def shown(slots: Iterable[range]) -> str:
    """Slots in the form `0-5460,5462`."""
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in slots)
