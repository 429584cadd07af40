"""Who is what: the picture, and the same as a table, with levers. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...lab import Kind, State
from ...ops.overview import Server
from .desk import Verb
from .drawing import GLYPHS, drawn
from .markup import Html, join, tag
from .picture import Picture, Scene
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
    """The section: a part for each Redis, where there are several."""
    title = tag("h2", "Topology", id="topology-title")
    views = [_View(scene, sketch_of(picture, scene)) for scene in picture.scenes]
    rest = unseen(picture, [view.sketch for view in views])
    levers = _levers_of_lab(picture) if may_act else []
    if len(views) == 1 and may_act:
        levers = [*_hands_over(views[0].scene), *levers]
    parts = [
        (
            _title(view.scene, may_act=may_act) if len(views) > 1 else None,
            drawn(view.sketch, view.mark),
            _table(view, rest if view is views[0] else (), picture, may_act=may_act),
        )
        for view in views
    ]
    return join(
        (
            tag("div", title, _row_of(levers), class_="title-row"),
            _outcome(picture),
            *(child for part in parts for child in part),
        )
    )


@dataclass(frozen=True, slots=True)
class _View:
    """One Redis and the sketch of it."""

    scene: Scene
    sketch: Sketch

    @property
    def mark(self) -> str:
        """Tells what is drawn of it from that of others, in ids and in what buttons say."""
        return next(iter(self.scene.redis.features), "")


def _title(scene: Scene, *, may_act: bool) -> Html:
    levers = _row_of(_hands_over(scene)) if may_act else None
    return tag("div", tag("h3", scene.title), levers, class_="title-row")


def _row_of(levers: list[Html]) -> Html | None:
    return tag("div", levers, class_="lever-row") if levers else None


def _hands_over(scene: Scene) -> list[Html]:
    if scene.redis.mode != "sentinel":
        return []
    told = f"to a replica, {scene.title}" if scene.features else "to a replica"
    return [ask(_switchover(scene), "Hand over …", told)]


def _switchover(scene: Scene, *target: str) -> str:
    return " ".join(("switchover", *scene.redis.features[:1], *target))


def _levers_of_lab(picture: Picture) -> list[Html]:
    if picture.lab is None:
        return []
    return [
        lever(Verb.KILL, "primary", _of_primary(picture)),
        lever(Verb.RESTORE, "all", "Restore all"),
    ]


def _of_primary(picture: Picture) -> str:
    lab = picture.lab.status if picture.lab is not None else None
    several = lab is not None and picture.status.mode == "cluster"
    return f"Kill {lab.primary}" if lab is not None and several else "Kill the primary"


def _outcome(picture: Picture) -> Html:
    """What is done by hand; always there, so that a change of it is read out."""
    doing = picture.doing
    troubles = [
        f"{each.title}: {each.sight.trouble}" if each.features else each.sight.trouble
        for each in picture.scenes
        if each.sight.trouble is not None
    ]
    if picture.lab is not None and picture.lab.trouble is not None:
        troubles = [picture.lab.trouble]
    level, text = "info", ""
    if doing.working is not None:
        text = f"Under way: {doing.working} …"
    elif troubles:
        level, text = "error", "; ".join(troubles)
    elif doing.said is not None:
        level, text = level_of(doing.said.level), doing.said.text
    return tag("p", text, class_="outcome", role="status", data_level=level, hidden=not text)


def _table(view: _View, rest: tuple[Box, ...], picture: Picture, *, may_act: bool) -> Html | None:
    scene, sketch = view.scene, view.sketch
    if not sketch.boxes:
        return None
    acts = may_act and (picture.lab is not None or scene.redis.mode == "cluster")
    replicated = any(box.kind == "replica" for box in sketch.boxes)
    heads = ["Server", "Role", "State"]
    heads += ["Behind", "Last minute"] if replicated else []
    heads += ["By hand"] if acts else []
    servers = {server.address: server for server in _flat(_servers_of(scene))}
    rows = [
        _row(box, servers.get(box.id), scene, replicated=replicated, levers=levers)
        for box in (*sketch.boxes, *rest)
        for levers in (_levers(box, picture, scene) if acts else None,)
    ]
    return tag(
        "table",
        tag("caption", f"Servers, {scene.title}" if scene.features else "Servers", class_="unseen"),
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag("tbody", rows),
        class_="servers",
    )


def _row(
    box: Box, server: Server | None, scene: Scene, *, replicated: bool, levers: list[Html] | None
) -> Html:
    cells = [
        tag("th", tag("b", box.name), tag("small", " · ".join(box.notes)), scope="row"),
        tag("td", box.role, data_head="Role"),
        tag("td", condition_told(box.condition, box.words), data_head="State"),
    ]
    if replicated:
        follows = box.kind == "replica"
        known = scene.sight.behind.get(box.id, ()) if follows else ()
        silence = server.lag if server is not None and follows else None
        heard = f", heard {silence} s ago" if silence is not None and silence > 1 else ""
        behind = f"{lag_of(server)}{heard}" if follows else ""
        cells += [
            _cell("Behind", behind),
            _cell("Last minute", spark(known) if any(known) else ""),
        ]
    if levers is not None:
        cells.append(tag("td", tag("div", levers, class_="lever-row")))
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


def _levers(box: Box, picture: Picture, scene: Scene) -> list[Html]:
    found: list[Html] = []
    lab = picture.lab.status if picture.lab is not None else None
    for node in lab.nodes if lab is not None else ():
        if str(node.address) == box.id and node.kind in {Kind.REDIS, Kind.SENTINEL}:
            found += [lever(verb, node.name) for verb in _LEVERS[node.state]]
    if box.leads and box.condition != "gone" and scene.redis.mode == "cluster":
        act = _switchover(scene, box.id)
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


def _servers_of(scene: Scene) -> tuple[Server, ...]:
    overview = scene.sight.overview
    return overview.servers if overview is not None else ()


def _flat(servers: Iterable[Server]) -> Iterable[Server]:
    for server in servers:
        yield server
        yield from _flat(server.replicas)
