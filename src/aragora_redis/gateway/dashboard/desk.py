"""Where a lab is looked at and acted on: its calls block, so they run in threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from ...audit.act import Act
from ...clock import Clock
from ...errors import LabError
from ...lab import Lab, LabStatus, State
from ...link.aside import aside
from ...telemetry.words import Told
from .journal import Journal
from .picture import LabPicture

LOOK_EVERY = 0.5
"""Seconds between two looks, while somebody watches."""
LOOK_LIMIT = 2.0
"""Seconds that a page waits for the first look."""
ACT_LIMIT = 2.0
"""Seconds that a request waits for its action; a longer one goes on and is told in the journal."""
_log = logging.getLogger(__name__)


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
    """Looks at a lab and acts on it: one look and one action at a time.

    Each call of a lab ends by itself, after half a minute at most where servers do not come up; so
    what is waited for here only bounds requests, and no second thread begins beside a slow one.

    Args:
        note: records an action that was done.
        operator: who acts.
    """

    def __init__(
        self,
        lab: Lab,
        journal: Journal,
        clock: Clock,
        *,
        note: Callable[[Act], None],
        operator: str,
    ) -> None:
        self._lab = lab
        self._journal = journal
        self._clock = clock
        self._note = note
        self._operator = operator
        self._seen = LabPicture()
        self._seen_at = -LOOK_EVERY
        self._looking: asyncio.Future[LabStatus] | None = None
        self._acting: asyncio.Future[str] | None = None
        self._working: Action | None = None
        self._said: Told | None = None

    def picture(self) -> LabPicture:
        """As it was last seen; a new look begins where that is old."""
        if self._looking is None and self._clock.monotonic() - self._seen_at >= LOOK_EVERY:
            self._looking = aside("lab", self._lab.status)
            self._looking.add_done_callback(self._on_look)
        working = str(self._working) if self._working else None
        return replace(self._seen, working=working, said=self._said)

    async def first_look(self) -> None:
        """Wait until it was seen once, for a page that cannot follow."""
        self.picture()
        if self._seen.status is None and self._looking is not None:
            await asyncio.wait((self._looking,), timeout=LOOK_LIMIT)

    async def act(self, action: Action) -> None:
        """Begin an action and give it a moment; how it came out is a line of the journal."""
        if self._working is not None:
            busy = f"did not {action}: {self._working} is still under way"
            self._say(Told(logging.WARNING, busy))
            return
        self._working = action
        self._acting = aside("lab", lambda: perform(self._lab, action))
        self._acting.add_done_callback(self._on_done)
        await asyncio.wait((self._acting,), timeout=ACT_LIMIT)

    def _on_look(self, looked: asyncio.Future[LabStatus]) -> None:
        self._looking, self._seen_at = None, self._clock.monotonic()
        error = looked.exception()
        if error is None:
            self._seen = LabPicture(looked.result())
        else:
            self._seen = LabPicture(self._seen.status, _told(error, "look at the lab").text)

    def _on_done(self, done: asyncio.Future[str]) -> None:
        action, self._working = self._working, None
        self._seen_at = -LOOK_EVERY  # what was just done is to be seen at once
        error = done.exception()
        self._note(
            Act(
                actor=self._operator,
                action=f"lab {action.verb}" if action is not None else "lab",
                target=action.target if action is not None else "",
                outcome="failed" if error is not None else "done",
                via="dashboard",
            )
        )
        self._say(_told(error, str(action)) if error else Told(logging.INFO, done.result()))

    def _say(self, line: Told) -> None:
        self._said = line
        self._journal.note(line)


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


def _told(error: BaseException, attempt: str) -> Told:
    if isinstance(error, LabError):
        return Told(logging.ERROR, f"could not {attempt}: {error.message.splitlines()[0]}")
    _log.error("could not %s", attempt, exc_info=error)
    return Told(logging.ERROR, f"could not {attempt}: the gateway's log says why")
