"""The session of one request, for threads: read when it is first touched."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from typing import Any, NamedTuple, TypeVar

from .. import native
from ..errors import AragoraRedisError
from ..sessions.client import Client
from ..sessions.stored import SessionInfo
from ..state.sessions.endable import WRITE_LIMIT
from ..sync import SharedState
from ..times import Duration
from .cookie import Cookie, Lasting
from .session import Values, WebSession

T = TypeVar("T")

_LIMIT = 4 * WRITE_LIMIT
"""Seconds that the steps of one change may take together, each of which has a deadline itself."""


class Handed(NamedTuple):
    """What becomes of the client's cookie: its value and age where it is set.

    With `error`, why the changes could not be written. A login or a rotation that went before has
    given the session a new id all the same.
    """

    becomes: Cookie
    value: str | None
    max_age: int | None
    error: AragoraRedisError | None = None

    def __repr__(self) -> str:
        return f"Handed({self.becomes})"


class ThreadedSession(MutableMapping[str, Any]):
    """What `WebSession` is, for threads. A request that does not touch it asks nobody.

    Args:
        state: where it is kept.
        presented, overwrite, client, values: see `WebSession`.
    """

    def __init__(
        self,
        state: SharedState,
        presented: str | None,
        *,
        overwrite: bool,
        client: Client,
        values: Values,
    ) -> None:
        self._crossing = state.crossing
        self._make: Callable[[], WebSession] = lambda: WebSession(
            self._crossing.here.sessions,
            presented,
            overwrite=overwrite,
            client=client,
            values=values,
        )
        self._made: WebSession | None = None
        self._making = native.lock()
        self._is_over = False
        self._accessed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'touched' if self._made else 'not touched'}>"

    # --- the mapping --------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        return self._loaded[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._loaded[name] = value

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)

    @property
    def user(self) -> str | None:
        """Whose session it is; None for nobody known."""
        return self._loaded.user

    @property
    def id(self) -> str | None:
        """The id that the client holds from now on; None where there is no session."""
        return self._loaded.id

    @property
    def handle(self) -> str | None:
        """What names this session in the list of its user's, and opens nothing."""
        return self._loaded.handle

    # --- reading and writing, see `WebSession` ------------------------------------------

    def load(self) -> None:
        """Read it, if the client has one and it was not read yet."""
        self._do(WebSession.load)

    def try_load(self) -> None:
        """Read it, if that can be; else whoever touches it is told why it cannot."""
        there = self._touched
        if not there.is_settled:
            self._crossing.cross(lambda _state: there.try_load(), self._crossing.deadline)

    def save(self) -> None:
        """Write now what has changed since it was read; else that is done with the response."""
        self._do(WebSession.save)

    def login(
        self, user: str, *, idle: Duration | None = None, absolute: Duration | None = None
    ) -> None:
        """Make it the session of a user, with the data it has, under a new id."""
        self._do(lambda there: there.login(user, idle=idle, absolute=absolute))

    def rotate(self) -> None:
        """Give it a new id: after each change of what its user may do."""
        self._do(WebSession.rotate)

    def end(self) -> None:
        """End it for good, and forget what it holds."""
        self._do(WebSession.end)

    def of_user(self) -> list[SessionInfo]:
        """The sessions that the user of this one has, oldest first."""
        return self._do(WebSession.of_user)

    def end_other(self, handle: str) -> None:
        """End one of the user's sessions that a handle of the list names."""
        self._do(lambda there: there.end_other(handle))

    def end_others(self) -> int | None:
        """End all of the user's sessions but this one; how many, None where Redis is away."""
        return self._do(WebSession.end_others)

    def hand_over(self, lasting: Lasting) -> Handed:
        """Write what has changed, and say what becomes of the cookie, which is sent with this.

        After it no cookie can be sent. Raises nothing of ours: it is in what is returned.
        """

        async def written(there: WebSession) -> Handed:
            there.lasting = lasting
            failed = None
            try:
                await there.save()
            except AragoraRedisError as error:
                failed = error
            becomes = there.cookie
            value = there.cookie_value if becomes is Cookie.SET else None
            there.keep_id()  # here, where who waits for this to log in cannot come between
            return Handed(becomes, value, there.cookie_age, failed)

        try:
            return self._do(written) if self.is_read else Handed(Cookie.KEEP, None, None)
        except AragoraRedisError as error:  # the loop was not reached, or has not answered
            return Handed(Cookie.KEEP, None, None, error)
        finally:
            self._is_over = True
            if self._made is not None:
                self._made.keep_id()

    @property
    def accessed(self) -> bool:
        """Whether the response may depend on it, and so on the client's cookie."""
        return self._accessed

    @property
    def is_read(self) -> bool:
        """Whether anybody was given what it holds."""
        return self._accessed and self._made is not None and self._made.is_loaded

    # --- small parts --------------------------------------------------------------------

    @property
    def _touched(self) -> WebSession:
        if self._made is None:
            made = self._make()  # it may wait, so not under the lock
            with self._making:
                if self._made is None:  # else another thread of the request was first
                    self._made = made
            if self._is_over:  # as when a body that is streamed is the first to touch it
                self._made.keep_id()
        return self._made

    @property
    def _loaded(self) -> WebSession:
        self._accessed = True
        there = self._touched
        if not there.is_settled:
            self._do(WebSession.load)
        return there

    def _do(self, work: Callable[[WebSession], Coroutine[Any, Any, T]]) -> T:
        self._accessed = True
        there = self._touched
        return self._crossing.cross(lambda _state: work(there), _LIMIT)
