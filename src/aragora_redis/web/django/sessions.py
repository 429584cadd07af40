"""`SESSION_ENGINE = "aragora_redis.web.django.sessions"`: Django's sessions, kept by ours.

What a session holds is stored field by field, so requests at once lose nothing of each other. Whose
it is Django says in the field `_auth_user_id`: where that changes the session begins anew, under an
id that nobody knew before, and is one of the user's.

The session key is what the client's cookie holds: the id, and signed which version of the session
the client has seen. So it changes with each change; what names a session for good is `handle`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpRequest

from ...clock import SYSTEM_CLOCK
from ...errors import AragoraRedisError, SessionConflictError, SessionGoneError
from ...sessions.client import Client
from ...sessions.data import Fields, decode, encode
from ...sessions.stored import Session
from ...state.sessions.store import NO_ANSWER
from ...sync import Sessions
from ..changes import changes
from .options import options
from .session_fields import plain, take_over
from .session_life import Life, is_dated, life, suffices
from .session_writes import SessionWrites
from .state import get_state

EXPIRY = "_session_expiry"
"""The field in which `set_expiry` leaves what it was given."""


class SessionStore(SessionBase):
    """A session, as `request.session` has it.

    `save` raises Django's `UpdateError` where another request has changed the same field, or the
    session has ended: Django answers that with 400. What else of `aragora_redis.errors` it raises
    `SessionMiddleware` answers, as 503 where Redis cannot be asked.

    Attributes:
        client: where it is used from, for the list of its user's sessions.
        told: what was raised last, since somebody was told of it.
        lost: the client's key opened nothing when it was read.
    """

    def __init__(self, session_key: str | None = None) -> None:
        self.client: Client | None = None
        self.told: AragoraRedisError | None = None
        self.lost = False
        self._unproven = False
        self._stored: Session | None = None
        self._read: Fields = {}
        super().__init__(session_key)
        self._sent_key = self.session_key

    @property
    def has_new_id(self) -> bool:
        """Whether this request has given it an id that the client does not know yet."""
        key = self.session_key
        return key is not None and self._id_in(key) != self._id_in(self._sent_key)

    @property
    def unproven(self) -> bool:
        """Whether the client may have another id by now than it has sent: Redis could not be asked.

        One that this request has made is the client's in any case.
        """
        return self._unproven and not self.has_new_id

    @property
    def handle(self) -> str | None:
        """What names it in `state.sessions.of_user`, and opens nothing; None where there is none.

        It stays until the session is given another id. An async view asks for it once the session
        was read, as by `aget`.
        """
        self._data()
        return None if self.session_key is None or self._stored is None else self._stored.handle

    # --- what Django calls --------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        """Read it. A key that is unknown, ended or made up is not adopted: then it is empty.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked, and there is no copy.
        """
        with self._telling():
            self._hold(self._sessions.of_cookie(self.session_key))
        data = decode(self._read)
        if self._stored is not None and is_dated(data.get(EXPIRY)) and self._age(data) <= 0:
            with suppress(AragoraRedisError):
                self._sessions.end(self._stored)
            self._hold(None)
        if self._stored is None:
            self._session_key, self.lost = None, True
            return {}
        return data

    def exists(self, session_key: str | None) -> bool:
        """Whether there is a session of this key."""
        with self._telling():
            return self._sessions.of_cookie(session_key) is not None

    def create(self) -> None:
        """Begin one now, with what this one holds, under an id of its own."""
        with self._telling():
            self._begin(self._data(no_load=True))

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        """Write what has changed, and begin a session where there is none.

        Raises:
            UpdateError: another request has changed the same field, or has ended the session.
            SessionDataError: it holds what JSON has not, or too much.
            TooManySessionsError: the user has as many as the policy allows.
            OutageError: nothing was written.
            OutcomeUnknownError: it may have been written.
        """
        with self._telling():
            data = self._data(no_load=must_create)
            if must_create or self.session_key is None:
                self._begin(data)
                return
            try:
                self._write(self._require_stored(), data)
            except (SessionGoneError, SessionConflictError) as error:
                raise UpdateError(error.message) from error

    def delete(self, session_key: str | None = None) -> None:
        """End a session for good: that of the key, or this one. It need not have been read.

        One that could not be is ended by the key that the client has sent.

        Raises:
            SessionConflictError: it keeps being rotated; end it once more.
        """
        presented = self._sessions.witness.read(session_key or self.session_key or self._sent_key)
        with self._telling(), suppress(SessionGoneError):
            if presented is not None:
                self._sessions.end(presented.session_id)

    def cycle_key(self) -> None:
        """Give it another id, and end the one that it had. One that is not stored yet has none.

        Raises:
            SessionInterrupted: another request has ended the session of a user, or did the same.
            OutageError: nothing has changed.
            OutcomeUnknownError: the id that it had may be ended.
        """
        held = self._data()
        if self.session_key is None:
            self.delete()
            return
        with self._telling():
            try:
                rotated = self._sessions.rotate(self._require_stored(), grace=0)
            except SessionGoneError as error:
                if self._stored is not None and self._stored.user is not None:
                    # Going on would hand out a cookie over that of the other request.
                    raise SessionInterrupted(error.message) from error
                # Another login has it by now, or a logout: what it held stays there.
                self._read = take_over(held, self._read, {})
                self._stored = self._session_key = None
            else:
                self._adopt(rotated, self._read)
        self.modified = True

    async def acycle_key(self) -> None:
        """The same in an async view."""
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing: Redis forgets what has expired."""

    # --- small parts --------------------------------------------------------------------

    @property
    def _sessions(self) -> Sessions:
        return get_state().sessions

    def _data(self, *, no_load: bool = False) -> dict[str, Any]:
        """What it holds; read now, if that is not done yet."""
        data: dict[str, Any] = self._get_session(no_load=no_load)  # type: ignore[attr-defined]
        return data

    @property
    def _writes(self) -> SessionWrites:
        overwrite = options().sessions.on_conflict == "overwrite"
        return SessionWrites(self._sessions, self.client, overwrite=overwrite)

    def _validate_session_key(self, key: str | None) -> bool:
        """Whether an instance of this fleet has given it; Django asks where a key comes in."""
        return key is not None and self._sessions.witness.read(key) is not None

    def _id_in(self, key: str | None) -> str | None:
        presented = self._sessions.witness.read(key)
        return None if presented is None else presented.session_id

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Remember what is raised of ours: who meets it may answer 500, and know less."""
        try:
            yield
        except AragoraRedisError as error:
            self.told = error
            raise

    def _hold(self, stored: Session | None) -> None:
        self._stored, self._read = stored, {} if stored is None else encode(stored.data)

    def _require_stored(self) -> Session:
        """What is stored; it is read now where it was emptied unread. Raises SessionGoneError."""
        if self._stored is not None:
            return self._stored
        found = self._require_found()
        self._hold(found)
        return found

    def _require_found(self) -> Session:
        """What is stored by now. Raises SessionGoneError."""
        found = self._sessions.of_cookie(self.session_key)
        if found is None:
            raise SessionGoneError("the session has ended")
        return found

    def _adopt(self, stored: Session, sent: Fields) -> None:
        """Go on with what is stored since `sent` was written."""
        self._read = take_over(self._data(), sent, stored.data)
        self._stored, self._unproven = stored, stored.source == "copy"
        if stored.id is not None:  # else it was reached by an earlier id, and keeps that here
            self._session_key = self._sessions.cookie(stored)

    def _age(self, data: Mapping[str, Any]) -> float:
        """What `get_expiry_age` says of such data."""
        return self.get_expiry_age(expiry=data.get(EXPIRY))

    def _life(self, data: Mapping[str, Any]) -> Life | None:
        return life(self._age(data), get_state().policies.sessions)

    def _begin(self, data: dict[str, Any]) -> None:
        lasting = self._life(data)
        if lasting is None:  # `set_expiry` has given it a time that is over
            self._stored = self._session_key = None
            return
        sent = plain(data)
        begun = self._writes.create(sent.get(SESSION_KEY), sent, lasting)
        self._adopt(begun, encode(sent))
        self.modified = True  # so that Django sends the client its key

    def _write(self, stored: Session, data: dict[str, Any]) -> None:
        sent = plain(data)
        fields = encode(sent)
        made = changes(self._read, sent, fields)
        touched = made.touched
        owner = sent.get(SESSION_KEY) if SESSION_KEY in touched else stored.user
        lasting = self._life(sent)
        if lasting is None:
            self._sessions.end(stored)
            self._stored = self._session_key = None
        elif owner != stored.user or (
            EXPIRY in made.touched and not _lives_so(stored, sent, lasting)
        ):
            if owner is not None and stored.user in {None, owner}:
                begun = self._writes.authenticate(stored, owner, made, lasting)
            else:
                begun = self._writes.replace(stored, owner, sent, lasting)
            self._adopt(begun, fields)
        elif touched:
            newer = self._writes.update(stored, made, self._read, self.session_key)
            self._adopt(newer, fields)
        elif not self._sessions.is_current(stored):
            # Its cookie is sent again, and must not take the place of that of a login. Nothing is
            # to be written, so an outage costs the cookie alone.
            self._unproven = True
            with suppress(*NO_ANSWER):
                self._adopt(self._require_found(), fields)


def _lives_so(stored: Session, data: Mapping[str, Any], asked: Life) -> bool:
    left = stored.expires_at - SYSTEM_CLOCK.wall()
    return suffices(asked, idle=stored.idle, left=left, dated=is_dated(data.get(EXPIRY)))


def session_of(request: HttpRequest) -> SessionStore:
    """The session of a request, with its type.

    Raises:
        RuntimeError: no session middleware is installed, or it has another engine.
    """
    session = getattr(request, "session", None)
    if not isinstance(session, SessionStore):
        raise RuntimeError("no session here: see SESSION_ENGINE and SessionMiddleware")  # noqa: TRY004 - the project is wired wrongly, no argument is
    return session
