"""A way to the primary for one operator's command.

It acts as an instance does and is none: it has no row among the instances, follows no feed, and so
never vouches for a token. What it says is read from the primary when it is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import Any, TypeVar

from msgspec.structs import replace

from ...audit.act import Act, outcome_of
from ...audit.operations import record
from ...clock import Clock
from ...errors import (
    AragoraRedisError,
    LinkDownError,
    OutcomeUnknownError,
    SettingsError,
)
from ...events import Events
from ...link.reach import Reach, reach
from ...operation import Kind, Lane, Operation, Runs
from ...policies import Policies, load_policies
from ...sessions.operations import SessionKeys
from ...settings import Feature, Settings
from ...state.audit.log import RedisAuditLog
from ...state.life import Life
from ...state.presence import EXPIRY, presence_keys
from ...state.rate_limits.own_limits import OwnLimitsBook
from ...state.revocations.commitment import RedisSide
from ...state.revocations.ledger import Held
from ...state.revocations.pardons import pardons_of
from ...state.revocations.receipt import Level, Receipt
from ...state.revocations.revocations import Revocations
from ...state.sessions.endable import EndableSessions
from ...state.sessions.keyring import seal_of
from ...state.tokens.tokens import Tokens
from ...tokens import operations
from ...tokens.claims import ClaimNames
from ...tokens.entry import PARDONED, SHARDS, Entry
from ...tokens.operations import SCAN_PAGE, ShardKeys
from ...tokens.pardon import NAMED_BYTES
from ...tokens.shard import Shard
from ..survey import Instance, instances_of, readable

T = TypeVar("T")

ASK_LIMIT = 1.0
"""Seconds that one question or act may take."""
HEAR_LIMIT = 1.0
"""Seconds for which the Sentinels are heard before an act: their word makes a level count."""
PAGE = 256
"""Questions that are asked at once: the queue to Redis has an end."""


class Desk:
    """What commands act and look with.

    Args:
        settings: with the Redis of what it is about alone.
        reach: the way there.
        of_tokens: the way to that of revocations and of the record, which may be the same.
        clock: for deadlines.
        prepared: the ways have loaded the scripts.
    """

    def __init__(
        self, settings: Settings, reach: Reach, of_tokens: Reach, clock: Clock, *, prepared: bool
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._reach = reach
        self._of_tokens = of_tokens
        self._runs: Runs = reach.executor if prepared else _LoadsFirst(reach.executor)
        self._runs_of_tokens: Runs = (
            of_tokens.executor if prepared else _LoadsFirst(of_tokens.executor)
        )
        self._events = Events()
        self._life = Life(begun=True)

    @property
    def digest_key(self) -> bytes:
        """The key of the digests under which ids are stored."""
        return self.settings.digest_key.reveal_bytes()

    def server_now(self) -> float:
        """The primary's clock in Unix seconds."""
        return self._clock_of(self._reach)

    def _clock_of(self, reach: Reach) -> float:
        route = reach.lead(None)
        sample = route.links.lanes[Lane.BULK].server_time if route is not None else None
        if sample is None or sample.micros == 0:
            return self.clock.wall()
        return sample.at(self.clock.monotonic()) / 1e6

    @property
    def replicas(self) -> int:
        """How many replicas must acknowledge for `REPLICATED`; 0 where none counts."""
        return self._of_tokens.required_replicas()

    @cached_property
    def policies(self) -> Policies:
        """The policies file, read when it is needed: a fault in it keeps no token in force.

        Raises:
            SettingsError: it cannot be used.
        """
        return load_policies(self.settings.policies)

    @cached_property
    def revocations(self) -> Revocations:
        """What carries revocations; it does not know what is revoked."""
        settings = self.settings
        # A level that only this process reaches ends with it.
        level = Level[settings.tokens.level.upper()] if settings.tokens.level else None
        return Revocations(
            [Shard(index) for index in range(SHARDS)],
            RedisSide(
                executor=self._of_tokens.executor,
                required=self._of_tokens.required_replicas,
                ready=lambda: True,
                staleness=lambda _shards: 0.0,
                nonce=secrets.token_hex(8).encode(),
                keys=[ShardKeys(settings.prefix, index) for index in range(SHARDS)],
                wake=lambda: None,
                replicating=self._of_tokens.replicating,
            ),
            clock=self.clock,
            events=self._events,
            server_now=lambda: self._clock_of(self._of_tokens),
            deny_when_stale=False,
            max_staleness=settings.tokens.max_staleness,
            level=None if level is Level.LOCAL else level,
            pardons=pardons_of(settings.tokens),
        )

    @cached_property
    def tokens(self) -> Tokens:
        """What revokes and pardons tokens."""
        tokens = self.settings.tokens
        return Tokens(
            self.revocations,
            life=self._life,
            clock=self.clock,
            events=self._events,
            server_now=self.server_now,
            digest_key=self.digest_key,
            max_lifetime=tokens.max_lifetime,
            skew=tokens.skew,
            claims=ClaimNames(tokens.tenant_claim, tokens.family_claim),
        )

    async def learn(self, members: Iterable[bytes]) -> None:
        """Take in what the primary has of some members, and their pardons: acts build on it."""
        known = await self.revocations.ledger.held(members)
        for member, held in known.items():
            for at in held:
                self.revocations.apply(Entry(at.day, member, at.score))
                for pardon in await self._pardons(member, at):
                    self.revocations.apply(pardon)

    async def _pardons(self, member: bytes, at: Held) -> list[Entry]:
        """All on its day that may be of this member, or of a score that it had before."""
        keys = ShardKeys(self.settings.prefix, member[0] % SHARDS)
        found: list[Entry] = []
        read = 0
        while True:
            page = await self.ask_of_tokens(
                operations.first_of_day(
                    keys, at.day, PARDONED, PARDONED + at.score, SCAN_PAGE, skip=read
                )
            )
            found += [
                Entry(at.day, each, score)
                for each, score in page.items()
                if each[:NAMED_BYTES] == member[:NAMED_BYTES]
            ]
            read += len(page)
            if len(page) < SCAN_PAGE:
                return found

    @cached_property
    def session_keys(self) -> SessionKeys:
        """Where and how sessions are stored."""
        return SessionKeys(self.settings.prefix, seal_of(self.settings, self.clock))

    @cached_property
    def sessions(self) -> EndableSessions:
        """What ends sessions; whether one has ended is asked of the revocations in Redis."""
        return EndableSessions(
            self._runs,
            self.revocations,
            life=self._life,
            policy=self.policies.sessions,
            clock=self.clock,
            events=self._events,
            server_now=self.server_now,
            keys=self.session_keys,
            digest_key=self.digest_key,
            deny_on_outage=True,
            deadline=ASK_LIMIT,
            source="redis",
        )

    @cached_property
    def own_limits(self) -> OwnLimitsBook:
        """What gives subjects limits of their own, and lists them."""
        return OwnLimitsBook(self._runs, prefix=self.settings.prefix, deadline=ASK_LIMIT)

    async def fleet(self) -> list[Instance]:
        """The instances that live under our prefix and in our database."""
        keys = presence_keys(self.settings.prefix)
        since = int((self.server_now() - EXPIRY) * 1000)
        living = await self.ask(
            _reading(keys.beats, "ZRANGEBYSCORE", keys.beats, since, "+inf", read=frozenset)
        )
        # The rows of the last to end stay, as nobody is there to take them away.
        rows = await self.ask(_reading(keys.rows, "HGETALL", keys.rows, read=_read_rows))
        return instances_of(
            {readable(boot): readable(row) for boot, row in rows.items() if boot in living}
        )

    async def ask(self, operation: Operation[T]) -> T:
        """Run one operation; raises as the executor does."""
        return await self._runs.run(operation, within=ASK_LIMIT)

    async def ask_of_tokens(self, operation: Operation[T]) -> T:
        """The same where revocations and the record are."""
        return await self._runs_of_tokens.run(operation, within=ASK_LIMIT)

    async def ask_all(self, operations: Sequence[Operation[T]]) -> list[T]:
        """Run many, a page at a time; raises as the executor does."""
        found: list[T] = []
        for start in range(0, len(operations), PAGE):
            page = operations[start : start + PAGE]
            found += await asyncio.gather(*(self.ask(operation) for operation in page))
        return found

    @cached_property
    def records(self) -> RedisAuditLog:
        """What was done by hand, here and through instances."""
        return RedisAuditLog(self._runs_of_tokens, self.settings.prefix)

    async def act(
        self, act: Act, work: Callable[[], Awaitable[T]], outcome: Callable[[T], str]
    ) -> T:
        """Record what is about to be done, do it, and record what became of it.

        An act that is interrupted, or whose end cannot be recorded, stays on record as `begun`.

        Raises:
            AragoraRedisError: it could not be recorded, and was not done; or as the work does.
        """
        act = replace(act, at=self._clock_of(self._of_tokens), via="cli")
        try:
            await self._record(act)
        except AragoraRedisError as error:
            raise LinkDownError(
                f"it cannot be recorded, so nothing was done: {error.message}",
                remedy="see aragora-redis doctor, and try again",
            ) from error
        try:
            result = await work()
        except AragoraRedisError as error:
            await self._amend(act, outcome_of(error))
            raise
        await self._amend(act, outcome(result))
        return result

    async def _record(self, act: Act) -> None:
        # On the connection whose WAIT speaks for the act too.
        await self.ask_of_tokens(record(self.settings.prefix, act, Lane.DURABLE))

    async def _amend(self, act: Act, outcome: str) -> None:
        with contextlib.suppress(AragoraRedisError):
            await self._record(replace(act, outcome=outcome))


