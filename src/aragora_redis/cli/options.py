"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LAB = Path(".lab")


def named(path: Path | None) -> Path | None:
    """A path that something can be written beside."""
    if path is not None and not path.name:
        raise typer.BadParameter(f"{str(path)!r} is no name of a file")
    return path


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Directory = Annotated[
    Path,
    typer.Option(
        "--lab",
        metavar="PATH",
        help="The directory of the lab: its data, its logs and its secrets.",
    ),
]
