"""From one Redis to Sentinels, to a cluster, to a managed service: the settings change, nothing else.

The keys are the same everywhere, so the data of one topology are at home in the next.
"""

from __future__ import annotations

import time

import redis

from aragora_redis import SharedState

ORDER = ("standalone", "sentinel", "cluster", "managed")
POLICIES = """
[limits.api]
rate = "10 per 1 hour"
burst = 10
"""


def servers(lab):
    """A connection for an operator to each data node that holds part of the data."""
    for node in lab.status().nodes:
        if node.kind == "redis" and node.role in (None, "primary"):
            yield lab.admin(node.name)


def keys_of(lab):
    """Every key, as it would be moved."""
    found = {}
    for client in servers(lab):
        with client:
            for key in client.scan_iter(count=1000):
                found[key] = (client.dump(key), max(client.pttl(key), 0))
    return found


def restore(lab, found):
    clients = list(servers(lab))
    for key, (value, ttl) in found.items():
        for client in clients:
            try:
                client.restore(key, ttl, value, replace=True)
                break
            except redis.exceptions.MovedError:
                continue
        else:
            raise AssertionError(key)
    for client in clients:
        client.close()
