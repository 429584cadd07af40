"""The results as Markdown. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from .results import CaseResult, Results
from .sample import MEASURES, Figure, figure
from .verdict import Verdict


def number(value: float) -> str:
    """Three digits that say something, and no more."""
    if value and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}".replace(",", " ")


def spread(found: Figure) -> str:
    """The median, and in brackets the least and the most; nothing where nothing was measured."""
    if not any(found):
        return ""
    return f"{number(found.middle)} ({number(found.least)} to {number(found.most)})"


def markdown(results: Results) -> str:
    """All of it."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield (
        f"{results.date}: {results.machine}. {results.server}. Medians of {results.rounds} rounds "
        f"of {results.seconds:g} s each, in which the contestants take turns; in brackets the "
        "least and the most."
    )
    yield ""
    yield from _bars(results)
    for case in results.cases:
        yield from _case(case)
    yield "## Versions"
    yield ""
    for name, version in sorted(results.versions.items()):
        yield f"- {name} {version}"


def _bars(results: Results) -> Iterator[str]:
    yield "| Bar | Measured | Reached |"
    yield "|---|---|---|"
    for case in results.cases:
        for verdict in case.verdicts():
            yield f"| {case.case.name}: {said(verdict)} | {_found(verdict)} | {_reached(verdict)} |"
    yield ""


def said(verdict: Verdict) -> str:
    """What a bar demands."""
    bar = verdict.bar
    bound = "at least" if bar.at_least is not None else "at most"
    value = bar.at_least if bar.at_least is not None else bar.at_most or 0.0
    text = f"{bar.measure} of {bar.of} {bound} {value:g} {verdict.unit}"
    if bar.against:
        return f"{text} that of {bar.against}"
    return f"{text} above {bar.less}" if bar.less else text


def _found(verdict: Verdict) -> str:
    return "not available" if verdict.found is None else spread(verdict.found)


def _reached(verdict: Verdict) -> str:
    if verdict.reached is None:
        return "not known"
    margin = "" if verdict.margin is None else f", {number(verdict.margin)} of the bar"
    if verdict.margin is not None and verdict.reached and verdict.margin < 0:
        margin = ""
    return ("yes" if verdict.reached else "**no**") + margin


def _case(result: CaseResult) -> Iterator[str]:
    case = result.case
    yield f"## {case.name}: {case.title}"
    yield ""
    yield "| | " + " | ".join(MEASURES[measure].unit for measure in case.measures) + " |"
    yield "|---|" + "---|" * len(case.measures)
    for entry in case.entries:
        samples, name = result.answers.get(entry.name), entry.name
        if samples:
            if failed := sum(sample.failed for sample in samples):
                name += f" ({failed} calls failed)"
            cells = [spread(figure(measure, samples)) for measure in case.measures]
        else:
            why = result.missing.get(entry.name, "not run")
            cells = [f"not available: {why}", *[""] * (len(case.measures) - 1)]
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""
