"""The revocations as this instance knows them: asked here, and in force here before Redis has them.

Invariant I1, revocation is monotone: a revocation is a join, applied to this instance before
anything is sent, kept by it until the token expires, and published again after every failover.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence

from ...clock import Clock
from ...errors import AragoraRedisError, NotReadyError, StaleError
from ...events import Events
from ...tokens import operations
from ...tokens.claims import Scores
from ...tokens.entry import ALL_SHARDS, MEMBER_BYTES, SHARDS, Entry
from ...tokens.pardon import NO_PARDONS, Pardons
from ...tokens.replica import ShardReplica
from ...tokens.shard import Shard
from .commitment import RedisSide
from .ledger import Ledger, MemoryLedger, RedisLedger
from .outbox import Outbox
from .publisher import Publisher
from .receipt import Level, Receipt

REVOKE_LIMIT = 1.0
"""Seconds that a revocation may take by default."""
NOTE_LIMIT = 0.05
"""Seconds that are given to find out why something was revoked."""


class Revocations:
    """What is revoked: tokens, sessions that have ended, and refresh tokens that were used.

    Args:
        shards: the replica.
        redis: the way to Redis; None where this process is all there is.
        server_now: the server's clock, in Unix seconds; ours where it is not known.
        deny_when_stale: refuse to vouch for tokens when staler than `max_staleness` seconds.
        level: what a revocation waits for where it can be had; None for the highest that can.
        pardons: what knows a pardon.
        outbox: where revocations outlive this instance; None keeps them in memory.
        notes: where notes are kept, by member; None for a place of its own.
    """

    def __init__(
        self,
        shards: list[Shard],
        redis: RedisSide | None,
        *,
        clock: Clock,
        events: Events,
        server_now: Callable[[], float],
        deny_when_stale: bool,
        max_staleness: float,
        level: Level | None,
        pardons: Pardons = NO_PARDONS,
        outbox: Outbox | None = None,
        notes: dict[bytes, str] | None = None,
    ) -> None:
        self.shards = shards
        self.pardons = pardons
        self.scores: Scores = tuple(self._in_force(shard.replica) for shard in shards)
        """The greatest score of a member that was not pardoned, for each shard."""
        self._redis = redis
        self._deny_when_stale = deny_when_stale
        self._max_staleness = max_staleness
        self._monotonic = clock.monotonic
        self.vouched_until = float("-inf")
        """Until when, in monotonic seconds, all shards are as new as they must be; see `vouch`."""
        self.changes = 0
        """Counts what may have changed the answer about any member."""
        for shard in shards:
            shard.replica.on_change = self._count_change
        self.publisher = Publisher(
            shards, redis, clock=clock, events=events, level=level, outbox=outbox, notes=notes
        )
        self.ledger: Ledger = (
            RedisLedger(redis.executor, redis.keys, server_now)
            if redis is not None
            else MemoryLedger(shards, self.publisher.notes, clock.wall)
        )
        """The revocations as the primary has them."""

    def __len__(self) -> int:
        return sum(len(shard.replica) for shard in self.shards)

    @property
    def outbox_depth(self) -> int:
        """Own revocations that no primary is known to hold."""
        return sum(len(shard.dirty) for shard in self.shards)

    # --- what is known ------------------------------------------------------------------

    def _count_change(self) -> None:
        self.changes += 1

    def score(self, member: bytes) -> int | None:
        """The greatest score of a member that was not pardoned; None where it is not revoked."""
        return self.scores[member[0] % SHARDS](member)

    def _in_force(self, replica: ShardReplica) -> Callable[[bytes], int | None]:
        if not self.pardons.heeded:
            return replica.score

        def score(member: bytes) -> int | None:
            found = replica.score(member)
            if found is None or not replica.pardons:
                return found
            return max((each.score for each in self.pardons.due(replica, member)), default=None)

        return score

    def due(self, member: bytes) -> list[Entry]:
        """The entries of a member that were not pardoned."""
        return self.pardons.due(self._replica(member), member)

    def knows(self, member: bytes) -> bool:
        """Whether a member was ever revoked, were it pardoned since."""
        return self._replica(member).score(member) is not None

    def has_ended(self, digest: bytes) -> bool:
        """Whether the session with this digest is known to have ended."""
        return self.score(digest[:MEMBER_BYTES]) is not None

    async def note_of(self, member: bytes) -> str | None:
        """What was noted of a revocation; None where nothing was, or Redis cannot be asked now."""
        day = self._replica(member).day_of(member)
        if day is None:
            return None
        if self._redis is None:
            return self.publisher.notes.get(member)
        note = operations.note_of(self._redis.keys[member[0] % SHARDS], day, member)
        with contextlib.suppress(AragoraRedisError):
            return await self._redis.executor.run(note, within=NOTE_LIMIT)
        return None

    def vouch(self, shards: Callable[[], Collection[int]]) -> None:
        """Refuse to say that something was not revoked, by what these shards hold.

        Until `vouched_until` that need not be asked. The shards are asked for only where not all of
        them are as new as they must be.

        Raises:
            NotReadyError: the revocations have not been loaded since this instance started.
            StaleError: they are older than allowed, and the risk policy is to deny.
        """
        self.require_ready()
        if self._redis is None or not self._deny_when_stale:
            self.vouched_until = float("inf")
            return
        now = self._monotonic()
        # What was in step at a moment stays new enough until then, whatever comes.
        self.vouched_until = now - self._redis.staleness(ALL_SHARDS) + self._max_staleness
        if now > self.vouched_until and (
            (age := self._redis.staleness(shards())) > self._max_staleness
        ):
            raise _stale(age, "ARAGORA_TOKENS_ON_OUTAGE")

    def require_new(self, members: Collection[bytes], setting: str) -> None:
        """Refuse where what is known of the revocations of some members is older than allowed.

        Args:
            members: of which the answer depends.
            setting: that demands it.

        Raises:
            StaleError: it is.
        """
        if self._redis is None:
            return
        age = self._redis.staleness({member[0] % SHARDS for member in members})
        if age > self._max_staleness:
            raise _stale(age, setting)

    def require_ready(self) -> None:
        """Refuse to say that something was not revoked before that can be known.

        Raises:
            NotReadyError: the revocations have not been loaded since this instance started.
        """
        if self._redis is not None and not self._redis.ready():
            raise NotReadyError(
                "the revocations are not loaded yet",
                remedy="wait until the state is started and ready, see /readyz",
            )

    # --- what joins them ----------------------------------------------------------------

    def apply(self, entry: Entry) -> None:
        """Take in what is known of a revocation from elsewhere; nothing is published by that."""
        self.shards[entry.shard].replica.apply(entry)

    def adopt(self, entry: Entry) -> None:
        """Take over what an instance that died had revoked, to be published as our own."""
        self.publisher.take_in(entry)

    def anew(self, entry: Entry, *, ends: bool = False) -> Entry:
        """An entry as it must be for no pardon of before to undo it, see `Pardons.anew`."""
        return self.pardons.anew(self._replica(entry.member), entry, ends=ends)

    async def end_sessions(
        self, tombstones: Sequence[Entry], *, within: float = REVOKE_LIMIT
    ) -> Receipt:
        """Let sessions stay ended, whatever becomes of what Redis holds of them.

        Returns:
            The receipt of the one that got least far.
        """
        if not tombstones:
            return Receipt(Level.LOCAL, Level.LOCAL)
        receipts = await asyncio.gather(
            *(
                self.publisher.publish(self.anew(entry), "session", None, within)
                for entry in tombstones
            )
        )
        return min(receipts, key=lambda receipt: receipt.level)

    def leave(self, tombstones: Iterable[Entry]) -> None:
        """Let sessions stay ended, when this instance ends: nothing is waited for here."""
        self.publisher.leave(self.anew(entry) for entry in tombstones)

    async def use_up(self, entry: Entry) -> None:
        """Remember that a refresh token was used; it is published in the background."""
        await self.publisher.publish(self.anew(entry), "refresh", Level.LOCAL, 0)

    def _replica(self, member: bytes) -> ShardReplica:
        return self.shards[member[0] % SHARDS].replica


def _stale(age: float, setting: str) -> StaleError:
    return StaleError(
        f"the revocations are {age:.1f} s old",
        remedy="Redis was not heard for so long: /v1/status and `aragora-redis health` say why; "
        f"{setting}=known would go on with what is known",
    )
