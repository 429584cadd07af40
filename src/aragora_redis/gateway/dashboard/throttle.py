"""How often a client may fail to log in: an address, or an IPv6 network that one customer has."""

from __future__ import annotations

import math
from collections import OrderedDict

from ...clock import Clock
from ...web.client_address import subject_of

AT_ONCE = 5
"""Failures in a row that cost no wait."""
EVERY = 12.0
"""Seconds after which one more is forgiven."""
CLIENTS = 1024
"""Clients that are remembered; the one that failed longest ago is forgotten first."""


class Throttle:
    """Counts failures by client, in bounded memory.

    For each client it keeps the moment at which all its failures will be forgiven.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._forgiven: OrderedDict[str, float] = OrderedDict()

    def wait(self, client: str) -> int:
        """Whole seconds until the client may try again; 0 is now."""
        owed = self._forgiven.get(subject_of(client), 0.0) - self._clock.monotonic()
        return max(0, math.ceil(owed - (AT_ONCE - 1) * EVERY))

    def failed(self, client: str) -> None:
        """The client presented a wrong token."""
        now, client = self._clock.monotonic(), subject_of(client)
        self._forgiven[client] = max(self._forgiven.get(client, 0.0), now) + EVERY
        self._forgiven.move_to_end(client)
        while len(self._forgiven) > CLIENTS:
            self._forgiven.popitem(last=False)

    def __len__(self) -> int:
        return len(self._forgiven)
