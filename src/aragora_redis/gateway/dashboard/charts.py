"""What was counted in the last minute: decisions, their latency, refusals, sessions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..latency import Latency, latency_of
from .figures import Refused
from .health import SOURCES
from .markup import Html, join, tag
from .rates import SECONDS, Rate
from .wording import millis, per_second

_BAR = 20
_SESSIONS = {
    "redis": "Read from Redis",
    "copy": "Read as a copy, Redis away",
    "local": "Read here",
    "changes": "Changes",
    "unknown-key": "Sealed with an unknown key",
    "tampered": "Tampered with",
    "plain": "Not sealed",
    "not-json": "Unreadable",
    "rolled-back": "Older than their client's",
}
_KEYS = (None, "allowed", "refused", None)
"""What the columns of a table of rates explain of its bars."""
_SLOWEST = 0.001
"""Seconds that the chart of latency reaches at least."""


def decisions(rates: Iterable[Rate]) -> Html:
    """Who has decided about rate limits, over the last minute."""
    return _rated(
        "decisions",
        "Decisions by source",
        rates,
        SOURCES,
        heads=("Source", "Allowed", "Refused", "Last minute"),
        quiet="No rate limit was checked here in the last minute.",
    )


def sessions(rates: Iterable[Rate]) -> Html:
    """What became of sessions, over the last minute."""
    return _rated(
        "sessions",
        "Sessions",
        rates,
        _SESSIONS,
        heads=("What", "Well", "Not", "Last minute"),
        quiet="No session was read or changed here in the last minute.",
    )


def _rated(
    name: str,
    title: str,
    rates: Iterable[Rate],
    words: dict[str, str],
    *,
    heads: tuple[str, ...],
    quiet: str,
) -> Html:
    heading = tag("h2", title, id=f"{name}-title")
    busy = [rate for rate in rates if any(rate.allowed) or any(rate.refused)]
    if not busy:
        return join((heading, tag("p", quiet, class_="quiet")))
    top = max(a + r for rate in busy for a, r in zip(rate.allowed, rate.refused, strict=True))
    return join(
        (
            heading,
            tag(
                "table",
                tag("thead", tag("tr", [_head(*each) for each in zip(heads, _KEYS, strict=True)])),
                tag("tbody", [_rate(rate, words, top) for rate in busy]),
            ),
        )
    )


def _head(text: str, key: str | None) -> Html:
    return tag("th", text, scope="col", data_key=key)


def _rate(rate: Rate, words: dict[str, str], top: int) -> Html:
    allowed, refused = sum(rate.allowed), sum(rate.refused)
    return tag(
        "tr",
        tag("th", words.get(rate.source, rate.source), scope="row"),
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
        class_="chart",
        viewBox=f"0 0 {SECONDS} {_BAR}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"at most {top} in a second",
    )


def _bar(second: int, foot: float, height: float) -> str:
    return f"M{second} {foot:.2f}v-{height:.2f}h.75v{height:.2f}z"


def latency(rows: Sequence[Sequence[int]]) -> Html:
    """How long checks of limits and tokens took over HTTP."""
    title = tag("h2", "Latency of checks", id="latency-title")
    seen = latency_of(rows)
    if seen is None:
        quiet = "No limit or token was checked over HTTP in the last minute."
        return join((title, tag("p", quiet, class_="quiet")))
    shown = (
        ("half within", millis(seen.median), "median"),
        ("99 of 100 within", millis(seen.tail), "tail"),
        ("checks in a minute", f"{seen.count:,}", None),
    )
    return join(
        (
            title,
            tag(
                "dl",
                [
                    tag("div", tag("dt", name, data_line=line), tag("dd", text))
                    for name, text, line in shown
                ],
                class_="figures",
            ),
            _lines(seen),
        )
    )


def _lines(seen: Latency) -> Html:
    known = [value for value in seen.tails if value is not None]
    top = max(*known, _SLOWEST)

    def line(values: Sequence[float | None], kind: str) -> Html:
        parts, pen = [], "M"
        for second, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            high = _BAR - _BAR * value / top
            parts.append(f"{pen}{second} {high:.2f}h1")
            pen = "L"
        return tag("path", d="".join(parts), class_=kind)

    return tag(
        "svg",
        line(seen.tails, "tail"),
        line(seen.medians, "median"),
        class_="chart lines",
        viewBox=f"0 0 {SECONDS} {_BAR}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"the last minute: at most {millis(top)} for 99 of 100 in a second",
    )


def subjects(refused: Sequence[Refused]) -> Html:
    """Whom limits refuse most."""
    title = tag("h2", "Most refused subjects", id="subjects-title")
    if not refused:
        return join((title, tag("p", "Nobody was refused in the last minutes.", class_="quiet")))
    heads = ("Limit", "Subject (digest)", "Refused")
    top = refused[0].count
    return join(
        (
            title,
            tag(
                "table",
                tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
                tag("tbody", [_subject(row, top) for row in refused]),
            ),
            tag(
                "p",
                "In the last one to two minutes. Only digests are known: ",
                tag("code", "aragora-redis limits look --json"),
                " tells that of a subject.",
                class_="quiet",
            ),
        )
    )


def _subject(row: Refused, top: int) -> Html:
    share = tag(
        "svg",
        tag("rect", width=f"{100 * row.count / top:.0f}", height=1),
        class_="share",
        viewBox="0 0 100 1",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return tag(
        "tr",
        tag("th", row.policy, scope="row"),
        tag("td", tag("code", row.digest)),
        tag("td", f"{row.count:,}", share, class_="counted"),
    )
