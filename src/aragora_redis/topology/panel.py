"""The Sentinels heard together: who is primary, and when that may change.

Epochs order views, but only within one generation of Sentinels: redeployed empty, they start again
at epoch 0, and refusing every lower epoch would lock this instance out for ever. So a view that is
not simply newer is accepted when a majority insists on it for three seconds and the address proves
to be a primary. Two groups of Sentinels that do not know each other and disagree leave the choice
as it is: nobody here can arbitrate between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ..address import Address
from .statement import SentinelStatement

INSIST = 3.0
"""Seconds for which a majority must agree on a view that its epoch does not justify."""
GRACE = 0.3
"""Seconds that the first choice waits for more Sentinels than the first that answered."""
STALE = 5.0
"""Seconds after which a statement says nothing about the present."""

_DOWN = frozenset({"s_down", "o_down"})
_IN_TROUBLE = _DOWN | {"failover_in_progress"}


class View(Struct, frozen=True):
    """Who is primary, by which epoch, according to which Sentinels."""

    primary: Address
    epoch: int
    generation: frozenset[str]


class Choice(Struct, frozen=True):
    """A view to adopt. `insisted`: only after the address has proved to be a primary."""

    view: View
    insisted: bool = False


class Split(Struct, frozen=True):
    """Groups of Sentinels that do not know each other name different primaries."""

    primaries: frozenset[Address]

    def __str__(self) -> str:
        return "separate groups of Sentinels name " + " and ".join(
            sorted(str(address) for address in self.primaries)
        )


class Panel:
    """Collects statements and decides. One entry for each Sentinel, by its id."""

    who = "Sentinels"

    def __init__(self, configured: int) -> None:
        self._configured = configured
        self._statements: dict[str, SentinelStatement] = {}
        self._since: dict[str, float] = {}
        """When each began to say what it says."""
        self._first_heard: float | None = None
        self._insisted: tuple[Address, float] | None = None
        self._shared = False
        """Whether most Sentinels have named the primary of the view since it was chosen."""
        self.view: View | None = None

    def record(self, statement: SentinelStatement) -> None:
        """Take in what a Sentinel has just said."""
        before = self._statements.get(statement.sentinel_id)
        self._statements[statement.sentinel_id] = statement
        if before is None or (before.primary, before.epoch) != (statement.primary, statement.epoch):
            self._since[statement.sentinel_id] = statement.asked_at
        if self._first_heard is None:
            self._first_heard = statement.asked_at
        self._follow_generation(statement)
        known = frozenset().union(*(s.ids for s in self._statements.values()))
        # A Sentinel that was replaced is forgotten once it is stale and no other lists it.
        for gone in [
            one
            for one, said in self._statements.items()
            if statement.asked_at - said.asked_at > STALE and one not in known - {one}
        ]:
            del self._statements[gone], self._since[gone]
        self._note_shared()

    def _follow_generation(self, statement: SentinelStatement) -> None:
        """Sentinels replaced one at a time stay one generation."""
        view = self.view
        if (
            view is not None
            and (statement.primary, statement.epoch) == (view.primary, view.epoch)
            and statement.ids & view.generation
        ):
            self.view = _view(statement)

    def adopt(self, view: View) -> None:
        """Make a chosen view the current one."""
        if self.view is None or view.primary != self.view.primary:
            self._shared = False
        self.view = view
        self._insisted = None
        self._note_shared()

    def _note_shared(self) -> None:
        if self.view is not None and self.named_at(self.view.primary) is not None:
            self._shared = True

    @property
    def size(self) -> int:
        """How many Sentinels there are, as far as anyone has said."""
        groups = [len(statement.ids) for statement in self._statements.values()]
        return max([self._configured, *groups])

    @property
    def majority(self) -> int:
        """How many of them are more than half."""
        return self.size // 2 + 1

    @property
    def statements(self) -> tuple[SentinelStatement, ...]:
        """The last statement of each."""
        return tuple(self._statements.values())

    def recent(self, now: float) -> list[SentinelStatement]:
        """The statements that still speak of the present."""
        return [s for s in self._statements.values() if now - s.asked_at <= STALE]

    def heard_majority_since(self, instant: float) -> bool:
        """Whether more than half of the Sentinels have answered what was asked since `instant`.

        What they publish is no answer: it may be read long after it was sent.
        """
        return sum(s.asked_at >= instant for s in self._statements.values()) >= self.majority

    def replacing(self, now: float) -> bool:
        """Whether any Sentinel misses the primary, or is replacing it."""
        return any(s.primary_flags & _IN_TROUBLE for s in self.recent(now))

    def named_at(self, address: Address) -> float | None:
        """The last moment at which more than half of the Sentinels named `address`; else None."""
        named = sorted(
            (s.asked_at for s in self._statements.values() if s.primary == address), reverse=True
        )
        return named[self.majority - 1] if len(named) >= self.majority else None

    def agreed(self, now: float) -> Address | None:
        """Whom more than half of the Sentinels name now; None where the view says otherwise.

        Stricter than the view, which follows the first Sentinel that tells of a newer epoch.
        """
        if self.view is None or _split(self.recent(now)) is not None:
            return None
        named = self.named_at(self.view.primary)
        return self.view.primary if named is not None and now - named <= STALE else None

    def elsewhere(self, now: float) -> Address | None:
        """Whom more than half of the Sentinels name now in place of the view's primary, if any.

        Not while they call it down, nor before most have named the primary of the view: who told
        of that first is ahead of the others.
        """
        statements = self.recent(now)
        if self.view is None or not self._shared or _split(statements) is not None:
            return None
        named = Counter(s.primary for s in statements if not s.primary_flags & _DOWN)
        named.pop(self.view.primary, None)
        return next((at for at, by in named.items() if by >= self.majority), None)

    def required_replicas(self, now: float) -> int:
        """How many replicas must acknowledge a write before it counts as replicated.

        All that a majority of Sentinels does not call down. 0 when no majority can be heard, or no
        replica is left: then nothing counts as replicated. The primary's own list is not asked; it
        is wrong on both sides of a partition.
        """
        statements = self.recent(now)
        return len(self._promotable(statements)) if len(statements) >= self.majority else 0

    @property
    def promotable_replicas(self) -> frozenset[Address]:
        """Which replicas could be made primary, by the last word of each Sentinel, however old.

        All that most do not call down. While all of them follow the primary, none of them has been.
        """
        return self._promotable(self.statements)

    @property
    def known_replicas(self) -> frozenset[Address]:
        """All that any Sentinel lists."""
        return _listed(self.statements)

    def _promotable(self, statements: Sequence[SentinelStatement]) -> frozenset[Address]:
        listed = _listed(statements)
        down = {
            address
            for address in listed
            if sum(r.down for s in statements for r in s.replicas if r.address == address)
            >= self.majority
        }
        primary = {self.view.primary} if self.view else set()
        return listed - down - primary

    def decide(self, now: float) -> Choice | Split | None:
        """What the statements call for, given the current view."""
        statements = self.recent(now)
        if not statements:
            return None
        split = _split(statements)
        if split is not None:
            return split
        if self.view is None:
            return self._first(statements, now)
        newer = self._newer(self.view, statements, now)
        return newer if newer is not None else self._insistence(self.view, statements, now)

    def _first(self, statements: list[SentinelStatement], now: float) -> Choice | None:
        waited = self._first_heard is not None and now - self._first_heard >= GRACE
        if not waited and len(statements) < self.majority:
            return None
        newest = max(statements, key=lambda s: s.epoch)
        return Choice(self._common([s for s in statements if s.primary == newest.primary]))

    def _newer(self, view: View, statements: list[SentinelStatement], now: float) -> Choice | None:
        newer = [s for s in statements if s.ids & view.generation and s.epoch > view.epoch]
        same = [s for s in newer if s.primary == view.primary]
        # The word of one is no newer epoch of the same primary, but may be the first of one.
        counted = [s for s in newer if s not in same or now - self._since[s.sentinel_id] < INSIST]
        newest = max(counted, key=lambda s: s.epoch, default=None)
        if newest is not None and newest not in same:
            return Choice(_view(newest))
        return Choice(self._common(same)) if len(same) >= self.majority else None

    def _common(self, agreeing: Sequence[SentinelStatement]) -> View:
        """The view of those who name one primary, by the epoch that most of all have reached."""
        ordered = sorted(agreeing, key=lambda s: s.epoch, reverse=True)
        return _view(ordered[min(self.majority, len(ordered)) - 1])

    def _insistence(
        self, view: View, statements: list[SentinelStatement], now: float
    ) -> Choice | None:
        rebuilt = [
            s for s in statements if s.primary == view.primary and not s.ids & view.generation
        ]
        if len(rebuilt) >= self.majority:  # new Sentinels, same primary: take on their epochs
            return Choice(self._common(rebuilt))
        others = [s for s in statements if s.primary != view.primary]
        for address in {s.primary for s in others}:
            agreeing = [s for s in others if s.primary == address]
            if len(agreeing) < self.majority:
                continue
            if self._insisted is None or self._insisted[0] != address:
                self._insisted = (address, now)
            if now - self._insisted[1] >= INSIST:
                return Choice(_view(max(agreeing, key=lambda s: s.epoch)), insisted=True)
            return None
        self._insisted = None
        return None


def _view(statement: SentinelStatement) -> View:
    return View(statement.primary, statement.epoch, statement.ids)


def _listed(statements: Iterable[SentinelStatement]) -> frozenset[Address]:
    return frozenset(replica.address for s in statements for replica in s.replicas)


def _split(statements: Iterable[SentinelStatement]) -> Split | None:
    groups: list[tuple[set[str], set[Address]]] = []
    for statement in statements:
        ids, primaries = set(statement.ids), {statement.primary}
        apart = []
        for group in groups:
            if group[0] & ids:
                ids |= group[0]
                primaries |= group[1]
            else:
                apart.append(group)
        groups = [*apart, (ids, primaries)]
    if len(groups) < 2 or not all(
        first.isdisjoint(second)
        for index, (_, first) in enumerate(groups)
        for _, second in groups[index + 1 :]
    ):
        return None
    return Split(frozenset().union(*(primaries for _, primaries in groups)))
