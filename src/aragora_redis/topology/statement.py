"""One Sentinel's answers as a value, and what a server says of itself.

Sources: Redis documentation, "High availability with Redis Sentinel" and the commands ROLE and
INFO. Under RESP3 Sentinel answers with maps, under RESP2 with flat lists; both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from ..address import MAX_PORT, Address
from ..errors import UnexpectedReplyError

_PORT = re.compile(r"[0-9]{1,5}")
_OFFSET = re.compile(r"^master_repl_offset:([0-9]{1,20})\b", re.MULTILINE)
_REPLICA = re.compile(r"^slave[0-9]+:.*\boffset=([0-9]{1,20}),lag=([0-9]{1,20})\b", re.MULTILINE)
_LINKED = re.compile(
    r"^slave[0-9]+:ip=([^,\s]+),port=([0-9]{1,5}),state=online,.*\blag=([0-9]{1,20})\b",
    re.MULTILINE,
)
_ROLE = re.compile(r"^role:(\w+)", re.MULTILINE)
_GOOD = re.compile(r"^min_slaves_good_slaves:([0-9]{1,10})", re.MULTILINE)
FOLLOWS = 1
"""Whole seconds since a replica was heard that follows; they acknowledge each second."""


class ReplicaStatement(Struct, frozen=True):
    """What one Sentinel says about one replica."""

    address: Address
    down: bool
    """It is subjectively down (`s_down`)."""
    linked: bool
    """Its link to the primary is up."""


class SentinelStatement(Struct, frozen=True):
    """What one Sentinel says about the primary, at one moment."""

    sentinel_id: str
    primary: Address
    epoch: int
    """Its configuration epoch for the primary."""
    primary_flags: frozenset[str]
    peers: Mapping[str, Address]
    """The other Sentinels that it knows, by id."""
    replicas: tuple[ReplicaStatement, ...]
    asked_at: float
    """Monotonic seconds at which it was asked."""

    @property
    def ids(self) -> frozenset[str]:
        """The Sentinels of its group: itself and its peers."""
        return frozenset(self.peers) | {self.sentinel_id}


def read_statement(
    sentinel_id: Any,
    address: Any,
    master: Any,
    sentinels: Any,
    replicas: Any,
    *,
    asked_at: float,
) -> SentinelStatement:
    """Build a statement from the replies to five `SENTINEL` commands.

    They are `MYID`, `GET-MASTER-ADDR-BY-NAME`, `MASTER`, `SENTINELS` and `REPLICAS`. The address is
    not taken from `MASTER`: during a failover that pairs the old address with the new epoch, and
    whoever believed it would take the right answer for a stale one afterwards.

    Raises:
        UnexpectedReplyError: a reply is not what these commands answer.
    """
    try:
        facts = _facts(master)
        host, port = address
        return SentinelStatement(
            sentinel_id=read_id(sentinel_id),
            primary=_address(_text(host), _text(port)),
            epoch=int(facts["config-epoch"]),
            primary_flags=frozenset(facts["flags"].split(",")),
            peers={
                peer["runid"]: _address(peer["ip"], peer["port"])
                for peer in map(_facts, sentinels)
                if peer["runid"]
            },
            replicas=read_replicas(replicas),
            asked_at=asked_at,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UnexpectedReplyError(
            f"a Sentinel's answer cannot be read: {error!r}", remedy="check that it is a Sentinel"
        ) from error


def read_replicas(reply: Any) -> tuple[ReplicaStatement, ...]:
    """What a Sentinel says about the replicas, from its reply to `SENTINEL REPLICAS`.

    Raises:
        UnexpectedReplyError: it is not what this command answers.
    """
    try:
        return tuple(map(_replica, map(_facts, reply)))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UnexpectedReplyError(
            f"what a Sentinel says of replicas cannot be read: {error!r}",
            remedy="check that it is a Sentinel",
        ) from error


def read_id(reply: Any) -> str:
    """The id of a Sentinel, from its reply to `SENTINEL MYID`.

    Raises:
        UnexpectedReplyError: it is none.
    """
    try:
        return _text(reply)
    except TypeError as error:
        raise UnexpectedReplyError(
            "a Sentinel does not tell its id", remedy="check that it is a Sentinel"
        ) from error


def _address(host: str, port: str) -> Address:
    # The system takes a larger number for that of another port.
    if not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise ValueError(f"the port {port[:8]!r}")
    return Address(host, int(port))


def _replica(facts: Mapping[str, str]) -> ReplicaStatement:
    return ReplicaStatement(
        address=_address(facts["ip"], facts["port"]),
        down="s_down" in facts["flags"].split(","),
        linked=facts.get("master-link-status") == "ok",
    )


def _facts(reply: Any) -> dict[str, str]:
    if not isinstance(reply, Mapping):
        reply = dict(zip(reply[::2], reply[1::2], strict=True))
    return {_text(key): _text(value) for key, value in reply.items()}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    raise TypeError(f"expected text, got {type(value).__name__}")


def read_switch(message: Any, master_name: str) -> Address | None:
    """The new primary that a `+switch-master` message announces for `master_name`, else None."""
    words = _text(message).split(" ") if isinstance(message, bytes | str) else []
    if len(words) != 5 or words[0] != master_name:
        return None
    try:
        return _address(words[3], words[4])
    except ValueError:
        return None


def read_guarded(info: Any) -> bool:
    """Whether a server refuses writes without good replicas (`min-replicas-to-write`).

    Args:
        info: the reply to `INFO replication`.

    Raises:
        UnexpectedReplyError: it is not what this command answers.
    """
    return _GOOD.search(_info(info)) is not None


def counts_unheard(info: Any) -> bool:
    """Whether a server counts replicas as good none of which it has heard lately.

    Such a one stood still. It takes writes as yet, and refuses them as soon as it counts again,
    which it does each second, until it has heard its replicas.

    Args:
        info: the reply to `INFO replication`.

    Raises:
        UnexpectedReplyError: it is not what this command answers.
    """
    counted = _GOOD.search(_info(info))
    heard = (lag <= FOLLOWS for _, lag in read_followers(info))
    return counted is not None and int(counted[1]) > 0 and not any(heard)


# A dataclass, because pydantic describes it in the HTTP API.
@dataclass(frozen=True, slots=True)
class Lag:
    """How far the replicas of a primary are behind, each figure that of the worst one.

    Attributes:
        size: bytes of the replication stream that a replica has not acknowledged.
        seconds: whole seconds since a replica has acknowledged anything.
    """

    size: int
    seconds: int


def read_lag(info: Any) -> Lag | None:
    """How far a server's replicas are behind; None where none follows it.

    Args:
        info: the reply to `INFO replication`.

    Raises:
        UnexpectedReplyError: it is not what this command answers.
    """
    text = _info(info)
    head = _OFFSET.search(text)
    replicas = [(int(offset), int(lag)) for offset, lag in _REPLICA.findall(text)]
    if head is None or not replicas:
        return None
    behind = max(int(head[1]) - offset for offset, _ in replicas)
    return Lag(max(behind, 0), max(lag for _, lag in replicas))


def read_followers(info: Any) -> list[tuple[Address, int]]:
    """A server's replicas that are linked, each with the whole seconds since it was last heard.

    Those behind one network address that announce nothing have the same.

    Args:
        info: the reply to `INFO replication`.

    Raises:
        UnexpectedReplyError: it is not what this command answers.
    """
    found = _LINKED.findall(_info(info))
    return [(Address(host, int(port)), int(lag)) for host, port, lag in found]


def _info(info: Any) -> str:
    try:
        return _text(info)
    except TypeError as error:
        raise UnexpectedReplyError(f"a server's INFO cannot be read: {error}") from error


def role_fault(role: Any, *, guarded: bool) -> str | None:
    """What keeps a server from being written, or None.

    Args:
        role: what it answers to the question that it takes (see `offers`): ROLE, where it has that;
            else INFO replication, or PING, which may tell nothing.
        guarded: whether it refuses writes without replicas.
    """
    if isinstance(role, bytes | str):
        told = _ROLE.search(_text(role))
        return f"its role is {told[1]}" if told and told[1] != "master" else None
    try:
        name, replicas = _text(role[0]), role[2] if len(role) > 2 else ()
    except (IndexError, KeyError, TypeError):
        return "its answer to ROLE cannot be read"
    if name != "master":
        return f"its role is {name}"
    if guarded and not replicas:
        return "it has lost its replicas"
    return None
