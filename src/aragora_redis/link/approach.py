"""How any lane reaches the primary: when it may try, and what a new connection has to prove."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from ..clock import Clock
from ..errors import LinkDownError
from ..operation import Lane
from .connection import Login, Target, connect
from .herd import Turn
from .pipe import Pipe, PushHandler
from .verification import Verification, Verified

MOMENT = 0.02
"""Seconds within which whoever loses a lane with its server loses the others as well."""


class Aim:
    """A server to lead to, until another is named or this one is given up.

    Attributes:
        over: whether that has happened; what was begun for this aim is not used any more.
        told: why the server cannot be reached, as was last said; None once it was reached.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.over = False
        self.told: str | None = None

    def check(self) -> None:
        """A server that stood still may answer in the moment in which it was replaced.

        Raises:
            LinkDownError: the aim is over.
        """
        if self.over:
            raise LinkDownError(f"{self.target} is not the primary any more")


class Approach:
    """Says when a lane may try to connect, and opens connections that are verified.

    Args:
        login: credentials and TLS.
        verification: what every new connection has to stand.
        has_layout: whether a server is the one that holds the version of the data's layout.
        together: whether the loss of one connection voids those that are being opened.
        instances: how many there are that lose a server together, as far as is known.
        channels: what the bulk lane subscribes to.
        served: whether the server serves any lane; one that is silent does not.
        on_push: gets every published message.
    """

    def __init__(
        self,
        login: Login,
        *,
        clock: Clock,
        verification: Verification,
        has_layout: Callable[[Target], bool],
        together: bool,
        instances: Callable[[], int],
        channels: Callable[[], Sequence[bytes]],
        served: Callable[[], bool],
        on_push: PushHandler,
    ) -> None:
        self._login = login
        self._verification = verification
        self._has_layout = has_layout
        self._together = together
        self._channels = channels
        self._served = served
        self._on_push = on_push
        self._news = asyncio.Event()
        self.turn = Turn(instances, clock)
        self.losses = 0
        """Counts the connections that were lost or given up."""

    async def come(self) -> None:
        """Wait for our turn, unless the server serves another lane."""
        if self.turn.crowded:
            await asyncio.sleep(MOMENT)
        while self.turn.left > 0 and not self._served():
            await self._wait(self.turn.left)

    async def rest(self, attempt: int) -> None:
        """Wait before retry number `attempt` (from 0), until `hurry` at most."""
        await self._wait(self.turn.pause(attempt))

    def hurry(self) -> None:
        """Try again at once: what stood in the way may be over."""
        self._news.set()
        self._news = asyncio.Event()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def connect(
        self,
        lane: Lane,
        aim: Aim,
        on_dial: Callable[[str], None],
        *,
        on_unheard: Callable[[], None],
    ) -> tuple[Pipe, Verified]:
        """Connect, and make sure that this is a primary whose data we can read.

        Args:
            lane: what the connection is for.
            aim: where it shall lead.
            on_dial: told the network address that is connected to.
            on_unheard: told that a primary which stood still has to hear its replicas first.

        Raises:
            AragoraRedisError: it is none, or must not be used any more.
        """
        losses = self.losses
        pipe = await connect(
            aim.target,
            self._login,
            timeout=self.turn.patience,
            on_push=self._on_push,
            on_dial=on_dial,
        )
        try:
            aim.check()
            verified = await self._verification.run(
                pipe,
                aim.target,
                has_layout=self._has_layout(aim.target),
                channels=self._channels() if lane is Lane.BULK else None,
                # What goes on the fast lane is decided without Redis meanwhile.
                on_unheard=on_unheard if lane is Lane.FAST else None,
                patience=self.turn.patience,
            )
            aim.check()  # a cancellation may be lost on the way; this is not
            self._check_losses(aim.target, losses)
        except BaseException:
            pipe.close("not verified")
            raise
        return pipe, verified

    def _check_losses(self, target: Target, losses: int) -> None:
        """What ended the other lanes is as true of one that was on its way."""
        if self._together and losses != self.losses:
            raise LinkDownError(f"{target} may have been replaced meanwhile")
