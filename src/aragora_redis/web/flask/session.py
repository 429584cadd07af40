"""`flask.session`, kept in Redis."""

from __future__ import annotations

from typing import cast

import flask
from flask.sessions import SessionMixin

from ..threaded_session import ThreadedSession


class Session(ThreadedSession, SessionMixin):
    """The session of a request, as Flask's users know it, and what else can be done with one.

    It is read when it is first touched, and written with the response: the fields that differ from
    what was read, also within lists and objects, so that requests at once lose nothing of each
    other. `clear` empties it; to log out is `end`.
    """

    @property
    def accessed(self) -> bool:
        """Whether anybody has asked or changed anything of it."""
        return self._accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        pass  # Flask says so of whoever looks at `flask.session` at all

    @property
    def new(self) -> bool:  # type: ignore[override]  # it is found out here
        """Whether it is not stored yet."""
        return self._loaded.is_new

    @property
    def modified(self) -> bool:
        """Whether it holds anything else than was read. That is compared, and need not be said."""
        return self.is_read and self._loaded.is_modified

    @modified.setter
    def modified(self, value: bool) -> None:
        pass

    @property
    def is_permanent(self) -> bool:
        """Whether it was read, and its cookie is to outlive the browser."""
        return self.is_read and self.permanent


session = cast("Session", flask.session)
"""`flask.session`, with its type."""
