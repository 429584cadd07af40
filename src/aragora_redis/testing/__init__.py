"""For the tests of services: a shared state in memory, a clock that stands still, outages at will.

    from aragora_redis.testing import FakeClock, memory_state, outage

For services of threads (`aragora_redis.sync`) `memory_state` and `outage` are in
`aragora_redis.testing.sync`.

With `pytest_plugins = ["aragora_redis.testing.plugin"]` in a `conftest.py`, tests get them as the
fixtures `aragora_state`, `aragora_sync_state` and `aragora_clock`.
"""

from .clock import FakeClock
from .memory_state import memory_state
from .outages import outage

__all__ = ["FakeClock", "memory_state", "outage"]
