"""Django's `SessionMiddleware`, which answers what it cannot read or write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.sessions import middleware
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from ...errors import AragoraRedisError, SessionDataError
from ...state.sessions.store import NO_ANSWER
from .answers import answer_to
from .clients import client_of
from .sessions import SessionStore
from .state import get_state

_log = logging.getLogger(__name__)


class SessionMiddleware(middleware.SessionMiddleware):
    """Stands in the place of Django's, with `SESSION_ENGINE = "aragora_redis.web.django.sessions"`.

    Where the session cannot be read or written, the client gets a problem: 503 where Redis cannot
    be asked, 409 where its user has too many, 422 where it holds what cannot be stored. Nothing of
    the response was sent then; if `login` or `cycle_key` went before, the problem brings the new
    key. It also tells the session where it is used from, and leaves the client the cookie of a
    session that has ended: it opens nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        get_state()

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session; it is read when it is needed."""
        super().process_request(request)
        request.session.client = client_of(request)  # type: ignore[attr-defined]

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Write the session, and send the cookie."""
        answer = self._written(request, response)
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            # Django leaves the cookie out, but has given the session another id before.
            _bring_new_id(request, answer)
        return answer

    def _written(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """The response, with what Django does about the session; or the problem of that."""
        session = getattr(request, "session", None)
        told = getattr(session, "told", None)
        if told is not None and response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            # Django's own handler of errors was nearer, and knows less.
            return answer_to(told) or response
        try:
            if _cannot_be_renewed(session):
                # Nothing is to be written, so an outage costs the cookie alone.
                patch_vary_headers(response, ("Cookie",))
                return response
            answer = super().process_response(request, response)
        except AragoraRedisError as error:
            if isinstance(error, SessionDataError):
                # What cannot be stored may be the client's: it is told, and so is the log.
                _log.warning("the session of a request is not written: %s", error.message)
            instead = answer_to(error) or response
            # What could not be written after a login or `cycle_key` has not undone that.
            _bring_new_id(request, instead)
            return instead
        name = settings.SESSION_COOKIE_NAME
        lost = getattr(session, "lost", False) and not request.session.modified
        unproven = getattr(session, "unproven", False) and request.session.session_key is not None
        if lost or unproven:
            # The key may be that of before a login, which has given the client another by now.
            answer.cookies.pop(name, None)
        elif session and name in answer.cookies and session.session_key is None:
            # `set_expiry` has given it a time that is over; Django sends what is no key.
            answer.delete_cookie(
                name,
                path=settings.SESSION_COOKIE_PATH,
                domain=settings.SESSION_COOKIE_DOMAIN,
                samesite=settings.SESSION_COOKIE_SAMESITE,
            )
        return answer

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The answer where a view has met that its session cannot be used."""
        told = getattr(getattr(request, "session", None), "told", None)
        return answer_to(exception) if exception is told else None


def _cannot_be_renewed(session: SessionBase | None) -> bool:
    """Whether a session is saved only for its cookie to last anew, and Redis cannot be asked.

    Django reads it for the cookie's age, but has decided to save it by then: where the client's key
    opens nothing, each of its requests would begin a session that nobody has the key of. So it is
    read here, if it was not before.
    """
    if (
        session is None
        or session.session_key is None
        or session.modified
        or not settings.SESSION_SAVE_EVERY_REQUEST
    ):
        return False
    try:
        session.get_expiry_age()
    except NO_ANSWER:
        return True
    return False


def _bring_new_id(request: HttpRequest, response: HttpResponse) -> None:
    """Send the client the key that this request has made, as Django sends one; if it has."""
    session = getattr(request, "session", None)
    if not isinstance(session, SessionStore) or not session.has_new_id:
        return
    closes = session.get_expire_at_browser_close()
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        session.session_key or "",
        max_age=None if closes else session.get_expiry_age(),
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=settings.SESSION_COOKIE_HTTPONLY,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
    patch_vary_headers(response, ("Cookie",))
