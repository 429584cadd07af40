"""What is asked of our sessions where one of Django's is written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ...errors import AragoraRedisError, SessionConflictError, SessionGoneError
from ...sessions.client import Client
from ...sessions.data import Fields
from ...sessions.stored import Session
from ...sync import Sessions
from ..changes import Changes
from .session_life import Life

_ATTEMPTS = 3


class SessionWrites:
    """Begins and changes sessions. Each method raises what those of `sessions` raise.

    Args:
        sessions: of the project's state.
        client: where they are used from; None leaves what is stored of that.
        overwrite: on a conflict, write what this request has set all the same.
    """

    def __init__(self, sessions: Sessions, client: Client | None, *, overwrite: bool) -> None:
        self._sessions = sessions
        self._client = client
        self._overwrite = overwrite

    def create(self, owner: str | None, data: dict[str, Any], lasting: Life) -> Session:
        """Begin one."""
        return self._sessions.create(
            owner, data, idle=lasting.idle, absolute=lasting.absolute, client=self._client
        )

    def authenticate(self, stored: Session, owner: str, made: Changes, lasting: Life) -> Session:
        """Make it one of its owner that lives so. What changes is written after that.

        Under the id that it had, which somebody may have planted, no login is stored ever.
        """
        try:
            begun = self._sessions.authenticate(
                stored, owner, idle=lasting.idle, absolute=lasting.absolute, client=self._client
            )
        except SessionGoneError:
            if stored.user is not None:
                raise
            # Another login has the anonymous session by now: what it held goes to one only.
            return self.create(owner, made.set, lasting)
        try:
            return self._sessions.update(begun, set=made.set, unset=made.unset)
        except BaseException:
            self._disown(begun)
            raise

    def replace(
        self, stored: Session, owner: str | None, data: dict[str, Any], lasting: Life
    ) -> Session:
        """Begin one in the place of another, which ends if it is as it was read."""
        begun = self.create(owner, data, lasting)
        try:
            self._sessions.end_unchanged(stored)
        except BaseException:
            self._disown(begun)
            raise
        return begun

    def update(self, stored: Session, made: Changes, read: Fields, key: str | None) -> Session:
        """Change fields that are as they were read under a session key."""
        for _ in range(_ATTEMPTS):
            try:
                return self._sessions.update(
                    stored, set=made.set, unset=made.unset, client=self._client
                )
            except SessionConflictError:
                # Its version may only be too old to build upon.
                newer = self._sessions.of_cookie(key)
                if newer is None:
                    raise
                left = made.onto(newer.data, read, overwrite=self._overwrite)
                if left is None:
                    raise
                if not left.touched:
                    return newer
                stored, made = newer, left
        raise SessionConflictError("other requests keep changing the session")

    def _disown(self, begun: Session) -> None:
        """End what nobody will know of."""
        with suppress(AragoraRedisError):
            self._sessions.end(begun)
