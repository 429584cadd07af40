"""Migrate by reading each key and writing it, and what changed meanwhile again; then back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from ...address import Address
from ...clock import Clock
from ...settings.urls import REDIS_PORT
from .calls import CopyError, named
from .copying import Copy, Progress, Step
from .following import give_back
from .guard import Guard, Kept, admits_us, lift_guard, raise_guard, unguarded
from .journal import Journal, State
from .pausing import part_with_clients
from .replicas import replicas_of
from .sites import Clients, Site, opened
from .steps import Copied, OnCopied, OnStep, Save

ANSWER_LIMIT = 10.0
"""Seconds that a server has for an answer."""
_TOLD = {
    Step.SWEEP: "keys of the target looked at",
    Step.FULL: "keys copied",
    Step.CATCH_UP: "changed keys copied",
    Step.CUT_OVER: "last keys copied",
}


class ByCopying:
    """The steps of one migration; each can be begun again, and then reads everything once more.

    Args:
        journal: is kept true, by `save`, before each step.
        source, target: as they are now.
        dbs: the databases that are copied.
        writers_stopped: nobody writes to the source any more, so that nothing has to be held.
    """

    def __init__(
        self,
        journal: Journal,
        save: Save,
        *,
        source: Site,
        target: Site,
        dbs: Sequence[int],
        writers_stopped: bool,
        clock: Clock,
        on_step: OnStep,
        on_copied: OnCopied,
    ) -> None:
        self._journal = journal
        self._save = save
        self._source = source
        self._target = target
        self._dbs = dbs
        self._writers_stopped = writers_stopped
        self._clock = clock
        self._on_step = on_step
        self._on_copied = on_copied
        self._left: list[str] = []

    async def bring(self, *, move: bool) -> None:
        """Copy everything to the target, and move the writes if that is wanted.

        Raises:
            CopyError: it says where writes are taken now.
        """
        self._journal.state = State.FOLLOWING
        self._save(self._journal)
        await self._carry(self._source, self._target, State.MOVING, State.MOVED, cut_over=move)

    async def move_back(self) -> None:
        """Have the source take the writes again, if it does not yet, with all that was written.

        Raises:
            CopyError: it says where writes are taken now.
        """
        if self._journal.state is State.MOVED:
            await self._carry(self._target, self._source, State.RETURNING, State.FOLLOWING)
        await self._let_go(self._source)

    async def resume(self, *, overwrite: bool) -> None:
        """What was interrupted is begun anew: until it is done the one that is left is right."""
        del overwrite
        returning = self._journal.state is State.RETURNING
        self._journal.state = State.MOVED if returning else State.FOLLOWING
        self._save(self._journal)
        await self._let_go(self._target if returning else self._source)

    async def check(self, *, overwrite: bool) -> None:
        """See that what keeps writes from the source after the move still stands, if anything does.

        Args:
            overwrite: what the source took since may be given up, and it is shut again.

        Raises:
            CopyError: it does not, as after a restart of the source.
        """
        if self._journal.state is not State.MOVED or not self.shut():
            return
        async with opened(self._source) as clients:
            open_ = await unguarded(clients, self._guards)
            if not open_:
                return
            if not overwrite:
                raise CopyError(
                    f"somebody may have written to {', '.join(open_)} after the move: the guard "
                    f"that this migration had raised there is gone; {self._target.name} takes "
                    "writes as before",
                    remedy=f"see what only {self._source.name} has (migrate verify); run "
                    "--overwrite gives that up and keeps writes from it again",
                )
            if await self._raise(clients, admitting=False) is not Guard.NONE:
                await part_with_clients(clients, ANSWER_LIMIT)

    def shut(self) -> bool:
        """Whether a guard was raised on the side that has given the writes up."""
        left = self._source if self._journal.state is State.MOVED else self._target
        return all(str(address) in self._guards for address in left.primaries)

    async def settle(self) -> list[str]:
        """Let the side that takes the writes now take them, and give back what was changed.

        Returns:
            What is left to be done by hand, each as a sentence.

        Raises:
            CopyError: the side does not answer or refuses.
        """
        moved = self._journal.state is State.MOVED
        await self._let_go(self._target if moved else self._source)
        await self._give_back()
        return self._left

    async def take_over(self) -> None:
        """Have the target take the writes with what it has: the source is gone for good."""
        self._journal.state = State.MOVED
        self._save(self._journal)

    async def detach(self) -> list[str]:
        """Have the target go its own way with what it has; returns as `settle` does.

        Raises:
            CopyError: it cannot be told.
        """
        for site in (self._source, self._target):
            await self._let_go(site)
        await self._give_back()
        self._journal.state = State.ROLLED_BACK
        self._save(self._journal)
        return self._left

    async def _carry(
        self, giver: Site, taker: Site, doing: State, done: State, *, cut_over: bool = True
    ) -> None:
        await self._keep_others_from(taker, giver)
        async with self._copying(giver, taker) as copy:
            self._on_step(f"{taker.name} gets what {giver.name} has")
            await copy.full_pass()
            if copy.silent is not None:
                self._left.append(f"nobody tells of changes: {copy.silent}")
            await copy.catch_up()
            if not cut_over:
                return
            self._journal.state = doing
            self._save(self._journal)
            self._on_step(f"writes are held at {giver.name}, and then taken by {taker.name}")
            cut = await copy.cut_over(
                writers_stopped=self._writers_stopped, on_moved=partial(self._moved, doing, done)
            )
            self._journal.pauses.append(cut.pause or 0.0)
            self._save(self._journal)
        if cut.guard is Guard.ACL:
            async with opened(giver) as clients:
                await self._shut_replicas(clients)
        if cut.skipped:
            self._left.append(f"{cut.skipped} keys of modules could not be copied")

    async def _keep_others_from(self, taker: Site, giver: Site) -> None:
        """What the giver has not is removed from the taker, so nobody else may write there.

        Raises:
            CopyError: somebody may have, since a guard was raised there.
        """
        async with opened(taker) as clients:
            before = self._guarded(taker)
            admitted = admits_us(taker, self._guards)
            if before and (open_ := await unguarded(clients, self._guards)):
                await self._raise(clients, admitting=admitted)
                raise CopyError(
                    f"somebody may have written to {', '.join(open_)} meanwhile: the guard that "
                    f"this migration had raised there was gone, and was raised again; {giver.name} "
                    "takes writes as before",
                    remedy=f"compare them (migrate verify) and keep what only {taker.name} has: it "
                    f"gets what {giver.name} has, and loses the rest, when this is run again",
                )
            if not admitted:
                if taker is self._source and not self._writers_stopped:
                    raise CopyError(
                        f"what keeps writes from {taker.name} (min-replicas-to-write) keeps ours "
                        "from it as well, and who still writes there would be let in; "
                        f"{giver.name} takes writes as before",
                        remedy=f"make sure that nobody writes to {taker.name}, say that the "
                        "writers are stopped, and run this again",
                    )
                await self._let_go(taker)
            elif before or await self._raise(clients, admitting=True) is Guard.ACL:
                await part_with_clients(clients, ANSWER_LIMIT)
                await self._shut_replicas(clients)
                return
        self._left.append(
            f"nothing kept others from {taker.name} while it was copied to: what they wrote there "
            "is lost"
        )

    async def _raise(self, clients: Clients, *, admitting: bool) -> Guard:
        save = partial(self._save, self._journal)
        return await raise_guard(clients, self._guards, save, admitting=admitting)

    async def _shut_replicas(self, clients: Clients) -> None:
        """Whoever a failover puts in the place of a primary is not open for that."""
        for replica in await replicas_of(clients):
            if str(replica) in self._guards:
                continue
            site, held = replace(clients.site, primaries={replica: ()}), Guard.NONE
            with contextlib.suppress(CopyError):
                async with opened(site) as its:
                    held = await self._raise(its, admitting=True)
            if held is Guard.NONE:
                self._left.append(
                    f"{named(site.name, replica)} takes writes if a failover promotes it meanwhile"
                )

    def _moved(self, doing: State, done: State) -> None:
        self._journal.state = done
        try:
            self._save(self._journal)
        except BaseException:
            # The taker is not left with the writes by a word that may not be on disk.
            self._journal.state = doing
            raise

    @asynccontextmanager
    async def _copying(self, giver: Site, taker: Site) -> AsyncIterator[Copy]:
        copy = Copy(
            giver,
            taker,
            dbs=self._dbs,
            clock=self._clock,
            remember=self._remember,
            on_progress=self._progressed,
            resume=self._journal.copying,
        )
        try:
            await copy.prepare()
            yield copy
        finally:
            await copy.close()
            self._remember(copy.state())

    async def _let_go(self, site: Site) -> None:
        """Let a site take writes that an earlier move has kept from it, whoever did so then."""
        for address, each in self._guarded(site):
            try:
                await lift_guard(each, self._guards, lambda: self._save(self._journal))
            except CopyError as error:
                if address in site.primaries:
                    raise
                self._left.append(f"it may refuse writes once it takes them: {error}")

    async def _give_back(self) -> None:
        """Have both sides tell of changes as they did before a run that was killed."""
        notify = self._journal.copying.setdefault("notify", {})
        for site in (self._source, self._target):
            for _, each in self._changed(site, notify):
                async with opened(each) as clients:
                    await give_back(clients, notify)
        self._left += [
            f"{at} keeps notify-keyspace-events '{ours}', where it had '{former}'"
            for at, (former, ours) in notify.items()
        ]
        self._save(self._journal)

    def _guarded(self, site: Site) -> list[tuple[Address, Site]]:
        """The servers of a site that take no writes: primaries, replicas, and who was one."""
        return [
            (address, replace(site, primaries={address: ()}))
            for at, kept in self._guards.items()
            if kept["of"] == site.name
            for address in [Address.parse(at, default_port=REDIS_PORT)]
        ]

    def _changed(self, site: Site, kept: Mapping[str, Any]) -> list[tuple[Address, Site]]:
        """The servers of a site that something is kept of, which others may have replaced since."""
        known = [Address.parse(at, default_port=REDIS_PORT) for at in kept]
        return [
            (address, replace(site, primaries={address: ()}))
            for address in known
            if (address in self._source.primaries) == (site is self._source)
        ]

    @property
    def _guards(self) -> Kept:
        guards: Kept = self._journal.copying.setdefault("guard", {})
        return guards

    def _remember(self, state: dict[str, Any]) -> None:
        self._journal.copying = state
        self._save(self._journal)

    def _progressed(self, progress: Progress) -> None:
        self._on_copied(Copied(_TOLD[progress.step], progress.keys, progress.of))
