"""The headline: how it is in one sentence, and outages as they unfold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...settings import Feature
from ...state.status import worst_of
from .markup import Child, Html, join, tag
from .phases import bar
from .picture import Picture
from .timeline import Interruption
from .wording import clock_time, count, precise, seconds

Tone = Literal["good", "busy", "bad"]
_GLYPHS: Mapping[Tone, str] = {"good": "●", "busy": "▲", "bad": "■"}
AGREED_AT_ONCE = 0.05
"""Seconds from the first word of another primary to its being believed that are no step apart."""
SOURCES = {
    "redis": "Redis",
    "local": "This instance, alone",
    "deny-cache": "Refusals remembered",
    "lease": "Leased tokens",
    "unavailable": "Nobody: refused",
}
_MEANWHILE = {
    "redis": "by Redis",
    "local": "by this instance alone",
    "deny-cache": "by what was refused a moment before",
    "lease": "by leased tokens",
    "unavailable": "refused, since nobody could decide",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """What is said first."""

    tone: Tone
    word: str
    sentence: str


def headline(picture: Picture) -> Headline:
    """How the instance is."""
    status = picture.status
    if status.health == "failing-over":
        clustered = worst_of(status.each_redis).mode == "cluster"
        who = "nodes of the cluster" if clustered else "Sentinels"
        return Headline("busy", "Failing over", f"The {who} miss a primary and are replacing it.")
    if status.health == "degraded":
        worst = worst_of(status.each_redis)
        which = f"The Redis of {', '.join(worst.features)}" if worst.features else "Redis"
        return Headline("bad", "Degraded", f"{which} cannot be used: {worst.reason}")
    if not status.ready:
        return Headline("busy", "Starting", "The revocations are not loaded yet.")
    return Headline("good", "Healthy", _takes_writes(picture))


def _takes_writes(picture: Picture) -> str:
    status = picture.status
    if status.mode == "embedded":
        return "Embedded: the state lives in this process."
    if status.redis:
        return f"Each of {len(status.redis)} Redis takes writes."
    if status.mode == "cluster":
        return f"All {_primaries(picture)} primaries take writes."
    return f"{picture.name(status.primary) if status.primary else 'Redis'} is the primary."


def _primaries(picture: Picture) -> int:
    """How many hold slots of a cluster."""
    survey = picture.scenes[0].sight.survey
    return len(survey.primaries) if survey is not None else len(picture.reigns)


def health(picture: Picture) -> Html:
    """The section."""
    said = headline(picture)
    last = picture.over[0] if picture.over and not picture.ongoing else None
    return join(
        (
            tag(
                "div",
                tag("span", _GLYPHS[said.tone], class_="glyph", aria_hidden="true"),
                tag("h2", said.word, id="health-title"),
                tag("p", said.sentence),
                _since(picture) if said.tone == "good" else None,
                class_="headline",
                data_tone=said.tone,
                data_title=f"{_GLYPHS[said.tone]} {said.word}",
                data_say=f"{said.word}. {said.sentence}",
            ),
            [interruption(it, picture) for it in picture.ongoing],
            _meanwhile(picture) if picture.ongoing else None,
            interruption(last, picture) if last is not None else None,
            _earlier(picture, skips=last),
            _troubles(picture.status.troubles) if said.tone != "good" else None,
        )
    )


def _since(picture: Picture) -> Html | None:
    if len(picture.reigns) != 1:
        return None
    (reign,) = picture.reigns
    words = "Primary since " if reign.began_here else "Primary at least since "
    return tag("p", words, clock_time(reign.since), class_="quiet")


def _troubles(troubles: Mapping[str, str]) -> Html | None:
    if not troubles:
        return None
    return tag(
        "ul",
        [tag("li", tag("b", f"{name}: "), why) for name, why in troubles.items()],
        class_="troubles",
        aria_label="What cannot be reached",
    )


def interruption(it: Interruption, picture: Picture) -> Html:
    """One time without a primary, step by step."""
    ongoing = it.back_after is None
    lasted = seconds(it.lasted(picture.at.monotonic))
    what = picture.short(it.lost) if it.lost else "the primary"
    what = f"{what} of {', '.join(it.features)}" if it.features else what
    without = f"{what} refuses writes" if it.refused else f"Without {what}"
    title = f"{without} for {lasted}" if ongoing else f"Last interruption: back after {lasted}"
    elects = _elects(it, picture)
    return tag(
        "div",
        tag("h3", title),
        bar(it, picture.at.monotonic, elects=elects),
        tag("ol", _steps(it, picture, elects=elects), class_="steps"),
        None if ongoing else _meanwhile(picture),
        class_="interruption",
        data_ongoing="true" if ongoing else "false",
    )


def _meanwhile(picture: Picture) -> Html:
    """Who has decided since the first of the last outages began."""
    decided = [
        f"{number:,} {_MEANWHILE.get(source, source)}"
        for source, number in sorted(picture.meanwhile.items(), key=lambda each: -each[1])
    ]
    said = [f"Limits decided here meanwhile: {', '.join(decided)}."] if decided else []
    if not decided and _missed(picture, Feature.LIMITS):
        said.append("Meanwhile limits are decided by the outage policy.")
    if _missed(picture, Feature.TOKENS):
        said.append("Known revocations hold.")
    return tag("p", " ".join(said), class_="quiet meanwhile")


def _missed(picture: Picture, feature: Feature) -> bool:
    """Whether the Redis of a feature is away now."""
    return any(not it.features or feature in it.features for it in picture.ongoing)


def _elects(it: Interruption, picture: Picture) -> bool:
    """Whether anybody may name another primary."""
    return picture.redis_of(it).mode in {"sentinel", "cluster"} and not it.refused


def _steps(it: Interruption, picture: Picture, *, elects: bool) -> list[Html]:
    lost = f"{picture.name(it.lost)} {'refuses writes' if it.refused else 'lost'}"
    lost = lost if it.lost else "No primary reached"
    steps = [_step("done", lost, clock_time(it.began.wall), it.reason)]
    if it.chosen is not None and it.chosen_after is not None:
        chosen = f"{picture.name(it.chosen)} chosen"
        epoch = "" if it.epoch is None else f"epoch {it.epoch}"
        named, phase = it.named_after, "election"
        if named is not None and it.chosen_after - named >= AGREED_AT_ONCE:
            steps.append(_step("done", "Another primary named", f"+{precise(named)}", "", phase))
            phase = "agreement"
        steps.append(_step("done", chosen, f"+{precise(it.chosen_after)}", epoch, phase))
    elif it.linked_after is None and elects:
        steps.append(_step("now", "Another primary chosen", _waits(it, picture), "", "election"))
    if not it.refused or it.linked_after is not None:
        steps.append(_linked(it, elects=elects))
    if it.back is not None and it.back_after is not None:
        title = f"Writing to {picture.name(it.back)}"
        steps.append(_step("done", title, f"+{precise(it.back_after)}", "", "first-write"))
    else:
        state = "now" if it.refused or it.linked_after is not None else "next"
        steps.append(_step(state, "Writing again", "until a write is accepted", "", "first-write"))
    return steps


def _linked(it: Interruption, *, elects: bool) -> Html:
    if it.linked_after is not None:
        after = f"+{precise(it.linked_after)}"
        return _step("done", "Linked and verified", after, "", "connection")
    state = "now" if it.chosen is not None or not elects else "next"
    return _step(state, "Linked and verified", "connecting", "", "connection")


def _waits(it: Interruption, picture: Picture) -> str:
    redis = picture.redis_of(it)
    if redis.mode == "cluster":
        return "The primaries vote once most of them miss it"
    if redis.health == "failing-over":
        return "The Sentinels are choosing"
    return "The Sentinels have not missed it yet"


def _step(state: str, title: str, when: Child, detail: str = "", phase: str = "") -> Html:
    known = "" if state == "done" else {"now": "under way", "next": "to come"}[state]
    return tag(
        "li",
        tag("span", f"{known}: ", class_="unseen") if known else None,
        tag("b", title),
        tag("span", when, class_="when") if state != "next" else None,
        tag("span", detail, class_="detail") if detail else None,
        data_state=state,
        data_phase=phase or None,
        aria_current="step" if state == "now" else None,
    )


def _earlier(picture: Picture, *, skips: Interruption | None) -> Html | None:
    over = [it for it in picture.over if it is not skips]
    if not over:
        return None
    return tag(
        "details",
        tag("summary", f"{count(len(over), 'earlier interruption')}"),
        tag("ol", [tag("li", _in_short(it, picture)) for it in over]),
        id="earlier",
        class_="earlier",
    )


def _in_short(it: Interruption, picture: Picture) -> list[Child]:
    became = it.back or it.lost
    way = picture.short(it.lost) if it.lost else "the primary"
    way = way if became == it.lost else f"{way} → {picture.short(became)}"
    lasted = precise(it.back_after or 0.0)
    return [clock_time(it.began.wall), " ", way, tag("span", f" back after {lasted}")]
