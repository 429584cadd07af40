"""The parts of the page that live, each under the id of its element. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ...lab import Kind, LabStatus, NodeStatus, State
from ..auth import Role
from .desk import Verb
from .health import health
from .journal import Entry
from .markup import Html, join, tag
from .picture import LabPicture, Picture
from .rates import SECONDS, Rate
from .wording import clock_time, count, on_disk, per_second, staleness

FORM = "levers"
"""Id of the form that the levers belong to; it holds what is not to be sent with every change."""
_GLYPHS = {State.RUNNING: "●", State.FROZEN: "❄\ufe0e", State.DEAD: "✕"}
_LEVERS = {
    State.RUNNING: (Verb.KILL, Verb.FREEZE),
    State.FROZEN: (Verb.KILL, Verb.RESTORE),
    State.DEAD: (Verb.RESTORE,),
}
_SOURCES = {
    "redis": "Redis",
    "local": "This instance, alone",
    "deny-cache": "Refusals remembered",
    "lease": "Leased tokens",
}
_BAR = 20


def sections(picture: Picture, role: Role) -> Mapping[str, Html]:
    """Everything that changes, for who may do what `role` says."""
    return {
        "health": health(picture),
        "topology": topology(picture, may_act=role >= Role.ADMIN),
        "facts": facts(picture),
        "decisions": decisions(picture.rates),
        "journal": journal(picture.journal),
    }


def topology(picture: Picture, *, may_act: bool) -> Html:
    """Who is what; with levers in a lab, for who may pull them."""
    title = tag("h2", "Topology", id="topology-title")
    if picture.lab is None:
        return join((title, _remote(picture)))
    status = picture.lab.status
    return join(
        (
            tag("div", title, _levers_of_all() if may_act else None, class_="title-row"),
            _outcome(picture.lab),
            _nodes(status, Kind.REDIS, may_act=may_act) if status else None,
            _nodes(status, Kind.SENTINEL, may_act=may_act) if status else None,
        )
    )


def _remote(picture: Picture) -> Html:
    status = picture.status
    cards = []
    if status.primary is not None:
        usable = status.health == "healthy"
        cards.append(
            _card(
                status.primary,
                "primary",
                State.RUNNING if usable else State.DEAD,
                "linked" if usable else "not reached",
            )
        )
    if status.sentinels is not None:
        cards.append(_card(count(status.replicas, "replica"), "replica", State.RUNNING, "up"))
        heard = State.RUNNING if status.sentinels else State.DEAD
        cards.append(_card(count(status.sentinels, "Sentinel"), "sentinel", heard, "heard"))
    if not cards:
        return tag("p", "No server is known.", class_="quiet")
    return tag("ul", cards, class_="nodes")


def _card(name: str, role: str, state: State, words: str) -> Html:
    return tag(
        "li",
        tag("h3", name),
        tag("p", role, class_="role") if role == "primary" else None,
        _state(state, words),
        class_="node",
        data_role=role,
        data_state=state.value,
    )


def _state(state: State, words: str) -> Html:
    return tag("p", tag("span", _GLYPHS[state], aria_hidden="true"), f" {words}", class_="state")


def _nodes(status: LabStatus, kind: Kind, *, may_act: bool) -> Html | None:
    nodes = [node for node in status.nodes if node.kind is kind]
    if not nodes:
        return None
    return tag(
        "ul",
        [_node(node, status.primary, may_act=may_act) for node in nodes],
        class_="nodes",
        aria_label="Redis servers" if kind is Kind.REDIS else "Sentinels",
    )


def _node(node: NodeStatus, primary: str, *, may_act: bool) -> Html:
    leads = node.name == primary and node.kind is Kind.REDIS
    return tag(
        "li",
        tag("h3", node.name),
        tag("p", role_of(node, primary), class_="role"),
        _state(node.state, node.state.value),
        tag("p", str(node.address), class_="address"),
        tag(
            "div",
            [_lever(verb, node.name) for verb in _LEVERS[node.state]],
            class_="lever-row",
        )
        if may_act
        else None,
        class_="node",
        data_role="primary" if leads else "replica" if node.kind is Kind.REDIS else "sentinel",
        data_state=node.state.value,
    )


def role_of(node: NodeStatus, primary: str) -> str:
    """What a server is, by its own word and by the Sentinels'."""
    if node.kind is Kind.SENTINEL:
        return "Sentinel"
    named = node.name == primary
    if node.role == "primary":
        return "primary" if named else "calls itself primary"
    if node.role == "replica":
        return "replica, being promoted" if named else "replica"
    return "primary until now" if named else "no answer"


