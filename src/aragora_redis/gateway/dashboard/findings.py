"""What `aragora-redis doctor` finds, with what mends it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...ops.report import Status
from .markup import Html, join, tag
from .picture import Scene

if TYPE_CHECKING:
    from ...ops.doctor import Examination
    from ...ops.doctor.diagnosis import Diagnosis

_GLYPHS = {Status.WARNING: "▲", Status.CRITICAL: "■", Status.UNKNOWN: "○", Status.OK: "●"}
_TONES = {Status.WARNING: "busy", Status.CRITICAL: "bad", Status.UNKNOWN: "busy", Status.OK: "good"}
_WELL = tag("span", "✓ ", aria_hidden="true", class_="glyph")


def findings(scenes: Sequence[Scene]) -> Html:
    """The section."""
    title = tag("h2", "Doctor", id="doctor-title")
    found = {each.features: each.sight.examination for each in scenes}
    examined = {features: known for features, known in found.items() if known is not None}
    waits = [_waits(each) for each in scenes if found[each.features] is None]
    return join((title, _told(_together(examined)) if examined else None, *waits))


def _waits(scene: Scene) -> Html:
    said = scene.sight.trouble or "Asking all servers …"
    return tag("p", f"{scene.title}: {said}" if scene.features else said, class_="quiet")


def _together(examined: Mapping[str, Examination]) -> Examination:
    from ...ops.doctor import Examination  # noqa: PLC0415 - a gateway starts without it

    if len(examined) == 1 and "" in examined:
        return examined[""]
    return Examination.of_several(examined)


def _told(found: Examination) -> Html:
    notes = [tag("li", note) for note in found.notes]
    return join(
        (
            tag("ul", [_diagnosis(each) for each in found.diagnoses], class_="findings")
            if found.diagnoses
            else tag(
                "p", tag("span", "✓ ", aria_hidden="true", class_="glyph"), found.headline[4:]
            ),
            tag("ul", notes, class_="quiet") if notes else None,
        )
    )


def _diagnosis(each: Diagnosis) -> Html:
    return tag(
        "li",
        tag(
            "details",
            tag(
                "summary",
                tag("span", f"{_GLYPHS[each.status]} ", aria_hidden="true", class_="glyph"),
                tag("b", each.status.name),
                f" {each.subject} {each.evidence}",
            ),
            tag(
                "dl",
                tag("div", tag("dt", "so"), tag("dd", each.consequence)),
                tag("div", tag("dt", "fix"), tag("dd", tag("code", each.fix))),
            ),
            id=f"finding-{each.name}-{each.subject}".replace(" ", "-"),
            open=True if each.status is Status.CRITICAL else None,
        ),
        data_tone=_TONES[each.status],
    )
