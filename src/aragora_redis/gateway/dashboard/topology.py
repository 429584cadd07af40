"""Who is what: the picture, and the same as a table, with levers. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from ...lab import Kind, State
from ...ops.overview import Server
from .desk import Verb
from .drawing import GLYPHS, drawn
from .markup import Html, join, tag
from .picture import Picture
from .sketch import Box, Condition, Sketch
from .sketching import lag_of, sketch_of, unseen
from .wording import NONE, size

FORM, ASK = "levers", "asks"
"""Ids of the forms that buttons belong to; they hold what is not to be sent with every change."""
_LEVERS = {
    State.RUNNING: (Verb.KILL, Verb.FREEZE),
    State.FROZEN: (Verb.KILL, Verb.RESTORE),
    State.DEAD: (Verb.RESTORE,),
}
_SPARK = 16


def topology(picture: Picture, *, may_act: bool) -> Html:
    """The section."""
    sketch = sketch_of(picture)
    title = tag("h2", "Topology", id="topology-title")
    return join(
        (
            tag("div", title, _levers_of_all(picture, may_act=may_act), class_="title-row"),
            _outcome(picture),
            drawn(sketch),
            _table(sketch, picture, may_act=may_act) if sketch.boxes else None,
        )
    )


def _levers_of_all(picture: Picture, *, may_act: bool) -> Html | None:
    if not may_act:
        return None
    hands_over = picture.status.mode == "sentinel"
    levers = [
        ask("switchover", "Hand over …", "to a replica") if hands_over else None,
        *(
            (
                lever(Verb.KILL, "primary", _of_primary(picture)),
                lever(Verb.RESTORE, "all", "Restore all"),
            )
            if picture.lab is not None
            else ()
        ),
    ]
    return tag("div", levers, class_="lever-row") if any(levers) else None


def _of_primary(picture: Picture) -> str:
    lab = picture.lab.status if picture.lab is not None else None
    several = lab is not None and picture.status.mode == "cluster"
    return f"Kill {lab.primary}" if lab is not None and several else "Kill the primary"


def _outcome(picture: Picture) -> Html:
    """What is done by hand; always there, so that a change of it is read out."""
    doing = picture.doing
    trouble = picture.sight.trouble
    if picture.lab is not None and picture.lab.trouble is not None:
        trouble = picture.lab.trouble
    level, text = "info", ""
    if doing.working is not None:
        text = f"Under way: {doing.working} …"
    elif trouble is not None:
        level, text = "error", trouble
    elif doing.said is not None:
        level, text = level_of(doing.said.level), doing.said.text
    return tag("p", text, class_="outcome", role="status", data_level=level, hidden=not text)


def _table(sketch: Sketch, picture: Picture, *, may_act: bool) -> Html:
    acts = may_act and (picture.lab is not None or picture.status.mode == "cluster")
    replicated = any(box.kind == "replica" for box in sketch.boxes)
    heads = ["Server", "Role", "State"]
    heads += ["Behind", "Last minute"] if replicated else []
    heads += ["By hand"] if acts else []
    servers = {server.address: server for server in _flat(_servers_of(picture))}
    rows = [
        _row(box, servers.get(box.id), picture, replicated=replicated, acts=acts)
        for box in (*sketch.boxes, *unseen(picture, sketch))
    ]
    return tag(
        "table",
        tag("caption", "Servers", class_="unseen"),
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag("tbody", rows),
        class_="servers",
    )


def _row(
    box: Box, server: Server | None, picture: Picture, *, replicated: bool, acts: bool
) -> Html:
    cells = [
        tag("th", tag("b", box.name), tag("small", " · ".join(box.notes)), scope="row"),
        tag("td", box.role, data_head="Role"),
        tag("td", condition_told(box.condition, box.words), data_head="State"),
    ]
    if replicated:
        follows = box.kind == "replica"
        known = picture.sight.behind.get(box.id, ()) if follows else ()
        silence = server.lag if server is not None and follows else None
        heard = f", heard {silence} s ago" if silence is not None and silence > 1 else ""
        behind = f"{lag_of(server)}{heard}" if follows else ""
        cells += [
            _cell("Behind", behind),
            _cell("Last minute", spark(known) if any(known) else ""),
        ]
    if acts:
        cells.append(tag("td", tag("div", _levers(box, picture), class_="lever-row")))
    return tag("tr", *cells, data_kind=box.kind, data_condition=box.condition)


def _cell(head: str, content: str) -> Html:
    return tag("td", content or NONE, data_head=head, class_=None if content else "none")


def condition_told(condition: Condition, words: str) -> Html:
    """A condition, by glyph and words."""
    return tag(
        "span",
        tag("span", GLYPHS[condition], aria_hidden="true", class_="glyph"),
        f" {words}",
        class_="state",
        data_condition=condition,
    )


def _levers(box: Box, picture: Picture) -> list[Html]:
    found: list[Html] = []
    lab = picture.lab.status if picture.lab is not None else None
    for node in lab.nodes if lab is not None else ():
        if str(node.address) == box.id and node.kind in {Kind.REDIS, Kind.SENTINEL}:
            found += [lever(verb, node.name) for verb in _LEVERS[node.state]]
    if box.leads and box.condition != "gone" and picture.status.mode == "cluster":
        act = f"switchover {box.id}"
        found.append(ask(act, "Hand over …", f"the shard of {box.name}"))
    return found


def lever(verb: Verb, target: str, label: str | None = None) -> Html:
    """A button that acts on a lab at once."""
    return tag(
        "button",
        label or verb.value.capitalize(),
        id=f"{verb}-{target}",
        type="submit",
        form=FORM,
        name="lever",
        value=f"{verb} {target}",
        aria_label=label or f"{verb.value.capitalize()} {target}",
        data_verb=verb.value,
    )


def ask(act: str, label: str, told: str) -> Html:
    """A button after which is asked whether that is meant; `told` adds to it for who listens."""
    return tag(
        "button",
        label,
        id=f"ask-{act}".replace(" ", "-"),
        type="submit",
        form=ASK,
        name="act",
        value=act,
        aria_label=f"{label} {told}",
    )


def spark(values: Sequence[int | None]) -> Html:
    """Values of the last minute as a line, the last one at the right."""
    known = [value for value in values if value is not None]
    top = max(known, default=0) or 1
    parts, pen = [], "M"
    for at, value in enumerate(values, start=60 - len(values)):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{at} {_SPARK - (_SPARK - 2) * value / top - 1:.1f}")
        pen = "L"
    return tag(
        "svg",
        tag("path", d="".join(parts)),
        class_="spark",
        viewBox=f"0 0 60 {_SPARK}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"at most {size(top)} behind" if any(known) else "in step",
    )


def level_of(level: int) -> str:
    """A level of the log as a word."""
    if level >= logging.ERROR:
        return "error"
    return "warning" if level >= logging.WARNING else "info"


def _servers_of(picture: Picture) -> tuple[Server, ...]:
    overview = picture.sight.overview
    return overview.servers if overview is not None else ()


def _flat(servers: Iterable[Server]) -> Iterable[Server]:
    for server in servers:
        yield server
        yield from _flat(server.replicas)
