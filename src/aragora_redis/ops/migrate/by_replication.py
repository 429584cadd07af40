"""Migrate by making the target's primary a replica of the source, and then the other way round."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ...settings.urls import SENTINEL_PORT
from ..survey import A_MONTH
from ..targets import SentinelTarget, StandaloneTarget
from . import sentinels
from .hand_over import hand_over
from .journal import Journal, State
from .replication import (
    NOBODY,
    Goal,
    MoveError,
    Role,
    Server,
    attach,
    changed_by,
    follow,
    follow_the_promoted,
    promote,
    put_back,
    remember,
    role_of,
    secret_of,
    stand_alone,
)
from .steps import OnCopied, OnStep, Save
from .wait_for_copy import wait_for_copy


@dataclass(frozen=True, slots=True)
class TargetServers:
    """The target as it is now."""

    primary: Server
    replicas: tuple[Server, ...]
    sentinels: tuple[Address, ...]


class ExchangeState(Enum):
    """Who takes writes, of a giver and a taker whose exchange was begun."""

    GIVER = auto()
    """The giver, as before."""
    NOBODY = auto()
    """Neither: the giver has given them up, and the taker was not promoted."""
    TAKER = auto()
    """The taker: it is done."""
    ANEW = auto()
    """The taker, which was started again in between: as a primary, with less than it had."""
    BACK = auto()
    """Neither, and only the giver has everything."""
    BOTH = auto()
    """Both say they do."""


def state_of_exchange(giver: Role, taker: Role, goal: Goal) -> ExchangeState:
    """What an exchange that was interrupted has come to.

    Args:
        giver: what it says.
        taker: what it says.
        goal: what the giver had when it gave the writes up.
    """
    if giver.primary:
        return ExchangeState.BOTH if taker.primary else ExchangeState.GIVER
    if taker.primary:
        # Whom the giver follows it has agreed with, by itself or as somebody has told it.
        return ExchangeState.TAKER if taker.has(goal) or giver.linked else ExchangeState.ANEW
    if taker.has(goal) or not giver.has(goal):
        return ExchangeState.NOBODY
    return ExchangeState.BACK


class ByReplication:
    """The steps of one migration; each can be begun again.

    Args:
        journal: is kept true, by `save`, before each step.
        source: the single Redis.
        source_id: of its process; empty where it is gone or does not tell.
        target: where settings lead.
        seen: the target as it is now.
    """

    def __init__(
        self,
        journal: Journal,
        save: Save,
        *,
        source: Server,
        source_id: str,
        target: SentinelTarget | StandaloneTarget,
        seen: TargetServers,
        clock: Clock,
        on_step: OnStep,
        on_copied: OnCopied,
    ) -> None:
        self._journal = journal
        self._save = save
        self._source = source
        self._source_id = source_id
        self._target = target
        self._seen = seen
        self._clock = clock
        self._on_step = on_step
        self._on_copied = on_copied
        self._left: list[str] = []

    async def bring(self, *, move: bool) -> None:
        """Have the target follow the source until it has everything, and take the writes.

        Raises:
            MoveError, GuardError: it says where they are taken now.
        """
        await self._attach()
        if move:
            await self._exchange(
                self._source,
                self._seen.primary,
                self._seen.replicas,
                State.MOVING,
                State.MOVED,
            )

    async def _attach(self) -> None:
        taker = self._seen.primary
        await self._hold()
        if (await _role(taker)).follows != self._source.address:
            await self._note_settings(taker, self._source)
            self._on_step(f"{taker.address} begins to follow {self._source.address}")
            await self._begin_to_follow(taker)
        self._journal.state = State.FOLLOWING
        self._save(self._journal)
        await self._copied(taker, self._source, fellows=self._seen.replicas)

    async def _begin_to_follow(self, taker: Server) -> None:
        """What cannot come about is undone: until the first byte the target has what it had."""
        try:
            await attach(taker, self._source, self._clock)
        except MoveError as error:
            if self._journal.state is not State.HELD:
                raise
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await stand_alone(taker)
            left = await self._settle_target()
            raise MoveError(". ".join([f"{error}. Nothing was changed", *left])) from error
        # Restarted as a primary it would take writes that are replaced later.
        await remember(taker)

    async def move_back(self) -> None:
        """Have the source take the writes again, if it does not yet, with all that was written.

        The target follows it, as before the move.

        Raises:
            MoveError, GuardError: it says where they are taken now.
        """
        await self.check(overwrite=False)
        if self._journal.state is State.MOVED:
            giver = self._seen.primary
            await self._hold()
            await self._copied(self._source, giver, fellows=())
            await self._exchange(giver, self._source, (), State.RETURNING, State.RETURNING)
        await self._forget_source()
        self._left += await self._restore(self._source, fellows=())
        # Not before: a rollback that finds this state lets the target go.
        self._journal.state = State.FOLLOWING
        self._save(self._journal)

    async def resume(self, *, overwrite: bool) -> None:
        """Go on with an exchange that was interrupted.

        Args:
            overwrite: what a taker took that was started again meanwhile may be given up.

        Raises:
            MoveError: who takes writes cannot be told.
        """
        returning = self._journal.state is State.RETURNING
        giver, taker = self._source, self._seen.primary
        before, after = State.FOLLOWING, State.MOVED
        if returning:
            giver, taker, before, after = taker, giver, State.MOVED, State.RETURNING
        there, here = await _role(giver), await _role(taker)
        goal = self._journal.goal or (there.histories[0], there.offset)
        match state_of_exchange(there, here, goal):
            case ExchangeState.GIVER:
                self._journal.state = before
            case ExchangeState.TAKER:
                await follow_the_promoted(giver, taker)
                self._journal.state = after
            case ExchangeState.NOBODY if here.has(goal):
                self._on_step(f"{taker.address} takes the writes that {giver.address} gave up")
                await promote(taker, instead_of=giver)
                await follow_the_promoted(giver, taker)
                self._journal.state = after
            case ExchangeState.NOBODY:
                raise MoveError(
                    f"neither {giver.address} nor {taker.address} takes writes, and both were "
                    f"started again, perhaps with less: REPLICAOF NO ONE on {giver.address} has it "
                    "take them again with what it has; then run this again"
                )
            case ExchangeState.ANEW if not overwrite:
                raise MoveError(
                    f"{taker.address} was started again in the middle of the move and takes "
                    f"writes, perhaps without the last that {giver.address} has, which takes none. "
                    "See what differs (migrate verify); run --overwrite gives up what the first "
                    f"took since, and REPLICAOF {' '.join(map(str, taker.address))} on "
                    f"{giver.address} what only that one has; then run this again"
                )
            case ExchangeState.ANEW | ExchangeState.BACK:
                self._on_step(f"{giver.address} takes the writes again: {taker.address} has less")
                await follow(taker, giver)
                await promote(giver, instead_of=taker)
                await remember(giver)
                self._journal.state = before
            case ExchangeState.BOTH:
                raise MoveError(
                    f"both {giver.address} and {taker.address} take writes: one was restarted in "
                    "the middle of the move. Compare them (migrate verify), make the one that has "
                    "less a replica of the other, and run this again"
                )
        self._save(self._journal)

    async def settle(self) -> list[str]:
        """Put back what was changed in the target, now that its primary is one.

        Returns:
            What is left to be done by hand, each as a sentence.
        """
        if self._journal.state is State.FOLLOWING:
            return self._left
        return await self._settle_target()

    async def check(self, *, overwrite: bool) -> None:
        """See that after the move only the target takes writes.

        Args:
            overwrite: what the source took since may be given up.

        Raises:
            MoveError: both take them.
        """
        if self._journal.state is not State.MOVED:
            return
        role, taker = await _role(self._source), self._seen.primary
        if not role.primary:
            if role.follows == NOBODY:
                await follow_the_promoted(self._source, taker)
            return
        if not overwrite:
            raise MoveError(
                f"both {self._source.address} and {taker.address} take writes: the first was "
                "restarted or promoted after the move. See what it took since (migrate verify); "
                "run --overwrite gives that up and makes it follow again"
            )
        await follow(self._source, taker, promotable=False)
        await remember(self._source)

    def shut(self) -> bool:
        """It is a replica, which refuses them."""
        return True

    async def take_over(self) -> None:
        """Have the target take the writes with what it has: the source is gone for good.

        Raises:
            MoveError: it may not have come about.
        """
        await promote(self._seen.primary, instead_of=self._source)
        await remember(self._seen.primary)
        self._journal.state = State.MOVED
        self._save(self._journal)

    async def _settle_target(self) -> list[str]:
        left = await self._restore(self._seen.primary, fellows=self._seen.replicas)
        if self._journal.patience and isinstance(self._target, SentinelTarget):
            self._on_step("the Sentinels watch over it again, once they know their primary")
            former = {
                Address.parse(at, default_port=SENTINEL_PORT): each
                for at, each in self._journal.patience.items()
            }
            left += await sentinels.let_go(self._target, former, self._clock)
            if not left:
                self._journal.patience = {}
                self._save(self._journal)
        return left

    async def detach(self) -> list[str]:
        """Have the target go its own way with what it has; returns as `settle` does.

        Raises:
            MoveError: it cannot be told.
        """
        await self._forget_source()
        try:
            await stand_alone(self._seen.primary)
        except (RedisError, OSError, TimeoutError) as error:
            raise MoveError(
                f"{self._seen.primary.address} still follows the source: {error or 'no answer'}"
            ) from error
        left = [*await self._restore(self._source, fellows=()), *await self._settle_target()]
        if not (await _role(self._source)).primary:
            raise MoveError(
                f"{self._source.address} was made a replica meanwhile: REPLICAOF NO ONE on it "
                "gives it the writes back"
            )
        if not left:
            self._journal.state = State.ROLLED_BACK
            self._save(self._journal)
        return left

    async def _exchange(
        self, giver: Server, taker: Server, fellows: Sequence[Server], doing: State, done: State
    ) -> None:
        await self._note_settings(giver, taker, promotable=False)
        self._journal.state = doing
        self._save(self._journal)
        self._on_step(f"writes are held at {giver.address}, and then taken by {taker.address}")
        took = await hand_over(giver, taker, fellows, self._clock, self._note_goal)
        self._journal.pauses.append(took)
        self._journal.state = done
        self._save(self._journal)

    def _note_goal(self, goal: Goal) -> None:
        self._journal.goal = goal
        self._save(self._journal)

    async def _forget_source(self) -> None:
        """Once it was a replica of the target the Sentinels would make it one again."""
        if isinstance(self._target, SentinelTarget) and self._journal.pauses:
            self._on_step(f"the Sentinels of the target forget {self._source.address}")
            await sentinels.forget(
                self._target,
                self._source.address,
                self._source_id,
                self._seen.sentinels,
                self._clock,
            )

    async def _hold(self) -> None:
        """Written down first: a run that is killed gives everything back."""
        target = self._target
        if not isinstance(target, SentinelTarget):
            return
        for at in self._seen.sentinels:
            if str(at) not in self._journal.patience:
                self._journal.patience[str(at)] = await sentinels.patience_of(target, at)
        self._save(self._journal)
        self._on_step("the Sentinels of the target are told to elect nobody meanwhile")
        await sentinels.set_patience(target, dict.fromkeys(self._seen.sentinels, A_MONTH))

    async def _note_settings(
        self, follower: Server, leader: Server, *, promotable: bool = True
    ) -> None:
        changed = await changed_by(follower, leader, promotable=promotable)
        self._journal.kept.setdefault(str(follower.address), {}).update(
            {k: v for k, v in changed.items() if k not in self._kept(follower)}
        )
        self._save(self._journal)

    def _kept(self, server: Server) -> dict[str, str]:
        return self._journal.kept.get(str(server.address), {})

    async def _copied(self, follower: Server, leader: Server, *, fellows: Sequence[Server]) -> None:
        self._on_step(f"{follower.address} gets what {leader.address} has")
        await wait_for_copy(follower, leader, fellows, self._clock, self._on_copied)

    async def _restore(self, server: Server, *, fellows: Sequence[Server]) -> list[str]:
        """Put settings back. A secret is what those say who had the same, and never guessed."""
        kept = self._kept(server)
        if not kept:
            return []
        taken, left = await put_back(server, kept, await secret_of(fellows))
        if taken:
            del self._journal.kept[str(server.address)]
            self._save(self._journal)
        return left


async def _role(server: Server) -> Role:
    try:
        return await role_of(server)
    except (RedisError, OSError, TimeoutError) as error:
        raise MoveError(
            f"{server.address} does not say whom it follows: {error or 'no answer'}"
        ) from error
