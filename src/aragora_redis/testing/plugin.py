"""pytest fixtures; name this module in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .. import sync
from ..state.shared import SharedState
from .clock import FakeClock
from .memory_state import memory_state
from .sync import memory_state as sync_memory_state


@pytest.fixture
def aragora_clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def aragora_state(aragora_clock: FakeClock) -> SharedState:
    """A state in memory on `aragora_clock`, with the default policies.

    It is not started, since the loop is the test's: `async with aragora_state` does that where a
    test needs the background (evidence of circuits is pooled there).
    """
    return memory_state(clock=aragora_clock)


@pytest.fixture
def aragora_sync_state(aragora_clock: FakeClock) -> Iterator[sync.SharedState]:
    """The same for threads, started; it is closed after the test."""
    state = sync_memory_state(clock=aragora_clock)
    yield state
    state.close()
