"""The cookie of a session, as browsers are sent it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message

from ..cookie import Cookie, SameSite, cookie_name
from ..session import WebSession


class CookieForm:
    """How the cookie is written (RFC 6265bis).

    Raises:
        InvalidInputError: the parts contradict each other; browsers would drop the cookie.
    """

    def __init__(self, name: str | None, *, secure: bool, same_site: SameSite, path: str) -> None:
        self.name = cookie_name(name, secure=secure, same_site=same_site, path=path)
        self._flags = f"; Path={path}; HttpOnly; SameSite={same_site.capitalize()}"
        self._flags += "; Secure" if secure else ""

    def setting(self, value: str, max_age: int | None) -> str:
        """The field that hands a session out."""
        lasts = "" if max_age is None else f"; Max-Age={max_age}"
        return f"{self.name}={value}{self._flags}{lasts}"

    def deleting(self) -> str:
        """The field that takes it back."""
        return f'{self.name}=""{self._flags}; Max-Age=0'

    def add_fields(self, session: WebSession, message: Message) -> None:
        """Add to the start of a response, or of a WebSocket, what becomes of the cookie."""
        message.setdefault("headers", [])
        headers = MutableHeaders(scope=message)
        if session.accessed:
            headers.add_vary_header("Cookie")
        value, becomes = session.cookie_value, session.cookie
        if becomes is Cookie.SET and value is not None:
            headers.append("Set-Cookie", self.setting(value, session.cookie_age))
        elif becomes is Cookie.DELETE:
            headers.append("Set-Cookie", self.deleting())
