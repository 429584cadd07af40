"""What a node of a Redis Cluster knows of all of them. Pure.

Nodes answer `CLUSTER NODES` and keep `nodes.conf` in one form: a line for each node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from ..address import Address

SLOTS = 16_384
_HANDSHAKE = "handshake"
_UNSURE = frozenset({_HANDSHAKE, "fail?", "fail", "noaddr"})


@dataclass(frozen=True, slots=True)
class Member:
    """One node, as one of them sees it."""

    name: str
    """Forty hexadecimal digits, the same for as long as its `nodes.conf` is kept."""
    address: Address
    flags: frozenset[str]
    primary: str | None
    """The name of the node that it replicates; None for a primary."""
    epoch: int
    """The higher one's claim to a slot counts."""
    linked: bool
    slots: tuple[range, ...]

    def owns(self, slot: int) -> bool:
        """Whether it serves a slot."""
        return any(slot in run for run in self.slots)

    @property
    def sure(self) -> bool:
        """Whether it is known, connected and well."""
        return self.linked and not self.flags & _UNSURE


@dataclass(frozen=True)
class View:
    """All nodes, as one of them sees them."""

    members: tuple[Member, ...]

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The view in an answer or a file; None where it does not say whose it is."""
        view = cls(tuple(_members(text)))
        return view if any("myself" in each.flags for each in view.members) else None

    @cached_property
    def me(self) -> Member:
        """The node whose view it is."""
        return next(each for each in self.members if "myself" in each.flags)

    @cached_property
    def others(self) -> tuple[Member, ...]:
        """All but the node whose view it is."""
        return tuple(each for each in self.members if each is not self.me)

    @property
    def layout(self) -> dict[str, tuple[str | None, tuple[range, ...]]]:
        """Whom each node replicates, and which slots it owns, by name."""
        return {each.name: (each.primary, each.slots) for each in self.members}

    def owner(self, slot: int) -> Member | None:
        """The node that serves a slot."""
        return next((each for each in self.members if each.owns(slot)), None)


def decide_owner(slot: int, living: Sequence[View], filed: Sequence[View] = ()) -> str | None:
    """The name of the node that owns a slot, or None where nobody does.

    What most of the living nodes say decides; where they differ, the claim with the highest epoch
    does, as in the cluster itself, over what the living say and what all have written down.

    Args:
        slot: which.
        living: views of the nodes that answer.
        filed: views that nodes have written down, the dead ones' too.
    """
    said = Counter(owner.name for view in living if (owner := view.owner(slot)))
    for name, votes in said.most_common(1):
        if votes * 2 > len(living):
            return name
    claims = [owner for view in (*living, *filed) if (owner := view.owner(slot))]
    return max(claims, key=lambda each: each.epoch).name if claims else None


def shown(slots: Iterable[range]) -> str:
    """Slots in the form `0-5460,5462`."""
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in slots)


def _members(text: str) -> Iterator[Member]:
    for line in text.splitlines():
        words = line.split()
        # The file has a line of other things, and padding.
        if len(words) < 8 or words[0] == "vars":
            continue
        host, _, port = words[1].partition("@")[0].rpartition(":")
        yield Member(
            name=words[0],
            address=Address(host, int(port)),
            flags=frozenset(words[2].split(",")),
            primary=None if words[3] == "-" else words[3],
            epoch=int(words[6]),
            linked=words[7] == "connected",
            slots=tuple(_slots(words[8:])),
        )


def _slots(words: Iterable[str]) -> Iterator[range]:
    for word in words:
        if word.startswith("["):  # on its way to another node, and still served here
            continue
        first, _, last = word.partition("-")
        yield range(int(first), int(last or first) + 1)
