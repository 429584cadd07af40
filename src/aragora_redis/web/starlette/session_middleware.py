"""Middleware that gives requests a session, and responses its cookie."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from typing import Literal

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ...errors import AragoraRedisError, SessionDataError
from ...sessions.client import Client
from ...state.shared import SharedState
from ..client_address import client_address, proxies
from ..cookie import GivenMaxAge, Lasting, SameSite, max_age_of
from ..paths import listed_paths
from ..problems import Problem, problem_outside
from ..session import WebSession
from .asgi import answer, is_below, response_of
from .session_cookie import CookieForm
from .session_socket import Save, SocketSession

_log = logging.getLogger(__name__)

_FAILED = 500


class SessionMiddleware:
    """`request.session` as Starlette's users know it, kept in Redis.

    A request without the cookie costs no round trip, and none begins a session before something is
    put into it. With the cookie the session is read before the application runs, since
    `request.session` cannot wait when it is touched; leave out paths by `exclude`, or read it when
    it is needed by `await request.session.load()` (`load="explicit"`). Where it cannot be read,
    only a request that touches it fails.

    The cookie also says which version of the session the client has seen, signed: where Redis holds
    an older one, which a failover or a restored backup can leave, the client is to log in again. It
    is set with each change.

    The changes are written when the response starts, once, and only if there are any. Where that
    fails, nothing of the response has been sent, and the client gets the problem instead: 409 where
    another request has changed the same field, 503 where Redis cannot be asked. If a login or a
    rotation went before, the problem brings the cookie with the new id.

    What is changed later, as by a background task, needs `await session.save()`. No cookie can be
    sent any more: a login, a rotation, and a first session are refused then.

    A WebSocket's session is written when it is accepted and when it ends, or by `await
    session.save()` meanwhile. Once it is accepted no cookie can be sent either. Where the changes
    cannot be written, it is closed with 1011, or 1013 where Redis cannot be asked.

    Args:
        state: started by the application, see `web.fastapi.lifespan`.
        cookie: its name; `__Host-session` by default, `session` without `secure`.
        secure: for HTTPS only. False is for development.
        max_age: how long browsers keep it, in seconds or as a `timedelta`; `session` for as long as
            its session may be unused, None until they are closed. Who uses the session gets it anew
            when half of that is over.
        exclude: paths, with all below them, that have no session; without `root_path`.
        trusted_proxies: networks of our own proxies, and `unix` for those that connect to a Unix
            socket: their `X-Forwarded-For`, with `forwarded` their `Forwarded`, counts for the
            address that a user is shown beside each of their sessions.
        on_conflict: `overwrite` writes what this request has set over what another has.

    Raises:
        TypeError: `exclude` is no list of paths.
        InvalidInputError: one of them does not begin with "/", the cookie's parts contradict each
            other, or `max_age` is no span of time.
        SettingsError: a trusted proxy is neither.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: SharedState,
        cookie: str | None = None,
        secure: bool = True,
        same_site: SameSite = "lax",
        path: str = "/",
        max_age: GivenMaxAge = None,
        exclude: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        on_conflict: Literal["refuse", "overwrite"] = "refuse",
        load: Literal["auto", "explicit"] = "auto",
    ) -> None:
        self._app = app
        self._state = state
        self._cookie = CookieForm(cookie, secure=secure, same_site=same_site, path=path)
        self._lasting = Lasting(max_age_of(max_age))
        self._exclude = listed_paths(exclude, "exclude")
        self._overwrite = on_conflict == "overwrite"
        self._auto = load == "auto"
        self._trusted = proxies(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its session."""
        if scope["type"] not in {"http", "websocket"} or is_below(scope, self._exclude):
            await self._app(scope, receive, send)
            return
        presented = HTTPConnection(scope).cookies.get(self._cookie.name)
        session = WebSession(
            self._state.sessions,
            presented,
            overwrite=self._overwrite,
            client=self._client(scope),
            lasting=self._lasting,
        )
        if self._auto:
            await session.try_load()
        scope["session"] = session
        if scope["type"] == "websocket":
            await self._socket(session, scope, receive, send)
            return
        save = partial(self._save, session, scope)
        response = _Response(session, self._cookie, send, save)
        try:
            await self._app(scope, receive, response.send)
        except AragoraRedisError as error:
            if error is not session.told:
                raise
            if not response.started:
                await answer(problem_outside(error), scope, receive, send)
            elif not response.replaced:
                raise

    async def _save(self, session: WebSession, scope: Scope) -> None:  # noqa: ARG002 - Litestar's has use for it
        """Write what has changed, where a response starts or a WebSocket opens or ends.

        Raises:
            AragoraRedisError: as for `WebSession.save`.
        """
        await session.save()

    async def _socket(
        self, session: WebSession, scope: Scope, receive: Receive, send: Send
    ) -> None:
        save = partial(self._save, session, scope)
        socket = SocketSession(session, self._cookie, receive, send, save)
        try:
            await self._app(scope, socket.receive, socket.send)
        except WebSocketDisconnect:
            await socket.finish()
            raise
        except AragoraRedisError as error:
            if error is not session.told or socket.accepted:
                raise
            await answer(problem_outside(error), scope, receive, send)
        else:
            await socket.finish()

    def _client(self, scope: Scope) -> Client:
        headers = Headers(scope=scope)
        peer = scope.get("client")
        told = headers.getlist(self._trusted.field)
        address = client_address(peer[0] if peer else None, told, self._trusted)
        return Client(headers.get("user-agent"), address)


class _Response:
    """Passes a response on behind the writing of its session, or puts a problem in its place."""

    def __init__(self, session: WebSession, cookie: CookieForm, send: Send, save: Save) -> None:
        self._session = session
        self._cookie = cookie
        self._send = send
        self._save = save
        self.replaced = False
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            problem = await self._written(message)
            if problem is not None:
                await self._put(problem)
                return
            self._add_cookie(message)
        if not self.replaced:
            await self._send(message)

    def _add_cookie(self, start: Message) -> None:
        """Add what becomes of the cookie, which is sent with this and not after it."""
        self._cookie.add_fields(self._session, start)
        self._session.keep_id()

    async def _written(self, start: Message) -> Problem | None:
        """None once the session is written; else what is put in the place of the response."""
        told = self._session.told
        if told is not None and start["status"] == _FAILED:
            # The application's own handler of errors was nearer, and knows less.
            return problem_outside(told)
        try:
            await self._save()
        except AragoraRedisError as error:
            if isinstance(error, SessionDataError):
                # What cannot be stored may be the client's: it is told, and so is the log.
                _log.warning("the session of a request is not written: %s", error.message)
            return problem_outside(error)
        return None

    async def _put(self, problem: Problem) -> None:
        self.replaced = True
        response = response_of(problem)
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
        # A login or a rotation has given it a new id, whatever could not be written after that.
        self._add_cookie(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": bytes(response.body)})
