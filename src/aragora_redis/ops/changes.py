"""What has become of a lab's servers and of the policies file between two looks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..lab import State


@dataclass(frozen=True, slots=True)
class Picture:
    """A lab's servers and the policies file at one moment."""

    states: Mapping[str, State]
    primary: str | None
    refusal: str | None = None
    """Why gateways do not use the policies file as it is; None where they do."""


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


@dataclass(frozen=True, slots=True)
class PoliciesChanged:
    """Gateways began to refuse the policies file, for another reason, or can use it again."""

    refusal: str | None


Change = NodeChanged | PrimaryChanged | PoliciesChanged


def changes(old: Picture, new: Picture) -> Iterator[Change]:
    """What is different, the servers first."""
    for name, state in new.states.items():
        if state is not old.states[name]:
            yield NodeChanged(name, state, old.states[name])
    if new.primary and old.primary and new.primary != old.primary:
        yield PrimaryChanged(new.primary, old.primary)
    if new.refusal != old.refusal:
        yield PoliciesChanged(new.refusal)
