"""Failed logins of Aragora, counted by the fleet, which also holds whom they lock out.

Aragora reads an entry, adds one and writes it back: two instances at once count one. Here each
failure takes one out of a bucket, and a lock is a bucket that fills again by the time it ends.
While Redis cannot be asked, Aragora's own entries in memory decide, and a lock of that time becomes
one of the fleet once Redis can be asked again.
"""

from __future__ import annotations

import secrets
from importlib import import_module
from typing import Any

from .seam import Finding, Where
from .shared import Shared
from .versions import Checked

_ALONE = 10_000
"""Locks of an outage that are remembered as such; the oldest are forgotten first."""


def tracker(base: type[Any], shared: Shared) -> Any:  # noqa: C901 - it is a class
    """A `LockoutTracker` that all instances share."""

    class SharedLockoutTracker(base):  # type: ignore[misc] # a class that is known when it runs
        def __init__(self) -> None:
            super().__init__(use_redis=False)
            self._alone: dict[str, None] = {}

        def record_failure(
            self, email: str | None = None, ip: str | None = None
        ) -> tuple[int, int | None]:
            attempts, locked = super().record_failure(email=email, ip=ip)
            for key in self._keys(email, ip):
                counted = shared.count_failure(_subject(key))
                if counted is None:
                    if locked:
                        self._note_alone(key)
                    continue
                attempts = max(attempts, counted)
                duration = self._calculate_lockout_duration(counted)
                if duration:
                    shared.hold(_subject(key), duration)
                    locked = max(locked or 0, duration)
            return attempts, locked

        def is_locked(self, email: str | None = None, ip: str | None = None) -> bool:
            return any(self._left(key) > 0 for key in self._keys(email, ip))

        def get_remaining_time(self, email: str | None = None, ip: str | None = None) -> int:
            return int(max((self._left(key) for key in self._keys(email, ip)), default=0))

        def reset(self, email: str | None = None, ip: str | None = None) -> None:
            super().reset(email=email, ip=ip)
            for key in self._keys(email, ip):
                shared.let_go(_subject(key))

        def admin_unlock(
            self, email: str | None = None, ip: str | None = None, user_id: str | None = None
        ) -> bool:
            cleared = super().admin_unlock(email=email, ip=ip, user_id=user_id)
            here = [shared.let_go(_subject(key)) for key in self._keys(email, ip)]
            return bool(cleared or any(here))

        def _left(self, key: str) -> float:
            left = shared.held_for(_subject(key))
            entry = self._memory_backend.get_entry(key)
            here = float(entry.get_remaining_seconds()) if entry is not None else 0.0
            if left is None:
                return here
            if key not in self._alone:
                # Lifted by another instance, so its failures are no start of a lock here. Those
                # that come to no lock yet are kept: an outage may begin.
                if here > left == 0:
                    self._memory_backend.delete_entry(key)
                return left
            # From here on it is the fleet's, so that any instance can lift it.
            if here <= left or shared.hold(_subject(key), here):
                self._alone.pop(key, None)
            return max(left, here)

        def _note_alone(self, key: str) -> None:
            self._alone[key] = None
            if len(self._alone) > _ALONE:
                self._alone.pop(next(iter(self._alone)), None)

        def _keys(self, email: str | None, ip: str | None) -> list[str]:
            keys = [self._email_key(email)] if email else []
            return [*keys, self._ip_key(ip)] if ip else keys

        @property
        def backend_type(self) -> str:
            return "aragora-redis"

    return SharedLockoutTracker()


def _subject(key: str) -> str:
    return f"lockout:{key}"


class Lockout:
    """The seam."""

    feature = "lockout"
    checked = Checked("2.11", "2.12")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def install(self) -> None:
        """Be the tracker that Aragora gives out."""
        module: Any = import_module("aragora.auth.lockout")
        module._lockout_tracker = tracker(module.LockoutTracker, self._shared)  # noqa: SLF001 - the seam

    def verify(self) -> Finding:
        """Fail to log in five times as nobody, and see who is held."""
        given = import_module("aragora.auth.lockout").get_lockout_tracker()
        nobody = f"self-check-{secrets.token_hex(8)}@invalid"
        for _ in range(given.THRESHOLD_1):
            given.record_failure(email=nobody)
        held = self._shared.held_for(_subject(f"email:{nobody}"))
        if held is None:
            return Finding(self.feature, Where.UNSEEN, "each instance counts for itself")
        if not held or not given.is_locked(email=nobody):
            return Finding(self.feature, Where.MEMORY, "nobody was locked out by the fleet")
        given.admin_unlock(email=nobody)
        return Finding(self.feature, Where.REDIS, "the tracker of get_lockout_tracker")