def _levers_of_all() -> Html:
    return tag(
        "div",
        _lever(Verb.KILL, "primary", "Kill the primary"),
        _lever(Verb.RESTORE, "all", "Restore all"),
        class_="lever-row",
    )


def _lever(verb: Verb, target: str, label: str | None = None) -> Html:
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


def _outcome(lab: LabPicture) -> Html | None:
    if lab.working is not None:
        return tag("p", f"Under way: {lab.working} …", class_="outcome", data_level="info")
    if lab.trouble is not None:
        return tag("p", lab.trouble, class_="outcome", data_level="error")
    if lab.said is not None:
        return tag("p", lab.said.text, class_="outcome", data_level=_level(lab.said.level))
    return None


def decisions(rates: Iterable[Rate]) -> Html:
    """Who has decided about rate limits, over the last minute."""
    rates = tuple(rates)
    title = tag("h2", "Decisions by source", id="decisions-title")
    busy = [rate for rate in rates if any(rate.allowed) or any(rate.refused)]
    if not busy:
        quiet = tag("p", "No rate limit was checked here in the last minute.", class_="quiet")
        return join((title, quiet))
    top = max(a + r for rate in busy for a, r in zip(rate.allowed, rate.refused, strict=True))
    heads = ("Source", "Allowed", "Refused", "Last minute")
    return join(
        (
            title,
            tag(
                "table",
                tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
                tag("tbody", [_rate(rate, top) for rate in busy]),
            ),
        )
    )


def _rate(rate: Rate, top: int) -> Html:
    allowed, refused = sum(rate.allowed), sum(rate.refused)
    return tag(
        "tr",
        tag("th", _SOURCES.get(rate.source, rate.source), scope="row"),
        tag("td", per_second(allowed, SECONDS)),
        tag("td", per_second(refused, SECONDS)),
        tag("td", _bars(rate, top), class_="bars"),
    )


def _bars(rate: Rate, top: int) -> Html:
    allowed, refused = [], []
    for second, (passed, stopped) in enumerate(zip(rate.allowed, rate.refused, strict=True)):
        low, high = _BAR * passed / top, _BAR * stopped / top
        if passed:
            allowed.append(_bar(second, _BAR, low))
        if stopped:
            refused.append(_bar(second, _BAR - low, high))
    return tag(
        "svg",
        tag("path", d="".join(allowed), class_="allowed"),
        tag("path", d="".join(refused), class_="refused"),
        viewBox=f"0 0 {SECONDS} {_BAR}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"at most {top} in a second",
    )


def _bar(second: int, foot: float, height: float) -> str:
    return f"M{second} {foot:.2f}v-{height:.2f}h.75v{height:.2f}z"


def facts(picture: Picture) -> Html:
    """The status in figures."""
    status = picture.status
    shown = {
        "Judging tokens": "yes" if status.ready else "not yet",
        "Instances": str(status.instances),
        "Revocations held": str(status.tokens),
        "Outbox": str(status.outbox),
        "Outbox on disk": on_disk(status.disk),
        "Revocation feed": staleness(status.staleness),
        "Replicas up": str(status.replicas),
        "Sentinels heard": None if status.sentinels is None else str(status.sentinels),
        "Epoch": None if status.epoch is None else str(status.epoch),
        "Mode": status.mode,
    }
    return join(
        (
            tag("h2", "This instance", id="facts-title"),
            tag(
                "dl",
                [
                    tag("div", tag("dt", name), tag("dd", value))
                    for name, value in shown.items()
                    if value is not None
                ],
            ),
        )
    )


def journal(entries: Iterable[Entry]) -> Html:
    """The last events, the newest first."""
    lines = [
        tag(
            "li",
            clock_time(entry.at),
            tag("span", entry.text),
            data_level=_level(entry.level),
        )
        for entry in entries
    ]
    title = tag("h2", "Events", tag("small", " UTC"), id="journal-title")
    quiet = tag("p", "Nothing has happened since this gateway started.", class_="quiet")
    return join((title, tag("ol", lines, class_="journal") if lines else quiet))


def _level(level: int) -> str:
    if level >= logging.ERROR:
        return "error"
    return "warning" if level >= logging.WARNING else "info"
