"""What looking at the nodes of a managed service shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# One look that failed may be our own standing still, as of a process that was frozen.
_SILENCES = 2
_LONGEST = 1_000_000_000
"""Seconds: an age beyond it counts from 1970."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says of itself."""

    is_primary: bool
    follows: str | None
    """The node that a replica follows."""
    link_lost: float | None
    """Seconds since it was last in step with it, 0 for now; None for never, or where it has no
    whole data set."""
    handing_over: bool
    """A primary that waits for its heir to have all."""
    digests: frozenset[str]
    """The passwords that it takes from clients."""


@dataclass(frozen=True, slots=True)
class Known:
    """What looking at a node has shown."""

    answer: Answer | None = None
    """Its latest; None while it is silent."""
    answered_at: float | None = None
    silent_since: float | None = None
    silences: int = 0
    """How many looks in a row it did not answer."""
    primary_since: float | None = None

    def after(self, answer: Answer | None, at: float) -> Known:
        """The same after one more look, which began at this time."""
        if answer is None:
            since = at if self.silent_since is None else self.silent_since
            return replace(self, answer=None, silent_since=since, silences=self.silences + 1)
        since_primary = at if self.primary_since is None else self.primary_since
        return Known(answer, at, primary_since=since_primary if answer.is_primary else None)

    def is_down(self, now: float, down_after: float) -> bool:
        """Whether it was silent for too long."""
        silent = self.silent_since is not None and now - self.silent_since >= down_after
        return silent and self.silences >= _SILENCES

    def lag(self, primary: Known, now: float) -> float | None:
        """For how long the primary took writes that this replica never saw, in seconds.

        None where it is no replica with a whole data set. With a primary that never answered, what
        the replica has is all there is.
        """
        if self.answer is None or self.answer.is_primary or self.answer.link_lost is None:
            return None
        if primary.answered_at is None:
            return 0.0
        return max(0.0, primary.answered_at - (now - self.answer.link_lost))


def read_answer(
    info: Mapping[str, Any], user: Mapping[str, Any], hosts: Mapping[str, str]
) -> Answer:
    """What a node says of itself. Pure.

    Args:
        info: INFO, as redis-py has it.
        user: ACL GETUSER of the user that clients log in as.
        hosts: the names of the nodes, by address.
    """
    link_lost: float | None = None
    if not info["loading"] and not info.get("master_sync_in_progress", 0):
        # Where there was no link ever, the age is -1, or since 1970. How long the server has run
        # says nothing of it: that is negative once its clock was set back.
        age = info.get("master_link_down_since_seconds", 0)
        link_lost = age if 0 <= age < _LONGEST else None
    return Answer(
        is_primary=info["role"] == "master",
        follows=hosts.get(info.get("master_host", "")),
        link_lost=link_lost,
        handing_over=info.get("master_failover_state", "no-failover") != "no-failover",
        digests=frozenset(each.removeprefix("#") for each in user["passwords"]),
    )
