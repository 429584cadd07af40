"""`aragora-redis migrate`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self, TypeVar

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from ..address import Address
from ..clock import SYSTEM_CLOCK
from ..errors import SettingsError
from ..lab import Lab
from ..ops.migrate.migration import Migration, NoPlanError
from ..ops.migrate.plan import MigrationPlan, Way
from ..ops.migrate.replication import Server
from ..ops.migrate.report import MigrationReport
from ..ops.migrate.steps import Copied
from ..ops.report import Status
from ..ops.targets import StandaloneTarget, target_of
from ..settings import Feature, Settings, Standalone, from_env
from ..settings.urls import REDIS_PORT
from . import output
from .deployment import OfFeature, OfLab, demand_target, settings_of
from .ending import unless_ended
from .options import AsJson, named

app = typer.Typer(
    no_args_is_help=True,
    help="Move what a single Redis holds to Sentinel, a Redis Cluster or a managed service.",
)

FROM, TO = "ARAGORA_MIGRATE_FROM_", "ARAGORA_REDIS_"
T = TypeVar("T")

Source = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="URL",
        help="The single Redis; else the variables `ARAGORA_MIGRATE_FROM_URL`, `_PASSWORD_FILE` "
        "and so on, which mean what those of `ARAGORA_REDIS_` do. A password belongs there: "
        "whoever lists processes reads what stands here.",
        show_default=False,
    ),
]
SourceLab = Annotated[
    Path | None,
    typer.Option(
        "--from-lab", metavar="PATH", help="A lab of one Redis as the source.", show_default=False
    ),
]
JournalFile = Annotated[
    Path,
    typer.Option("--journal", metavar="FILE", callback=named, help="What has been done so far."),
]
Wanted = Annotated[
    Way | None,
    typer.Option("--way", help="How data gets there; by replication where that is possible."),
]
Stopped = Annotated[
    bool,
    typer.Option("--writers-stopped", help="Nobody writes any more: a copy need not hold writes."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="What the target holds is replaced.")]
DEFAULT = Path("aragora-migration.json")


@app.command()
def plan(
    *,
    source: Source = None,
    from_lab: SourceLab = None,
    lab: OfLab = None,
    of: OfFeature = None,
    journal: JournalFile = DEFAULT,
    way: Wanted = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Say what there is to be moved, how, and what stands against it. Changes nothing.

    The exit code is 0 where it can be done, 1 with something to know before, 2 where it cannot or
    was interrupted.
    """
    made: MigrationPlan | MigrationReport
    try:
        made = _migrating(
            source,
            from_lab,
            lab,
            journal,
            lambda each, _: each.plan(way=way, overwrite=overwrite),
            of=of,
            changes=False,
            begins=True,
        )
    except NoPlanError as error:
        made = MigrationReport(Status.CRITICAL, f"CRITICAL: {error}")
    if as_json:
        output.write_json(made.as_dict())
    else:
        output.write(made.headline, style=output.STYLES[made.status])
        if isinstance(made, MigrationPlan):
            _show(made)
    raise typer.Exit(int(made.status))


@app.command()
def run(
    *,
    source: Source = None,
    from_lab: SourceLab = None,
    lab: OfLab = None,
    of: OfFeature = None,
    journal: JournalFile = DEFAULT,
    way: Wanted = None,
    overwrite: Overwrite = False,
    move: Annotated[
        bool,
        typer.Option(
            "--move/--no-move", help="Move the writes too; else end when the target follows."
        ),
    ] = True,
    writers_stopped: Stopped = False,
    as_json: AsJson = False,
) -> None:
    """Bring the target to what the source has, and then the writes to the target.

    Writes are held for the move and then refused by the source, so that none is lost. It can be run
    again after whatever ended it. The exit code is 0 for done, 1 for done with something left, 2
    for failed or interrupted.
    """
    _tell(
        _migrating(
            source,
            from_lab,
            lab,
            journal,
            lambda each, _: each.run(
                way=way, overwrite=overwrite, move=move, writers_stopped=writers_stopped
            ),
            of=of,
            begins=True,
        ),
        as_json=as_json,
    )