def kept(receipt: Receipt) -> Receipt:
    """Refuse what only this process knows: it ends in a moment.

    Raises:
        OutcomeUnknownError: no primary has confirmed it.
    """
    if receipt.level is Level.LOCAL:
        raise OutcomeUnknownError(
            "no primary has confirmed it: it may or may not be in force",
            remedy="run the command again, which does no harm",
        )
    return receipt


class _LoadsFirst:
    """Loads each script before it is run: no instance may have been there yet."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def run(self, operation: Operation[T], *, within: float) -> T:
        """See `Runs.run`; each of the two steps may take so long."""
        if operation.script is not None:
            load: Operation[None] = Operation(
                kind=Kind.READ,
                keys=operation.keys,
                args=("SCRIPT", "LOAD", operation.script.source),
                read=lambda _: None,
                lane=operation.lane,
                across_slots=operation.across_slots,
            )
            await self._runs.run(load, within=within)
        return await self._runs.run(operation, within=within)


@asynccontextmanager
async def open_desk(
    settings: Settings, feature: Feature, *, clock: Clock, within: float, acts: bool
) -> AsyncIterator[Desk]:
    """Reach the primary, for one command.

    Args:
        settings: where it is.
        feature: what the command is about.
        clock: for deadlines.
        within: seconds for reaching it.
        acts: whether anything is to be done; else nothing is written.

    Raises:
        LinkDownError: it cannot be reached in time.
        SettingsError: the instances that live there have another digest key.
    """
    own, of_tokens = settings.of(feature), settings.of(Feature.TOKENS)
    # An act is recorded beside the revocations, and whether a session has ended is known there.
    asks_both = own != of_tokens and (acts or feature is Feature.SESSIONS)
    until = clock.monotonic() + within
    async with AsyncExitStack() as ways:
        called = f"the Redis of {feature}" if len(settings.each_redis()) > 1 else ""
        way = await ways.enter_async_context(_reached(own, clock, until, called, prepares=acts))
        other = way
        if asks_both:
            needs = "acts are recorded" if acts else "it is known which sessions have ended"
            called = f"the Redis of tokens, where {needs},"
            other = await ways.enter_async_context(
                _reached(of_tokens, clock, until, called, prepares=acts)
            )
        desk = Desk(own, way, other, clock, prepared=acts)
        _demand_key(await desk.fleet(), settings)
        if acts and other.replicating:
            await _hear(desk)
        yield desk


@asynccontextmanager
async def _reached(
    settings: Settings, clock: Clock, until: float, called: str, *, prepares: bool
) -> AsyncIterator[Reach]:
    """The way there; `called` names it in errors, where there are several."""
    way = reach(settings, clock=clock, events=Events(), prepares=prepares)
    way.start()
    try:
        try:
            await way.ready(until)
        except LinkDownError as error:
            raise LinkDownError(
                f"{called} cannot be used: {error.message}" if called else error.message,
                remedy=f"{error.remedy}; `aragora-redis doctor` says what is wrong; "
                "nothing was done",
            ) from error
        yield way
    finally:
        await way.close()


def _demand_key(fleet: Sequence[Instance], settings: Settings) -> None:
    theirs = {each.fingerprint for each in fleet if each.fingerprint}
    if theirs and settings.fingerprint not in theirs:
        raise SettingsError(
            "the instances that live have another digest key: by ours nobody of theirs is named",
            remedy="set their ARAGORA_DIGEST_KEY here; nothing was done",
        )


def _reading(key: bytes, *words: Any, read: Callable[[Any], T]) -> Operation[T]:
    return Operation(kind=Kind.READ, keys=(key,), args=words, read=read, lane=Lane.BULK)


def _read_rows(reply: Any) -> dict[bytes, bytes]:
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


async def _hear(desk: Desk) -> None:
    until = desk.clock.monotonic() + HEAR_LIMIT
    while True:
        if desk.replicas or desk.clock.monotonic() >= until:
            return
        await asyncio.sleep(0.02)
