"""A drill as a page and a picture: faults as bands; latency, errors and losses over time."""

from __future__ import annotations

import base64
import html
import json
from io import BytesIO
from pathlib import Path
from typing import Any

from .admissions import admitted
from .drill import Result
from .figures import figures, lost_updates
from .history import History
from .verdict import Expectations, Violation

COLOURS = {"redis": "#2b6cb0", "local": "#dd6b20", "deny-cache": "#a0aec0"}
BAND = "#f6ad55"
SHOWN = 200
"""Violations in a page."""


def write(result: Result, directory: Path) -> None:
    """Write `report.html` and `timeline.png`."""
    directory.mkdir(parents=True, exist_ok=True)
    picture = timeline(result.history, result.violations)
    (directory / "timeline.png").write_bytes(picture)
    (directory / "report.html").write_text(page(result, picture), "utf-8")


def timeline(history: History, violations: list[Violation]) -> bytes:
    """The picture, as PNG."""
    # Reading it takes a second, of whoever collects the tests too.
    from matplotlib.figure import Figure  # noqa: PLC0415

    start = history.calls[0].began if history.calls else 0.0
    figure = Figure(figsize=(15, 9), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    for axes in (top, middle, bottom):
        for band in history.bands:
            end = min(band.settled, history.calls[-1].began)
            axes.axvspan(band.began - start, end - start, color=BAND, alpha=0.25, lw=0)
            axes.axvspan(band.began - start, band.ended - start, color=BAND, alpha=0.25, lw=0)
    for band in history.bands:
        top.text(band.began - start, 1.02, band.name, rotation=30, transform=_above(top), size=8)
    _draw_latency(top, history, start)
    _draw_errors(middle, history, start, violations)
    _draw_admissions(bottom, history, start)
    bottom.set_xlabel("seconds")
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()


def _above(axes: Any) -> Any:
    return axes.get_xaxis_transform()


def _draw_latency(axes: Any, history: History, start: float) -> None:
    for source, colour in COLOURS.items():
        calls = [c for c in history.of("check") if c.source == source and c.ended is not None]
        x = [call.began - start for call in calls]
        y = [max((call.ended or 0) - call.began, 1e-5) * 1000 for call in calls]
        axes.scatter(x, y, s=2, color=colour, label=f"limit decided by {source}")
    axes.set_yscale("log")
    axes.set_ylabel("ms for a check")
    axes.legend(loc="upper right", markerscale=4)


def _draw_errors(axes: Any, history: History, start: float, violations: list[Violation]) -> None:
    words = sorted({c.outcome for c in history.calls} - {"ok", "gone"})
    rows = [[c.began - start for c in history.calls if c.outcome == word] for word in words]
    if any(rows):
        axes.hist(rows, bins=200, stacked=True, label=words)
    for at in (call.ended or call.began for call in lost_updates(history)):
        axes.axvline(at - start, color="#805ad5", lw=0.7)
    for violation in violations:
        axes.axvline(violation.at - start, color="#c53030", lw=1.5)
    axes.plot([], [], color="#805ad5", label="acknowledged, and lost with its primary")
    axes.plot([], [], color="#c53030", label="promise broken")
    axes.set_ylabel("calls that did not succeed")
    axes.legend(loc="upper right")


def _draw_admissions(axes: Any, history: History, start: float) -> None:
    limit = Expectations().limits[0]
    taken = [call.began - start for call in admitted(history, limit)]
    if taken:
        axes.hist(taken, bins=range(int(max(taken)) + 2), color="#2b6cb0")
    axes.axhline(limit.rate, color="#1a202c", ls="--", label="the limit")
    axes.set_ylabel("admitted a second, fleet-wide")
    axes.legend(loc="upper right")


def page(result: Result, picture: bytes) -> str:
    """The page, with all that it shows inside."""
    plan = result.plan
    found = figures(result.history, Expectations().limits[0]).as_dict()
    told = "".join(f"<li>{html.escape(str(each))}</li>" for each in result.violations[:SHOWN])
    verdict = (
        f"<h2 class=bad>{len(result.violations)} promises broken</h2><ol>{told}</ol>"
        if result.violations
        else "<h2>Every promise was kept</h2>"
    )
    again = (
        f"python -m tests.drills {' '.join(plan.faults)} --mode {plan.mode} --outage {plan.outage} "
        f"--seed {plan.seed}"
    )
    rows = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th>"
        f"<td><code>{html.escape(json.dumps(value))}</code></td></tr>"
        for name, value in found.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Drill</title><style>"
        "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:80rem;padding:0 1rem}"
        "img{max-width:100%}th{text-align:left;padding-right:2rem}.bad{color:#c53030}"
        f"</style><h1>{html.escape(plan.subject)}, {plan.mode}, {plan.outage}, seed {plan.seed}"
        f"</h1>{verdict}"
        f"<p>Once more: <code>{html.escape(again)} --subject {plan.subject}</code></p>"
        f'<img alt="What happened over time" src="data:image/png;base64,'
        f'{base64.b64encode(picture).decode()}"><table>{rows}</table></html>'
    )