@app.command()
def verify(
    *,
    source: Source = None,
    from_lab: SourceLab = None,
    lab: OfLab = None,
    of: OfFeature = None,
    journal: JournalFile = DEFAULT,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Seconds by which times to live may differ.")
    ] = 2.0,
    large: Annotated[
        int, typer.Option(min=1, help="Elements from which samples of a value are compared.")
    ] = 10_000,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Keys that are not compared.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare every key: presence, type, value and time to live. Changes nothing.

    A key that differs is looked at again, so that writers need not stop. The exit code is 0 where
    all are alike, 1 where values, or all keys, were not compared, 2 where some differ or it was
    interrupted.
    """
    found = _migrating(
        source,
        from_lab,
        lab,
        journal,
        lambda each, told: each.verify(
            tolerance=tolerance,
            large=large,
            ignore=ignore or (),
            on_progress=lambda counted: told.copied(
                Copied("keys compared", counted.done, counted.total)
            ),
        ),
        of=of,
        changes=False,
    )
    if isinstance(found, MigrationReport):
        _tell(found, as_json=as_json)
    if as_json:
        output.write_json(found.as_dict())
    else:
        output.write(found.headline, style=output.STYLES[found.status])
        for each in found.differences:
            output.write(f"- database {each.db}: {each.key}: {each.what}")
    raise typer.Exit(found.exit_code)


@app.command()
def rollback(
    *,
    source: Source = None,
    from_lab: SourceLab = None,
    lab: OfLab = None,
    of: OfFeature = None,
    journal: JournalFile = DEFAULT,
    writers_stopped: Stopped = False,
    as_json: AsJson = False,
) -> None:
    """Move the writes back, with all that was written since; once more lets the target go.

    The exit code is 0 for done, 1 for done with something left, 2 for failed or interrupted.
    """
    _tell(
        _migrating(
            source,
            from_lab,
            lab,
            journal,
            lambda each, _: each.rollback(writers_stopped=writers_stopped),
            of=of,
        ),
        as_json=as_json,
    )


@app.command()
def commit(
    *,
    source: Source = None,
    from_lab: SourceLab = None,
    lab: OfLab = None,
    of: OfFeature = None,
    journal: JournalFile = DEFAULT,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A server or Sentinel that is gone for good: what was changed there is not put "
            "back, and without the source the target takes the writes with what it has.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """End it: from here nothing leads back to the source.

    The exit code is 0 for done, 1 for done with something given up or not yet done, 2 for failed or
    interrupted.
    """
    gone = [Address.parse(each, default_port=REDIS_PORT) for each in without or ()]
    _tell(
        _migrating(
            source,
            from_lab,
            lab,
            journal,
            lambda each, _: each.commit(without=gone),
            of=of,
        ),
        as_json=as_json,
    )


def _migrating(
    source: str | None,
    from_lab: Path | None,
    lab: Path | None,
    journal: Path,
    work: Callable[[Migration, _Told], Coroutine[Any, Any, T]],
    *,
    of: Feature | None,
    changes: bool = True,
    begins: bool = False,
) -> T | MigrationReport:
    """Do the work, which changes servers or only looks at them; or what to say if it is ended.

    What `begins` a migration is refused where others stay with the source.
    """
    settings = settings_of(lab)
    target = settings.of(of)
    left = _source(source, from_lab)
    if begins and lab is None:
        _demand_unused(left, settings, target)
    with _Told() as told:
        migration = Migration(
            left,
            demand_target(target),
            prefix=target.prefix,
            path=journal,
            clock=SYSTEM_CLOCK,
            on_step=told.step,
            on_copied=told.copied,
        )
        found = asyncio.run(_stoppable(work(migration, told)))
    if found is not None:
        return found
    became = "nothing was changed"
    if changes and journal.exists():
        became = (
            f"the same command goes on with what {journal} tells of, and rollback gives back what "
            "was changed"
        )
    return MigrationReport(Status.CRITICAL, f"CRITICAL: interrupted: {became}")


def _demand_unused(source: Server, settings: Settings, target: Settings) -> None:
    """Refuse to take from features the Redis that they are to stay with.

    Raises:
        SettingsError: they have the source, and not the target.
    """
    stay = [
        feature
        for own, features in settings.each_redis().items()
        if own != target and _address(own) == source.address
        for feature in features
    ]
    if stay:
        raise SettingsError(
            f"{source.address} is the Redis of {', '.join(stay)} too: a migration moves all that "
            "it holds, and then it refuses writes",
            remedy="give those features the target as well; to take the revocations alone "
            "elsewhere, use `aragora-redis tokens export` and `tokens import`",
        )


def _address(settings: Settings) -> Address | Path | None:
    topology = settings.topology
    return topology.address if isinstance(topology, Standalone) else None


async def _stoppable(work: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it; None where Ctrl-C, SIGTERM or the end of a terminal has ended it."""
    try:
        return await unless_ended(work)
    except asyncio.CancelledError:
        return None


