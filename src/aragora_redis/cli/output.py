"""Write to the terminal: colour where it is one and NO_COLOR is not set, and JSON."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..ops.report import Status

STYLES = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "magenta",
}
_ENDLESS = 10_000
"""Columns of what has no width."""


class OurConsole(Console):
    """Says of a pipe that nobody reads any more what it says of any other terminal that is gone."""

    def on_broken_pipe(self) -> None:
        """Rich would end the process, in the middle of whatever tells how far it is."""
        raise  # noqa: PLE0704 - the BrokenPipeError that is being handled


def write(text: str = "", *, style: str = "") -> None:
    """A line for standard output, never wrapped, so that it can be copied."""
    console().print(Text(safe(text), style=style), soft_wrap=True)


def write_text(text: str) -> None:
    """Text in many lines of our own, as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str, *, style: str = "dim") -> None:
    """A line about what is going on, for standard error."""
    _print_aside(Text(text, style=style))


def error(text: str) -> None:
    """What went wrong."""
    _print_aside(Text.assemble(("error: ", "bold red"), safe(text)))


def _print_aside(text: Text) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone ends nothing that was begun
        OurConsole(stderr=True).print(text, soft_wrap=True)


def drop_untold() -> None:
    """Drop what can be written no more: at its end Python tries again, and exits with 120."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def write_json(value: Any) -> None:
    """A value in several lines of JSON."""
    _raw(msgspec.json.format(msgspec.json.encode(value), indent=2))


def write_json_line(value: Any) -> None:
    """A value in one line of JSON, at once."""
    _raw(msgspec.json.encode(value))


def write_table(header: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Columns under a header."""
    made = console()
    if not made.is_terminal:
        made.width = _ENDLESS
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    # A pipe has no width: whoever reads it wants each row on one line.
    made.print(table, width=None if made.is_terminal else made.measure(table).maximum)


def _cell(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(safe(cell).replace("\n", "\\n"))


def show(drawing: RenderableType) -> None:
    """Something that Rich can draw, as wide as it wants to be where there is no terminal."""
    made = console()
    if not made.is_terminal:
        made.width = _ENDLESS
    made.print(drawing)


def safe(text: str) -> str:
    """A line without control characters: what others have stored must not rule a terminal."""
    return text if text.isprintable() else "".join(map(_seen, text))


def _seen(character: str) -> str:
    shown = character.isprintable() or character == "\n"
    return character if shown else character.encode("unicode_escape", "replace").decode()


def console() -> Console:
    """What draws on standard output."""
    return OurConsole(highlight=False)


def _raw(encoded: bytes) -> None:
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()
