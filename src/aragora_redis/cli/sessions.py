"""`aragora-redis sessions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..ops.desk import sessions
from ..ops.desk.sessions import Shown
from ..settings import Feature
from . import output
from .deployment import OfLab, settings_of
from .desk import Actor, Reason, at_desk, secret_from, signed, tell_receipt, when
from .options import AsJson

_HEADS = ("HANDLE", "CREATED", "EXPIRES", "SEEN", "ADDRESS", "DEVICE", "BYTES", "FIELDS")

app = typer.Typer(no_args_is_help=True, help="Look at sessions, and end them by hand.")

IdFile = Annotated[
    Path | None,
    typer.Option(
        "--id-file",
        metavar="PATH",
        help="One session, by its id: the file's first line, or standard input for -. "
        "An id opens its session, so it is no argument.",
    ),
]


@app.command("list")
def list_(
    *,
    user: Annotated[str, typer.Option("--user", help="Whose.")],
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Show the sessions of a user. A handle names one and opens nothing."""
    found = at_desk(settings_of(lab), Feature.SESSIONS, lambda desk: sessions.of_user(desk, user))
    if as_json:
        output.write_json([each.as_dict() for each in found])
        return
    output.write_table(_HEADS, [_row(each) for each in found])


@app.command()
def look(
    *,
    id_file: Annotated[Path, typer.Option("--id-file", metavar="PATH", help="As for `end`.")],
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Show a session without its data; that counts as no use of it."""
    session_id = secret_from(id_file, "session id")
    found = at_desk(
        settings_of(lab), Feature.SESSIONS, lambda desk: sessions.look(desk, session_id)
    )
    if as_json:
        output.write_json(found.as_dict())
    else:
        output.write_table(_HEADS, [_row(found)])


@app.command()
def end(
    *,
    reason: Reason,
    id_file: IdFile = None,
    user: Annotated[str | None, typer.Option("--user", help="All sessions of a user.")] = None,
    handle: Annotated[
        str | None, typer.Option("--handle", help="With --user: only this one of the list.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="All sessions of all users.")
    ] = False,
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """End a session, or all of a user or of everybody, for good and on every instance.

    The exit code is 0 once all replicas have it, 1 where they have not confirmed that.
    """
    if (id_file is not None) + (user is not None) + everybody != 1:
        raise typer.BadParameter("give one of --id-file, --user and --everybody")
    if handle is not None and user is None:
        raise typer.BadParameter("--handle goes with --user")
    who, settings = signed(actor, reason), settings_of(lab)
    if everybody:
        receipt = at_desk(
            settings,
            Feature.SESSIONS,
            lambda desk: sessions.end_all(desk, actor=who, reason=reason),
            acts=True,
        )
        tell_receipt("ended", receipt, as_json=as_json)
    if id_file is not None:
        session_id = secret_from(id_file, "session id")
        receipt = at_desk(
            settings,
            Feature.SESSIONS,
            lambda desk: sessions.end(desk, session_id, actor=who, reason=reason),
            acts=True,
        )
        tell_receipt("ended", receipt, as_json=as_json)
    whose = user or ""
    if handle is not None:
        receipt = at_desk(
            settings,
            Feature.SESSIONS,
            lambda desk: sessions.end_handle(desk, whose, handle, actor=who, reason=reason),
            acts=True,
        )
        tell_receipt("ended", receipt, as_json=as_json)
    ended = at_desk(
        settings,
        Feature.SESSIONS,
        lambda desk: sessions.end_user(desk, whose, actor=who, reason=reason),
        acts=True,
    )
    if ended.count == 0:
        output.write_json({"ended": 0}) if as_json else output.write("the user has no session")
        return
    tell_receipt("ended", ended.receipt, count=ended.count, as_json=as_json)


def _row(found: Shown) -> tuple[str, ...]:
    return (
        found.handle,
        when(found.created_at),
        when(found.expires_at),
        when(found.seen_at),
        found.client.address or "",
        found.client.device or "",
        str(found.size),
        ", ".join(found.fields),
    )
