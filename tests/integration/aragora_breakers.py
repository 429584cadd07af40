"""A process with Aragora's breakers: takes `fail` and `ask`, answers `open` or `closed`."""

from __future__ import annotations

import sys
from importlib import import_module

from aragora_redis.aragora.breakers import Breakers
from aragora_redis.aragora.limits import with_aragora
from aragora_redis.aragora.shared import Shared
from aragora_redis.policies import load_policies
from aragora_redis.settings import from_env
from aragora_redis.sync import SharedState

with SharedState(from_env(), policies=with_aragora(load_policies(None))) as state:
    Breakers(Shared(state)).install()
    resilience = import_module("aragora.resilience")
    upstream = resilience.get_circuit_breaker("upstream", failure_threshold=2, cooldown_seconds=60)
    for line in sys.stdin:
        if line.strip() == "fail":
            upstream.record_failure()
        sys.stdout.write("closed\n" if upstream.can_proceed() else "open\n")
        sys.stdout.flush()
