"""What a new connection has to prove before it is used."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK, Clock
from aragora_redis.errors import LayoutError, LinkDownError
from aragora_redis.link.pipe import Pipe
from aragora_redis.link.verification import COUNTED, LAYOUT, Verification, Verified
from aragora_redis.testing.clock import FakeClock

PRIMARY = b"role:master\r\n"
REPLICA = b"slave0:ip=10.0.0.2,port=6380,state=online,offset=7,lag=%d\r\n"
UNHEARD = PRIMARY + b"min_slaves_good_slaves:1\r\n" + REPLICA % 4
HEARD = PRIMARY + b"min_slaves_good_slaves:1\r\n" + REPLICA % 0
MISSED = PRIMARY + b"min_slaves_good_slaves:0\r\n" + REPLICA % 4
AT = Address("10.0.0.1", 1)


class Empty:
    """A primary without data, on which somebody else writes the layout just before us.

    Args:
        layout: what they write.
        told: what it answers to INFO, one after the other, the last again and again.
        clock: goes on by a tenth of a second at each.
    """

    def __init__(
        self, layout: bytes = LAYOUT, *told: bytes, clock: FakeClock | None = None
    ) -> None:
        self._layout: bytes | None = None
        self._theirs = layout
        self._clock = clock
        self.told = list(told or (PRIMARY,))

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
            case ("INFO", *_):
                if self._clock is not None:
                    self._clock.advance(0.1)
                return self.told.pop(0) if len(self.told) > 1 else self.told[0]
        return {
            "ROLE": [b"master", 0, []],
            "TIME": [b"1700000000", b"0"],
            "EVALSHA": [b"replication-id", 1],
            "WAITAOF": [0, 0],
        }[command[0]]


async def verified(
    server: Empty, clock: Clock = SYSTEM_CLOCK, *, settled: bool = False
) -> Verified:
    verification = Verification(clock, layout_key=b"p:layout", by_slot=True, prepares=True)
    return await verification.run(
        cast("Pipe", server), AT, has_layout=True, channels=None, settled=settled, patience=1.0
    )


async def test_data_that_another_version_claims_first_are_not_used():
    with pytest.raises(LayoutError):
        await verified(Empty(b"another"))


async def test_data_that_another_instance_claims_first_are_used():
    await verified(Empty(LAYOUT))


@pytest.mark.parametrize("last", [HEARD, MISSED])
async def test_who_would_be_refused_in_a_moment_waits_until_it_is_known(last):
    server = Empty(LAYOUT, UNHEARD, UNHEARD, UNHEARD, last)
    assert (await verified(server, settled=True)).guarded
    assert server.told == [last]


async def test_who_waits_for_replicas_that_nobody_hears_waits_for_one_count():
    clock = FakeClock()
    began = clock.monotonic()
    await verified(Empty(LAYOUT, UNHEARD, clock=clock), clock, settled=True)
    assert COUNTED <= clock.monotonic() - began <= COUNTED + 0.3


async def test_who_has_nothing_to_fall_back_on_does_not_wait():
    server = Empty(LAYOUT, UNHEARD, HEARD)
    await verified(server)
    assert server.told == [HEARD], "it was asked once"


async def test_a_primary_that_is_replaced_while_it_is_waited_for_is_none():
    with pytest.raises(LinkDownError, match="its role is slave"):
        await verified(Empty(LAYOUT, UNHEARD, b"role:slave\r\n"), settled=True)
