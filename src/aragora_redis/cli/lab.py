"""`aragora-redis lab ...`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from ..lab import Lab, LabStatus, Mode, PortChoice, State
from ..lab.service import FORBIDDEN
from ..settings import displaced, names
from . import faults, output
from .deployment import environment_of
from .options import LAB, AsJson, Directory
from .targets import All, one_target, said, tell

_STYLES = {State.RUNNING: "green", State.FROZEN: "cyan", State.DEAD: "red"}

app = typer.Typer(
    help="Real Redis servers and Sentinels on this machine, and what can be done to them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(faults.app)

Node = Annotated[
    str | None,
    typer.Argument(
        metavar="NODE", help="A node such as redis-0, or replica-0.", show_default=False
    ),
]


@app.command()
def start(
    node: Node = None,
    *,
    every: All = False,
    mode: Annotated[
        Mode | None,
        typer.Option(help="What to run.", show_default="that of the lab, else sentinel"),
    ] = None,
    ports: Annotated[
        PortChoice | None,
        typer.Option(
            help="For a new lab: the guide's ports (6379 and on, 26379 and on) if all are free, "
            "or any that are free.",
            show_default="guide",
        ),
    ] = None,
    forbid: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", help="Managed: one more command that clients lack."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", help="Managed: a command that clients do not lack."),
    ] = None,
    name_delay: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Managed: seconds for which the name still leads to the old primary.",
            show_default="that of the lab, else 0.5",
        ),
    ] = None,
    idle: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Managed: seconds after which an idle connection is closed, 0 for never.",
            show_default="that of the lab, else 10",
        ),
    ] = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Start the node without its data.")] = False,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Start a lab in the background; or bring one dead NODE back, or --all of them.

    A node that comes back takes the place that the living ones have for it: a former primary is a
    replica of the new one.
    """
    if node is None and not every:
        if wipe:
            raise typer.BadParameter("--wipe needs a NODE or --all")
        found = Lab.find(directory)
        kind = mode or (found.status().mode if found else Mode.SENTINEL)
        lab = Lab.create(
            directory,
            kind,
            ports or PortChoice.GUIDE,
            forbidden=_forbidden(found, forbid or (), allow or ()),
            name_delay=name_delay,
            idle_seconds=idle,
        )
        lab.start()
        _show(lab.status(), as_json=as_json)
        return
    if mode or ports or forbid or allow or name_delay is not None or idle is not None:
        raise typer.BadParameter("--wipe alone belongs to the start of a node")
    target = one_target(node, every=every)
    lab = Lab.open(directory)
    names = lab.start_all(wipe=wipe) if target == "all" else (lab.start_node(target, wipe=wipe),)
    tell("started", names, as_json=as_json)


@app.command()
def stop(node: Node = None, *, directory: Directory = LAB, as_json: AsJson = False) -> None:
    """End the lab, or one NODE, in order. Data and secrets stay for the next start."""
    tell("stopped", Lab.open(directory).stop(node or "all"), as_json=as_json)


@app.command()
def status(*, directory: Directory = LAB, as_json: AsJson = False) -> None:
    """Show every node: its port, whether it runs, and its role as it says itself."""
    _show(Lab.open(directory).status(), as_json=as_json)


@app.command()
def switch(*, directory: Directory = LAB, as_json: AsJson = False) -> None:
    """Have a managed service promote its other node, as in a maintenance; nothing is lost.

    The old primary goes on as a replica, with its connections; the name moves a moment later.
    """
    promoted = Lab.open(directory).switch()
    if as_json:
        output.write_json({"promoted": promoted})
    else:
        output.write(f"promoted: {promoted}; the name follows")


@app.command()
def rotate(
    *,
    overlap: Annotated[
        float, typer.Option(min=0, help="Seconds for which the old password still opens.")
    ] = 5.0,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Give the clients of a managed service a new password, in the file that they read."""
    lab = Lab.open(directory)
    lab.rotate(overlap)
    file = lab.env()[names.PASSWORD_FILE]
    if as_json:
        output.write_json({"password_file": file, "overlap": overlap})
    else:
        output.write(f"a new password is in {file}; the old one opens for {overlap:g} s more")


@app.command()
def env(*, directory: Directory = LAB, as_json: AsJson = False) -> None:
    """Print the settings that lead a service to the lab, secrets included, as KEY=value lines.

    Those of another lab, where the shell has some that this one lacks, are made empty.

    In a shell: set -a; eval "$(aragora-redis lab env)"; set +a
    """
    # A gateway that is started beside those of `up` is to behave as they do.
    found = environment_of(Lab.open(directory))
    if as_json:
        output.write_json(found)
        return
    for name, value in found.items():
        output.write(f"{name}={shlex.quote(value)}")
    for name in displaced(os.environ, found):
        output.write(f"{name}=")


def _forbidden(lab: Lab | None, forbid: Iterable[str], allow: Iterable[str]) -> set[str] | None:
    """The commands that a managed service lacks, where that is to change."""
    if not forbid and not allow:
        return None
    before = FORBIDDEN if lab is None else lab.forbidden
    return {*before, *map(str.upper, forbid)} - {*map(str.upper, allow)}


def _show(found: LabStatus, *, as_json: bool) -> None:
    if as_json:
        output.write_json(
            {
                "directory": str(found.directory),
                "mode": found.mode,
                "primary": found.primary,
                "running": found.running,
                "nodes": [asdict(node) for node in found.nodes],
                "cuts": found.cuts,
            }
        )
        return
    output.write(f"{found.mode} lab in {found.directory}, primary {found.primary}")
    if found.cuts:
        output.write(f"cut: {said(found.cuts)}", style="yellow")
    slots = ("slots",) if found.mode is Mode.CLUSTER else ()
    output.write_table(
        ("node", "address", "state", "role", "pid", *slots),
        (
            (
                node.name,
                str(node.address) if node.port else node.host,
                Text(node.state.value, _STYLES[node.state]),
                f"replica of {node.replicates}" if node.replicates else node.role or "",
                str(node.pid or ""),
                *(node.slots or "" for _ in slots),
            )
            for node in found.nodes
        ),
    )
