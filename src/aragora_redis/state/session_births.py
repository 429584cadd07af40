"""How sessions begin: anew, or by a login out of one that was nobody's."""

from __future__ import annotations

import secrets
from typing import Any

from ..errors import (
    OutageError,
    OutcomeUnknownError,
    SessionConflictError,
    TooManySessionsError,
    UnexpectedReplyError,
)
from ..sessions import data as session_data
from ..sessions import operations
from ..sessions.data import Fields
from ..sessions.ids import SHARDS, SessionRef, fresh_id
from ..sessions.policy import OnFull, SessionPolicy
from ..sessions.stored import Full, Session, Source, Stored
from .session_changes import SessionChanges
from .session_ends import SessionEnds
from .session_store import SessionStore, gone

_ATTEMPTS = 5


class SessionBirths:
    """Begins sessions, within what their user may have. Deadlines are monotonic seconds."""

    def __init__(
        self,
        store: SessionStore,
        ends: SessionEnds,
        changes: SessionChanges,
        *,
        policy: SessionPolicy,
        digest_key: bytes,
        source: Source,
    ) -> None:
        self._store = store
        self._ends = ends
        self._changes = changes
        self._policy = policy
        self._digest_key = digest_key
        self._source = source

    async def create(
        self, user: str | None, home: SessionRef | None, fields: Fields, until: float
    ) -> Session:
        """Begin a session; `home` is the index of its user. Raises as `Sessions.create` does."""
        shard = secrets.randbelow(SHARDS) if home is None else home.shard
        session_id, ref = fresh_id(self._digest_key, shard)
        create = operations.create(
            self._store.keys,
            ref,
            self._policy,
            user=user,
            index=home,
            fields=fields,
            nonce=secrets.token_hex(8),
        )
        made_room = False
        for _ in range(_ATTEMPTS):
            try:
                answer = await self._store.run(create, until)
            except OutageError as error:
                if not made_room:
                    raise
                raise OutcomeUnknownError(
                    f"the user's oldest session was ended, and no new one begun: {error.message}",
                    remedy="log in again",
                ) from error
            if isinstance(answer, Stored):
                self._store.keep(ref, answer)
                return answer.session(ref, named=session_id, source=self._source)
            if not isinstance(answer, Full) or home is None:
                raise UnexpectedReplyError("the answer does not fit the beginning of a session")
            made_room |= await self._make_room(home, answer, until)
        raise TooManySessionsError("the user's sessions do not get fewer")

    async def authenticate(
        self, old: Session, user: str, home: SessionRef, until: float
    ) -> Session:
        """Make an anonymous session one of a user. Raises as `Sessions.authenticate` does."""
        self._store.require_alive(old.ref)
        made = await self.create(user, home, self._encoded(old.data), until)
        try:
            return await self._move_to(made, old, until)
        except BaseException:
            self._ends.disown(made, home)
            raise

    async def _make_room(self, home: SessionRef, full: Full, until: float) -> bool:
        """Take out what has lapsed; if that is nothing, do what the policy says.

        Returns:
            Whether a session that lived was ended.
        """
        if await self._ends.take_out_lapsed(home, until):
            return False
        if self._policy.on_full is OnFull.REFUSE:
            raise TooManySessionsError(
                f"the user has {self._policy.max_per_user} sessions, as many as the policy allows"
            )
        index = await self._ends.index(home, until)
        oldest = {member: index[member] for member in full.oldest if member in index}
        await self._ends.end_members(home, oldest, until)
        return True

    async def _move_to(self, made: Session, old: Session, until: float) -> Session:
        """End the anonymous session as it was copied; what has changed since is carried over.

        It is given to one user only: whoever comes second finds it gone.
        """
        for _ in range(_ATTEMPTS):
            try:
                await self._ends.end_unchanged(old, None, until)
            except SessionConflictError:
                found, at = await self._store.find(old.ref, until)
                if found is None:
                    raise gone() from None
                newer = found.stored.session(at, named=None, source=found.source)
                made = await self._carry_over(made, old.data, newer.data, until)
                old = newer
            else:
                return made
        raise SessionConflictError("the anonymous session does not stand still")

    async def _carry_over(
        self, made: Session, before: dict[str, Any], now: dict[str, Any], until: float
    ) -> Session:
        changed = {
            name: value
            for name, value in now.items()
            if name not in before or before[name] != value
        }
        removed = tuple(name for name in before if name not in now)
        stored, at = await self._changes.update(
            made.ref, made.version, self._encoded(changed), removed, exact=False, until=until
        )
        return stored.session(at, named=made.id, source=self._source)

    def _encoded(self, data: dict[str, Any]) -> Fields:
        return session_data.encode(data, most_bytes=self._policy.max_bytes)
