"""A limit around a piece of work: as a decorator, and as a context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from ...errors import InvalidInputError, LimitExceededError
from ...rate_limit.gcra import Decision
from ..decorated import asynchronous, stream_within

F = TypeVar("F", bound=Callable[..., Awaitable[Any] | AsyncIterator[Any]])


class Limited(Struct, frozen=True):
    """A limit around work, see `RateLimits.limit`.

    Attributes:
        policy: name of the limit.
        acquire: takes tokens for a subject, or says that there are none.
        subject: whom the limit counts, where that is always the same.
        key: says it of a call's arguments.
    """

    policy: str
    acquire: Callable[[str], Awaitable[Decision]]
    subject: str | None = None
    key: Callable[..., str] | None = None

    async def __aenter__(self) -> Decision:
        return await self._enter(self._subject((), {}))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, work: F) -> F:
        """Limit an async function, or generator: that as its first item is asked for.

        Raises:
            InvalidInputError: it is not async.
        """
        begin: Callable[..., Any] = work
        if asynchronous(work) == "async generator":
            return cast(F, stream_within(begin, self._of_call, lambda _: None))

        @wraps(work)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            async with self._of_call(*args, **kwargs):
                return await begin(*args, **kwargs)

        return cast(F, limited)

    def _of_call(self, *args: Any, **kwargs: Any) -> Limited:
        return replace(self, subject=self._subject(args, kwargs))

    def _subject(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        return subject_of_call(self.subject, self.key, args, kwargs)

    async def _enter(self, subject: str) -> Decision:
        decision = await self.acquire(subject)
        if not decision.allowed:
            raise LimitExceededError(self.policy, decision.retry_after)
        return decision


def subject_of_call(
    subject: str | None,
    key: Callable[..., str] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> str:
    """Whom a limited call counts for.

    Raises:
        InvalidInputError: nothing says it, or the subject itself was given as the key.
    """
    if subject is not None:
        return subject
    if key is None:
        raise InvalidInputError(
            "nothing says whom this limit counts", remedy="give a subject, or a key for decorators"
        )
    if not callable(key):
        raise InvalidInputError("a key is a function", remedy="give a subject without key=")
    return key(*args, **kwargs)
