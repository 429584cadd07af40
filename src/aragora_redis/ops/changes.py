"""What has become of a lab's servers between two looks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..lab import State


@dataclass(frozen=True, slots=True)
class Picture:
    """A lab's servers at one moment."""

    states: Mapping[str, State]
    primary: str | None


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A server ended, came back, froze or was thawed."""

    name: str
    state: State
    was: State


@dataclass(frozen=True, slots=True)
class PrimaryChanged:
    """The Sentinels have another primary."""

    name: str
    was: str


Change = NodeChanged | PrimaryChanged


def changes(old: Picture, new: Picture) -> Iterator[Change]:
    """What is different, the servers first."""
    for name, state in new.states.items():
        if state is not old.states[name]:
            yield NodeChanged(name, state, old.states[name])
    if new.primary and old.primary and new.primary != old.primary:
        yield PrimaryChanged(new.primary, old.primary)
