"""`aragora-redis lab ...`: what can be done to a lab that runs."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ..errors import LabError
from ..lab import Lab, Trouble
from ..lab.fault_proxy import FaultProxy, Faults
from . import output
from .options import LAB, AsJson, Directory
from .targets import All, Target, one_target, said, tell

app = typer.Typer()


@app.command()
def kill(
    target: Target = None,
    *,
    every: All = False,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """End a node at once (SIGKILL), as a crash does."""
    chosen = one_target(target, every=every)
    names = Lab.open(directory).kill(chosen)
    tell("killed", names, as_json=as_json)


@app.command()
def freeze(
    target: Target = None,
    *,
    every: All = False,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Hold a node (SIGSTOP): it keeps its connections and answers nothing."""
    chosen = one_target(target, every=every)
    names = Lab.open(directory).freeze(chosen)
    tell("frozen", names, as_json=as_json)


@app.command()
def thaw(
    target: Target = None,
    *,
    every: All = False,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Let a frozen node go on (SIGCONT), or --all that are frozen."""
    chosen = one_target(target, every=every)
    names = Lab.open(directory).thaw(chosen)
    tell("thawed", names, as_json=as_json)


@app.command()
def restart(
    target: Target = None,
    *,
    every: All = False,
    wipe: Annotated[
        bool, typer.Option("--wipe", help="Without their data; in a cluster they keep their place.")
    ] = False,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Kill a node, or all at once, and bring them back."""
    chosen = one_target(target, every=every)
    names = Lab.open(directory).restart(chosen, wipe=wipe)
    tell("restarted", names, as_json=as_json)


@app.command()
def trouble(
    name: Annotated[Trouble, typer.Argument(metavar="TROUBLE", help=", ".join(Trouble))],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A node such as redis-0, or replica-0.")
    ] = "primary",
    *,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Let a node live and answer, but not as it should, until heal."""
    tell(name, (Lab.open(directory).trouble(name, target),), as_json=as_json)


@app.command()
def cut(
    one: Annotated[
        str,
        typer.Argument(
            metavar="A", help="Nodes, primary, replica-N or clients; several parted by commas."
        ),
    ],
    other: Annotated[str, typer.Argument(metavar="B", help="The same, or rest.")] = "rest",
    *,
    one_way: Annotated[
        bool, typer.Option("--one-way", help="Drop only what A sends to B.")
    ] = False,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Drop all packets between A and B, until heal. Needs root."""
    made = Lab.open(directory).cut(one, other, one_way=one_way)
    if as_json:
        output.write_json(made)
    else:
        output.write(f"cut: {made.said}")


@app.command()
def heal(*, directory: Directory = LAB, as_json: AsJson = False) -> None:
    """Let all packets pass again, and mend the troubles of living nodes."""
    healed = Lab.open(directory).heal()
    if as_json:
        output.write_json({"healed": healed})
    else:
        output.write(f"healed: {said(healed)}" if healed else "healed: nothing was cut")


@app.command("move-slots")
def move_slots(
    slots: Annotated[
        str, typer.Argument(metavar="FIRST-LAST", help="Slots from 0 to 16383, or a single one.")
    ],
    to: Annotated[str, typer.Argument(metavar="NODE", help="The primary that is to own them.")],
    *,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Move slots of a cluster, with their keys, to another primary while clients go on."""
    first, _, last = slots.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise typer.BadParameter("write the slots as FIRST-LAST, such as 0-99")
    moved = Lab.open(directory).move_slots(range(int(first), int(last) + 1), to)
    if as_json:
        output.write_json({"moved": moved, "to": to})
    else:
        output.write(f"moved {moved} slots to {to}")


@app.command()
def proxy(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A node such as redis-0, or replica-0.")
    ] = "primary",
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes any.")] = 0,
    delay: Annotated[float, typer.Option(min=0, help="Seconds more, each way.")] = 0,
    throttle: Annotated[
        float | None, typer.Option(min=1, help="Bytes of replies a second.")
    ] = None,
    half: Annotated[
        int | None, typer.Option(min=0, help="Close after so many bytes of replies.")
    ] = None,
    reset: Annotated[
        int | None, typer.Option(min=0, help="Reset after so many bytes of replies.")
    ] = None,
    silent: Annotated[
        int | None, typer.Option(min=0, help="Swallow replies after so many bytes.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="An error to answer with, such as 'LOADING in test'.")
    ] = None,
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Listen on a port that leads to one node, badly, until Ctrl-C.

    With --json where it listens is one line.
    """
    node = Lab.open(directory).node(target)
    faults = Faults(
        delay=delay,
        bytes_per_second=throttle,
        half_after=half,
        reset_after=reset,
        silent_after=silent,
        answer=None if answer is None else f"-{answer}\r\n".encode(),
    )

    async def serve() -> None:
        async with FaultProxy(node.address, faults, port=port) as listening:
            if as_json:
                output.write_json_line({"address": str(listening.address), "node": node.name})
            else:
                output.note(f"{listening.address} leads to {node.name}")
            await asyncio.Event().wait()

    try:
        asyncio.run(serve())
    except OSError as error:
        raise LabError(
            f"port {port} cannot be listened on: {error.strerror}", remedy="take another"
        ) from error
