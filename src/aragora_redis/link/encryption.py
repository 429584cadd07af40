"""TLS contexts for connections: made once, and anew when a file that they come from has changed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from ..settings.tls import Tls

_Stamp = tuple[int, int, int] | None


class Encryption:
    """Has a context ready: to make one reads a bundle of authorities, and takes up to 0.1 s."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._files = [path for path in (tls.ca, tls.cert, tls.key) if path is not None]
        self._stamps: list[_Stamp] = []
        self._context: ssl.SSLContext | None = None

    @property
    def by_name(self) -> bool:
        """Whether a certificate has to be for the name that was connected to."""
        return self._tls.verify == "full"

    @property
    def presents_itself(self) -> bool:
        """Whether it has a certificate of ours to show."""
        return self._tls.cert is not None

    async def context(self) -> ssl.SSLContext:
        """The context for a new connection.

        Raises:
            SettingsError: a file cannot be used, see `Tls.context`.
        """
        stamps = [_stamp(path) for path in self._files]
        if self._context is None or stamps != self._stamps:
            self._context = await asyncio.to_thread(self._tls.context)
            self._stamps = stamps
        return self._context


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def encryption_of(tls: Tls | None) -> Encryption | None:
    """What the settings ask for; None is plain TCP."""
    return Encryption(tls) if tls is not None else None
