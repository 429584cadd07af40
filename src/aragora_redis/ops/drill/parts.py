"""What a fault may be made on: a primary with what it holds. A cluster has several. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ...address import Address
from ..cluster_view import Slots, key_within, told_slots
from ..survey import Survey


@dataclass(frozen=True, slots=True)
class Part:
    """One primary, and its slots if it is one of a cluster."""

    primary: Address
    """As it was before the fault."""
    slots: Slots | None = None
    node_id: str = ""
    """Of the primary, in a cluster."""
    nodes: tuple[Address, ...] = ()
    """In a cluster: the primary and its replicas."""

    def __str__(self) -> str:
        return told_slots(self.slots) if self.slots else str(self.primary)

    def key(self, stem: str) -> bytes:
        """A key that it holds."""
        return (key_within(stem, self.slots) if self.slots else stem).encode()

    def primary_now(self, survey: Survey) -> Address | None:
        """Who is primary of it now."""
        if self.slots is None or survey.cluster is None:
            return survey.primary
        first = self.slots[0].start
        held = (h for h in survey.cluster.holders if any(first in part for part in h.slots))
        return next((holder.address for holder in held), None)


def parts_of(survey: Survey) -> tuple[Part, ...]:
    """All parts, in the order of their slots; none where there is no primary."""
    if survey.cluster is not None:
        return tuple(
            Part(holder.address, holder.slots, holder.node_id, (holder.address, *holder.replicas))
            for holder in survey.cluster.holders
        )
    return () if survey.primary is None else (Part(survey.primary),)


def part_named(parts: tuple[Part, ...], named: Address | int | None) -> Part | None:
    """The part that a node of it or a slot names, or the first."""
    if named is None:
        return next(iter(parts), None)
    for part in parts:
        by_slot = isinstance(named, int) and any(named in each for each in part.slots or ())
        if by_slot or named in part.nodes:
            return part
    return None
