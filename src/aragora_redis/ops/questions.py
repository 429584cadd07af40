"""Ask one server, and do without what a managed service forbids."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from .offered import Trial, is_forbidden, read_trial


class Questions:
    """Asks one server, and notes what it forbids.

    Args:
        client: its connection.
        alone: see `is_forbidden`.
    """

    def __init__(self, client: Redis, *, alone: bool) -> None:
        self._client = client
        self._alone = alone
        self._forbidden: set[str] = set()

    @property
    def forbidden(self) -> frozenset[str]:
        """The commands that were found to be forbidden."""
        return frozenset(self._forbidden)

    async def ask(self, *words: str | bytes, raw: bool = False) -> Any:
        """The answer, as bytes if `raw`; None from a service that forbids the command."""
        execute: Any = self._client.execute_command
        try:
            return await execute(*words, **({NEVER_DECODE: True} if raw else {}))
        except ResponseError as error:
            if not is_forbidden(error, alone=self._alone):
                raise
            self._forbidden.add(str(words[0]).partition(" ")[0])
            return None

    async def ask_if_allowed(self, *words: str | bytes, raw: bool = False) -> Any:
        """The answer, as bytes if `raw`; None wherever it is refused."""
        try:
            return await self.ask(*words, raw=raw)
        except ResponseError:
            return None

    async def try_write(self, key: str) -> Trial:
        """Learn by an empty write what nothing else tells."""
        try:
            await self._client.delete(key)
        except ResponseError as error:
            return read_trial(error, alone=self._alone)
        return read_trial(None, alone=self._alone)
