"""The session of one request: a mapping, whose changes are written once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, MutableMapping
from functools import partial
from typing import Any

from ..errors import (
    AragoraRedisError,
    InvalidInputError,
    SessionConflictError,
    SessionDataError,
    SessionGoneError,
)
from ..sessions.client import Client
from ..sessions.data import Fields, encode
from ..sessions.stored import Session, SessionInfo
from ..state.sessions.sessions import Sessions
from ..state.sessions.store import NO_ANSWER
from ..times import Duration, in_seconds_if_given
from .changes import Changes, changes
from .cookie import Cookie, Lasting

_ATTEMPTS = 3


class NotLoadedError(RuntimeError):
    """The session was touched before it was read, which the middleware leaves to the request."""


class Values:
    """What a session's users put into it, as it is stored: here JSON both times."""

    def stored(self, data: dict[str, Any]) -> dict[str, Any]:
        """Fields as they are stored."""
        return data

    def given(self, data: dict[str, Any]) -> dict[str, Any]:
        """Stored fields as users get them."""
        return data


_UNTIL_CLOSED, _JSON = Lasting(None), Values()


class WebSession(MutableMapping[str, Any]):
    """The session of one request.

    What is changed, also within lists and objects, is written when the response starts: only the
    fields that differ from what was read, so that requests at once lose nothing of each other. What
    another task changes while it is written stays, and is written next.

    Args:
        sessions: where it is kept.
        presented: the cookie that the client has sent, which may be anything.
        client: where the request comes from; None where that is not told.
        overwrite: on a conflict, write what this request has set all the same.
        lasting: how long cookies last.
        values: what its fields hold for their users.
    """

    def __init__(
        self,
        sessions: Sessions,
        presented: str | None,
        *,
        overwrite: bool,
        client: Client | None = None,
        lasting: Lasting = _UNTIL_CLOSED,
        values: Values = _JSON,
    ) -> None:
        self._sessions = sessions
        self._values = values
        self.lasting = lasting
        self._presented = sessions.witness.read(presented)
        self._client = client
        self._overwrite = overwrite
        self._stored: Session | None = None
        self._read: Fields = {}
        self._data: dict[str, Any] | None = None if self._presented else {}
        self._cookie = Cookie.KEEP
        self._keeps_id = False
        self._writing = asyncio.Lock()
        self.accessed = False
        """Whether the response may depend on it, and so on the client's cookie."""
        self._trouble: AragoraRedisError | None = None
        self.told: AragoraRedisError | None = None
        """Why it could not be read, once somebody has touched it and was told so."""

    def __repr__(self) -> str:
        return f"<WebSession {'loaded' if self._data is not None else 'not loaded'}>"

    # --- the mapping --------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        return self._loaded[name]

    def __setitem__(self, name: str, value: Any) -> None:
        data = self._loaded
        if self._stored is None:
            self._require_cookie()
        data[name] = value

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)

    @property
    def _loaded(self) -> dict[str, Any]:
        self.accessed = True
        if self._trouble is not None:
            self.told = self._trouble
            raise self._trouble
        if self._data is None:
            raise NotLoadedError("await request.session.load() before the session is used")
        return self._data

    @property
    def _found(self) -> Session | None:
        """What is stored, for who touches it; raises as `_loaded` does."""
        _ = self._loaded
        return self._stored

    @property
    def user(self) -> str | None:
        """Whose session it is; None for nobody known."""
        return None if (found := self._found) is None else found.user

    @property
    def id(self) -> str | None:
        """The id that the client holds from now on; None where there is no session."""
        return None if (found := self._found) is None else found.id

    @property
    def cookie_value(self) -> str | None:
        """What the client is to keep; None where there is no session, or its id is not known."""
        if self._stored is None or self._stored.id is None:
            return None
        return self._sessions.cookie(self._stored, dated=self.lasting.ends)

    @property
    def cookie_age(self) -> int | None:
        """Seconds for which the client is to keep it; None until the browser is closed."""
        if self._stored is None:
            return None
        return self.lasting.seconds(self._stored, self._sessions.now())

    @property
    def cookie(self) -> Cookie:
        """What becomes of the client's cookie, once the changes are written."""
        if self._cookie is Cookie.KEEP and self._rolls:
            return Cookie.SET
        return self._cookie

    @property
    def _rolls(self) -> bool:
        """Whether half of the cookie's time is over, and the session is still the client's.

        A response that only reads comes late, perhaps after that of a login with another id, and
        one that was not touched may be cached for others.
        """
        if self._stored is None or self._presented is None or not self.accessed:
            return False
        due = self.lasting.is_due(self._stored, self._presented.sent_at, self._sessions.now())
        return due and self._sessions.is_current(self._stored)

    @property
    def is_loaded(self) -> bool:
        """Whether it was read, or need not be, since the client has none."""
        return self._data is not None

    @property
    def is_settled(self) -> bool:
        """Whether who touches it is given what it holds, or told why that could not be read."""
        return self.is_loaded or self._trouble is not None

    @property
    def is_new(self) -> bool:
        """Whether it is not stored yet; `load` it first."""
        return self._stored is None

    @property
    def is_modified(self) -> bool:
        """Whether it holds anything else than was read; `load` it first.

        Raises:
            SessionDataError: it holds what JSON has not.
        """
        return encode(self._values.stored(self._loaded)) != self._read

    # --- reading and writing ------------------------------------------------------------

    async def load(self) -> None:
        """Read the session, if the client has one and it was not read yet.

        An id that is unknown, ended or made up is not adopted: the session is then empty.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked, and there is no copy.
        """
        self.accessed = True
        await self._load()

    async def _load(self) -> None:
        if self._data is None:
            presented = self._presented
            found = (
                await self._sessions.get(presented.session_id, seen=presented.seen)
                if presented
                else None
            )
            if self._data is None:  # else another task has read it, and may have changed it
                self._hold(found)
            self._trouble = None

    async def try_load(self) -> None:
        """Read the session, if that can be; else whoever touches it is told why it cannot."""
        try:
            await self._load()
        except AragoraRedisError as error:
            self._trouble = error

    async def save(self) -> None:
        """Write what has changed since it was read. The middleware does so at the response.

        Raises:
            SessionConflictError: another request has changed the same field; both may remove it.
            SessionDataError: it holds what JSON has not, or too much.
            SessionGoneError: it has ended, or has had another id for long; only where no cookie can
                be sent any more, else it goes on empty.
            OutageError: nothing was written.
            OutcomeUnknownError: it may have been written.
        """
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        if self._data is None:
            return
        data = self._values.stored(self._data)
        fields = encode(data)
        made = changes(self._read, data, fields)
        if self._stored is None:
            if fields:
                self._require_cookie()
                self._begin(await self._sessions.create(data=data, client=self._client), fields)
        elif made.touched:
            with self._giving_up_once_ended():
                if not fields and self._stored.user is None:
                    await self._end_emptied(self._stored, made)
                else:
                    await self._update(self._stored, made, fields)
        elif self._stored.user is not None and self._moved(self._stored):
            await self._show_client(self._stored)

    async def login(
        self, user: str, *, idle: Duration | None = None, absolute: Duration | None = None
    ) -> None:
        """Make it the session of a user, with the data it has, under a new id.

        Whoever knew the id from before the login is locked out by that (session fixation). The
        session of another user is ended, and nothing of what it holds passes to this one.

        Args:
            user: who has logged in.
            idle: seconds without use after which it ends, from 1 to `[sessions] longest`; as the
                policy says by default. With this, "remember me" is a longer one.
            absolute: seconds after which it ends in any case, likewise.

        Raises:
            InvalidInputError: it may not live so.
            TooManySessionsError: the user has as many as the policy allows.
            AragoraRedisError: as for `save`.
        """
        lasting = in_seconds_if_given(idle, "idle"), in_seconds_if_given(absolute, "absolute")
        self._require_cookie()
        await self.load()
        async with self._writing:
            self._require_cookie()  # the response may have begun meanwhile
            await self._log_in(user, *lasting)

    async def _log_in(self, user: str, idle: float | None, absolute: float | None) -> None:
        begin = partial(
            self._sessions.create, user, idle=idle, absolute=absolute, client=self._client
        )
        if self._stored is None:
            data = self._values.stored(self._loaded)
            sent = encode(data)
            await self._end_presented()
            self._begin(await begin(data), sent)
            return
        if self._stored.user not in (None, user):
            await self._replace(self._stored, await begin({}))
            return
        await self._write()
        stored, sent = self._stored, self._read
        try:
            if stored is None:
                made = await begin({})
            elif stored.user == user and idle is None and absolute is None:
                made = await self._sessions.rotate(stored, grace=0)
            else:
                made = await self._sessions.authenticate(
                    stored, user, idle=idle, absolute=absolute, client=self._client
                )
        except SessionGoneError:
            # Another login has it by now, of this user or, if it was nobody's, of whoever planted
            # its id: what it held goes to one of them only.
            made = await begin({})
        self._begin(made, sent)

    async def _replace(self, former: Session, begun: Session) -> None:
        with contextlib.suppress(SessionGoneError):
            await self._sessions.end(former)
        self._hold(begun)
        self._cookie = Cookie.SET

    async def rotate(self) -> None:
        """Give it a new id: after each change of what its user may do. Raises as `save` does."""
        self._require_cookie()
        await self.load()
        async with self._writing:
            self._require_cookie()  # the response may have begun meanwhile
            await self._write()
            if self._stored is not None:
                sent = self._read
                self._begin(await self._sessions.rotate(self._stored), sent)

    async def end(self) -> None:
        """End it for good, and forget what it holds. Raises nothing where it has ended before.

        One that cannot be read is ended by the id that the client has sent.

        Raises:
            SessionConflictError: it keeps being rotated; end it once more.
        """
        with contextlib.suppress(*NO_ANSWER):
            await self.load()
        async with self._writing:
            if self._stored is not None:
                with contextlib.suppress(SessionGoneError):
                    await self._sessions.end(self._stored)
            else:
                await self._end_presented()
            self._stored, self._trouble = None, None
            self._data, self._read, self._cookie = {}, {}, Cookie.DELETE

    async def _end_presented(self) -> None:
        """End what the client's id leads to, unread: others may be able to read it."""
        if self._presented is not None:
            with contextlib.suppress(SessionGoneError):
                await self._sessions.end(self._presented.session_id)

    # --- the user's own sessions --------------------------------------------------------

    async def of_user(self) -> list[SessionInfo]:
        """The sessions that the user of this one has, oldest first; `handle` tells which is this.

        Raises:
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        await self.load()
        user = self.user
        return [] if user is None else await self._sessions.of_user(user)

    @property
    def handle(self) -> str | None:
        """What names this session in the list of its user's, and opens nothing."""
        return None if (found := self._found) is None else found.handle

    async def end_other(self, handle: str) -> None:
        """End one of the user's sessions that a handle of the list names.

        Raises:
            SessionGoneError: the user of this one has none of that handle.
            OutageError: Redis cannot be asked, and too many ends wait for it already.
        """
        await self.load()
        user = self.user
        if user is None:
            raise SessionGoneError("the session belongs to nobody", remedy="log in first")
        await self._sessions.end_one_of(user, handle)

    async def end_others(self) -> int | None:
        """End all of the user's sessions but this one; how many, None where Redis is away.

        Raises:
            OutageError: Redis cannot be asked, and too many ends wait for it already.
        """
        await self.load()
        user = self.user
        if user is None:
            return 0
        return (await self._sessions.end_user(user, keep=self.handle)).count

    def keep_id(self) -> None:
        """From now on no cookie can be sent: the client keeps the id that it has."""
        self._keeps_id = True

    # --- small parts --------------------------------------------------------------------

    def _require_cookie(self) -> None:
        if self._keeps_id:
            raise InvalidInputError(
                "no cookie can be sent any more, so the session keeps its id",
                remedy="begin the session, log in or rotate before the response begins, or before "
                "the WebSocket is accepted",
            )

    def _moved(self, stored: Session) -> bool:
        """Whether it is used from elsewhere than is stored."""
        return self._client is not None and self._sessions.remembered(self._client) != stored.client

    def _hold(self, stored: Session | None) -> None:
        data = {} if stored is None else stored.data
        self._stored, self._read = stored, encode(data)
        self._data = self._values.given(data)

    def _take_over(self, stored: Session | None, sent: Fields) -> None:
        """Go on with what is stored since `sent` was written.

        What another task has changed meanwhile stays, to be written next, and so do the objects of
        what has not changed, which somebody may hold.
        """
        data = {} if self._data is None else self._data
        newer = {} if stored is None else stored.data
        self._stored, self._data, self._read = stored, data, encode(newer)
        for name in {*sent, *self._read}:
            if self._encoded(data, name) != sent.get(name):
                continue
            if name not in newer:
                del data[name]
            elif self._read[name] != sent.get(name):
                data |= self._values.given({name: newer[name]})

    def _begin(self, stored: Session, sent: Fields) -> None:
        self._take_over(stored, sent)
        self._cookie = Cookie.SET

    async def _end_emptied(self, stored: Session, made: Changes) -> None:
        """End what holds nothing and belongs to nobody, unless another request fills it now."""
        try:
            await self._sessions.end_unchanged(stored)
        except SessionConflictError:
            await self._update(stored, made, {})
        else:
            self._take_over(None, {})
            self._cookie = Cookie.DELETE

    async def _show_client(self, stored: Session) -> None:
        """Keep for the user where it is used from. No request fails for that, or waits for long."""
        if stored.source != "copy":  # else Redis is away
            with contextlib.suppress(AragoraRedisError):
                limit = self._sessions.read_limit
                await self._sessions.update(stored, client=self._client, within=limit)

    async def _update(self, stored: Session, made: Changes, sent: Fields) -> None:
        newer = await self._apply(stored, made)
        self._take_over(newer, sent)
        if newer.version != stored.version:
            self._cookie = Cookie.SET  # the client has seen this version

    @contextlib.contextmanager
    def _giving_up_once_ended(self) -> Iterator[None]:
        """Go on with none where it was ended elsewhere meanwhile: nothing may bring it back.

        The cookie stays: it opens nothing, and the client may have one of another login by now.
        """
        try:
            yield
        except SessionGoneError:
            if self._keeps_id:
                raise
            self._hold(None)
            self._cookie = Cookie.KEEP

    async def _apply(self, stored: Session, made: Changes) -> Session:
        for _ in range(_ATTEMPTS):
            try:
                client = self._client if self._moved(stored) else None
                return await self._sessions.update(
                    stored, set=made.set, unset=made.unset, client=client
                )
            except SessionConflictError:
                # Its version may only be too old to build upon, as that of a WebSocket is.
                presented = self._presented and self._presented.session_id
                newer = await self._sessions.get(stored.id or presented)
                if newer is None:
                    raise
                left = made.onto(newer.data, self._read, overwrite=self._overwrite)
                if left is None:
                    raise
                if not left.touched:
                    return newer
                stored, made = newer, left
        raise SessionConflictError("other requests keep changing the session")

    def _encoded(self, data: dict[str, Any], name: str) -> bytes | None:
        """A field as it would be written; None where it is not there, empty where it cannot be."""
        if name not in data:
            return None
        try:
            return encode(self._values.stored({name: data[name]}))[name]
        except SessionDataError:
            return b""
