"""So many go on in each turn of the loop, the others in the next ones, in their order.

Strangers may ask for little, but two thousand of them at once would be answered before anybody who
comes after them. With turns, whoever has proved a token waits for a few of them at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

EACH: Final = 4
"""Requests of strangers that are answered in a turn: about a millisecond."""


class Turns:
    """Who waits for a turn.

    Args:
        most: how many may wait.
        each: how many go on in a turn.
    """

    def __init__(self, most: int, each: int = EACH) -> None:
        self._most = most
        self._each = self._left = each
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._renewing = False

    async def come(self) -> bool:
        """Wait for a turn; False where too many wait already."""
        if self._left and not self._waiting:
            self._left -= 1
            self._renew_soon()
            return True
        if len(self._waiting) >= self._most:
            return False
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn
        return True

    def _renew_soon(self) -> None:
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self._left = self._each
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # else its request was cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < self._each:
            self._renew_soon()
