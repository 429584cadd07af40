"""Follow the policies file: what it says holds a second later, and a bad one changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import SettingsError
from ..events import Events, PoliciesRefused, PoliciesReloaded
from ..policies import Policies, load_policies

LOOK_EVERY: Final = 1.0
"""Seconds between looks at the file."""

Signature = tuple[int, int, int] | None


class PoliciesWatch:
    """Reads one policies file again whenever it has changed.

    Args:
        path: of the file.
        current: the policies in force.
        use: puts others in force.
    """

    def __init__(
        self,
        path: Path,
        *,
        current: Callable[[], Policies],
        use: Callable[[Policies], None],
        events: Events,
    ) -> None:
        self._path = path
        self._current = current
        self._use = use
        self._events = events
        self._wake = asyncio.Event()
        self._seen = _signature(self._path)
        self.refused: str | None = None
        """Why the file as it is now cannot be used; None where it can."""

    async def run(self) -> None:
        """Follow the file until cancelled; it may be followed again, also in another loop."""
        poked, self._wake = self._wake.is_set(), asyncio.Event()
        if poked:
            self._wake.set()
        while True:
            forced = self._wake.is_set()
            self._wake.clear()
            await self._look(forced=forced)
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def poke(self) -> None:
        """Read the file now, changed or not."""
        self._wake.set()

    async def _look(self, *, forced: bool) -> None:
        signature = await asyncio.to_thread(_signature, self._path)
        if signature == self._seen and not forced:
            return
        self._seen = signature
        try:
            read = await asyncio.to_thread(load_policies, self._path)
        except SettingsError as error:
            if str(error) != self.refused:
                self.refused = str(error)
                self._events.emit(PoliciesRefused(str(error)))
            return
        if read.hash != self._current().hash:
            self._use(read)
        elif self.refused is None:
            return
        self.refused = None
        self._events.emit(PoliciesReloaded(read.hash))


def _signature(path: Path) -> Signature:
    """What changes when a file is written or replaced, through symbolic links."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
