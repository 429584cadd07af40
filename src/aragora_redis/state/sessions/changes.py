"""Changes of a session that lives: its fields, and its id."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from functools import partial

from ...errors import SessionConflictError
from ...operation import Operation
from ...sessions import operations
from ...sessions.client import UNKNOWN, Client, kept
from ...sessions.data import Fields
from ...sessions.ids import SessionRef
from ...sessions.policy import SessionPolicy
from ...sessions.stored import Answer, Moved, Stored
from ...tokens.entry import ended_session
from .owed_ends import OwedEnds
from .store import HOPS, SessionStore, gone

_ATTEMPTS = 5
_NONCE_BITS = 64


class SessionChanges:
    """Changes sessions where they are stored. Deadlines are monotonic seconds."""

    def __init__(
        self, store: SessionStore, owed: OwedEnds, policy: Callable[[], SessionPolicy]
    ) -> None:
        self._store = store
        self._owed = owed
        self._policy = policy
        # Each instance counts from a place of its own: asking the system for each costs a call.
        self._nonces = itertools.count(secrets.randbits(_NONCE_BITS - 1))

    async def update(
        self,
        ref: SessionRef,
        version: int,
        fields: Fields,
        removed: tuple[str, ...],
        *,
        exact: bool,
        until: float,
        client: Client | None = None,
    ) -> tuple[Stored, SessionRef]:
        """Change fields; with where the session is by now. Raises as `SessionStore.change` does."""
        nonce = f"{next(self._nonces):016x}"
        stored, at = await self._store.change(
            ref,
            lambda now_at: operations.update(
                self._store.keys,
                now_at,
                version=version,
                nonce=nonce,
                exact=exact,
                max_bytes=self._policy().max_bytes,
                fields=fields,
                removed=removed,
                client=client and (kept(client, self._policy().remember) or UNKNOWN),
                onto=self._store.as_of(now_at, version),
            ),
            until,
        )
        self._store.keep(at, stored)
        return stored, at

    async def rotate(
        self, old: SessionRef, new: SessionRef, index: SessionRef | None, grace: float, until: float
    ) -> Stored:
        """Move a session to a new id, to which the old one leads for a while.

        Raises:
            SessionGoneError, SessionConflictError: nothing was changed.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        if self._store.keys.seal.on:
            stored, left = await self._rotate_sealed(old, new, index, grace, until)
        else:
            stored, left = await self._store.change(
                old,
                lambda at: operations.rotate(self._store.keys, at, new, index=index, grace=grace),
                until,
            )
        self._store.keep(left, Moved(new.member))
        self._store.keep(new, stored)
        self._owed.end(ended_session(left.member, stored.expires_at), after=grace)
        for member in stored.before[: -HOPS + 1]:  # its trace is longer than anyone follows
            self._owed.end(ended_session(member, stored.expires_at), after=0)
        return stored

    async def _rotate_sealed(
        self, old: SessionRef, new: SessionRef, index: SessionRef | None, grace: float, until: float
    ) -> tuple[Stored, SessionRef]:
        """What is sealed must be read first, to be sealed for the new id as it then is."""
        for _ in range(_ATTEMPTS):
            found, at = await self._store.find(old, until)
            if found is None:
                raise gone()
            rotate = operations.rotate(
                self._store.keys, at, new, index=index, grace=grace, stored=found.stored
            )
            try:
                return await self._store.change(at, partial(_there, rotate, at), until)
            except SessionConflictError:
                continue
        raise SessionConflictError("the session does not stand still")


def _there(operation: Operation[Answer], meant: SessionRef, at: SessionRef) -> Operation[Answer]:
    """The operation, unless the session is elsewhere by now: it was sealed for where it was."""
    if at != meant:
        raise SessionConflictError("the session was rotated meanwhile")
    return operation
