"""Where a lab is looked at and acted on: its calls block, so they run in threads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ...audit.act import Act
from ...clock import Clock
from ...errors import LabError
from ...lab import Lab, LabStatus, State
from ...link.aside import aside
from ...telemetry.words import Told
from .look import Look
from .picture import LabPicture
from .worktop import Worktop

LOOK_EVERY = 0.5
"""Seconds between two looks, while somebody watches."""


class Verb(StrEnum):
    """What can be done to nodes."""

    KILL = "kill"
    FREEZE = "freeze"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Action:
    """One press of a button. `target` is as in `Lab`."""

    verb: Verb
    target: str

    @classmethod
    def parse(cls, text: str) -> Action | None:
        """Read what a button sends, such as `kill redis-0`; None where it is no action."""
        verb, _, target = text.partition(" ")
        return cls(Verb(verb), target) if verb in set(Verb) and target else None

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


class Desk:
    """Looks at a lab and acts on it.

    Each call of a lab ends by itself, after half a minute at most where servers do not come up.

    Args:
        worktop: where one act is done after the other.
        note: records an action that was done.
        operator: who acts.
        changed: told that servers are not as they were.
    """

    def __init__(
        self,
        lab: Lab,
        worktop: Worktop,
        clock: Clock,
        *,
        note: Callable[[Act], None],
        operator: str,
        changed: Callable[[], None],
    ) -> None:
        self._lab = lab
        self._worktop = worktop
        self._note = note
        self._operator = operator
        self._changed = changed
        self._look: Look[LabStatus] = Look(
            "the lab", lambda: aside("lab", lab.status), every=LOOK_EVERY, clock=clock
        )

    def picture(self) -> LabPicture:
        """As it was last seen; a new look begins where that is old."""
        status, trouble = self._look.last(), self._look.trouble
        return LabPicture(status, None if trouble is None else f"could not look at it: {trouble}")

    async def first_look(self) -> None:
        """Wait until it was seen once, for a page that cannot follow."""
        await self._look.first()

    async def close(self) -> None:
        """Look no more."""
        await self._look.close()

    async def act(self, action: Action) -> None:
        """Begin an action and give it a moment; how it came out is a line of the journal."""
        await self._worktop.do(str(action), lambda: self._perform(action))

    async def _perform(self, action: Action) -> Told:
        outcome = "failed"
        try:
            said = await aside("lab", lambda: perform(self._lab, action))
            outcome = "done"
            return Told(logging.INFO, said)
        finally:
            self._look.poke()  # what was just done is to be seen at once
            self._changed()
            self._note(
                Act(
                    actor=self._operator,
                    action=f"lab {action.verb}",
                    target=action.target,
                    outcome=outcome,
                    via="dashboard",
                )
            )


def perform(lab: Lab, action: Action) -> str:
    """Do it, and say what was done. Blocks.

    Raises:
        LabError: it could not be done.
    """
    match action.verb:
        case Verb.KILL:
            return f"by hand: killed {', '.join(lab.kill(action.target))}"
        case Verb.FREEZE:
            return f"by hand: froze {', '.join(lab.freeze(action.target))}"
        case Verb.RESTORE:
            return f"by hand: restored {', '.join(restore(lab, action.target))}"


def restore(lab: Lab, target: str) -> tuple[str, ...]:
    """Thaw what is frozen and start what is dead; returns their names. Blocks.

    Raises:
        LabError: nothing is, or it cannot be brought back.
    """
    names = (
        [node.name for node in lab.status().nodes] if target == "all" else [lab.node(target).name]
    )
    frozen = [name for name in names if lab.node(name).state is State.FROZEN]
    for name in frozen:
        lab.thaw(name)
    dead = [name for name in names if lab.node(name).state is State.DEAD]
    if not (frozen or dead):
        raise LabError(f"nothing to restore: {target} runs")
    if target == "all":
        lab.start_all()
    else:
        for name in dead:
            lab.start_node(name)
    return (*frozen, *dead)
