"""What a subject has found: tables and curves, as values, JSON and Markdown. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Cell = str | float | int


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of figures.

    Attributes:
        title: what they tell.
        columns: what each cell of a row is, with its unit.
        rows: the first cell says of what.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]

    def markdown(self) -> str:
        """The same as a table of Markdown."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        told = "\n".join("| " + " | ".join(map(told_of, line)) + " |" for line in lines)
        return f"{self.title}:\n\n{told}\n"


@dataclass(frozen=True, slots=True)
class Curve:
    """Figures over something that grows.

    Attributes:
        name: of the picture's file.
        title: what it shows.
        over: what grows, and its values.
        lines: the figures, each with its unit.
    """

    name: str
    title: str
    over: tuple[str, Sequence[float]]
    lines: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Findings:
    """Of one subject."""

    subject: str
    tables: Sequence[Table]
    curves: Sequence[Curve] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def markdown(self) -> str:
        """The tables."""
        return "\n".join((f"## {self.subject}\n", *(table.markdown() for table in self.tables)))


def told_of(cell: Cell) -> str:
    """A figure with three digits that tell something; numbers are grouped by spaces."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{round(cell):,}".replace(",", " ")
    return f"{cell:.3g}"
