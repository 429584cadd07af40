"""The pages as they are served, complete without the script. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..auth import Role
from .acts import KINDS, LASTS
from .assets import Asset
from .logins import Login
from .markup import Child, Html, document, join, tag
from .topology import ASK, FORM

RELOAD = 5
"""Seconds between two reloads in a browser without scripts."""
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='8' cy='4' r='3' fill='%230f766e'/%3E%3Ccircle cx='4' cy='12' r='2.5' "
    "fill='%2394a3b8'/%3E%3Ccircle cx='12' cy='12' r='2.5' fill='%2394a3b8'/%3E%3C/svg%3E"
)
STILL = "still"
"""Parameter of the page that does not reload."""
_TITLE = "aragora-redis"
_SKIP = "skip"


def dashboard(
    parts: Mapping[str, Html],
    login: Login,
    assets: Mapping[str, Asset],
    *,
    instance: str,
    reloads: bool,
) -> Html:
    """The page; without a script it `reloads` by itself, or stands still for who types."""
    return document(
        _head(assets, live=True, reloads=reloads),
        tag(
            "body",
            tag("a", "Skip to the topology", href="#topology", class_=_SKIP),
            tag(
                "header",
                tag("h1", _TITLE, tag("span", instance, class_="instance")),
                tag("p", "Not live", id="liveness", data_state="off"),
                _form(
                    "/dashboard/logout",
                    login,
                    tag("button", "Log out", type="submit", class_="plain"),
                ),
            ),
            tag("p", id="announcer", class_="unseen", role="status", aria_live="polite"),
            tag(
                "main",
                [_section(name, content) for name, content in parts.items()],
                _by_hand(login) if login.role >= Role.ADMIN else None,
            ),
            _form("/dashboard/lab", login, id_=FORM),
            _form("/dashboard/ask", login, id_=ASK, asks=True),
            tag("dialog", id="dialog", aria_labelledby="ask-title"),
        ),
    )


def asking(content: Html, assets: Mapping[str, Asset]) -> Html:
    """A page that asks or tells one thing."""
    return document(_head(assets, live=False), tag("body", content))


def login(assets: Mapping[str, Asset], *, fault: str | None = None) -> Html:
    """The form that asks for a token."""
    return document(
        _head(assets, live=False),
        tag(
            "body",
            tag(
                "main",
                tag("h1", _TITLE),
                tag(
                    "form",
                    tag("p", fault, class_="fault", role="alert", id="fault") if fault else None,
                    tag("label", "Token", for_="token"),
                    tag(
                        "input",
                        id="token",
                        name="token",
                        type="password",
                        autocomplete="current-password",
                        required=True,
                        autofocus=True,
                        spellcheck="false",
                        aria_describedby="hint fault" if fault else "hint",
                        aria_invalid="true" if fault else None,
                    ),
                    tag("button", "Log in", type="submit"),
                    tag(
                        "p",
                        "The admin token, or the gateway token to look and change nothing. ",
                        tag("code", "aragora-redis up"),
                        " keeps both as files in its directory.",
                        class_="quiet",
                        id="hint",
                    ),
                    method="post",
                    action="/dashboard/login",
                ),
                class_="login",
            ),
        ),
    )


def _head(assets: Mapping[str, Asset], *, live: bool, reloads: bool = False) -> Html:
    def script(name: str, **attributes: str | bool) -> Html:
        return tag("script", src=assets[name].url, **attributes)

    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", _TITLE),
        tag("link", rel="icon", href=_ICON),
        tag("link", rel="stylesheet", href=assets["dashboard.css"].url),
        join(
            (
                script("idiomorph.min.js", defer=True),
                script("dashboard.js", type="module"),
                tag("noscript", tag("meta", http_equiv="refresh", content=RELOAD))
                if reloads
                else Html(),
            )
        )
        if live
        else None,
    )


def _section(name: str, content: Html) -> Html:
    return tag("section", content, id=name, aria_labelledby=f"{name}-title")


def _by_hand(login: Login) -> Html:
    """What needs to be typed; it never changes, so that nobody's typing is disturbed."""
    return tag(
        "section",
        tag("h2", "By hand", id="hand-title"),
        tag(
            "noscript",
            tag("p", tag("a", "Stop reloading this page, to type", href=f"/dashboard?{STILL}")),
        ),
        tag(
            "div",
            _act(
                "revoke",
                "Revoke tokens",
                login,
                _choice("kind", "revoke-kind", "Of a", KINDS),
                _field("who", "revoke-who", "Which", type_="text"),
                tag(
                    "div",
                    _field("days", "revoke-days", "It expires within days", type_="number"),
                    class_="of-token",
                ),
            ),
            _act(
                "sessions",
                "A user's sessions",
                login,
                _field("who", "sessions-who", "User", type_="text"),
                button="Look them up",
            ),
            _act(
                "circuit",
                "Force a circuit",
                login,
                _field("target", "circuit-target", "Circuit", type_="text"),
                _choice(
                    "state",
                    "circuit-state",
                    "Hold it",
                    {"open": "open", "closed": "closed", "auto": "as its calls decide"},
                ),
                _choice("lasts", "circuit-lasts", "For", LASTS),
            ),
            class_="hands",
        ),
        id="hand",
        aria_labelledby="hand-title",
    )


def _act(verb: str, title: str, login: Login, *fields: Child, button: str = "Continue …") -> Html:
    return tag(
        "form",
        tag("h3", title),
        tag("input", type="hidden", name="csrf", value=login.csrf),
        tag("input", type="hidden", name="act", value=verb),
        *fields,
        tag("button", button, type="submit"),
        method="post",
        action="/dashboard/ask",
        data_asks=True,
    )


def _field(name: str, id_: str, label: str, *, type_: str) -> list[Html]:
    number = type_ == "number"
    return [
        tag("label", label, for_=id_),
        tag(
            "input",
            id=id_,
            name=name,
            type=type_,
            required=True,
            autocomplete="off",
            autocapitalize="off",
            spellcheck="false",
            maxlength=None if number else 1024,
            min=1 if number else None,
            max=366 if number else None,
            value=1 if number else None,
        ),
    ]


def _choice(name: str, id_: str, label: str, options: Mapping[str, str]) -> list[Html]:
    return [
        tag("label", label, for_=id_),
        tag(
            "select",
            [tag("option", text, value=value) for value, text in options.items()],
            id=id_,
            name=name,
        ),
    ]


def _form(
    action: str, login: Login, *children: Html, id_: str | None = None, asks: bool = False
) -> Html:
    return tag(
        "form",
        tag("input", type="hidden", name="csrf", value=login.csrf),
        *children,
        method="post",
        action=action,
        id=id_,
        data_asks=asks,
    )
