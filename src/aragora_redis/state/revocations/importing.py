"""An import of revocations, a step at a time, that tells the truth about what it has joined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import islice

from ...errors import InvalidInputError, Ran
from ...tokens.entry import Entry
from ...tokens.transfer import Reader
from .publisher import Publisher
from .receipt import Imported

IMPORT_LIMIT = 10.0
"""Seconds that one step of an import may take."""
IMPORT_STEP = 1_000
"""Lines of one step."""


class Importing:
    """One import under way.

    Args:
        reader: of its lines.
        publisher: joins the entries.
        within: seconds for one step.
    """

    def __init__(self, reader: Reader, publisher: Publisher, within: float) -> None:
        self._reader = reader
        self._publisher = publisher
        self._within = within
        self._joined = False
        self._level = publisher.attainable(None)

    async def step(self, lines: Iterable[bytes]) -> None:
        """Join the entries of the next lines.

        Raises:
            InvalidInputError: one must not be joined; all before it are. `ran` says if any is.
            OutcomeUnknownError: Redis did not confirm all of them in time.
        """
        entries: list[Entry] = []
        try:
            for line in lines:
                entries.extend(self._reader.entries(line))
        except InvalidInputError as error:
            await self._join(entries)
            error.ran = self._ran
            raise
        await self._join(entries)

    def finish(self) -> Imported:
        """What the import has brought, once all lines were joined.

        Raises:
            InvalidInputError: the last of them are missing.
        """
        try:
            self._reader.finish()
        except InvalidInputError as error:
            error.ran = self._ran
            raise
        return Imported(self._reader.count, self._reader.expired, self._level)

    @property
    def _ran(self) -> Ran:
        return Ran.YES if self._joined else Ran.NO

    async def _join(self, entries: list[Entry]) -> None:
        self._joined |= bool(entries)
        self._level = min(self._level, await self._publisher.publish_all(entries, self._within))
        await asyncio.sleep(0)  # what has expired awaits nothing else


async def in_steps(lines: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[list[bytes]]:
    """The lines of an import, as many at a time as one step joins."""
    if not isinstance(lines, AsyncIterable):
        given = iter(lines)
        while step := list(islice(given, IMPORT_STEP)):
            yield step
        return
    step = []
    async for line in lines:
        step.append(line)
        if len(step) == IMPORT_STEP:
            yield step
            step = []
    if step:
        yield step
