"""The nodes of a Redis Cluster heard together: which primary holds which slot.

A node's word about itself may be old: one that was cut off or stood still names itself as before.
So claims are ordered by the configuration epoch under which they are made, as the nodes themselves
order them, and for each slot the highest wins. A map that is not simply newer is accepted when most
of the known primaries are silent, and most of those who speak have insisted on it for 3 seconds: a
cluster that was made anew begins with low epochs, and to refuse them would lock this instance out
for ever.

Source: Redis documentation, "Redis cluster specification".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..address import Address, is_name
from ..slots import SLOTS
from .nodes import Claim, Follower, NodeStatement

INSIST = 3.0
"""Seconds for which most primaries must agree on a map that their epochs do not justify."""
STALE = 5.0
"""Seconds after which a statement says nothing about the present."""


class Shard(Struct, frozen=True):
    """One primary and what it holds."""

    node_id: str
    address: Address
    epoch: int


class ClusterMap(Struct, frozen=True):
    """Who holds each slot.

    Attributes:
        owners: an entry for each slot, None where nobody holds it.
        shards: the primaries that hold anything, in the order of their first slots.
        gaps: how many slots nobody holds.
    """

    owners: tuple[Shard | None, ...]
    shards: tuple[Shard, ...]
    gaps: int

    @property
    def epoch(self) -> int:
        """The highest under which a slot is held."""
        return max((shard.epoch for shard in self.shards), default=0)


class ClusterPanel:
    """Collects statements and decides. One entry for each node, by its id."""

    def __init__(self) -> None:
        self._statements: dict[str, NodeStatement] = {}
        self._claims: dict[str, Claim] = {}
        self._composed: dict[str, Claim] = {}
        self._insisted: tuple[dict[str, Claim], float] | None = None
        self.map = compose(())

    def record(self, statement: NodeStatement) -> bool:
        """Take in what a node has just said; whether it belongs to the cluster that is known.

        The address of a node that has gone may be that of another cluster's by now.
        """
        now = statement.asked_at
        belongs = self._belongs(statement.node_id, now)
        self._statements[statement.node_id] = statement
        for claim in statement.claims if belongs else ():
            known = self._claims.get(claim.node_id)
            own_word = claim.node_id == statement.node_id
            if (
                known is None
                or claim.epoch > known.epoch
                or (claim.epoch == known.epoch and (own_word or not self._speaks(claim.node_id)))
            ):
                # Who is down is judged by what is recent, not by who was believed.
                self._claims[claim.node_id] = replace(claim, down=False)
        for gone in [
            node for node, said in self._statements.items() if now - said.asked_at > 2 * STALE
        ]:
            del self._statements[gone]
        return belongs or not self._alive(now)

    def _belongs(self, node_id: str, now: float) -> bool:
        """Whether any primary knows it; before anything is known, all do."""
        holders = {shard.node_id for shard in self.map.shards}
        return (
            not holders
            or node_id in holders
            or any(node_id in said.ids for said in self._voters() if now - said.asked_at <= STALE)
        )

    def _speaks(self, node_id: str) -> bool:
        return node_id in self._statements

    def decide(self, now: float) -> bool:
        """Bring `map` up to date; whether it has changed."""
        before = self.map
        # Thousands of slots are gone through only when a word has changed.
        if self._claims != self._composed:
            self.map = compose(self._claims.values(), otherwise=before)
            self._forget_overtaken()
            self._composed = dict(self._claims)
        fresh = self._anew(now)
        if fresh is None:
            self._insisted = None
        elif self._insisted is None or self._insisted[0] != fresh:
            self._insisted = (fresh, now)
        elif now - self._insisted[1] >= INSIST:
            self._insisted = None
            self._claims = fresh
            self._composed = dict(fresh)
            self.map = compose(fresh.values())
        return self.map != before

    def _forget_overtaken(self) -> None:
        """A claim that wins no slot, and that nobody makes any more, is of a former primary."""
        kept = {shard.node_id for shard in self.map.shards}
        kept |= {claim.node_id for said in self._statements.values() for claim in said.claims}
        self._claims = {node: claim for node, claim in self._claims.items() if node in kept}

    def _anew(self, now: float) -> dict[str, Claim] | None:
        """What those who are heard hold by their own words, where most primaries are gone.

        None unless they are most of the primaries that any of them knows.
        """
        if self._alive(now):
            return None
        found: dict[str, Claim] = {}
        known = 0
        for said in self.recent(now):
            holding = [claim for claim in said.claims if claim.slots]
            known = max(known, len(holding))
            own = (claim for claim in holding if claim.node_id == said.node_id)
            found |= {claim.node_id: replace(claim, down=False) for claim in own}
        return found if found and len(found) > known // 2 else None

    def _alive(self, now: float) -> bool:
        """Whether most primaries of the map have been heard of late."""
        return bool(self.map.shards) and self.heard_majority_since(now - STALE)

    def idle(self, now: float) -> frozenset[Address]:
        """Primaries that hold nothing yet, by their own word: slots may be on their way to them."""
        return frozenset(
            claim.address
            for said in self.recent(now)
            for claim in said.claims
            if claim.node_id == said.node_id
            and not claim.slots
            and self._belongs(said.node_id, now)
        )

    def primaries(self, now: float) -> frozenset[Address]:
        """Those that are primaries by their own word, whatever they hold."""
        return frozenset(
            claim.address
            for said in self.recent(now)
            for claim in said.claims
            if claim.node_id == said.node_id and self._belongs(said.node_id, now)
        )

    def resolve(self, announced: Address) -> Address | None:
        """Where the node is reached that a redirection names; None where that is not to be told.

        One that leaves the host out means the host that was asked. Nodes of one host differ in
        their ports, so the port says which, if only one has it.
        """
        latest = sorted(self._statements.values(), key=lambda said: said.asked_at, reverse=True)
        claims = [claim for said in latest for claim in said.claims]
        if announced.host:
            called = (claim.address for claim in claims if announced in claim.aliases)
            return next(called, announced)
        found = {claim.address for claim in claims if claim.address.port == announced.port}
        return found.pop() if len(found) == 1 else None

    def misled(self, node_id: str, at: Address, now: float) -> bool:
        """Whether a name led to another node than to the one that has it, by the others' words.

        It may lead to the former one for as long as that answers, or as the name is remembered.
        """
        if not is_name(at.host):
            return False
        holders = {shard.node_id for shard in self.map.shards if shard.address == at}
        named = {
            node.node_id
            for said in self.recent(now)
            if said.node_id != node_id and self._belongs(said.node_id, now)
            for node in said.nodes
            if node.address == at
        }
        wanted = holders or named
        return bool(wanted) and node_id not in wanted

    def overtaken(self, said: NodeStatement, at: Address) -> bool:
        """Whether a node is the former one of a name whose present one holds slots."""
        own = max((c.epoch for c in said.claims if c.node_id == said.node_id), default=0)
        return any(
            shard.address == at and shard.node_id != said.node_id and shard.epoch > own
            for shard in self.map.shards
        )

    # --- who vouches for what -------------------------------------------------------------

    def recent(self, now: float) -> list[NodeStatement]:
        """The statements that still speak of the present."""
        return [said for said in self._statements.values() if now - said.asked_at <= STALE]

    @property
    def majority(self) -> int:
        """How many primaries are more than half; they alone vote on failovers."""
        return len(self.map.shards) // 2 + 1

    def _voters(self) -> list[NodeStatement]:
        said = (self._statements.get(shard.node_id) for shard in self.map.shards)
        return [statement for statement in said if statement is not None]

    def heard_majority_since(self, instant: float) -> bool:
        """Whether more than half of the primaries have been heard since `instant`."""
        return sum(said.asked_at >= instant for said in self._voters()) >= self.majority

    def named_at(self, shard: Shard) -> float | None:
        """The last moment at which most primaries named a node as the holder of its slots."""
        named = sorted(
            (
                said.asked_at
                for said in self._voters()
                if any(c.node_id == shard.node_id and c.slots for c in said.claims)
            ),
            reverse=True,
        )
        return named[self.majority - 1] if len(named) >= self.majority else None

    def replacing(self, now: float) -> bool:
        """Whether anybody misses a primary that a replica can replace."""
        replaceable = {s.node_id for s in self.map.shards if self.promotable(s)}
        return any(
            claim.down
            for said in self.recent(now)
            for claim in said.claims
            if claim.node_id in replaceable
        )

    def required_replicas(self, shard: Shard, now: float) -> int:
        """How many replicas of a primary must acknowledge a write for it to count as replicated.

        All that most primaries do not call down; 0 while no majority can be heard.
        """
        voters = [said for said in self._voters() if now - said.asked_at <= STALE]
        return len(self._promotable(shard, voters)) if len(voters) >= self.majority else 0

    def promotable(self, shard: Shard) -> frozenset[Address]:
        """Which replicas could replace it, by everybody's last word."""
        return frozenset(self._promotable(shard, self._voters()).values())

    def replicas(self, shard: Shard) -> frozenset[Address]:
        """All that any primary lists as its replicas."""
        words = _words(shard, self._voters())
        return frozenset(word.address for said in words.values() for word in said)

    def _promotable(self, shard: Shard, voters: Sequence[NodeStatement]) -> dict[str, Address]:
        return {
            node_id: said[-1].address
            for node_id, said in _words(shard, voters).items()
            if sum(word.down for word in said) < self.majority
        }


