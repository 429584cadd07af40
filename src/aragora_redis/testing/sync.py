"""The same for services of threads: a state in memory, outages at will."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..clock import SYSTEM_CLOCK, Clock
from ..errors import AragoraRedisError, LinkDownError
from ..settings import Settings
from ..sync import SharedState
from .memory_state import policies_of

_LIMIT = 1.0
"""Seconds that a step in memory may take."""


def memory_state(
    policies: str | None = None, *, clock: Clock = SYSTEM_CLOCK, settings: Settings | None = None
) -> SharedState:
    """A state of `aragora_redis.sync` that lives in this process, and is started; close it.

    Args:
        policies: the text of a policies file; the packaged defaults without it.
        clock: such as a `FakeClock`.
        settings: of mode `embedded`; for `fail_open`, JWT keys and the like.

    Raises:
        SettingsError: the policies are wrong.
    """
    state = SharedState(settings or Settings(), policies=policies_of(policies), clock=clock)
    state.start()
    state.wait_ready(_LIMIT)
    return state


@contextmanager
def outage(state: SharedState, error: AragoraRedisError | None = None) -> Iterator[None]:
    """Let nothing reach the data for as long as the context lasts.

    Args:
        state: one of `memory_state`.
        error: what calls meet; by default that there is no connection.

    Raises:
        TypeError: the state has a Redis of its own, which can be killed: see `aragora_redis.lab`.
    """
    executor = state.crossing.here.embedded
    if executor is None:
        raise TypeError("the state is not in memory")
    executor.outage = error or LinkDownError("there is no usable connection to Redis: a test")
    try:
        yield
    finally:
        executor.outage = None
        state.crossing.cross(lambda there: there.rate_limits.settle_debts(), _LIMIT)
