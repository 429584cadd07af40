"""How Flask gets the session of a request, and its cookie into the response."""

from __future__ import annotations

import logging
from typing import Any, Literal, NamedTuple

from flask import Flask
from flask.sessions import SessionInterface, SessionMixin
from flask.wrappers import Request, Response

from ...errors import InvalidInputError, SessionDataError
from ...sessions.client import Client
from ...sync import SharedState
from ..client_address import Proxies, client_address
from ..cookie import Cookie, Lasting, SameSite, cookie_name
from ..problems import problem_outside
from .answers import put
from .session import Session
from .values import TaggedValues

_log = logging.getLogger(__name__)

_FLASKS_NAME = "session"


class CookieForm(NamedTuple):
    """How the cookie is written, but for its value and age; named as werkzeug has it."""

    key: str
    path: str
    domain: str | None
    secure: bool
    httponly: bool
    samesite: str
    partitioned: bool


class RedisSessionInterface(SessionInterface):
    """Sessions that are kept in Redis, with a cookie as Flask's `SESSION_COOKIE_*` have it.

    Where those say nothing, it is `__Host-session`: Secure, HttpOnly, SameSite=Lax. That of a
    permanent session lasts for `PERMANENT_SESSION_LIFETIME`; the session itself lives as the
    policies file says, or as its login did.

    The cookie also says which version of the session the client has seen, signed, so it is set with
    each change; where it lasts, anew when half of its time is over.

    Where the changes cannot be written, the client gets the problem in place of the response: 409
    where another request has changed the same field, 503 where Redis cannot be asked. If a login or
    a rotation went before, the problem brings the cookie with the new id.

    Args:
        state: where sessions are kept; started by the application.
        secure: for HTTPS only. False is for development.
        trusted: proxies whose word counts for the address that a user is shown beside
            each of their sessions.
        on_conflict: `overwrite` writes what this request has set over what another has.
    """

    def __init__(
        self,
        state: SharedState,
        *,
        secure: bool,
        trusted: Proxies,
        on_conflict: Literal["refuse", "overwrite"] = "refuse",
    ) -> None:
        self._state = state
        self._secure = secure
        self._trusted = trusted
        self._overwrite = on_conflict == "overwrite"
        self._values = TaggedValues()

    def cookie_form(self, app: Flask) -> CookieForm:
        """How the application's cookie is written.

        Raises:
            InvalidInputError: the parts contradict each other; browsers would drop the cookie.
        """
        named = self.get_cookie_name(app)
        path, domain = self.get_cookie_path(app), self.get_cookie_domain(app)
        secure = self._secure or self.get_cookie_secure(app)
        same_site = _same_site(self.get_cookie_samesite(app))
        key = cookie_name(
            None if named == _FLASKS_NAME else named,
            secure=secure,
            same_site=same_site,
            path=path,
            domain=domain,
        )
        return CookieForm(
            key=key,
            path=path,
            domain=domain,
            secure=secure,
            httponly=self.get_cookie_httponly(app),
            samesite=same_site.capitalize(),
            partitioned=self.get_cookie_partitioned(app),
        )

    def open_session(self, app: Flask, request: Request) -> Session:
        """The session of a request, which is not read yet."""
        told = request.headers.getlist(self._trusted.field)
        address = client_address(request.remote_addr, told, self._trusted)
        return Session(
            self._state,
            request.cookies.get(self.cookie_form(app).key),
            overwrite=self._overwrite,
            client=Client(request.headers.get("User-Agent"), address),
            values=self._values,
        )

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write what has changed, and hand the cookie over with the response; or a problem."""
        if not isinstance(session, Session):
            raise TypeError("the session is none of this interface")
        handed = session.hand_over(self._lasting(app, session))
        if handed.error is not None:
            if isinstance(handed.error, SessionDataError):
                # What cannot be stored may be the client's: it is told, and so is the log.
                _log.warning("the session of a request is not written: %s", handed.error.message)
            put(problem_outside(handed.error), response)
        if session.accessed:
            response.vary.add("Cookie")
        form: dict[str, Any] = self.cookie_form(app)._asdict()
        if handed.becomes is Cookie.SET and handed.value is not None:
            response.set_cookie(value=handed.value, max_age=handed.max_age, **form)
        elif handed.becomes is Cookie.DELETE:
            response.delete_cookie(**form)

    def _lasting(self, app: Flask, session: Session) -> Lasting:
        if not session.is_permanent:
            return Lasting(None)
        seconds = int(app.permanent_session_lifetime.total_seconds())
        return Lasting(seconds, rolls=bool(app.config["SESSION_REFRESH_EACH_REQUEST"]))


def _same_site(said: str | None) -> SameSite:
    match (said or "lax").lower():
        case "lax" | "strict" | "none" as known:
            return known
    raise InvalidInputError(
        "SESSION_COOKIE_SAMESITE is nothing that browsers know",
        remedy="set Lax, Strict or None, each as a text",
    )
