"""What a new connection has to prove before it is used."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LayoutError
from aragora_redis.link.pipe import Pipe
from aragora_redis.link.verification import LAYOUT, Verification


class Empty:
    """A primary without data, on which somebody else writes the layout just before us."""

    def __init__(self, layout: bytes) -> None:
        self._layout: bytes | None = None
        self._theirs = layout

    async def request(self, *command: Any, timeout: float) -> Any:  # noqa: ASYNC109 - as the real one
        del timeout
        match command:
            case ("GET", *_):
                return self._layout
            case ("SET", *_):
                self._layout = self._theirs
                return None
            case ("SCRIPT", "EXISTS", *shas):
                return [1] * len(shas)
        return {
            "ROLE": [b"master", 0, []],
            "INFO": b"role:master\r\n",
            "TIME": [b"1700000000", b"0"],
            "EVALSHA": [b"replication-id", 1],
            "WAITAOF": [0, 0],
        }[command[0]]


async def verified(layout: bytes) -> None:
    verification = Verification(SYSTEM_CLOCK, layout_key=b"p:layout", by_slot=True, prepares=True)
    pipe = cast("Pipe", Empty(layout))
    at = Address("10.0.0.1", 1)
    await verification.run(pipe, at, has_layout=True, channels=None, patience=1.0)


async def test_data_that_another_version_claims_first_are_not_used():
    with pytest.raises(LayoutError):
        await verified(b"another")


async def test_data_that_another_instance_claims_first_are_used():
    await verified(LAYOUT)