def _source(url: str | None, lab: Path | None) -> Server:
    environ: Mapping[str, str] = {
        TO + name.removeprefix(FROM): text
        for name, text in os.environ.items()
        if name.startswith(FROM)
    }
    if lab is not None and url is not None:
        raise typer.BadParameter("give one of --from and --from-lab")
    if lab is not None:
        environ = Lab.open(lab).env()
    elif url is not None:
        environ = dict(environ) | {f"{TO}URL": url}
    try:
        found = target_of(from_env(environ))
    except SettingsError as error:
        raise SettingsError(
            error.message.replace(TO, FROM), remedy=error.remedy.replace(TO, FROM)
        ) from None
    if not isinstance(found, StandaloneTarget):
        raise SettingsError(
            "no single Redis to move from is named",
            remedy=f"give its URL with --from, or in {FROM}URL",
        )
    return Server(found.address, found.redis)


def _tell(report: MigrationReport, *, as_json: bool) -> NoReturn:
    if as_json:
        output.write_json(report.as_dict())
    else:
        output.write(report.headline, style=output.STYLES[report.status])
        for note in report.notes:
            output.write(f"- {note}")
    raise typer.Exit(report.exit_code)


def _show(made: MigrationPlan) -> None:
    for finding in made.findings:
        output.write(f"- {finding.status.name}: {finding.text}")
    for clause in made.stays:
        output.write(f"- stays: {clause}")
    rows = [("source", made.source), *(("target", each) for each in made.target)]
    output.write_table(
        ("", "ADDRESS", "SERVER", "KEYS", "EXPIRING", "MEMORY", "POLICY", "TYPES SAMPLED"),
        [
            (
                side,
                str(each.address),
                each.name,
                str(each.total),
                str(each.expiring),
                f"{each.memory / 1024**2:.1f} MiB",
                each.policy,
                ", ".join(f"{kind} {count}" for kind, count in sorted(each.types.items())),
            )
            for side, each in rows
        ],
    )


class _Told:
    """Tells on standard error what is going on, with a bar where that is a terminal.

    A terminal that is gone ends nothing that was begun.
    """

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=output.OurConsole(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._what = ""

    def __enter__(self) -> Self:
        if self._bars.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars.live.is_started:
            with contextlib.suppress(OSError):
                self._bars.stop()

    def step(self, text: str) -> None:
        """A step begins."""
        self._end()
        output.note(text)

    def copied(self, copied: Copied) -> None:
        """So much is there."""
        if copied.what != self._what:
            self._end()
            self._what = copied.what
            with contextlib.suppress(OSError):
                self._task = self._bars.add_task(copied.what, total=None, rate="")
        if self._task is not None:
            speed = self._bars.tasks[0].speed
            self._bars.update(
                self._task,
                completed=copied.done,
                total=copied.total or None,
                rate=f"{speed:,.0f}/s" if speed else "",
            )

    def _end(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task, self._what = None, ""
