"""The page of a drill: figures, and its timeline as a picture. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from .measures import OURS, PEER
from .records import REPLACED, Outcome, Records
from .report import LEGEND, DrillReport

WIDTH, LEFT, STRIP, GAP = 1000, 200, 48, 26
BUCKET = 0.1
"""Seconds that one stroke of the picture stands for."""
GREEN, AMBER, RED, DARK = "#2f855a", "#b7791f", "#c53030", "#1a202c"
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui;margin:2rem auto;max-width:72rem;padding:0 1rem}
table{border-collapse:collapse}th,td{text-align:left;padding:.2rem 1.5rem .2rem 0}
svg{width:100%;height:auto;background:#fff;border-radius:6px}
"""


def page(report: DrillReport) -> str:
    """A complete HTML document that needs nothing else."""
    body = [f"<h1>{escape(report.headline)}</h1>"]
    if report.verdict is not None and report.records is not None:
        body += [timeline(report.records, dict(_lost(report.records))), *_tables(report)]
    body += [f"<p>{escape(note)}</p>" for note in report.notes]
    title = f"Drill: {escape(report.scenario.value)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


def _tables(report: DrillReport) -> Iterator[str]:
    verdict = report.verdict
    if verdict is None:
        return
    yield "<table><tr><th>Writer<th>acknowledged<th>lost<th>failed<th>unknown"
    yield "<th>longest gap<th>slowest write</tr>"
    for name, found in verdict.writers.items():
        yield (
            f"<tr><td>{escape(name)}<td>{found.acknowledged}"
            f"<td>{'?' if found.lost is None else found.lost}<td>{found.failed}"
            f"<td>{found.unknown}<td>{found.gap:.2f} s<td>{found.slowest:.2f} s</tr>"
        )
    yield "</table>"
    yield f"<p>{escape(' '.join(LEGEND))}</p>"
    yield "<table>"
    for told, seconds in (
        ("until it was agreed that the primary is down", verdict.detection),
        ("until another one was announced", verdict.promotion),
    ):
        if seconds is not None:
            yield f"<tr><td>{told}<td>{seconds:.2f} s</tr>"
    wanted = report.objectives
    untouched = ""
    if wanted.elsewhere is not None and set(verdict.writers) - {OURS, PEER}:
        untouched = f"; where nothing is done {wanted.elsewhere:g} s, and no error"
    yield (
        f"<tr><td>objectives<td>at most {wanted.gap:g} s without a write, at most "
        f"{wanted.lost} lost{untouched}</tr></table>"
    )


def timeline(records: Records, lost: dict[str, set[int]]) -> str:
    """A strip for each writer, the fault as a grey band, announcements as lines.

    Green: writes were acknowledged; amber: some failed too; red: none was acknowledged; dark:
    acknowledged ones were lost.
    """
    height = GAP + len(records.writes) * (STRIP + GAP) + 30
    head = (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of the drill" '
        'font-family="system-ui" font-size="13">'
    )
    return "".join((head, *_shapes(records, lost, height - 24), "</svg>"))


def _shapes(records: Records, lost: dict[str, set[int]], foot: int) -> Iterator[str]:
    scale = (WIDTH - LEFT - 20) / max(records.ended_at, 1.0)

    def x(seconds: float) -> str:
        return f"{LEFT + seconds * scale:.1f}"

    lasted = max((records.mended_at - records.fault_at) * scale, 1.0)
    yield f'<rect x="{x(records.fault_at)}" width="{lasted:.1f}" height="{foot}" fill="#e2e8f0"/>'
    stroke = f'width="{max(BUCKET * scale, 0.8):.2f}" height="{STRIP}"'
    for row, name in enumerate(records.writes):
        top = GAP + row * (STRIP + GAP)
        yield f'<text x="8" y="{top + STRIP / 2 + 5}" fill="{DARK}">{escape(name)}</text>'
        for at, colour in _strip(records, name, lost[name]):
            yield f'<rect x="{x(at)}" y="{top}" {stroke} fill="{colour}"/>'
    for at, event in [said for said in records.announcements if said.event in REPLACED]:
        yield f'<line x1="{x(at)}" x2="{x(at)}" y1="14" y2="{foot}" stroke="{DARK}">'
        yield f"<title>{event}</title></line>"
    step = next(each for each in (1, 2, 5, 10, 30, 60, 600) if records.ended_at / each <= 20)
    for second in range(0, int(records.ended_at) + 1, step):
        yield f'<text x="{x(second)}" y="{foot + 16}" text-anchor="middle" fill="{DARK}">'
        yield f"{second} s</text>"


def _strip(records: Records, name: str, lost: set[int]) -> Iterator[tuple[float, str]]:
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    gone: Counter[int] = Counter()
    for write in records.writes[name]:
        bucket = int(write.ended / BUCKET)
        if write.outcome is not Outcome.ACKNOWLEDGED:
            bad[bucket] += 1
        elif write.number in lost:
            gone[bucket] += 1
        else:
            good[bucket] += 1
    for bucket in range(int(records.ended_at / BUCKET)):
        if gone[bucket]:
            colour = DARK
        elif good[bucket]:
            colour = AMBER if bad[bucket] else GREEN
        else:
            colour = RED
        yield bucket * BUCKET, colour


def _lost(records: Records) -> Iterator[tuple[str, set[int]]]:
    for name, writes in records.writes.items():
        told = {write.number for write in writes if write.outcome is Outcome.ACKNOWLEDGED}
        yield name, told - records.survivors.get(name, told)
