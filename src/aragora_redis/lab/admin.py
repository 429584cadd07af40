"""The few questions that a lab asks its servers, each bounded by a short socket timeout."""

from __future__ import annotations

from typing import Any

import redis

from ..errors import LabError
from .access import Access
from .config import MASTER_NAME, Monitored
from .members import View
from .node import Node

# What a server answers, or fails to, while it starts or ends.
NotNow = (redis.RedisError, OSError)


def answers(node: Node, access: Access) -> bool:
    """Whether it takes commands, with its data loaded."""
    try:
        with access.connect(node) as client:
            return bool(client.ping())
    except NotNow:
        return False


def role(node: Node, access: Access) -> str | None:
    """`master` or `slave`, or None where it does not answer."""
    try:
        with access.connect(node) as client:
            reply: Any = client.role()
            return str(reply[0])
    except NotNow:
        return None


def passwords(node: Node, access: Access, user: str) -> frozenset[str]:
    """The digests of the passwords that a user may log in with; none where it does not answer."""
    try:
        with access.connect(node) as client:
            found: Any = client.acl_getuser(user)
            return frozenset(each.removeprefix("#") for each in found["passwords"])
    except NotNow:
        return frozenset()


def cluster_view(node: Node, access: Access) -> View | None:
    """What a node of a cluster says of all of them, or None where it does not answer."""
    try:
        with access.connect(node) as client:
            ask: Any = client.execute_command
            # As two words, so that the reply is left as it is.
            return View.read(ask("CLUSTER", "NODES"))
    except NotNow:
        return None


def cluster_is_ok(node: Node, access: Access) -> bool:
    """Whether a node of a cluster takes commands, as far as the cluster is concerned."""
    try:
        with access.connect(node) as client:
            ask: Any = client.execute_command
            return "cluster_state:ok" in ask("CLUSTER", "INFO")
    except NotNow:
        return False


def order(client: redis.Redis, node: Node, *words: str | int | bytes) -> Any:
    """Have a node of a cluster do something to the cluster; the reply is not decoded.

    Raises:
        LabError: it did not, or did not say so in time.
    """
    ask: Any = client.execute_command
    try:
        return ask(*words, NEVER_DECODE=True)
    except NotNow as error:
        raise LabError(
            f"{node.name} did not do {' '.join(map(str, words[:2]))}: {error}",
            remedy="see lab status, and try again",
        ) from error


def replication(node: Node, access: Access) -> dict[str, Any]:
    """INFO replication, or nothing where it does not answer."""
    try:
        with access.connect(node) as client:
            info: dict[str, Any] = client.info("replication")
            return info
    except NotNow:
        return {}


def sentinel_master(node: Node, access: Access) -> dict[str, Any]:
    """SENTINEL MASTER, or nothing where it does not answer."""
    try:
        with access.connect(node) as client:
            reply: Any = client.sentinel_master(MASTER_NAME)
            return dict(reply)
    except NotNow:
        return {}


def sentinel_replicas(node: Node, access: Access) -> list[dict[str, Any]]:
    """SENTINEL REPLICAS, or nothing where it does not answer."""
    try:
        with access.connect(node) as client:
            reply: list[dict[str, Any]] = client.sentinel_slaves(MASTER_NAME)
            return reply
    except NotNow:
        return []


def sentinel_fellows(node: Node, access: Access) -> list[dict[str, Any]]:
    """SENTINEL SENTINELS, or nothing where it does not answer."""
    try:
        with access.connect(node) as client:
            reply: Any = client.sentinel_sentinels(MASTER_NAME)
            return list(reply)
    except NotNow:
        return []


def monitored(node: Node, access: Access) -> Monitored | None:
    """What a living Sentinel holds to be the primary."""
    try:
        with access.connect(node) as client:
            master: Any = client.sentinel_master(MASTER_NAME)
            # Late in a failover it names the promoted replica here, and the old primary there.
            address: Any = client.sentinel_get_master_addr_by_name(MASTER_NAME)
            return Monitored(int(master["config-epoch"]), int(address[1]))
    except NotNow:
        return None


def look_often(node: Node, access: Access) -> None:
    """Make a Sentinel refresh its picture each second, so that it demotes an old primary sooner.

    It forgets this when it restarts.
    """
    with access.connect(node) as client:
        ask: Any = client.execute_command
        ask("SENTINEL", "DEBUG", "info-period", 1000, "publish-period", 250)


def set_down_after(node: Node, access: Access, milliseconds: int) -> None:
    """Set after how long a silence a Sentinel calls a server down."""
    with access.connect(node) as client:
        client.sentinel_set(MASTER_NAME, "down-after-milliseconds", milliseconds)
