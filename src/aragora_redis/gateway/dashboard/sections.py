"""The parts of the page that live, each under the id of its element. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ops.survey import Instance
from ..auth import Role
from . import charts
from .circuits import circuits
from .findings import findings
from .health import health
from .journal import Entry
from .markup import Html, join, tag
from .picture import Picture, Scene
from .topology import level_of, topology
from .wording import NONE, clock_time, count, on_disk, staleness


def sections(picture: Picture, role: Role) -> Mapping[str, Html]:
    """Everything that changes, for who may do what `role` says."""
    may_act = role >= Role.ADMIN
    served = picture.status.mode != "embedded"
    found = {
        "health": health(picture),
        "topology": topology(picture, may_act=may_act),
        "doctor": findings(picture.scenes) if served else None,
        "decisions": charts.decisions(picture.figures.decisions),
        "latency": charts.latency(picture.figures.answers),
        "circuits": circuits(picture.circuits, may_act=may_act),
        "subjects": charts.subjects(picture.figures.refused),
        "sessions": charts.sessions(picture.figures.sessions),
        "journal": journal(each for each in picture.journal if may_act or not each.record),
        "facts": facts(picture),
    }
    return {name: html for name, html in found.items() if html is not None}


def facts(picture: Picture) -> Html:
    """The status in figures, and the fleet."""
    status = picture.status
    shown: dict[str, str | None] = {
        "Judging tokens": "yes" if status.ready else "not yet",
        "Instances": str(status.instances),
        "Revocations held": f"{status.tokens:,}",
        "Outbox": str(status.outbox),
        "Outbox on disk": on_disk(status.disk),
        "Revocation feed": staleness(status.staleness),
    }
    for scene in picture.scenes:
        shown |= _redis(scene)
    several = any(len(sight.fleet) > 1 for sight in picture.sights)
    # Two ways to one Redis show the same.
    fleet = dict.fromkeys(each for sight in picture.sights for each in sight.fleet)
    return join(
        (
            tag("h2", "This instance", tag("small", f" {picture.instance}"), id="facts-title"),
            tag(
                "dl",
                [
                    tag("div", tag("dt", name), tag("dd", value))
                    for name, value in shown.items()
                    if value is not None
                ],
                class_="figures",
            ),
            _workers(picture),
            _fleet(fleet) if several else None,
        )
    )


def _redis(scene: Scene) -> dict[str, str | None]:
    redis = scene.redis
    told = {
        "Replicas up": str(redis.replicas),
        "Sentinels heard": None if redis.sentinels is None else str(redis.sentinels),
        "Epoch": None if redis.epoch is None else str(redis.epoch),
        "Mode": redis.mode,
    }
    if not scene.features:
        return told
    return {f"{what}, of {scene.features}": figure for what, figure in told.items()}


def _workers(picture: Picture) -> Html | None:
    workers = picture.workers
    if workers.count == 1:
        return None
    silent = f"; {workers.silent} of them did not answer" if workers.silent else ""
    return tag(
        "p",
        f"{count(workers.count, 'worker')} share this port, and this is worker {workers.number}. "
        "Decisions, latency, refused subjects and sessions are those of all of them"
        f"{silent}; the outages, the events and the figures above are as this one sees them.",
        class_="quiet",
    )


def _fleet(fleet: Iterable[Instance]) -> Html:
    heads = ("Instance", "Revocations", "By Redis", "Alone", "Outbox")
    return tag(
        "details",
        tag("summary", "The fleet: what each instance told last"),
        tag(
            "table",
            tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
            tag("tbody", [_instance(each) for each in fleet]),
        ),
        id="fleet",
    )


def _instance(each: Instance) -> Html:
    age = each.staleness
    held = "elsewhere" if age is None else f"{each.tokens:,}, {staleness(age)}"
    return tag(
        "tr",
        tag("th", each.name, scope="row"),
        tag("td", held),
        tag("td", str(each.by_redis)),
        tag("td", str(each.alone)),
        tag("td", each.outbox or NONE),
    )


def journal(entries: Iterable[Entry]) -> Html:
    """The last events, the newest first."""
    lines = [
        tag(
            "li",
            clock_time(entry.at),
            tag("span", entry.text),
            data_level=level_of(entry.level),
        )
        for entry in entries
    ]
    title = tag("h2", "Events", tag("small", " UTC"), id="journal-title")
    quiet = tag("p", "Nothing has happened since this gateway started.", class_="quiet")
    return join((title, _lines(lines) if lines else quiet))


def _lines(lines: list[Html]) -> Html:
    # It scrolls, so whoever has no mouse must get there too.
    return tag("ol", lines, class_="journal", tabindex=0, aria_labelledby="journal-title")
