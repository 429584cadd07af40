"""Keeps every shard's replica in step with Redis, and Redis with what this instance knows.

The decisions are `tokens.shard`'s; here they are carried out. A published message is the fast way,
a look at each shard every second the backstop, and after every new connection each shard is looked
at from the ground, because the data there may have another history.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from ...clock import Clock, ServerTime
from ...errors import AragoraRedisError, UnexpectedReplyError
from ...events import EraChanged, Events
from ...operation import Operation, Runs
from ...tokens import operations
from ...tokens.entry import ALL_SHARDS, SHARDS, Entry
from ...tokens.operations import FEED_PAGE, ShardKeys
from ...tokens.shard import Head, Shard
from .feed_clocks import FeedClocks
from .feed_comparison import Comparison

T = TypeVar("T")

LOOK_EVERY = 1.0
COMPARE_EVERY = 60.0
"""Seconds between comparisons of digests with Redis."""
STEP_LIMIT = 0.5
"""Seconds that one question of the feed may take."""
LEARNED_PAUSE = 0.5
"""Seconds over which entries of others are published again, at least; see `_pause_for`."""
LEARNED_RATE = 200
"""Instances that may begin to do so in one second."""
NOTHING = "-"
"""In place of its eras: this instance knows nothing that any history could lack."""
BOOTSTRAP_AGE = 6.0
"""Seconds that an era must be old before a starting instance trusts what it loaded from it."""


class TokenFeed:
    """The sixteen shards and the task that follows them.

    Args:
        nonce: names the data set where there is none yet.
        holder: this instance, for the leases of full comparisons.
        instances: how many share the work now.
        proven_at: monotonic seconds at which the holder of a shard, by its index, last proved to be
            the real primary.
        server_time: the last sample of the clock of a shard's holder.
        on_reconciled: told when `eras` has changed.
    """

    def __init__(
        self,
        executor: Runs,
        clock: Clock,
        events: Events,
        *,
        prefix: str,
        nonce: bytes,
        holder: str,
        instances: Callable[[], int],
        proven_at: Callable[[int], float | None],
        server_time: Callable[[int], ServerTime | None],
        on_reconciled: Callable[[], None],
    ) -> None:
        self._executor = executor
        self._clock = clock
        self._events = events
        self.nonce = nonce
        self._instances = instances
        self._proven_at = proven_at
        self._server_time = server_time
        self._on_reconciled = on_reconciled
        self.keys = [ShardKeys(prefix, index) for index in range(SHARDS)]
        self.shards = [Shard(index) for index in range(SHARDS)]
        self._channels = {keys.feed: index for index, keys in enumerate(self.keys)}
        self._locks = [asyncio.Lock() for _ in range(SHARDS)]
        self._from_ground = set(range(SHARDS))
        self._follows = False
        self._learned_due: dict[int, float] = {}
        self._opened: dict[int, float] = {}
        self._clocks = FeedClocks(clock, events)
        self._comparison = Comparison(
            self.keys,
            clock,
            self._clocks,
            events,
            holder=holder,
            ask=self._ask,
            publish=self._publish,
        )
        self._compared_at = clock.monotonic()
        self._uncompared: set[int] = set()
        self._wake = asyncio.Event()
        self._fresh_at = [float("-inf")] * SHARDS
        self._all_fresh_at = float("-inf")
        self.looked_at = float("-inf")
        """Monotonic seconds at which the last look began that found every shard in step."""
        self.trouble: str | None = None
        """Why the last look failed."""

    @property
    def channels(self) -> Sequence[bytes]:
        """What to subscribe to."""
        return tuple(self._channels)

    @property
    def eras(self) -> str:
        """The histories whose losses this instance has published again, as one word.

        They are told apart by more than their numbers: after a wipe the first era is 1 again.
        """
        if self._follows and all(
            shard.reconciled is None and shard.knows_nothing for shard in self.shards
        ):
            return NOTHING
        known = [shard.reconciled and shard.reconciled[:3] for shard in self.shards]
        return blake2b(repr(known).encode(), digest_size=8).hexdigest()

    @property
    def loaded(self) -> bool:
        """Whether every shard has been read from Redis."""
        return all(shard.position is not None for shard in self.shards)

    @property
    def settled(self) -> bool:
        """Whether every era is old enough for all live instances to have published their part."""
        now = self._clock.monotonic()
        return len(self._opened) == SHARDS and all(
            now - opened >= BOOTSTRAP_AGE for opened in self._opened.values()
        )

    def fresh_at(self, shards: Collection[int] = ALL_SHARDS) -> float:
        """Monotonic seconds at which these were last certainly in step with the real primary."""
        if shards is ALL_SHARDS:  # asked with every token
            return self._all_fresh_at
        return min(self._fresh_at[index] for index in shards)

    def on_link_up(self, shards: Collection[int]) -> None:
        """A new connection for these: the data behind it may have another history."""
        self._from_ground.update(shards)
        self._wake.set()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def on_push(self, push: list[Any]) -> None:
        """Take in a published message; ones that are not ours, or unreadable, lead to a look."""
        if len(push) != 3 or push[0] != b"message":
            return
        index = self._channels.get(push[1]) if isinstance(push[1], bytes) else None
        if index is None:
            return
        try:
            position, entries = operations.read_message(push[2])
        except UnexpectedReplyError:
            self._wake.set()
            return
        if not self.shards[index].on_message(position, entries):
            self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled; what the disk has of earlier revocations is known by now."""
        self._follows = True
        while True:
            self._wake.clear()
            eras, began = self.eras, self._clock.monotonic()
            errors = await self._look()
            self.trouble = str(errors[0]) if errors else None
            if not errors and not self._from_ground:
                self.looked_at = began
            if self.eras != eras:
                self._on_reconciled()
            await self._pause()

    async def finish(self) -> None:
        """Publish what this instance owes, at its end; what Redis does not take stays owed."""
        await asyncio.gather(*(self._publish_owed(each) for each in self.shards if each.due))

    async def _publish_owed(self, shard: Shard) -> None:
        with contextlib.suppress(AragoraRedisError):
            async with self._locks[shard.index]:
                await self._publish(shard, shard.due, own=True)

    async def _pause(self) -> None:
        now = self._clock.monotonic()
        due = min([now + LOOK_EVERY, *self._learned_due.values()])
        try:
            async with asyncio.timeout(max(due - now, 0.01)):
                await self._wake.wait()
            # Messages come in bursts, and one look answers them all.
            await asyncio.sleep(0.01)
        except TimeoutError:
            return

    async def _look(self) -> list[AragoraRedisError]:
        """Find the shards that are not in step, and bring them there; what kept it from some."""
        now = self._clock.monotonic()
        compare = now - self._compared_at >= COMPARE_EVERY
        if compare:
            self._compared_at = now
            if (past := self._clocks.certainly_past()) is not None:
                for shard in self.shards:
                    while shard.drop_past(past):  # noqa: ASYNC110 - work, and no waiting
                        await asyncio.sleep(0)
                    await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            looks = [
                group.create_task(self._look_at(shard, compare=compare or self._was_set(shard)))
                for shard in self.shards
            ]
        return [error for look in looks if (error := look.result()) is not None]

    def _was_set(self, shard: Shard) -> bool:
        return self._clocks.was_set(shard.index, self._server_time(shard.index))

    async def _look_at(self, shard: Shard, *, compare: bool) -> AragoraRedisError | None:
        """Bring one shard in step. An error is returned: the other shards go on."""
        proven_at = self._proven_at(shard.index)
        try:
            async with self._locks[shard.index]:
                await self._bring_in_step(shard, compare=compare)
        except AragoraRedisError as error:
            return error
        # A connection that is new within the look may have answered the rest of it.
        if proven_at is not None and shard.index not in self._from_ground:
            self._fresh_at[shard.index] = max(self._fresh_at[shard.index], proven_at)
            self._all_fresh_at = min(self._fresh_at)
        return None

    async def _bring_in_step(self, shard: Shard, *, compare: bool) -> None:
        if shard.index in self._from_ground:
            await self._look_from_the_ground(shard)
        else:
            keys = self.keys[shard.index]
            standing = await self._ask(operations.standing(keys))
            if standing is None:  # emptied under us
                await self._ask(operations.join(keys, (), nonce=self.nonce))
            if standing != shard.position:
                await self._follow(shard)
        if compare:
            shard.release()
        if due := shard.due:
            await self._publish(shard, due, own=True)
        await self._publish_learned(shard)
        if compare or shard.index in self._uncompared:
            self._uncompared.discard(shard.index)
            if not await self._comparison.compare_if_free(shard):
                self._uncompared.add(shard.index)
        if shard.position is not None and not shard.learned:
            shard.reconciled = shard.position

    async def _look_from_the_ground(self, shard: Shard) -> None:
        self._from_ground.discard(shard.index)
        try:
            # Opens a new era if one is due; a quiet join, so it changes nothing else.
            quiet = operations.join(self.keys[shard.index], (), nonce=self.nonce)
            joined = await self._ask(quiet)
            await self._follow(shard)
            if not joined.position.tells:
                await self._comparison.compare(shard)
        except BaseException:
            self._from_ground.add(shard.index)
            raise

    async def _follow(self, shard: Shard) -> None:
        keys = self.keys[shard.index]
        asked_at = shard.position
        head = await self._ask(operations.survey(keys))
        self._clocks.see(head)
        # By the clock of the server that has opened it, whatever others have.
        age = (head.server_now - head.opened) / 1_000_000
        if age >= 0:
            self._opened[shard.index] = self._clock.monotonic() - age
        else:  # its clock has gone back since
            self._opened.setdefault(shard.index, self._clock.monotonic())
        starts = shard.position is None and shard.reconciled is None
        plan = shard.on_head(head, asked_at=asked_at)
        if starts and all(each.reconciled for each in self.shards):
            self._on_reconciled()  # before all is loaded: whoever starts too waits for this alone
        if plan.new_era and asked_at is not None:  # who starts has seen no other
            self._events.emit(
                EraChanged(shard.index, head.position.era, len(plan.own), len(plan.learned))
            )
        await self._publish(shard, plan.own, own=True)
        if plan.full or not await self._read_feed(shard, head):
            await self._comparison.compare(shard)

    async def _publish_learned(self, shard: Shard) -> None:
        now = self._clock.monotonic()
        if shard.learned and shard.index not in self._learned_due:
            self._learned_due[shard.index] = now + self._pause_for()
        if now < self._learned_due.get(shard.index, float("inf")):
            return
        self._learned_due[shard.index] = now + LOOK_EVERY  # if this attempt fails
        await self._publish(shard, shard.learned, own=False)
        if not shard.learned:
            del self._learned_due[shard.index]

    def _pause_for(self) -> float:
        """Every instance has learned the same tail; one that waits sees what others published."""
        return random.uniform(0, max(LEARNED_PAUSE, self._instances() / LEARNED_RATE))

    async def _read_feed(self, shard: Shard, head: Head) -> bool:
        keys = self.keys[shard.index]
        while shard.position is not None:
            try:
                records = await self._ask(operations.feed_after(keys, shard.position))
            except UnexpectedReplyError:  # a record that cannot be read is a hole
                return False
            before = shard.position
            if not shard.on_feed(head, records):
                return False
            # A page that leads nowhere is of an era that has begun since the survey.
            if len(records) < FEED_PAGE or shard.position == before:
                break
        return shard.arrive(head)

    async def _publish(self, shard: Shard, entries: Iterable[Entry], *, own: bool) -> None:
        keys = self.keys[shard.index]
        for call in operations.calls(tuple(entries)):
            joined = await self._ask(operations.join(keys, call, nonce=self.nonce))
            refused = joined.refused(call, self._clock.wall())
            if refused:  # so its clock is ahead, or was, for less than passes between two samples
                told = ServerTime(self._clock.monotonic(), joined.server_now)
                self._clocks.note(shard.index, told)
            shard.hold_back(refused)
            taken = [entry for entry in call if entry not in refused]
            shard.confirmed(joined.position, taken, own=own)

    async def _ask(self, operation: Operation[T]) -> T:
        return await self._executor.run(operation, within=STEP_LIMIT)
