"""Trial calls of a half-open circuit while Redis cannot be asked for a place (invariant I7).

For each open time so many instances may make one as there are places; which ones, all compute
alike. An instance has one under way at most, so calls that hang do not add up.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2b

from ...circuit.operations import lease_of
from ...circuit.policy import CircuitPolicy
from ...clock import Clock
from ...rate_limit.share import FleetSize


class LoneTrials:
    """The trial calls that one instance allows itself for one circuit.

    Args:
        server_now: the server's clock in Unix microseconds, on which all instances agree.
    """

    def __init__(
        self,
        name: str,
        policy: Callable[[], CircuitPolicy],
        *,
        clock: Clock,
        server_now: Callable[[], int],
        fleet: FleetSize,
        own: str,
    ) -> None:
        self._name = name
        self._policy = policy
        self._clock = clock
        self._server_now = server_now
        self._fleet = fleet
        self._own = own
        self._slot = -1
        self._weighed: tuple[object, bool] = None, False
        self._token: str | None = None
        self._until = 0.0

    def take(self) -> str | None:
        """The token of a trial call, if one may be made now."""
        slot = self._server_now() // self._span
        under_way = self._token is not None and self._clock.monotonic() < self._until
        if under_way or slot == self._slot or not self._chosen(slot):
            return None
        self._slot, self._token = slot, secrets.token_hex(8)
        self._until = self._clock.monotonic() + lease_of(self._policy())
        return self._token

    def keep(self, token: str) -> bool:
        """Give the call under way more time; False where it is another one."""
        mine = token == self._token
        if mine:
            self._until = self._clock.monotonic() + lease_of(self._policy())
        return mine

    def finish(self, token: str) -> bool:
        """Take a result in; False where it is not that of the call under way."""
        mine = token == self._token
        if mine:
            self._token = None
        return mine

    @property
    def wait(self) -> float:
        """Seconds until the next open time begins."""
        return (self._span - self._server_now() % self._span) / 1e6

    @property
    def _span(self) -> int:
        return max(int(self._policy().open_for * 1_000_000), 1)

    def _chosen(self, slot: int) -> bool:
        """Whether it is this instance's turn.

        Where the others are not known it is: it would else stay open until Redis returns.
        """
        ids, places = self._fleet.ids, self._policy().half_open_probes
        if self._own not in ids:
            return True

        def weight(boot_id: str) -> bytes:
            text = f"{self._name} {slot} {boot_id}"
            return blake2b(text.encode(), digest_size=8).digest()

        # Each call that is refused asks, and to weigh a thousand instances takes a millisecond.
        if self._weighed[0] != (slot, ids, places):
            ranked = sorted(ids, key=weight)
            self._weighed = (slot, ids, places), self._own in ranked[:places]
        return self._weighed[1]
