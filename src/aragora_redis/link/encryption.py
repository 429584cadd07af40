"""TLS contexts for connections: made once, and anew when a file that they come from has changed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from ..errors import LinkDownError
from ..settings import names
from ..settings.tls import Tls
from .aside import aside

_Stamp = tuple[int, int, int] | None


MAKE_LIMIT = 2.0
"""Seconds that a connection waits for a context: a file system may hang."""


class Encryption:
    """Has a context ready: to make one reads a bundle of authorities, and takes up to 0.1 s.

    While one is being made no other is begun, so files that hang hold one thread.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._files = [path for path in (tls.ca, tls.cert, tls.key) if path is not None]
        self._stamps: list[_Stamp] = []
        self._context: ssl.SSLContext | None = None
        self._making: asyncio.Task[None] | None = None

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
            LinkDownError: the files have not been read in time.
        """
        while (stamps := [_stamp(path) for path in self._files]) != self._stamps or (
            self._context is None
        ):
            await self._make(stamps)
        return self._context

    async def _make(self, stamps: list[_Stamp]) -> None:
        making = self._making
        if making is None or making.done():
            making = self._making = asyncio.create_task(self._read(stamps))
            making.add_done_callback(_heed)
        try:
            async with asyncio.timeout(MAKE_LIMIT):
                await asyncio.shield(making)
        except TimeoutError:
            raise LinkDownError(
                f"the files for TLS were not read within {MAKE_LIMIT:g} s",
                remedy="see whether their file system hangs",
            ) from None

    async def _read(self, stamps: list[_Stamp]) -> None:
        self._context = await aside("the TLS context", self._tls.context)
        self._stamps = stamps


def _heed(made: asyncio.Task[None]) -> None:
    """Whoever waited may have given up, and then nobody else would look at what went wrong."""
    if not made.cancelled():
        made.exception()


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


_NO_AUTHORITY = (
    "its certificate is of an authority that is not trusted here",
    "point {TLS_CA} to the authority that issued it",
)
_FAULTS = {
    10: ("its certificate has expired", "renew it"),
    18: _NO_AUTHORITY,
    19: _NO_AUTHORITY,
    20: _NO_AUTHORITY,
    62: (
        "its certificate does not carry this name",
        (
            "issue it for this name, which for a node of a cluster is its "
            "cluster-announce-hostname, or use a name that it carries"
        ),
    ),
    64: (
        "its certificate does not carry this address",
        (
            "have names announced (cluster-announce-hostname, sentinel announce-hostnames), or "
            "set {TLS_VERIFY}=ca, which checks the authority alone"
        ),
    ),
}
"""By the codes of OpenSSL (X509_V_ERR): what is wrong, and what to do, with `names` to fill in."""


def explain(error: ssl.SSLCertVerificationError, variable: Callable[[str], str]) -> tuple[str, str]:
    """What is wrong with a server's certificate, and what to do about it; see `Login.variable`."""
    unknown = f"its certificate is refused: {error.verify_message}", "check {TLS_CA}"
    why, remedy = _FAULTS.get(error.verify_code, unknown)
    called = {"TLS_CA": variable(names.TLS_CA), "TLS_VERIFY": variable(names.TLS_VERIFY)}
    return why, remedy.format_map(called)


def encryption_of(tls: Tls | None) -> Encryption | None:
    """What the settings ask for; None is plain TCP."""
    return Encryption(tls) if tls is not None else None
