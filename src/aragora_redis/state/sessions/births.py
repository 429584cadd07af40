"""How sessions begin: anew, or by a login out of one that was nobody's."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from ...errors import (
    SessionConflictError,
    TooManySessionsError,
    UnexpectedReplyError,
)
from ...sessions import data as session_data
from ...sessions import operations
from ...sessions.client import Client, kept
from ...sessions.data import Fields
from ...sessions.ids import SHARDS, SessionRef, fresh_id
from ...sessions.policy import OnFull, SessionPolicy
from ...sessions.stored import Full, Session, Source, Stored
from .changes import SessionChanges
from .ends import SessionEnds
from .store import NO_ANSWER, SessionStore, gone

_ATTEMPTS = 5


class SessionBirths:
    """Begins sessions, within what their user may have. Deadlines are monotonic seconds."""

    def __init__(
        self,
        store: SessionStore,
        ends: SessionEnds,
        changes: SessionChanges,
        *,
        policy: Callable[[], SessionPolicy],
        digest_key: bytes,
        source: Source,
    ) -> None:
        self._store = store
        self._ends = ends
        self._changes = changes
        self._policy = policy
        self._digest_key = digest_key
        self._source = source
        self._ending: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self,
        user: str | None,
        home: SessionRef | None,
        fields: Fields,
        until: float,
        *,
        lasting: SessionPolicy,
        client: Client | None = None,
        replaced: SessionRef | None = None,
    ) -> Session:
        """Begin a session; `home` is the index of its user. Raises as `Sessions.create` does.

        The caller ends the one of the user that it replaces.
        """
        shard = secrets.randbelow(SHARDS) if home is None else home.shard
        session_id, ref = fresh_id(self._digest_key, shard)
        create = operations.create(
            self._store.keys,
            ref,
            lasting,
            user=user,
            index=home,
            fields=fields,
            nonce=secrets.token_hex(8),
            client=client and kept(client, self._policy().remember),
            cut_off=self._store.beginning(home),
            replacing=replaced is not None,
        )
        for _ in range(_ATTEMPTS):
            answer = await self._store.run(create, until)
            if isinstance(answer, Stored):
                self._store.keep(ref, answer)
                if home is not None and self._ends_oldest:
                    await self._end_oldest(home, ref.member, replaced, until)
                return answer.session(ref, named=session_id, source=self._source)
            if not isinstance(answer, Full) or home is None:
                raise UnexpectedReplyError("the answer does not fit the beginning of a session")
            most = lasting.max_per_user + (replaced is not None)
            if await self._ends.take_out_lapsed(home, until) >= most:
                break
        raise TooManySessionsError(
            f"the user has {lasting.max_per_user} sessions, as many as the policy allows"
        )

    async def authenticate(
        self,
        old: Session,
        user: str,
        home: SessionRef,
        until: float,
        *,
        lasting: SessionPolicy,
        client: Client | None,
    ) -> Session:
        """Make a session anew, one of a user. Raises as `Sessions.authenticate` does."""
        self._store.require_living(old)
        fields = self._encoded(old.data)
        made = await self.create(
            user,
            home,
            fields,
            until,
            lasting=lasting,
            client=client or old.client,
            replaced=old.ref if old.user == user else None,
        )
        try:
            return await self._move_to(made, old, until)
        except BaseException:
            self._ends.disown(made, home)
            raise

    @property
    def _ends_oldest(self) -> bool:
        return self._policy().max_per_user > 0 and self._policy().on_full is OnFull.END_OLDEST

    async def _end_oldest(
        self, home: SessionRef, made: bytes, replaced: SessionRef | None, until: float
    ) -> None:
        """End the user's oldest sessions, as many as are too many by now.

        It is done after the new one has begun, so that of any number of logins at once each is
        let in and the newest stay; one login after the other, or each would end the same ones.
        What cannot be asked now is done by the user's next login.
        """
        lock = self._ending.setdefault(home.member, asyncio.Lock())
        with contextlib.suppress(*NO_ANSWER):
            async with lock:
                await self._ends.end_too_many(home, made, until, replaced=replaced)

    async def _move_to(self, made: Session, old: Session, until: float) -> Session:
        """End the earlier session as it was copied; what has changed since is carried over.

        It is given to one user only: whoever comes second finds it gone.
        """
        for _ in range(_ATTEMPTS):
            try:
                await self._ends.end_unchanged(old, self._store.home_of(old.user), until)
            except SessionConflictError:
                found, at = await self._store.find(old.ref, until)
                if found is None:
                    raise gone() from None
                newer = found.stored.session(at, named=None, source=found.source)
                made = await self._carry_over(made, old.data, newer.data, until)
                old = newer
            else:
                return made
        raise SessionConflictError("the earlier session does not stand still")

    async def _carry_over(
        self, made: Session, before: dict[str, Any], now: dict[str, Any], until: float
    ) -> Session:
        # By what is stored: to Python 1 is True.
        was, fields = self._encoded(before), self._encoded(now)
        changed = {name: now[name] for name in now if was.get(name) != fields[name]}
        removed = tuple(name for name in before if name not in now)
        stored, at = await self._changes.update(
            made.ref, made.version, self._encoded(changed), removed, exact=False, until=until
        )
        return stored.session(at, named=made.id, source=self._source)

    def _encoded(self, data: dict[str, Any]) -> Fields:
        return session_data.encode(data, most_bytes=self._policy().max_bytes)
