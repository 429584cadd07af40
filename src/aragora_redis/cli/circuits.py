"""`aragora-redis circuits`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..circuit import note
from ..ops.desk import circuits
from ..ops.desk.circuits import Circuit
from ..settings import Feature
from ..settings.values import duration
from ..state.circuits.circuits import LONGEST_FORCE
from . import output
from .deployment import OfLab, settings_of
from .desk import Actor, Reason, at_desk, signed, when
from .options import AsJson

app = typer.Typer(no_args_is_help=True, help="Look at circuits, and force them by hand.")

Name = Annotated[str, typer.Argument(help="Name of the circuit.", show_default=False)]


@app.command("list")
def list_(*, lab: OfLab = None, as_json: AsJson = False) -> None:
    """Show the circuits that the fleet has used in the last week."""
    found = at_desk(settings_of(lab), Feature.CIRCUITS, circuits.listing)
    if as_json:
        output.write_json([each.as_dict() for each in found])
        return
    output.write_table(
        ("CIRCUIT", "STATE", "CALLS", "FAILED", "SLOW", "BY", "UNTIL", "REASON"),
        [_row(each) for each in found],
    )


@app.command()
def look(name: Name, *, lab: OfLab = None, as_json: AsJson = False) -> None:
    """Show one circuit, and what each instance has seen of its calls."""
    found = at_desk(settings_of(lab), Feature.CIRCUITS, lambda desk: circuits.look(desk, name))
    _tell(found, as_json=as_json)


@app.command()
def force(
    name: Name,
    to: Annotated[
        Literal["open", "closed", "auto"],
        typer.Argument(help="auto lets its calls decide again.", show_default=False),
    ],
    *,
    reason: Reason,
    ttl: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="How long it holds, such as '10 minutes'."),
    ] = None,
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Hold a circuit open or closed on every instance, until it is told otherwise."""
    seconds = _seconds(ttl)
    who = signed(actor, reason)
    found = at_desk(
        settings_of(lab),
        Feature.CIRCUITS,
        lambda desk: circuits.force(desk, name, to, actor=who, reason=reason, ttl=seconds),
        acts=True,
    )
    _tell(found, as_json=as_json)


def _seconds(ttl: str | None) -> float:
    if ttl is None:
        return 0.0
    try:
        seconds = duration(ttl)
    except ValueError:
        seconds = 0.0
    if not 0.001 <= seconds <= LONGEST_FORCE:
        raise typer.BadParameter("--for takes a duration such as '10 minutes', at most 366 days")
    return seconds


def _tell(found: Circuit, *, as_json: bool) -> None:
    if as_json:
        output.write_json(found.as_dict())
        return
    told = note.read(found.standing.reason)
    said = f"{found.name}: {found.state}"
    if until := _until(found):
        said += f" until {until}"
    if told.by:
        said += f", by {told.by} at {when(told.at)}"
    output.write(f"{said}: {told.reason}" if told.reason else said)
    if found.reporters:
        output.write_table(
            ("INSTANCE", "TOLD", "CALLS", "FAILED", "SLOW"),
            [
                (
                    each.instance,
                    f"{each.age:.1f} s ago",
                    str(each.calls),
                    str(each.failures),
                    str(each.slow),
                )
                for each in found.reporters
            ],
        )


def _until(found: Circuit) -> str:
    """When its state ends by itself; half-open, it waits for calls that show how it is."""
    over = found.state == "half-open"
    return "" if over or not found.standing.until else when(found.standing.until / 1e6)


def _row(found: Circuit) -> tuple[str, ...]:
    seen, told = found.reporters, note.read(found.standing.reason)
    return (
        found.name,
        found.state,
        str(sum(each.calls for each in seen)),
        str(sum(each.failures for each in seen)),
        str(sum(each.slow for each in seen)),
        told.by,
        _until(found),
        told.reason,
    )
