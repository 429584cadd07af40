"""A sketch as SVG: text and glyphs say all that colours say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from .layout import Layout, Spot, tall, wide
from .markup import Html, join, tag
from .sketch import Box, Condition, Sketch, Tie, sentence

GLYPHS: Mapping[Condition, str] = {
    "well": "●",
    "troubled": "▲",
    "frozen": "❄\ufe0e",
    "gone": "✕",
    "unknown": "○",
}
_PER_LETTER = 0.56
"""Width of a letter, as a part of its height."""
_NARROW = 140.0
_ARROW = 7.0
_BUS = 8.0
_LABELLED = 60.0
"""Length of a line across the page beside which there is room for words."""
Point: TypeAlias = tuple[float, float]


def drawn(sketch: Sketch, whose: str = "") -> Html:
    """The picture twice, for wide and narrow screens; the style shows one of them.

    Several on one page are told apart by `whose` they are.
    """
    told = sentence(sketch)
    return join(
        _svg(sketch, layout, name, whose, told)
        for name, layout in (("wide", wide(sketch)), ("tall", tall(sketch)))
    )


def _svg(sketch: Sketch, layout: Layout, name: str, whose: str, told: str) -> Html:
    within = f"{name}-{whose}" if whose else name
    spots = {spot.box.id: spot for spot in layout.spots}
    ties = [
        _tie(tie, spots[tie.source], spots[tie.target], layout)
        for tie in sketch.ties
        if tie.source in spots and tie.target in spots and (layout.names or tie.does != "names")
    ]
    return tag(
        "svg",
        tag("g", ties, class_="ties"),
        tag(
            "g",
            [_box(spot, within) for spot in layout.spots],
            class_="boxes",
        ),
        class_=f"topology {name}",
        viewBox=f"-2 -2 {layout.width + 4:g} {layout.height + 4:g}",
        role="img",
        aria_label=told,
    )


def _box(spot: Spot, within: str) -> Html:
    box = spot.box
    return tag(
        "g",
        tag("rect", width=f"{spot.width:g}", height=f"{spot.height:g}", rx=8, class_="frame"),
        tag("rect", width=5, height=f"{spot.height - 16:g}", y=8, rx=2.5, class_="mark")
        if box.leads
        else None,
        list(_lines(box, spot.width)),
        id=f"{within}-{box.id}",
        class_="box",
        transform=f"translate({spot.x:g} {spot.y:g})",
        data_x=f"{spot.x:g}",
        data_y=f"{spot.y:g}",
        data_kind=box.kind,
        data_condition=box.condition,
    )


def _lines(box: Box, width: float) -> Iterator[Html]:
    narrow = width < _NARROW
    margin = 9.0 if narrow else 14.0
    room = width - 2 * margin
    yield _text(box.name, (margin, 24), 13 if narrow else 15.5, room, "name")
    y = 43
    if box.kind in {"primary", "replica"}:
        yield _text(box.role, (margin, y), 13, room, "role")
        y += 19
    glyph = tag("tspan", GLYPHS[box.condition], class_="glyph")
    words = _fitting(box.words, room - 18, 13)
    yield tag("text", glyph, f" {words}", x=margin, y=y, class_="words")
    notes = box.notes
    if len(notes) > 2 or (notes and len(" · ".join(notes)) * 12 * _PER_LETTER > room):
        rows: tuple[str, ...] = (notes[0], " · ".join(notes[1:]))
    else:
        rows = (" · ".join(notes),)
    for row in filter(None, rows):
        y += 17
        yield _text(row, (margin, y), 12, room, "note")


def _text(text: str, at: Point, high: float, room: float, kind: str) -> Html:
    x, y = at
    return tag("text", _fitting(text, room, high), x=x, y=y, font_size=high, class_=kind)


def _fitting(text: str, room: float, high: float) -> str:
    """As much of it as there is room for; the table beside the picture has it all."""
    letters = int(room / (high * _PER_LETTER))
    return text if len(text) <= letters else f"{text[: max(letters - 1, 1)]}…"


def _tie(tie: Tie, source: Spot, target: Spot, layout: Layout) -> Html:
    if layout.flow == "bus" and tie.does == "writes":
        return _drawn(tie, *_bus(source, target), None)
    down = layout.flow == "down" or tie.does == "names"
    (x1, y1), (x2, y2) = _down(source, target) if down else _across(source, target)
    if down:
        bends, back = (x1, (y1 + y2) / 2, x2, (y1 + y2) / 2), y2 < y1
    else:
        bends, back = ((x1 + x2) / 2, y1, (x1 + x2) / 2, y2), x2 < x1
    way = f"M{x1:g} {y1:g}C{' '.join(f'{each:g}' for each in bends)} {x2:g} {y2:g}"
    head = _arrow(x2, y2, across=not down, back=back)
    return _drawn(tie, way, head, _label(tie, (x1, y1), (x2, y2), across=not down))


def _drawn(tie: Tie, way: str, head: str, label: Html | None) -> Html:
    return tag(
        "g",
        tag("path", d=way, class_="line"),
        tag("path", d=head, class_="head"),
        label,
        data_does=tie.does,
        data_whole="true" if tie.whole else "false",
    )


def _bus(source: Spot, target: Spot) -> tuple[str, str]:
    """Down the left edge, and into the box from there."""
    _, y = target.middle
    way = f"M{_BUS:g} {source.y + source.height:g}V{y:g}H{target.x:g}"
    return way, _arrow(target.x, y, across=True, back=False)


def _across(source: Spot, target: Spot) -> tuple[Point, Point]:
    """Where a line leaves one box and meets the other."""
    (_, sy), (_, ty) = source.middle, target.middle
    if source.x <= target.x:
        return (source.x + source.width, sy), (target.x, ty)
    return (source.x, sy), (target.x + target.width, ty)


def _down(source: Spot, target: Spot) -> tuple[Point, Point]:
    (sx, _), (tx, _) = source.middle, target.middle
    if source.y <= target.y:
        return (sx, source.y + source.height), (tx, target.y)
    return (sx, source.y), (tx, target.y + target.height)


def _arrow(x: float, y: float, *, across: bool, back: bool) -> str:
    long = _ARROW if back else -_ARROW
    wing = _ARROW * 0.6
    if across:
        return f"M{x:g} {y:g}l{long:g} {-wing:g}v{2 * wing:g}z"
    return f"M{x:g} {y:g}l{-wing:g} {long:g}h{2 * wing:g}z"


def _label(tie: Tie, begin: Point, end: Point, *, across: bool) -> Html | None:
    said = {"writes": "writes" if tie.whole else "✕ cannot write", "feeds": tie.label, "names": ""}
    text = said[tie.does] if tie.whole or tie.does != "feeds" else f"✕ {tie.label}"
    if across and abs(end[0] - begin[0]) < _LABELLED:
        text = "" if tie.whole else "✕"
    if not text:
        return None
    if across:
        x, y, anchor = (begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2 - 8, "middle"
        if begin[1] != end[1]:  # beside the end, where the lines of several part
            x, y, anchor = end[0] - 12, end[1] + (18 if begin[1] < end[1] else -10), "end"
    else:
        x, y, anchor = end[0] + 8, end[1] - 16, "start"
        if tie.does == "feeds" and begin[0] != end[0]:  # above the box, beside the line
            x, y, anchor = end[0], begin[1] + 20, "middle"
        elif begin[0] > end[0]:
            x, anchor = end[0] - 8, "end"
    return tag("text", text, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, class_="label")
