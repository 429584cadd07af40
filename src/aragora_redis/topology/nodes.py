"""A Redis Cluster as one of its nodes sees it.

Source: Redis documentation, the command CLUSTER NODES; a node's own file has the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ..address import MAX_PORT, Address, is_name
from ..errors import UnexpectedReplyError
from ..slots import SLOTS

_DOWN = frozenset({"fail", "fail?"})
_UNKNOWN = frozenset({"noaddr", "handshake"})


class Claim(Struct, frozen=True):
    """What one node says of a primary, itself perhaps."""

    node_id: str
    address: Address
    epoch: int
    slots: tuple[range, ...]
    down: bool
    """The one who says it cannot reach it."""
    aliases: tuple[Address, ...] = ()
    """What else redirections may call it: that is for its server to choose."""


class Follower(Struct, frozen=True):
    """What one node says of a replica."""

    node_id: str
    address: Address
    primary_id: str
    down: bool


class Motion(Struct, frozen=True):
    """A slot that a node gives away or takes over; the node says so of itself only."""

    slot: int
    importing: bool
    """It is on its way to the node, else from it."""
    other_id: str
    """Where it comes from, or goes."""


class NodeStatement(Struct, frozen=True):
    """The cluster as one node sees it, at one moment."""

    node_id: str
    claims: tuple[Claim, ...]
    followers: tuple[Follower, ...]
    asked_at: float
    """Monotonic seconds at which it was asked."""
    motions: tuple[Motion, ...] = ()

    @property
    def nodes(self) -> tuple[Claim | Follower, ...]:
        """All that it knows, itself among them."""
        return (*self.claims, *self.followers)

    @property
    def ids(self) -> frozenset[str]:
        """All nodes that it knows, itself among them."""
        return frozenset(node.node_id for node in self.nodes)

    @property
    def addresses(self) -> frozenset[Address]:
        """All nodes that it knows and does not call down."""
        return frozenset(node.address for node in self.nodes if not node.down)


class NodeRow(Struct, frozen=True):
    """One line, which is about one node."""

    node_id: str
    """Forty hexadecimal digits, the same for as long as its file is kept."""
    address: Address
    """Its network address; without a host where it does not know its own."""
    name: str
    """The host name that it announces, or nothing."""
    flags: frozenset[str]
    primary_id: str | None
    """The node that it replicates; None for a primary."""
    epoch: int
    """Its configuration epoch, or that of its primary."""
    linked: bool
    slots: tuple[range, ...]
    motions: tuple[Motion, ...]

    @property
    def mine(self) -> bool:
        """Whether it is about the node that says it."""
        return "myself" in self.flags

    @property
    def down(self) -> bool:
        """Whether the one who says it cannot reach it."""
        return bool(self.flags & _DOWN)

    @property
    def names(self) -> tuple[Address, ...]:
        """What redirections may call it, but for those that leave its host out."""
        port = self.address.port
        return tuple(Address(host, port) for host in (self.address.host, self.name) if host)

    @property
    def known(self) -> bool:
        """Whether the two have met, and it has an address."""
        return not self.flags & _UNKNOWN


def read_rows(text: str) -> tuple[NodeRow, ...]:
    """Read all lines about nodes.

    Raises:
        ValueError: one of them is none.
    """
    lines = (line.strip("\0 ") for line in text.splitlines())
    # A file ends with a line of other things.
    return tuple(_row(line) for line in lines if line and not line.startswith("vars "))


def read_nodes(
    reply: Any, *, asked: Address, asked_at: float, by_name: bool, endpoint: str | None = None
) -> NodeStatement:
    """Build a statement from the reply to `CLUSTER NODES`.

    Args:
        reply: what the node answered.
        asked: where it was asked; a node need not know its own address.
        asked_at: monotonic seconds.
        by_name: whether nodes are reached by names, as TLS needs: those that they announce.
        endpoint: the name of them all where they announce none and have one address; without it
            that is the host of `asked`.

    Raises:
        UnexpectedReplyError: it is not what this command answers.
    """
    try:
        rows = read_rows(reply.decode() if isinstance(reply, bytes) else str(reply))
        (own,) = (row for row in rows if row.mine)
    except (ValueError, UnicodeDecodeError) as error:
        raise UnexpectedReplyError(
            f"a node's answer to CLUSTER NODES cannot be read: {error!r}",
            remedy="check that it is a node of a Redis Cluster",
        ) from error
    claims: list[Claim] = []
    followers: list[Follower] = []
    known = [row for row in rows if row.known]
    shared = _shared(known, endpoint or asked.host) if by_name else None
    for row in known:
        at = _reached(row, asked, by_name=by_name, shared=shared)
        if row.primary_id is not None:
            followers.append(Follower(row.node_id, at, row.primary_id, row.down))
        else:
            aliases = tuple(each for each in row.names if each != at)
            claims.append(Claim(row.node_id, at, row.epoch, row.slots, row.down, aliases))
    return NodeStatement(own.node_id, tuple(claims), tuple(followers), asked_at, own.motions)


def _shared(rows: Sequence[NodeRow], endpoint: str) -> str | None:
    """The name that stands for all nodes, or None: ports tell them apart behind one address."""
    hosts = {row.address.host for row in rows}
    nameless = not any(row.name for row in rows)
    return endpoint if nameless and len(hosts) == 1 and is_name(endpoint) else None


def _reached(row: NodeRow, asked: Address, *, by_name: bool, shared: str | None) -> Address:
    if by_name and row.name:
        return Address(row.name, row.address.port)
    if shared is not None:
        return Address(shared, row.address.port)
    if row.mine and not row.address.host:
        return Address(asked.host, row.address.port)
    return row.address


def _row(line: str) -> NodeRow:
    node_id, place, flags, primary_id, _, _, epoch, link, *ranges = line.split(" ")
    # `ip:port@busport[,hostname[,more]]`; older servers end before the comma.
    place, _, names = place.partition(",")
    host, _, port = place.partition("@")[0].rpartition(":")
    if not 0 <= int(port) <= MAX_PORT:  # the system would take it for another
        raise ValueError(f"port {port}")
    name = names.partition(",")[0]
    return NodeRow(
        node_id=node_id,
        address=Address(host, int(port)),
        name="" if name == "?" else name,
        flags=frozenset(flags.split(",")),
        primary_id=None if primary_id == "-" else primary_id,
        epoch=int(epoch),
        linked=link == "connected",
        # Those in brackets are on their way from or to this node, which still or not yet has them.
        slots=tuple(_range(part) for part in ranges if not part.startswith("[")),
        motions=tuple(_motion(part) for part in ranges if part.startswith("[")),
    )


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not 0 <= found.start < found.stop <= SLOTS:
        raise ValueError(f"slots {text}")
    return found


def _motion(text: str) -> Motion:
    """Read `[slot->-id]` of one that leaves, or `[slot-<-id]` of one that comes."""
    slot, arrow, other_id = text.strip("[]").split("-", 2)
    return Motion(int(slot), arrow == "<", other_id)
