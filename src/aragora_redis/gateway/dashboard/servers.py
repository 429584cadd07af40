"""The servers of a Redis, asked while somebody watches: who is what, and what is wrong."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from ...address import Address
from ...clock import Clock
from ...link.aside import aside
from ...ops.access import Failure
from ...ops.cluster_view import view_of
from ...ops.overview import Overview, Server, overview_of
from ...ops.survey import Instance, NodeSurvey, Survey
from ...ops.targets import Target, target_of
from ...settings import Feature, Settings
from .look import Look

if TYPE_CHECKING:
    from ...ops.doctor import Examination

T = TypeVar("T")

LOOK_EVERY = 1.0
WATCH_EVERY = 0.3
"""Seconds between two looks, and the same while something happens to them."""
EXAMINE_EVERY = 20.0
"""Seconds between two examinations, each of which asks a hundred questions of a server."""
EXAMINE_AGAIN = 5.0
"""The same, while anything is found."""
ANSWER_LIMIT = 1.0
EXAMINE_LIMIT = 4.0
"""Seconds that a server has for its answers, to few questions and to a hundred."""
KEPT = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the servers say.

    Attributes:
        features: those whose Redis it is; empty where it is that of all.
        survey: all that was answered at the last look; None before the first.
        overview: drawn from it.
        behind: how many bytes each replica was behind at the last looks, the newest last; None
            where nobody could say.
        examination: what is wrong; None before the first one has ended.
        fleet: the instances of this library that live.
        trouble: why nothing could be asked.
    """

    features: tuple[str, ...] = ()
    survey: Survey | None = None
    overview: Overview | None = None
    behind: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    examination: Examination | None = None
    fleet: tuple[Instance, ...] = ()
    trouble: str | None = None


class Servers:
    """Asks them, as the command line does.

    Args:
        settings: with this Redis alone.
        features: those that use it.
        alone: whether all do.
        clock: the source of time.
    """

    def __init__(
        self, settings: Settings, features: tuple[Feature, ...], clock: Clock, *, alone: bool
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._target: Target | None = None
        self._keeps = not {Feature.TOKENS, Feature.SESSIONS}.isdisjoint(features)
        self._sight = Sight(features=() if alone else features)
        whose = "" if alone else f" of {', '.join(features)}"
        self._seen: Survey | None = None
        self._behind: dict[str, deque[int | None]] = {}
        self._look = Look(
            f"the servers{whose}", self._ask, every=LOOK_EVERY, clock=clock, seen=self._take_in
        )
        self._examine = Look(
            f"what is wrong{whose}",
            self._ask_in_full,
            every=EXAMINE_EVERY,
            clock=clock,
            seen=self._take_in_full,
        )

    def sight(self) -> Sight:
        """As they were last seen; a new look begins where that is old."""
        self._look.last()
        self._examine.last()
        return replace(self._sight, trouble=self._look.trouble)

    async def first_look(self) -> None:
        """Wait until they were seen once, for a page that cannot follow."""
        await self._look.first()

    def changed(self, *, settled: bool) -> None:
        """Something has happened to them; what is wrong is asked again once that is `settled`."""
        self._look.every = LOOK_EVERY if settled else WATCH_EVERY
        self._look.poke()
        if settled:
            self._examine.poke()

    async def close(self) -> None:
        """Ask no more."""
        await asyncio.gather(self._look.close(), self._examine.close())

    async def target(self) -> Target | None:
        """Where the settings lead, by the credentials of now. Who issues them may take a while."""
        return await aside("login", lambda: target_of(self._settings))

    async def _ask(self) -> Survey | None:
        if self._target is None:
            self._target = await self.target()
        return await self._asked(self._target, details=False)

    async def _ask_in_full(self) -> Survey | None:
        self._target = await self.target()
        return await self._asked(self._target, details=True)

    async def _asked(self, target: Target | None, *, details: bool) -> Survey | None:
        from ...ops.asking import survey  # noqa: PLC0415 - a gateway starts without it

        if target is None:
            return None
        return await survey(
            target,
            prefix=self._settings.prefix,
            clock=self._clock,
            deadline=EXAMINE_LIMIT if details else ANSWER_LIMIT,
            details=details,
        )

    def _take_in(self, seen: Survey | None) -> None:
        if seen is None:
            return
        before, self._seen = self._seen, seen
        if before is not None:
            seen = steadied(before, seen)
        overview = overview_of(seen)
        replicas = dict(_replicas(overview.servers))
        self._behind = {
            at: self._behind.get(at, deque[int | None](maxlen=KEPT)) for at in map(str, seen.nodes)
        }
        for at, known in self._behind.items():
            known.append(replicas.get(at))
        behind = {at: tuple(known) for at, known in self._behind.items()}
        self._sight = replace(self._sight, survey=seen, overview=overview, behind=behind)

    def _take_in_full(self, seen: Survey | None) -> None:
        if seen is None:
            return
        from ...ops.doctor import examine  # noqa: PLC0415 - a gateway starts without it

        found = examine(replace(seen, keeps=self._keeps)).named(self._settings.variable)
        # What is found is mended soon, or said to be.
        self._examine.every = EXAMINE_AGAIN if found.diagnoses else EXAMINE_EVERY
        self._sight = replace(self._sight, examination=found, fleet=seen.instances)


def steadied(before: Survey, seen: Survey) -> Survey:
    """A survey in which who was late once says what it said in the one before.

    A machine that is busy for a second is no outage of all its servers. Pure.
    """
    nodes = _kept(before.nodes, seen.nodes)
    if any(map(_is_late, (*seen.sentinels.values(), *seen.nodes.values()))):
        nodes = {at: said for at, said in before.nodes.items() if at not in nodes} | nodes
    words = {at: n.word for at, n in nodes.items() if isinstance(n, NodeSurvey) and n.word}
    return replace(
        seen,
        nodes=dict(sorted(nodes.items())),
        sentinels=_kept(before.sentinels, seen.sentinels),
        cluster=view_of(words) if seen.cluster is not None else None,
    )


def _kept(old: Mapping[Address, T], new: Mapping[Address, T]) -> dict[Address, T]:
    return {at: old.get(at, said) if _is_late(said) else said for at, said in new.items()}


def _is_late(said: object) -> bool:
    return isinstance(said, Failure) and said.late


def _replicas(servers: tuple[Server, ...]) -> Iterator[tuple[str, int | None]]:
    for server in servers:
        for replica in server.replicas:
            yield replica.address, replica.behind
        yield from _replicas(server.replicas)
