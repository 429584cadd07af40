"""`aragora-redis circuits`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..ops.desk import circuits
from ..ops.desk.circuits import Circuit
from . import output
from .deployment import OfLab, settings_of
from .desk import Actor, Reason, at_desk, signed, when
from .options import AsJson

app = typer.Typer(no_args_is_help=True, help="Look at circuits, and force them by hand.")

Name = Annotated[str, typer.Argument(help="Name of the circuit.", show_default=False)]


@app.command("list")
def list_(*, lab: OfLab = None, as_json: AsJson = False) -> None:
    """Show the circuits that the fleet has used in the last week."""
    found = at_desk(settings_of(lab), circuits.listing)
    if as_json:
        output.write_json([each.as_dict() for each in found])
        return
    output.write_table(
        ("CIRCUIT", "STATE", "CALLS", "FAILED", "SLOW", "REASON"), [_row(each) for each in found]
    )


@app.command()
def look(name: Name, *, lab: OfLab = None, as_json: AsJson = False) -> None:
    """Show one circuit, and what each instance has seen of its calls."""
    found = at_desk(settings_of(lab), lambda desk: circuits.look(desk, name))
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
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Hold a circuit open or closed on every instance, until it is told otherwise."""
    who = signed(actor, reason)
    found = at_desk(
        settings_of(lab),
        lambda desk: circuits.force(desk, name, to, actor=who, reason=reason),
        acts=True,
    )
    _tell(found, as_json=as_json)


def _tell(found: Circuit, *, as_json: bool) -> None:
    if as_json:
        output.write_json(found.as_dict())
        return
    standing = found.standing
    said = f"{found.name}: {standing.phase.value}"
    if standing.until:
        said += f" until {when(standing.until / 1e6)}"
    output.write(f"{said}: {standing.reason}" if standing.reason else said)
    if found.evidence:
        output.write_table(
            ("INSTANCE", "CALLS", "FAILED", "SLOW"),
            [
                (own, str(seen.calls), str(seen.failures), str(seen.slow))
                for own, seen in sorted(found.evidence.items())
            ],
        )


def _row(found: Circuit) -> tuple[str, ...]:
    seen = found.evidence.values()
    return (
        found.name,
        found.standing.phase.value,
        str(sum(each.calls for each in seen)),
        str(sum(each.failures for each in seen)),
        str(sum(each.slow for each in seen)),
        found.standing.reason,
    )
