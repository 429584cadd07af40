"""Write to the terminal: colour where it is one and NO_COLOR is not set, and JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

_ENDLESS = 10_000
"""Columns of what has no width."""


def write(text: str = "", *, style: str = "") -> None:
    """A line for standard output, never wrapped, so that it can be copied."""
    _console().print(Text(text, style=style), soft_wrap=True)


def note(text: str, *, style: str = "dim") -> None:
    """A line about what is going on, for standard error."""
    Console(stderr=True).print(Text(text, style=style), soft_wrap=True)


def error(text: str) -> None:
    """What went wrong."""
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)


def write_json(value: Any) -> None:
    """A value in several lines of JSON."""
    _raw(msgspec.json.format(msgspec.json.encode(value), indent=2))


def write_json_line(value: Any) -> None:
    """A value in one line of JSON, at once."""
    _raw(msgspec.json.encode(value))


def write_table(header: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Columns under a header."""
    console = _console()
    if not console.is_terminal:
        console.width = _ENDLESS
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    # A pipe has no width: whoever reads it wants each row on one line.
    console.print(table, width=None if console.is_terminal else console.measure(table).maximum)


def _console() -> Console:
    return Console(highlight=False)


def _raw(encoded: bytes) -> None:
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()
