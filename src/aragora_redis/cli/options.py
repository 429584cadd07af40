"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LAB = Path(".lab")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Directory = Annotated[
    Path,
    typer.Option(
        "--lab",
        metavar="PATH",
        help="The directory of the lab: its data, its logs and its secrets.",
    ),
]
