"""Nodes of a lab on the command line: which are meant, and what was done to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ..lab import Cut
from . import output

All = Annotated[bool, typer.Option("--all", help="All nodes.")]
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET",
        help="A node such as redis-0, or primary, or replica-0.",
        show_default=False,
    ),
]


def one_target(target: str | None, *, every: bool) -> str:
    """The target of a command that takes one node or all."""
    if (target is None) is not every:
        raise typer.BadParameter("name one node, or give --all")
    return target or "all"


def tell(done: str, names: Sequence[str], *, as_json: bool) -> None:
    """Say what was done to which nodes."""
    if as_json:
        output.write_json({done: names})
    else:
        output.write(f"{done}: {', '.join(names)}" if names else f"nothing to be {done}")


def said(cuts: Sequence[Cut]) -> str:
    """What is cut from what."""
    return "; ".join(cut.said for cut in cuts)
