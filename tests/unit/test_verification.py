"""What a new connection has to prove before it is used."""

from __future__ import annotations

from collections.abc import Callable
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
    server: Empty,
    clock: Clock = SYSTEM_CLOCK,
    *,
    prepares: bool = True,
    on_unheard: Callable[[], None] | None = None,
) -> Verified:
    verification = Verification(clock, layout_key=b"p:layout", by_slot=True, prepares=prepares)
    pipe = cast("Pipe", server)
    return await verification.run(
        pipe, AT, has_layout=True, channels=None, on_unheard=on_unheard, patience=1.0
    )


async def test_data_that_another_version_claims_first_are_not_used():
    with pytest.raises(LayoutError):
        await verified(Empty(b"another"))


async def test_data_that_another_instance_claims_first_are_used():
    await verified(Empty(LAYOUT))


@pytest.mark.parametrize("last", [HEARD, MISSED])
async def test_who_would_be_refused_in_a_moment_waits_until_it_is_known(last):
    server, told = Empty(LAYOUT, UNHEARD, UNHEARD, last), list[int]()
    assert (await verified(server, on_unheard=lambda: told.append(len(server.told)))).guarded
    assert server.told == [last]
    assert told == [2], "said as the wait begins"


async def test_who_waits_for_replicas_that_nobody_hears_waits_for_one_count():
    clock = FakeClock()
    began = clock.monotonic()
    await verified(Empty(LAYOUT, UNHEARD, clock=clock), clock, on_unheard=lambda: None)
    assert COUNTED <= clock.monotonic() - began <= COUNTED + 0.3


@pytest.mark.parametrize("how", [{}, {"prepares": False, "on_unheard": lambda: None}])
async def test_who_has_nothing_to_fall_back_on_or_decides_nothing_does_not_wait(how):
    server = Empty(LAYOUT, UNHEARD, HEARD)
    await verified(server, **how)
    assert server.told == [HEARD], "it was asked once"


async def test_who_waits_for_replicas_that_are_there_is_told_nothing():
    await verified(Empty(LAYOUT, HEARD), on_unheard=lambda: pytest.fail("it need not wait"))


async def test_a_primary_that_is_replaced_while_it_is_waited_for_is_none():
    with pytest.raises(LinkDownError, match="its role is slave"):
        await verified(Empty(LAYOUT, UNHEARD, b"role:slave\r\n"), on_unheard=lambda: None)
