"""What makes a Flask application at home: its state, its errors as problems, its sessions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple, cast

import flask
from flask import Flask, Response, current_app, request
from werkzeug.local import LocalProxy

from ...rate_limit.gcra import Decision
from ...sync import SharedState
from ..client_address import AddressSubjects, proxies
from ..headers import joined_fields
from . import answers
from .session import Session
from .session_interface import RedisSessionInterface

_NAME = "aragora"
"""Among `app.extensions`."""
_TOLD = "_aragora_limits"
"""Where in `g` what was decided by limits waits for the response."""


class Told(NamedTuple):
    """What a limit has decided of a request, to be told its client."""

    policy: str
    decision: Decision
    x_fields: dict[str, str]


class Installed(NamedTuple):
    """What an application has of ours."""

    state: SharedState
    addresses: AddressSubjects


class Aragora:
    """The extension. `Aragora(app, state)`, or `Aragora().init_app(app, state)` in a factory.

    It answers our errors as problems (RFC 9457), tells clients of the limits of their routes, and
    keeps `flask.session` in Redis. The state is started by whoever makes it: `state.start()`, which
    a server may do before it forks its workers.

    Args:
        sessions: keep `flask.session` in Redis; False leaves it to Flask.
        secure: the session's cookie is for HTTPS only. False is for development; what else there
            is to say of the cookie is said by Flask's `SESSION_COOKIE_*`.
        trusted_proxies: networks of our own proxies, and `unix` for those that connect to a Unix
            socket, whose `X-Forwarded-For` counts, with `forwarded` their `Forwarded`; none where
            `ProxyFix` has seen to that.
        on_conflict: `overwrite` writes what a request has set in the session over what another has.

    Raises:
        SettingsError: a trusted proxy is neither.
        InvalidInputError: the parts of the session's cookie contradict each other.
    """

    def __init__(
        self,
        app: Flask | None = None,
        state: SharedState | None = None,
        *,
        sessions: bool = True,
        secure: bool = True,
        trusted_proxies: Collection[str] = (),
        on_conflict: Literal["refuse", "overwrite"] = "refuse",
    ) -> None:
        self._sessions = sessions
        self._secure = secure
        self._trusted = proxies(trusted_proxies)
        self._on_conflict = on_conflict
        if app is not None:
            if state is None:
                raise TypeError("give the application its state: Aragora(app, state)")
            self.init_app(app, state)

    def init_app(self, app: Flask, state: SharedState) -> None:
        """Make an application at home, before it answers anything.

        Raises:
            RuntimeError: that was done.
            InvalidInputError: the parts of the session's cookie contradict each other.
        """
        if _NAME in app.extensions:
            raise RuntimeError("this application has an Aragora already")
        if self._sessions:
            interface = RedisSessionInterface(
                state, secure=self._secure, trusted=self._trusted, on_conflict=self._on_conflict
            )
            interface.cookie_form(app)  # so that what cannot be is said here
            app.session_interface = interface
            app.before_request(_read_for_coroutines)
        app.extensions[_NAME] = Installed(state, AddressSubjects(self._trusted))
        app.after_request(_tell_limits)
        answers.register(app)


def installed() -> Installed:
    """What the application of this request has of ours.

    Raises:
        RuntimeError: nothing.
    """
    found = current_app.extensions.get(_NAME)
    if not isinstance(found, Installed):
        raise RuntimeError("call aragora_redis.web.flask.Aragora(app, state) first")  # noqa: TRY004 - the application is wired wrongly, no argument is
    return found


state = cast("SharedState", LocalProxy(lambda: installed().state))
"""The state of the application that handles this request."""


def tell(told: Told) -> None:
    """Have the response tell of a limit."""
    flask.g.setdefault(_TOLD, []).append(told)


def _tell_limits(response: Response) -> Response:
    found: list[Told] = flask.g.get(_TOLD, [])
    for told in found:
        response.headers.update(joined_fields(told.policy, told.decision, response.headers.get))
    for told in reversed(found):  # the last one comes first
        for name, value in told.x_fields.items():
            response.headers.setdefault(name, value)
    return response


def _read_for_coroutines() -> None:
    """Read the session of a view that is a coroutine, and could not wait when it is touched."""
    view = current_app.view_functions.get(request.endpoint or "")
    if any(inspect.iscoroutinefunction(inspect.unwrap(each)) for each in _answering(view)):
        session = flask.session
        if isinstance(session, Session):
            session.try_load()


def _answering(view: Callable[..., Any] | None) -> list[Callable[..., Any]]:
    """What answers this request: a view, and the methods that one of a class goes on to."""
    there = getattr(view, "view_class", None)
    method = request.method.lower()
    if method == "head" and not hasattr(there, method):
        method = "get"
    found = [view, getattr(there, "dispatch_request", None), getattr(there, method, None)]
    return [each for each in found if each is not None]
