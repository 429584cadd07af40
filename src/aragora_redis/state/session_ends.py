"""The ends of sessions, one or all of a user: a tombstone that lasts, and the removal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..sessions import operations
from ..sessions.ids import SessionRef
from ..sessions.operations import LIST_PAGE
from ..sessions.policy import SessionPolicy
from ..sessions.stored import Moved, SessionInfo
from ..tokens.entry import ended_session
from .session_store import HOPS, NO_ANSWER, SessionStore
from .tokens import Receipt, Tokens

T = TypeVar("T")


class SessionEnds:
    """Ends sessions, and knows which ones a user has. Deadlines are monotonic seconds.

    Args:
        server_now: the server's clock in Unix seconds.
    """

    def __init__(
        self,
        store: SessionStore,
        tokens: Tokens,
        *,
        policy: SessionPolicy,
        server_now: Callable[[], float],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._policy = policy
        self._server_now = server_now

    async def end(
        self, ref: SessionRef, expires_at: float, index: SessionRef | None, until: float
    ) -> Receipt:
        """Tombstone and removal at once; a session that was rotated meanwhile is followed."""
        receipts: list[Receipt] = []
        for _ in range(HOPS):
            self._store.forget(ref)
            tombstone = ended_session(ref.member, expires_at)
            receipt, moved = await asyncio.gather(
                self._tokens.end_sessions([tombstone], within=self._store.left(until)),
                self._remove(ref, index, until),
            )
            receipts.append(receipt)
            if moved is None:
                break
            ref = ref.moved(moved.member)
        return min(receipts, key=lambda receipt: receipt.level)

    async def members(self, home: SessionRef, until: float) -> list[bytes]:
        """The digests of a user's sessions, oldest first; some may have lapsed."""
        index = await self._store.run(operations.of_user(self._store.keys, home), until)
        return [member for member, _ in index if not self._tokens.has_ended(member)]

    async def look(
        self, home: SessionRef, members: list[bytes], until: float
    ) -> list[SessionInfo | None]:
        """What may be shown of each; None for those that have lapsed, which are then forgotten."""
        found: list[SessionInfo | None] = []
        for page in _pages(members):
            looked = await self._store.run(operations.look(self._store.keys, home, page), until)
            found.extend(looked)
        return found

    async def end_members(
        self, home: SessionRef, members: Iterable[bytes], until: float
    ) -> Receipt:
        """End these sessions of one user."""
        lasts = self.latest_end()
        receipts = [await self._tokens.end_sessions(())]
        for page in _pages([SessionRef(home.shard, member) for member in members]):
            tombstones = [ended_session(ref.member, lasts) for ref in page]
            receipts.append(
                await self._tokens.end_sessions(tombstones, within=self._store.left(until))
            )
            await asyncio.gather(*(self._remove(ref, home, until) for ref in page))
        return min(receipts[1:] or receipts, key=lambda receipt: receipt.level)

    def latest_end(self) -> float:
        """When a session that exists now ends by itself at the latest."""
        return self._server_now() + self._policy.absolute

    async def _remove(
        self, ref: SessionRef, index: SessionRef | None, until: float
    ) -> Moved | None:
        """Take a session out of Redis. Where that fails, the tombstone holds all the same."""
        with contextlib.suppress(*NO_ANSWER):
            answer = await self._store.run(
                operations.end(self._store.keys, ref, index=index), until
            )
            return answer if isinstance(answer, Moved) else None
        return None


def _pages(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + LIST_PAGE] for start in range(0, len(items), LIST_PAGE))
