"""Carries revocations out: in force here first, then on disk and in Redis, as far as is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from ...clock import Clock
from ...errors import InvalidInputError, LevelUnavailableError, OutcomeUnknownError
from ...events import Events, Revoked
from ...tokens.entry import Entry
from ...tokens.operations import calls
from ...tokens.shard import Shard
from .commitment import RedisSide, before, commit
from .outbox import Outbox
from .receipt import Kept, Level, Receipt


class Publisher:
    """What takes in and publishes entries.

    Args:
        shards: the replica.
        redis: the way to Redis; None where this process is all there is.
        clock: for deadlines, and for what is over.
        events: told of each revocation.
        level: what is waited for where it can be had; None for the highest that can.
        outbox: where entries outlive this instance; None keeps them in memory.
        notes: see `Revocations`.
    """

    def __init__(
        self,
        shards: list[Shard],
        redis: RedisSide | None,
        *,
        clock: Clock,
        events: Events,
        level: Level | None,
        outbox: Outbox | None,
        notes: dict[bytes, str] | None = None,
    ) -> None:
        self._shards = shards
        self._redis = redis
        self._clock = clock
        self._events = events
        self._level = level
        self._outbox = outbox
        self.notes = notes if notes is not None else {}
        """Why something was revoked, where there is no Redis to keep it."""

    async def publish(self, entry: Entry, kind: str, level: Level | None, within: float) -> Receipt:
        """Have an entry in force, everywhere as far as `level`, for at most `within` seconds.

        Raises:
            InvalidInputError, LevelUnavailableError: it is not in force.
        """
        wanted = self.attainable(level)
        started = self._clock.monotonic()
        until = started + within
        shard = self._shards[entry.shard]
        self.take_in(entry)
        kept = self._outbox.keep(entry) if self._outbox is not None else None
        if self._redis is None:  # with a Redis, the feed does
            while shard.drop_past(self._clock.wall()):  # noqa: ASYNC110 - work, and no waiting
                await asyncio.sleep(0)
        if self._redis is None or wanted is Level.LOCAL:
            if self._redis is not None:
                self._redis.wake()
            receipt = Receipt(Level.LOCAL, wanted)
        else:
            receipt = await commit(self._redis, self._clock, shard, (entry,), wanted, until=until)
        on_disk = kept is not None and await before(kept, until, self._clock)
        outbox: Kept = "disk" if on_disk else "memory"
        self._events.emit(Revoked(kind, receipt.level.word, self._clock.monotonic() - started))
        return replace(receipt, outbox=outbox)

    def leave(self, entries: Iterable[Entry]) -> None:
        """Have entries in force here, to be published when this instance ends, or from its file."""
        for entry in entries:
            self.take_in(entry)
            if self._outbox is not None:
                self._outbox.keep(entry)

    def take_in(self, entry: Entry) -> None:
        """Have an entry in force here, and owed to Redis where there is one."""
        shard = self._shards[entry.shard]
        if self._redis is not None:
            shard.add_own(entry)
        else:
            shard.replica.apply(entry)
            self._note(entry)

    async def publish_all(self, entries: Sequence[Entry], within: float) -> Level:
        """Join entries that exist elsewhere too; the level that all of them reached.

        They are Redis's to keep: neither the outbox nor what is owed takes them in, unless there
        is no Redis.

        Raises:
            OutcomeUnknownError: the primary did not confirm all of them; they are in force here.
        """
        if self._redis is None:
            for entry in entries:
                self.take_in(entry)
            if self._outbox is not None and entries:
                await asyncio.wait([self._outbox.keep(each) for each in entries], timeout=within)
            return Level.LOCAL
        for entry in entries:
            self._shards[entry.shard].replica.apply(entry)
        redis, wanted = self._redis, self.attainable(None)
        until = self._clock.monotonic() + within
        shares: dict[int, list[Entry]] = {}
        for entry in entries:
            shares.setdefault(entry.shard, []).append(entry)
        receipts = await asyncio.gather(
            *(
                commit(redis, self._clock, self._shards[shard], call, wanted, until=until)
                for shard, share in shares.items()
                for call in calls(share)
            )
        )
        reached = min((receipt.level for receipt in receipts), default=wanted)
        if reached is Level.LOCAL and wanted > Level.LOCAL:
            raise OutcomeUnknownError(
                "Redis did not confirm all of the revocations in time",
                remedy="import them again, which does no harm",
            )
        return reached

    def attainable(self, level: Level | None) -> Level:
        """What is waited for where `level` is asked for.

        The level of the settings is a wish: where a failover has led to a server that cannot give
        it, the highest that can be given is waited for, and a revocation holds just the same.

        Raises:
            InvalidInputError: that is no level.
            LevelUnavailableError: it was named, and this deployment cannot give it.
        """
        if level is not None and not isinstance(level, Level):
            raise InvalidInputError("a level is one of aragora_redis.Level")
        if self._redis is None:
            highest = Level.LOCAL
        else:
            highest = Level.REPLICATED if self._redis.replicating else Level.PRIMARY
        wanted = level if level is not None else self._level
        if wanted is None or wanted <= highest:
            return highest if wanted is None else wanted
        fsyncing = self._redis if wanted is Level.FSYNCED else None
        if fsyncing is not None and fsyncing.executor.fsyncs() is not False:
            return wanted
        if level is None:
            return highest
        if fsyncing is not None:
            raise LevelUnavailableError(
                "this Redis does not tell what is on its disk, so nothing was revoked",
                remedy="that takes Redis 7.2 or Valkey 8, with appendonly yes",
            )
        raise LevelUnavailableError(
            f"level {wanted.word} cannot be given here",
            remedy=f"the highest of this deployment is {highest.word}",
        )

    def _note(self, entry: Entry) -> None:
        if entry.note:
            self.notes[entry.member] = entry.note
        if len(self.notes) > 1000 + 2 * sum(len(shard.replica) for shard in self._shards):
            kept = {m: text for m, text in self.notes.items() if self._holds(m)}
            self.notes.clear()
            self.notes.update(kept)

    def _holds(self, member: bytes) -> bool:
        return any(shard.replica.score(member) is not None for shard in self._shards)
