"""The pages as they are served, complete without the script. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .assets import Asset
from .logins import Login
from .markup import Html, document, join, tag
from .sections import FORM

RELOAD = 5
"""Seconds between two reloads in a browser without scripts."""
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='8' cy='4' r='3' fill='%230f766e'/%3E%3Ccircle cx='4' cy='12' r='2.5' "
    "fill='%2394a3b8'/%3E%3Ccircle cx='12' cy='12' r='2.5' fill='%2394a3b8'/%3E%3C/svg%3E"
)
_TITLE = "aragora-redis"


def dashboard(
    parts: Mapping[str, Html], login: Login, assets: Mapping[str, Asset], *, instance: str
) -> Html:
    """The page."""
    return document(
        _head(assets, live=True),
        tag(
            "body",
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
            tag("main", [_section(name, content) for name, content in parts.items()]),
            _form("/dashboard/lab", login, id_=FORM),
        ),
    )


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


def _head(assets: Mapping[str, Asset], *, live: bool) -> Html:
    style, script = assets["dashboard.css"], assets["dashboard.js"]
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", _TITLE),
        tag("link", rel="icon", href=_ICON),
        tag("link", rel="stylesheet", href=style.url),
        join(
            (
                tag("script", type="module", src=script.url),
                tag("noscript", tag("meta", http_equiv="refresh", content=RELOAD)),
            )
        )
        if live
        else None,
    )


def _section(name: str, content: Html) -> Html:
    return tag("section", content, id=name, aria_labelledby=f"{name}-title")


def _form(action: str, login: Login, *children: Html, id_: str | None = None) -> Html:
    return tag(
        "form",
        tag("input", type="hidden", name="csrf", value=login.csrf),
        *children,
        method="post",
        action=action,
        id=id_,
    )
