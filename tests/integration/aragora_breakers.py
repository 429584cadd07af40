"""A process with Aragora's breakers and session store, beside its servers.

Takes `fail` and `ask`, and answers `open` or `closed`; `device USER` stores one of that user.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from aragora_redis.aragora.breakers import Breakers
from aragora_redis.aragora.limits import with_aragora
from aragora_redis.aragora.sessions import Sessions
from aragora_redis.aragora.shared import Shared
from aragora_redis.policies import load_policies
from aragora_redis.settings import from_env
from aragora_redis.sync import SharedState

settings = from_env()
with SharedState(settings, policies=with_aragora(load_policies(None))) as state:
    Breakers(Shared(state)).install()
    Sessions(settings).install()
    resilience = import_module("aragora.resilience")
    sessions: Any = import_module("aragora.server.session_store")
    upstream = resilience.get_circuit_breaker("upstream", failure_threshold=2, cooldown_seconds=60)
    for line in sys.stdin:
        word, _, user = line.strip().partition(" ")
        if word == "device":
            device = sessions.DeviceSession(
                device_id="d1", user_id=user, device_type="android", push_token="t" * 64
            )
            sessions.get_session_store().set_device_session(device)
            sys.stdout.write("stored\n")
        else:
            if word == "fail":
                upstream.record_failure()
            sys.stdout.write("closed\n" if upstream.can_proceed() else "open\n")
        sys.stdout.flush()
