"""The keys of sessions as they are now: a file of them is read again while it is in use."""

from __future__ import annotations

import logging

from ...clock import Clock
from ...errors import SettingsError
from ...sessions.sealing import PLAIN, AesGcm, Seal
from ...settings import Settings
from ...settings.session_keys import NamedKey, SessionKeySource

_log = logging.getLogger(__name__)

READ_EVERY = 1.0


class Keyring:
    """Keys that may be rotated. A file that cannot be read leaves the last ones in force.

    Raises:
        SettingsError: there is nothing in the file to begin with.
    """

    def __init__(self, source: SessionKeySource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._keys = source.read()
        self._read_at = clock.monotonic()
        self._trouble: str | None = None

    def keys(self) -> tuple[NamedKey, ...]:
        """Those that hold now, the sealing one first."""
        now = self._clock.monotonic()
        if self._source.file is not None and now - self._read_at >= READ_EVERY:
            self._read_at = now
            self._read_again()
        return self._keys

    def _read_again(self) -> None:
        try:
            self._keys, self._trouble = self._source.read(), None
        except SettingsError as error:
            if error.message != self._trouble:
                _log.warning("%s; the keys read before stay in force", error)
            self._trouble = error.message


def seal_of(settings: Settings, clock: Clock) -> Seal:
    """How a deployment stores sessions.

    Raises:
        SettingsError: its keys cannot be read, or the extra `crypto` is not installed.
    """
    source = settings.sessions.keys
    if not source:
        return PLAIN
    keyring = Keyring(source, clock)
    return AesGcm(keyring.keys, accept_plain=settings.sessions.plaintext == "accept")
