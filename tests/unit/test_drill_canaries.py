"""The two writers of a drill write where it looks for what they wrote."""

from __future__ import annotations

from typing import Any

import pytest

from aragora_redis.address import Address
from aragora_redis.ops.access import Access
from aragora_redis.ops.drill.canaries import _redis_py
from aragora_redis.ops.targets import SentinelTarget, StandaloneTarget

PRIMARY, SENTINEL = Address("10.0.0.10", 6379), Address("10.0.0.20", 26379)


@pytest.mark.parametrize("hosts", [None, "a hosts file"])
@pytest.mark.parametrize("sentinels", [True, False])
def test_redis_py_writes_into_the_database_of_the_settings(sentinels, hosts):
    access = Access(password="p", db=3, hosts=hosts)
    target = SentinelTarget((SENTINEL,), "m", access) if sentinels else None
    client: Any = _redis_py(target or StandaloneTarget(PRIMARY, access))
    assert client.connection_pool.connection_kwargs["db"] == 3