def _words(shard: Shard, voters: Sequence[NodeStatement]) -> dict[str, list[Follower]]:
    """What they say of each of its replicas."""
    words: dict[str, list[Follower]] = {}
    for said in voters:
        for follower in said.followers:
            if follower.primary_id == shard.node_id:
                words.setdefault(follower.node_id, []).append(follower)
    return words


def compose(claims: Collection[Claim], *, otherwise: ClusterMap | None = None) -> ClusterMap:
    """Give each slot to the highest epoch that claims it.

    One that nobody claims stays where it was: its holder has given it away, and knows to whom.
    """
    before = {shard.node_id: shard for shard in otherwise.shards} if otherwise is not None else {}
    shards = {}
    for claim in claims:
        shard = Shard(claim.node_id, claim.address, claim.epoch)
        # The same object where nothing has changed: two maps are then compared by identity.
        known = before.get(claim.node_id)
        shards[claim.node_id] = known if known is not None and known == shard else shard
    owners = [
        shards.get(owner.node_id) if owner is not None else None
        for owner in (otherwise.owners if otherwise is not None else (None,) * SLOTS)
    ]
    for claim in sorted(claims, key=lambda claim: (claim.epoch, claim.node_id)):
        for part in claim.slots:
            owners[part.start : part.stop] = [shards[claim.node_id]] * len(part)
    # By identity: to compare thousands of values by their fields takes milliseconds.
    holding = {id(owner): owner for owner in owners if owner is not None}
    gaps = sum(owner is None for owner in owners)
    return ClusterMap(tuple(owners), tuple(holding.values()), gaps)


class ShardPanel:
    """What the primaries together know of one of them."""

    who = "primaries"

    def __init__(self, panel: ClusterPanel, shard: Callable[[], Shard | None]) -> None:
        self._panel = panel
        self._shard = shard

    def heard_majority_since(self, instant: float) -> bool:
        """Whether more than half of the primaries have been heard since `instant`."""
        return self._panel.heard_majority_since(instant)

    @property
    def promotable_replicas(self) -> frozenset[Address]:
        """Which replicas could be made primary in its place, by everybody's last word."""
        shard = self._shard()
        return self._panel.promotable(shard) if shard is not None else frozenset()

    @property
    def known_replicas(self) -> frozenset[Address]:
        """All of its replicas that any primary lists."""
        shard = self._shard()
        return self._panel.replicas(shard) if shard is not None else frozenset()
