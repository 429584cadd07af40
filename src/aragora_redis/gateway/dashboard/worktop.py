"""Acts that take a while: one at a time, each told in the journal when it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ...errors import AragoraRedisError
from ...telemetry.words import Told
from .journal import Journal
from .picture import Doing

ACT_LIMIT = 2.0
"""Seconds that a request waits for its act; a longer one goes on and is told in the journal."""
_log = logging.getLogger(__name__)


class Worktop:
    """Has one act done after the other; whoever comes meanwhile is told so."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._acting: asyncio.Task[None] | None = None
        self._doing = Doing()

    @property
    def doing(self) -> Doing:
        """What is under way, and how the last one came out."""
        return self._doing

    def say(self, working: str) -> None:
        """How far the act is that is under way."""
        self._doing = Doing(working, self._doing.said)

    async def do(self, label: str, work: Callable[[], Awaitable[Told]]) -> None:
        """Begin an act and give it a moment."""
        if self._doing.working is not None:
            busy = f"did not {label}: {self._doing.working} is still under way"
            self._tell(Told(logging.WARNING, busy), working=self._doing.working)
            return
        self._doing = Doing(label)
        self._acting = asyncio.create_task(self._run(label, work))
        await asyncio.wait((self._acting,), timeout=ACT_LIMIT)

    async def close(self) -> None:
        """Stop what is under way: it undoes what it has begun, or brings it to its end."""
        if self._acting is not None:
            self._acting.cancel()
            await asyncio.gather(self._acting, return_exceptions=True)

    async def _run(self, label: str, work: Callable[[], Awaitable[Told]]) -> None:
        said = Told(logging.ERROR, f"{label} was interrupted")
        try:
            said = await work()
        except AragoraRedisError as error:
            text = f"could not {label}: {error.message.splitlines()[0]}"
            said = Told(logging.ERROR, text)
        except Exception:  # noqa: BLE001 - whoever waits is told
            _log.exception("could not %s", label)
            said = Told(logging.ERROR, f"could not {label}: the gateway's log says why")
        finally:
            self._tell(said)

    def _tell(self, said: Told, *, working: str | None = None) -> None:
        self._doing = Doing(working, said)
        self._journal.note(said)
