"""`aragora-redis migrate`: plan it, run it, take it back, end it; each can be begun again."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path

from redis.exceptions import RedisError

from ...address import Address
from ...clock import Clock
from ...errors import AragoraRedisError, InvalidInputError, OutageError
from .. import pid_file
from ..access import Failure, answers
from ..asking import survey
from ..report import Finding, Status
from ..targets import ClusterTarget, SentinelTarget, StandaloneTarget, Target
from . import journal as journals
from .by_copying import ByCopying
from .by_replication import ByReplication, TargetServers
from .calls import CopyError
from .compare import ComparisonReport, Counted
from .inventory import Inventory, take
from .journal import Journal, State
from .plan import MigrationPlan, Way, make_plan, one_server
from .replication import MoveError, Server
from .report import MigrationReport
from .sentinels import GuardError
from .sites import Site
from .steps import OnCopied, OnStep, Steps
from .verify import verify

SOURCE_PASSWORD = "ARAGORA_MIGRATE_FROM_PASSWORD"  # noqa: S105 - the name of a variable
_BROUGHT = {
    Way.REPLICATION: (
        "the target has everything, and follows the source until the writes are moved",
        "its services answer without Redis meanwhile, and its Sentinels elect nobody",
    ),
    Way.COPY: (
        "the target has everything that was there; what changes now is copied by the next run",
        "nobody else is to write to the target meanwhile",
    ),
}
NOBODY = "nobody takes writes in the target"
_FAREWELL = {
    Way.REPLICATION: (
        (
            "it is still a replica that nobody promotes; the Sentinels of the target count it "
            "among the replicas until they are told to forget it: SENTINEL RESET on one after the "
            "other, half a minute apart"
        ),
    ),
    Way.COPY: ("it goes on refusing writes, if anything keeps them from it",),
}


class NoPlanError(AragoraRedisError):
    """What there is to be done cannot be told, and nothing was."""


class Migration:
    """One migration.

    Args:
        source: the single Redis.
        target: where settings lead.
        prefix: of this library's keys.
        path: of the journal.
        on_step: told of each step as it begins.
        on_copied: told how far a copy is.
    """

    def __init__(
        self,
        source: Server,
        target: Target,
        *,
        prefix: str,
        path: Path,
        clock: Clock,
        on_step: OnStep = lambda _text: None,
        on_copied: OnCopied = lambda _copied: None,
    ) -> None:
        self._source = source
        self._target = target
        self._prefix = prefix
        self._path = path
        self._clock = clock
        self._on_step = on_step
        self._on_copied = on_copied
        self._journal = journals.read(path)
        self._require_same()

    async def plan(self, *, way: Way | None = None, overwrite: bool = False) -> MigrationPlan:
        """What would be done. Changes nothing.

        Raises:
            NoPlanError: a side cannot be asked, or another way was begun.
        """
        source = await take(self._source.address, self._source.access, SOURCE_PASSWORD)
        if isinstance(source, Failure):
            raise NoPlanError(f"the source {self._source.address} {source.text}")
        sites = await self.sites()
        found: list[Inventory] = []
        for address in sites[1].primaries:
            each = await take(address, self._target.redis, self._target.redis.setting)
            if isinstance(each, Failure):
                raise NoPlanError(f"the target {address} {each.text}")
            found.append(each)
        begun = self._journal is not None and not self._journal.ended
        if self._journal is not None and begun:
            chosen = Way(self._journal.way)
            if way not in {None, chosen}:
                raise NoPlanError(
                    f"this migration was begun by {chosen}: go on so, or roll it back first"
                )
            way = chosen
        return make_plan(
            source, found, wanted=way, overwrite=overwrite, attached=self._attached(found)
        )

    def _attached(self, found: Sequence[Inventory]) -> bool:
        """Whether what the target holds is the source's, or the source's is the target's.

        The journal alone does not tell: a target that was promoted meanwhile took writes.
        """
        journal = self._journal
        if journal is None or journal.ended or journal.state is State.HELD:
            return False
        if journal.state is State.FOLLOWING and journal.way == Way.REPLICATION:
            return all(each.leader == self._source.address for each in found)
        return True

    async def sites(self) -> tuple[Site, Site]:
        """The source and the target, as they are now.

        Raises:
            NoPlanError: nobody takes writes in the target.
        """
        seen = await survey(self._target, prefix=self._prefix, clock=self._clock, details=False)
        if seen.cluster is not None:
            primaries = {holder.address: holder.slots for holder in seen.cluster.holders}
        else:
            primaries = dict.fromkeys(seen.primaries, ())
        if not primaries:
            raise NoPlanError(f"{NOBODY}: see aragora-redis doctor")
        return (
            Site("the source", {self._source.address: ()}, self._source.access),
            Site("the target", primaries, self._target.redis),
        )

    async def run(
        self,
        *,
        way: Way | None = None,
        overwrite: bool = False,
        move: bool = True,
        writers_stopped: bool = False,
    ) -> MigrationReport:
        """Bring the target to what the source has, and the writes to the target.

        Args:
            way: how; None takes replication where it is possible.
            overwrite: what the target holds may be replaced.
            move: move the writes as well; else it ends when the target has everything.
            writers_stopped: nobody writes to the source any more, so that a copy holds no writes.
        """
        return await self._guarded(
            lambda: self._run(way, overwrite=overwrite, move=move, writers_stopped=writers_stopped)
        )

    async def rollback(self, *, writers_stopped: bool = False) -> MigrationReport:
        """Undo the last that was done: the move of the writes, or the following.

        Args:
            writers_stopped: nobody writes to either any more, so that a copy holds no writes.
        """
        return await self._guarded(lambda: self._rollback(writers_stopped=writers_stopped))

    async def commit(self, *, without: Collection[Address] = ()) -> MigrationReport:
        """End it: there is no way back from here.

        Args:
            without: servers and Sentinels that are gone for good, so that nothing is put back
                there. Without the source the target takes the writes with what it has.
        """
        return await self._guarded(lambda: self._commit(frozenset(without)))

    async def verify(
        self,
        *,
        tolerance: float = 2.0,
        large: int = 10_000,
        ignore: Sequence[str] = (),
        on_progress: Callable[[Counted], None] = lambda _counted: None,
    ) -> ComparisonReport:
        """Compare the two key by key. See `verify.verify`.

        Raises:
            InvalidInputError: they are one server.
            OutageError: one of them cannot be asked.
        """
        try:
            plan, sites = await self.plan(), await self.sites()
        except NoPlanError as error:
            raise OutageError(str(error), remedy="nothing was compared") from error
        if (why := one_server(plan.source, plan.target)) is not None:
            raise InvalidInputError(why, remedy="name another source; nothing was compared")
        held = {db for each in (plan.source, *plan.target) for db in each.keys}
        return await verify(
            *sites,
            dbs=sorted(held) or [0],
            clock=self._clock,
            on_progress=on_progress,
            tolerance=tolerance,
            large=large,
            ignore=ignore,
        )

    # --- how ------------------------------------------------------------------------------------

    async def _run(
        self, way: Way | None, *, overwrite: bool, move: bool, writers_stopped: bool
    ) -> MigrationReport:
        if self._journal is not None and self._journal.ended:
            raise InvalidInputError(
                f"{self._path} tells of a migration that is {self._journal.state}",
                remedy="name another file with --journal, or move that one away",
            )
        plan = await self.plan(way=way, overwrite=overwrite)
        fresh = self._journal is None or self._journal.state in {State.HELD, State.FOLLOWING}
        if fresh and (plan.blocked is not None or plan.way is None):
            return self._report(Status.CRITICAL, f"{plan.blocked}; nothing was done")
        if self._journal is None:
            if plan.way is None:
                return self._report(Status.CRITICAL, f"{plan.headline}; nothing was done")
            self._journal = Journal(
                source=str(self._source.address), target=title(self._target), way=plan.way
            )
        steps = await self._steps(plan, writers_stopped=writers_stopped)
        moves = len(self._journal.pauses)
        if self._journal.state in {State.MOVING, State.RETURNING}:
            await steps.resume(overwrite=overwrite)
        await steps.check(overwrite=overwrite)
        if self._journal.state is not State.MOVED:
            await steps.bring(move=move)
            if not move:
                left = await steps.settle()
                return self._report(
                    Status.WARNING if left else Status.OK,
                    *_BROUGHT[Way(self._journal.way)],
                    *left,
                )
        return self._done(steps, await steps.settle(), self._journal.pauses[moves:])

    async def _commit(self, without: frozenset[Address]) -> MigrationReport:
        journal = self._begun()
        if journal.ended:
            return self._report(Status.WARNING, f"nothing was done: it is {journal.state}")
        orphaned = self._source.address in without
        if not orphaned and journal.state is not State.MOVED:
            return self._report(
                Status.WARNING, f"nothing was done: it is {journal.state}, not moved"
            )
        for each in sorted(without):
            if await answers(each):
                return self._report(
                    Status.CRITICAL, f"{each} is not gone, it answers; nothing was given up"
                )
        try:
            plan = None if orphaned else await self.plan()
        except NoPlanError as error:
            return self._report(
                Status.CRITICAL,
                f"{error}; nothing was done. --without HOST:PORT ends it without a server that is "
                "gone for good",
            )
        steps = await self._steps(plan, without=without)
        if not orphaned:
            await steps.check(overwrite=False)
        given_up = journals.give_up(journal, without)
        if orphaned and journal.state is not State.MOVED:
            await steps.take_over()
            given_up += (f"what {journal.source} took and the target had not yet is lost",)
        self._save(journal)
        if left := await steps.settle():
            return self._report(Status.WARNING, "not yet: something is to be put back", *left)
        journal.state = State.COMMITTED
        self._save(journal)
        return self._report(
            Status.WARNING if given_up else Status.OK,
            f"{journal.source} may be ended: nothing leads back to it any more",
            *given_up,
            *([] if orphaned else _FAREWELL[Way(journal.way)]),
        )

    async def _rollback(self, *, writers_stopped: bool) -> MigrationReport:
        journal = self._begun()
        if journal.ended:
            return self._report(Status.WARNING, f"nothing was done: it is {journal.state}")
        plan = await self.plan()
        steps = await self._steps(plan, writers_stopped=writers_stopped)
        returning, moves = journal.state is State.RETURNING, len(journal.pauses)
        if journal.state in {State.MOVING, State.RETURNING}:
            await steps.resume(overwrite=False)
        if journal.state is State.MOVED or returning:
            # The target is not let go by the same command: writers still turn to it.
            await steps.move_back()
            left = await steps.settle()
            return self._report(
                Status.OK if steps.shut() and not left else Status.WARNING,
                f"{journal.source} takes the writes again, with all that was written meanwhile"
                + _held(journal.pauses[moves:]),
                f"{_refusal('the target', steps)}: run moves once more, and rollback lets it go",
                *left,
            )
        left = await steps.detach()
        return self._report(
            Status.WARNING if left else Status.OK,
            f"{journal.source} takes the writes, and the target goes its own way with what it had "
            "copied",
            *left,
        )

    def _done(self, steps: Steps, left: list[str], pauses: Sequence[float]) -> MigrationReport:
        shut = steps.shut()
        return self._report(
            Status.OK if shut and not left else Status.WARNING,
            "the target takes the writes"
            + (", nothing acknowledged was lost" if shut else "")
            + _held(pauses),
            f"{_refusal(str(self._source.address), steps)}: rollback leads back until commit, with "
            "all that is written to the target meanwhile",
            *left,
        )

    async def _steps(
        self,
        plan: MigrationPlan | None,
        *,
        writers_stopped: bool = False,
        without: Collection[Address] = (),
    ) -> Steps:
        journal = self._begun()
        if journal.way == Way.COPY or isinstance(self._target, ClusterTarget):
            sites = await self.sites()
            found = (plan.source, *plan.target) if plan is not None else ()
            held = {db for each in found for db in each.keys}
            return ByCopying(
                journal,
                self._save,
                source=sites[0],
                target=sites[1],
                dbs=(0,) if sites[1].clustered else sorted(held | {0}),
                writers_stopped=writers_stopped,
                clock=self._clock,
                on_step=self._on_step,
                on_copied=self._on_copied,
            )
        source_id = plan.source.run_id if plan is not None else ""
        return ByReplication(
            journal,
            self._save,
            source=self._source,
            source_id=source_id,
            target=self._target,
            seen=await self._target_servers(source_id, without),
            clock=self._clock,
            on_step=self._on_step,
            on_copied=self._on_copied,
        )

    async def _target_servers(self, source_id: str, without: Collection[Address]) -> TargetServers:
        seen = await survey(self._target, prefix=self._prefix, clock=self._clock, details=False)
        at = seen.primary
        if at is None or at not in seen.alive:
            raise MoveError(f"{NOBODY}: see aragora-redis doctor")
        access = self._target.redis
        sentinels = [each for each in seen.sentinels if each not in without]
        silent = sorted(set(sentinels) - set(seen.heard))
        if silent:
            raise MoveError(
                f"Sentinel {silent[0]} does not answer, and each of them must be told to elect "
                "nobody: start it, or have the others forget it"
            )
        # After the move the source is one of those that replicate it, listed by any address.
        others = [
            each
            for each, node in seen.alive.items()
            if each not in {at, self._source.address} and node.info.get("run_id") != source_id
        ]
        return TargetServers(
            Server(at, access),
            tuple(Server(each, access) for each in others),
            tuple(sentinels),
        )

    async def _guarded(self, work: Callable[[], Awaitable[MigrationReport]]) -> MigrationReport:
        lock = pid_file.claim(self._path.with_name(self._path.name + ".lock"))
        if lock is None:
            raise InvalidInputError(
                f"another run works on {self._path}", remedy="wait until it ends; nothing was done"
            )
        try:
            self._journal = journals.read(self._path)
            return await work()
        except NoPlanError as error:
            return self._report(Status.CRITICAL, f"{error}; nothing was done")
        except (MoveError, GuardError, CopyError) as error:
            return self._report(Status.CRITICAL, str(error))
        except (RedisError, OSError, TimeoutError) as error:
            return self._report(
                Status.CRITICAL, f"a server did not answer: {error or 'in time'}; run this again"
            )
        finally:
            os.close(lock)

    def _begun(self) -> Journal:
        if self._journal is None:
            raise InvalidInputError(
                f"no migration was begun: there is no {self._path}",
                remedy="run it first, or name its file with --journal",
            )
        return self._journal

    def _save(self, journal: Journal) -> None:
        journals.write(self._path, journal)

    def _report(self, status: Status, text: str, *notes: str) -> MigrationReport:
        finding = Finding(status, text)
        return MigrationReport(
            status, f"{finding.status.name}: {finding.text}", notes, self._journal
        )

    def _require_same(self) -> None:
        found = self._journal
        if found is None:
            return
        ours = (str(self._source.address), title(self._target))
        if (found.source, found.target) != ours:
            raise InvalidInputError(
                f"{self._path} is about a migration from {found.source} to {found.target}, and "
                f"this is from {ours[0]} to {ours[1]}",
                remedy="name the file of this one with --journal; nothing was done",
            )


def _refusal(left: str, steps: Steps) -> str:
    if steps.shut():
        return f"{left} refuses writes"
    return f"nothing keeps writes from {left}, and who still writes there loses it"


def _held(pauses: Sequence[float]) -> str:
    return f"; writes were held for {pauses[-1]:.2f} s" if pauses else ""


def title(target: Target) -> str:
    """What a target is called: its master, or where it begins."""
    match target:
        case SentinelTarget():
            return target.master_name
        case StandaloneTarget():
            return str(target.address)
        case _:
            return ",".join(map(str, target.nodes))
