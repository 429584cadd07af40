"""The pages that ask before something is done, and tell what became of it. Pure.

They are pages of their own, and shown in a dialog where the script runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ...errors import Ran
from ...sessions.stored import SessionInfo
from ...telemetry.words import Told
from .acts import Question, Wish
from .logins import Login
from .markup import Child, Html, join, tag
from .wording import ago, count

REASON = 200
"""Characters of a reason."""
LISTED = 50
"""Sessions that are listed: those that were seen last."""


def asked(question: Question, wish: Wish, login: Login) -> Html:
    """What will happen, and the button that does it."""
    said = {
        "What happens": question.happens,
        "Who is affected": question.affected,
        "For how long": question.lasts,
        "Can it be undone": question.undone,
    }
    title = tag("h1", question.title, id="ask-title", tabindex=-1)
    if question.refusal is not None:
        return _content(title, tag("p", question.refusal, class_="fault", role="alert"), _back())
    return _content(
        title,
        tag("dl", [tag("div", tag("dt", name), tag("dd", text)) for name, text in said.items()]),
        _form(
            "/dashboard/do",
            login,
            wish.fields,
            tag("label", "Reason, for the record", for_="reason"),
            tag(
                "input",
                id="reason",
                name="reason",
                maxlength=REASON,
                autocomplete="off",
            ),
            tag(
                "div",
                tag("button", question.button, type="submit", class_="strong"),
                _cancel(),
                class_="lever-row",
            ),
        ),
    )


def told(said: Told) -> Html:
    """What became of it."""
    good = said.level < logging.WARNING
    return _content(
        tag("h1", "Done" if good else "Not all is done", id="ask-title", tabindex=-1),
        tag("p", said.text, role="status", class_=None if good else "fault"),
        _back(),
    )


_ENDED = {
    Ran.NO: "It was not done",
    Ran.UNKNOWN: "Nobody knows whether it was done",
    Ran.YES: "It was done, and not all is well",
}


def failed(text: str, ran: Ran = Ran.NO) -> Html:
    """It was not done, or nobody knows."""
    return _content(
        tag("h1", _ENDED[ran], id="ask-title", tabindex=-1),
        tag("p", text, class_="fault", role="alert"),
        _back(),
    )


def sessions(found: Iterable[SessionInfo], wish: Wish, login: Login, now: float) -> Html:
    """The sessions of a user, each with what ends it."""
    rows = sorted(found, key=lambda row: -row.seen_at)
    more = len(rows) - LISTED
    title = tag("h1", f"This user has {count(len(rows), 'session')}", id="ask-title", tabindex=-1)
    if not rows:
        return _content(title, _back())
    heads = ("Used from", "Last seen", "Begun", "")
    return _content(
        title,
        tag(
            "div",
            tag(
                "table",
                tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
                tag("tbody", [_session(row, wish, login, now) for row in rows[:LISTED]]),
            ),
            class_="scrolls",
            tabindex=0,
            role="group",
            aria_label="Sessions",
        ),
        tag("p", f"and {more} that were seen before", class_="quiet") if more > 0 else None,
        _form(
            "/dashboard/ask",
            login,
            {"act": "end-sessions", "who": wish.who},
            tag(
                "div",
                tag("button", "End all …", type="submit", class_="strong"),
                _cancel("Close"),
                class_="lever-row",
            ),
        ),
    )


def _session(row: SessionInfo, wish: Wish, login: Login, now: float) -> Html:
    device = row.device or "not remembered"
    return tag(
        "tr",
        tag("th", device, tag("br") if row.address else None, row.address, scope="row"),
        tag("td", ago(now - row.seen_at)),
        tag("td", ago(now - row.created_at)),
        tag(
            "td",
            _form(
                "/dashboard/ask",
                login,
                {"act": f"end-session {row.handle}", "who": wish.who},
                tag("button", "End …", type="submit", aria_label=f"End the session of {device}"),
            ),
        ),
    )


def _content(*parts: Child) -> Html:
    return tag("main", *parts, class_="asking")


def _form(action: str, login: Login, fields: Mapping[str, str], *children: Child) -> Html:
    hidden = {"csrf": login.csrf} | dict(fields)
    return tag(
        "form",
        join(tag("input", type="hidden", name=name, value=value) for name, value in hidden.items()),
        *children,
        method="post",
        action=action,
        data_asks=True,
    )


def _back() -> Html:
    return tag("p", _cancel("Close"))


def _cancel(text: str = "Cancel") -> Html:
    """A link back; in a dialog it closes that."""
    return tag("a", text, href="/dashboard", class_="button", data_closes=True)
