"""A sketch as SVG: text and glyphs say all that colours say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
_MARGIN = 14.0
_ARROW = 7.0


def drawn(sketch: Sketch) -> Html:
    """The picture twice, for wide and narrow screens; the style shows one of them."""
    told = sentence(sketch)
    return join(
        _svg(sketch, layout, name, told)
        for name, layout in (("wide", wide(sketch)), ("tall", tall(sketch)))
    )


def _svg(sketch: Sketch, layout: Layout, name: str, told: str) -> Html:
    spots = {spot.box.id: spot for spot in layout.spots}
    ties = [
        _tie(tie, spots[tie.source], spots[tie.target])
        for tie in sketch.ties
        if tie.source in spots
        and tie.target in spots
        and (layout.shows_namings or tie.does != "names")
    ]
    return tag(
        "svg",
        tag("g", ties, class_="ties"),
        tag("g", [_box(spot, name) for spot in layout.spots], class_="boxes"),
        class_=f"topology {name}",
        viewBox=f"-2 -2 {layout.width + 4:g} {layout.height + 4:g}",
        role="img",
        aria_label=told,
    )


def _box(spot: Spot, name: str) -> Html:
    box = spot.box
    return tag(
        "g",
        tag("rect", width=f"{spot.width:g}", height=f"{spot.height:g}", rx=8, class_="frame"),
        tag("rect", width=5, height=f"{spot.height - 16:g}", y=8, rx=2.5, class_="mark")
        if box.leads
        else None,
        list(_lines(box, spot.width)),
        id=f"{name}-{box.id}",
        class_="box",
        transform=f"translate({spot.x:g} {spot.y:g})",
        data_x=f"{spot.x:g}",
        data_y=f"{spot.y:g}",
        data_kind=box.kind,
        data_condition=box.condition,
    )


def _lines(box: Box, width: float) -> Iterator[Html]:
    room = width - 2 * _MARGIN
    yield _text(box.name, 24, 15.5, room, "name")
    y = 43
    if box.kind in {"primary", "replica"}:
        yield _text(box.role, y, 13, room, "role")
        y += 19
    glyph = tag("tspan", GLYPHS[box.condition], class_="glyph")
    words = _fitting(box.words, room - 18, 13)
    yield tag("text", glyph, f" {words}", x=_MARGIN, y=y, class_="words")
    notes = box.notes
    if len(notes) > 2 or (notes and len(" · ".join(notes)) * 12 * _PER_LETTER > room):
        rows: tuple[str, ...] = (notes[0], " · ".join(notes[1:]))
    else:
        rows = (" · ".join(notes),)
    for row in filter(None, rows):
        y += 17
        yield _text(row, y, 12, room, "note")


def _text(text: str, y: float, high: float, room: float, kind: str) -> Html:
    return tag("text", _fitting(text, room, high), x=_MARGIN, y=y, class_=kind)


def _fitting(text: str, room: float, high: float) -> str:
    """As much of it as there is room for; the table beside the picture has it all."""
    letters = int(room / (high * _PER_LETTER))
    return text if len(text) <= letters else f"{text[: max(letters - 1, 1)]}…"


def _tie(tie: Tie, source: Spot, target: Spot) -> Html:
    (x1, y1), (x2, y2), across = _ends(source, target, down=tie.does == "names")
    if across:
        bends, back = ((x1 + x2) / 2, y1, (x1 + x2) / 2, y2), x2 < x1
    else:
        bends, back = (x1, (y1 + y2) / 2, x2, (y1 + y2) / 2), y2 < y1
    way = f"M{x1:g} {y1:g}C{' '.join(f'{each:g}' for each in bends)} {x2:g} {y2:g}"
    return tag(
        "g",
        tag("path", d=way, class_="line"),
        tag("path", d=_arrow(x2, y2, across=across, back=back), class_="head"),
        _label(tie, (x1, y1), (x2, y2), across=across),
        data_does=tie.does,
        data_whole="true" if tie.whole else "false",
    )


def _ends(
    source: Spot, target: Spot, *, down: bool
) -> tuple[tuple[float, float], tuple[float, float], bool]:
    """Where a line leaves one box and meets the other, and whether it runs across the page."""
    (sx, sy), (tx, ty) = source.middle, target.middle
    if source.x + source.width <= target.x and not down:
        return (source.x + source.width, sy), (target.x, ty), True
    if target.x + target.width <= source.x and abs(sy - ty) < source.height:
        return (source.x, sy), (target.x + target.width, ty), True
    if sy <= ty:
        return (sx, source.y + source.height), (tx, target.y), False
    return (sx, source.y), (tx, target.y + target.height), False


def _arrow(x: float, y: float, *, across: bool, back: bool) -> str:
    long = _ARROW if back else -_ARROW
    wing = _ARROW * 0.6
    if across:
        return f"M{x:g} {y:g}l{long:g} {-wing:g}v{2 * wing:g}z"
    return f"M{x:g} {y:g}l{-wing:g} {long:g}h{2 * wing:g}z"


def _label(
    tie: Tie, begin: tuple[float, float], end: tuple[float, float], *, across: bool
) -> Html | None:
    said = {"writes": "writes" if tie.whole else "✕ cannot write", "feeds": tie.label, "names": ""}
    text = said[tie.does] if tie.whole or tie.does != "feeds" else f"✕ {tie.label}"
    if not text:
        return None
    if across:
        x, y, anchor = (begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2 - 8, "middle"
        if begin[1] != end[1]:  # beside the end, where the lines of several part
            x, y, anchor = end[0] - 12, end[1] + (18 if begin[1] < end[1] else -10), "end"
    else:
        x, y, anchor = end[0] + 8, end[1] - 16, "start"
        if begin[0] > end[0] + 1:
            x, anchor = end[0] - 8, "end"
    return tag("text", text, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, class_="label")
