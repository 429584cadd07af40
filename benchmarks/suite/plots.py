"""The results as pictures, and as one page that holds them."""

from __future__ import annotations

import base64
import html
from itertools import cycle
from pathlib import Path

import matplotlib as mpl

from .results import CaseResult, Results
from .sample import MEASURES, figure
from .sample import Figure as Found
from .table import number, said
from .verdict import Verdict

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "img{max-width:100%}td,th{text-align:left;padding:.2rem .8rem .2rem 0}"
    ".no{color:#b00020;font-weight:600}"
)
OURS = "#0b6e4f"
COLOURS = (OURS, "#b35900", "#5a6775")


def draw(result: CaseResult, path: Path) -> None:
    """A case as a picture."""
    shown = _curves(result) if result.case.axis else _bars(result)
    shown.savefig(path, dpi=120)
    plt.close(shown)


def _curves(result: CaseResult) -> Figure:
    """Each measure over what grows, a curve for each line, with the spread of the rounds."""
    case = result.case
    lines = dict.fromkeys(entry.line for entry in case.entries)
    height = 1.9 * len(case.measures) + 0.6
    shown, axes = plt.subplots(
        len(case.measures), figsize=(8, height), sharex=True, squeeze=False, layout="constrained"
    )
    for measure, axis in zip(case.measures, axes[:, 0], strict=True):
        for line, colour in zip(lines, cycle(COLOURS)):
            points = _points(result, line, measure)
            counts, found = list(points), list(points.values())
            axis.plot(counts, [each.middle for each in found], "o-", color=colour, label=line)
            axis.fill_between(
                counts,
                [each.least for each in found],
                [each.most for each in found],
                color=colour,
                alpha=0.15,
            )
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title(MEASURES[measure].unit, loc="left", fontsize="small")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel(case.axis)
    if len(lines) > 1:
        axes[0, 0].legend(frameon=False, fontsize="small")
    shown.suptitle(case.title, fontsize="medium")
    return shown


def _points(result: CaseResult, line: str, measure: str) -> dict[int, Found]:
    """A measure of one line over what grows, where it was measured."""
    samples = {e.at: result.answers.get(e.name) for e in result.case.entries if e.line == line}
    found = {at: figure(measure, each) for at, each in samples.items() if each}
    return {at: each for at, each in found.items() if any(each)}


def _bars(result: CaseResult) -> Figure:
    """Bars of the telling measure, with the spread of the rounds."""
    measure = result.case.measures[0]
    names = [entry.name for entry in result.case.entries if result.answers.get(entry.name)]
    found = [figure(measure, result.answers[name]) for name in names]
    shown, axes = plt.subplots(figsize=(8, 0.9 + 0.5 * len(names)), layout="constrained")
    middles = [each.middle for each in found]
    errors = (
        [each.middle - each.least for each in found],
        [each.most - each.middle for each in found],
    )
    colours = [OURS if at == 0 else "#8a97a6" for at in range(len(names))]
    drawn = axes.barh(names, middles, xerr=errors, color=colours, ecolor="#333", capsize=3)
    axes.bar_label(drawn, [number(middle) for middle in middles], padding=8)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel(MEASURES[measure].unit)
    axes.set_title(result.case.title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    return shown


def page(results: Results, pictures: dict[str, Path]) -> str:
    """One page with all of it."""
    parts = [
        f"<!doctype html><meta charset=utf-8><title>Benchmarks</title><style>{STYLE}</style>",
        f"<h1>Benchmarks</h1><p>{_text(results.date)}: {_text(results.machine)}. ",
        f"{_text(results.server)}. Medians of {results.rounds} rounds of {results.seconds:g} s.",
    ]
    for result in results.cases:
        parts.append(f"<h2>{_text(result.case.name)}</h2>")
        if result.case.name in pictures:
            data = base64.b64encode(pictures[result.case.name].read_bytes()).decode()
            title = _text(result.case.title)
            parts.append(f'<p><img alt="{title}" src="data:image/png;base64,{data}">')
        parts += [f"<p>{_bar(verdict)}</p>" for verdict in result.verdicts()]
    return "\n".join(parts) + "\n"


def _bar(verdict: Verdict) -> str:
    if verdict.found is None:
        return f"{_text(said(verdict))}: not available"
    word = "reached" if verdict.reached else "<span class=no>not reached</span>"
    return f"{_text(said(verdict))}: {number(verdict.found.middle)}, {word}"


def _text(text: str) -> str:
    return html.escape(text)
