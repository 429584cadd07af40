"""The headline: how it is in one sentence, and the interruption as it unfolds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .markup import Child, Html, join, tag
from .picture import Picture
from .timeline import Interruption
from .wording import clock_time, seconds

Tone = Literal["good", "busy", "bad"]
_GLYPHS: Mapping[Tone, str] = {"good": "●", "busy": "▲", "bad": "■"}


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
        return Headline(
            "busy", "Failing over", "The Sentinels miss the primary and are replacing it."
        )
    if status.health == "degraded":
        return Headline("bad", "Degraded", f"Redis cannot be used: {status.reason}")
    if not status.ready:
        return Headline("busy", "Starting", "The revocations are not loaded yet.")
    if status.mode == "embedded":
        return Headline("good", "Healthy", "Embedded: the state lives in this process.")
    primary = picture.name(status.primary) if status.primary else "Redis"
    return Headline("good", "Healthy", f"{primary} is the primary.")


def health(picture: Picture) -> Html:
    """The section."""
    said = headline(picture)
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
            interruption(picture) if picture.interruption is not None else None,
            _troubles(picture.status.troubles) if said.tone != "good" else None,
        )
    )


def _since(picture: Picture) -> Html | None:
    reign = picture.reign
    if reign is None:
        return None
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


def interruption(picture: Picture) -> Html | None:
    """The last time without a primary, step by step."""
    it = picture.interruption
    if it is None:
        return None
    ongoing = it.back_after is None
    lasted = seconds(it.lasted(picture.at.monotonic))
    without = "Writes are refused" if it.refused else "Without the primary"
    title = f"{without} for {lasted}" if ongoing else f"Last interruption: back after {lasted}"
    return tag(
        "div",
        tag("h3", title),
        tag("ol", _steps(it, picture), class_="steps"),
        tag(
            "p",
            "Meanwhile limits are decided by the outage policy, and known revocations hold.",
            class_="quiet",
        )
        if ongoing
        else None,
        class_="interruption",
        data_ongoing="true" if ongoing else "false",
    )


def _steps(it: Interruption, picture: Picture) -> list[Html]:
    lost = f"{picture.name(it.lost)} {'refuses writes' if it.refused else 'lost'}"
    lost = lost if it.lost else "No primary reached"
    steps = [_step("done", lost, clock_time(it.began.wall), it.reason)]
    elects = picture.status.mode == "sentinel" and not it.refused
    if it.chosen is not None and it.chosen_after is not None:
        chosen = f"{picture.name(it.chosen)} chosen"
        epoch = "" if it.epoch is None else f"epoch {it.epoch}"
        steps.append(_step("done", chosen, f"+{seconds(it.chosen_after)}", epoch))
    elif it.back_after is None and elects:
        waits = (
            "The Sentinels are choosing"
            if picture.status.health == "failing-over"
            else "The Sentinels have not missed it yet"
        )
        steps.append(_step("now", "Another primary chosen", waits))
    if it.back is not None and it.back_after is not None:
        steps.append(
            _step("done", f"Writing to {picture.name(it.back)}", f"+{seconds(it.back_after)}")
        )
    else:
        follows = it.chosen is not None or not elects
        steps.append(_step("now" if follows else "next", "Writing again", "connecting"))
    return steps


def _step(state: str, title: str, when: Child, detail: str = "") -> Html:
    known = "" if state == "done" else {"now": "under way", "next": "to come"}[state]
    return tag(
        "li",
        tag("span", f"{known}: ", class_="unseen") if known else None,
        tag("b", title),
        tag("span", when, class_="when") if state != "next" else None,
        tag("span", detail, class_="detail") if detail else None,
        data_state=state,
        aria_current="step" if state == "now" else None,
    )
