"""The session of a WebSocket: its cookie goes out with the handshake, its changes with the end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send

from ...errors import AragoraRedisError
from ..problems import problem_outside
from ..session import WebSession
from .asgi import closing
from .session_cookie import CookieForm

_log = logging.getLogger(__name__)

Save = Callable[[], Awaitable[None]]
"""Writes a session; raises as `WebSession.save` does."""


class SocketSession:
    """Writes the session of a WebSocket where it is accepted, and where it ends.

    What was put into it until the handshake is written with that, and the cookie sent. After it no
    cookie can be sent, so the session keeps its id and cannot begin; what changes is written when
    the application closes the socket or is done with it. Where that fails, the client is told by
    the close code.
    """

    def __init__(
        self, session: WebSession, cookie: CookieForm, receive: Receive, send: Send, save: Save
    ) -> None:
        self._session = session
        self._save = save
        self._cookie = cookie
        self._receive = receive
        self._send = send
        self._over = False
        self._failed = False
        self.accepted = False

    async def receive(self) -> Message:
        """What the client sends."""
        message = await self._receive()
        self._over = self._over or message["type"] == "websocket.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends, behind the writing of the session.

        Raises:
            OSError: the socket has ended; Starlette makes a `WebSocketDisconnect` of it.
        """
        if self._over:
            # What else is sent then is finite; data would be sent for ever by one who only sends.
            if message["type"] == "websocket.send":
                raise OSError("the WebSocket has ended")
            return
        if message["type"] in {"websocket.accept", "websocket.http.response.start"}:
            if (trouble := await self._written()) is not None:
                await self._close(trouble)
                return
            self.accepted = True
            self._cookie.add_fields(self._session, message)
            self._session.keep_id()
        elif message["type"] == "websocket.close":
            self._session.keep_id()
            trouble = await self._written()
            await self._close(message if trouble is None else trouble)
            return
        await self._send(message)

    async def finish(self) -> None:
        """Write what has changed, once the application is done with the socket."""
        self._session.keep_id()
        trouble = None if self._failed else await self._written()
        if trouble is not None and self.accepted and not self._over:
            await self._close(trouble)

    async def _close(self, message: Message) -> None:
        self._over = True
        await self._send(message)

    async def _written(self) -> Message | None:
        """None once the session is written; else what closes the socket for it."""
        try:
            await self._save()
        except AragoraRedisError as error:
            self._failed = True
            _log.warning("the session of a WebSocket is not written: %s", error.message)
            return closing(problem_outside(error))
        return None
