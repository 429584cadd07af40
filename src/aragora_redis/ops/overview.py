"""`aragora-redis status`: a deployment as a tree. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..address import Address
from ..slots import SLOTS
from .access import Failure, Fault
from .cluster_verdict import Shard, shards_of
from .cluster_view import ClusterView, count_slots, told_slots
from .offered import unseen
from .report import MEMORY_FULL, Status
from .survey import Instance, NodeSurvey, Survey

_ROLES = {"master": "primary", "slave": "replica"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A data node, with those that replicate it."""

    address: str
    role: str
    """`primary`, `replica`, `server` where a managed service does not let that be known, or
    `unknown` for one that does not answer."""
    slots: str | None = None
    """What a primary of a cluster holds, as ranges."""
    trouble: str | None = None
    offset: int | None = None
    behind: int | None = None
    """Bytes of the primary's history that it has not acknowledged."""
    lag: int | None = None
    """Seconds since it has acknowledged anything."""
    link: str | None = None
    """`up` or `down`, of a replica."""
    version: str | None = None
    memory: int | None = None
    max_memory: int | None = None
    clients: int | None = None
    replicas: tuple[Server, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """A Sentinel."""

    address: str
    names: str | None = None
    epoch: int | None = None
    tilted: bool = False
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a Redis Cluster takes commands."""

    primaries: int
    served: int
    """Slots whose primary takes commands."""
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it."""

    master_name: str | None
    primary: str | None
    servers: tuple[Server, ...]
    """The primary, and whoever replicates nobody that is known."""
    sentinels: tuple[Watcher, ...]
    instances: tuple[Instance, ...]
    cluster: Coverage | None = None
    """What is served of a Redis Cluster; None for other deployments."""
    notes: tuple[str, ...] = ()
    """What could not be seen, and is nobody's fault."""

    @property
    def status(self) -> Status:
        """CRITICAL without a primary that answers, WARNING with anything in trouble.

        In a cluster CRITICAL where a slot is not served.
        """
        if self.cluster is not None:
            return self._status_of(self.cluster)
        first = self.servers[0] if self.servers else None
        if first is None or first.role in {"replica", "unknown"} or first.trouble is not None:
            return Status.CRITICAL
        lost = [each.trouble for each in self.sentinels if each.trouble]
        return Status.WARNING if lost or len(self.servers) > 1 or _in_trouble(first) else Status.OK

    def _status_of(self, cluster: Coverage) -> Status:
        if cluster.served < cluster.slots:
            return Status.CRITICAL
        troubled = any(each.trouble is not None or _in_trouble(each) for each in self.servers)
        lonely = any(each.slots is not None and not each.replicas for each in self.servers)
        return Status.WARNING if troubled or lonely else Status.OK

    @property
    def exit_code(self) -> int:
        """0 OK, 1 WARNING, 2 CRITICAL."""
        return int(self.status)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"status": self.status.name, **asdict(self)}


def overview_of(survey: Survey) -> Overview:
    """Draw up what was seen."""
    if survey.cluster is not None:
        return _cluster(survey, survey.cluster)
    above = _above(survey)
    drawn: set[Address] = set()

    def server(at: Address, source: NodeSurvey | None) -> Server:
        drawn.add(at)
        node = survey.nodes[at]
        this = node if isinstance(node, NodeSurvey) else None
        below = [each for each in survey.nodes if above[each] == at]
        return _server(at, node, source, tuple(server(b, this) for b in below if b not in drawn))

    # Those without anybody above them, the primary first; then what is left over is a ring.
    first = (at for at in survey.nodes if above[at] is None)
    tops = sorted(first, key=lambda at: at != survey.primary)
    servers = [server(at, None) for at in (*tops, *survey.nodes) if at not in drawn]
    return Overview(
        master_name=survey.master_name,
        primary=str(survey.primary) if survey.primary else None,
        servers=tuple(servers),
        sentinels=tuple(_watchers(survey)),
        instances=survey.instances,
        notes=unseen(survey.forbidden, ("INFO",)),
    )


def _cluster(survey: Survey, view: ClusterView) -> Overview:
    """The primaries with their slots and their replicas, then whoever is neither."""
    shards = shards_of(survey, view)
    drawn = {at for s in shards for at in (s.holder.address, *s.holder.replicas)}
    beside = [_member(survey, view, at, None) for at in survey.nodes if at not in drawn]
    return Overview(
        master_name=None,
        primary=None,
        servers=(*(_shard(survey, view, shard) for shard in shards), *beside),
        sentinels=(),
        instances=survey.instances,
        cluster=Coverage(
            primaries=len(shards),
            served=sum(count_slots(s.holder.slots) for s in shards if s.problem is None),
            slots=SLOTS,
        ),
    )


def _shard(survey: Survey, view: ClusterView, shard: Shard) -> Server:
    holder = shard.holder
    above = shard.node if isinstance(shard.node, NodeSurvey) else None
    below = tuple(_member(survey, view, at, above) for at in holder.replicas)
    drawn = _server(holder.address, shard.node, None, below)
    slots = told_slots(holder.slots, most=len(holder.slots))
    return replace(drawn, slots=slots, trouble=shard.problem or drawn.trouble)


def _member(survey: Survey, view: ClusterView, at: Address, above: NodeSurvey | None) -> Server:
    """A node that holds no slots."""
    drawn = _server(at, _node(survey, at), above, ())
    trouble = drawn.trouble
    if trouble is None and at in view.strangers:
        trouble = "does not belong to the cluster of the others"
    elif trouble is None and view.is_missed(at):
        trouble = "is down for most primaries"
    return replace(drawn, trouble=trouble)


def _node(survey: Survey, at: Address) -> NodeSurvey | Failure:
    return survey.nodes.get(at) or Failure(Fault.UNREACHABLE, "was not asked")


def _above(survey: Survey) -> dict[Address, Address | None]:
    """Whom each replicates; what does not answer is taken for a replica of the primary."""
    above: dict[Address, Address | None] = {}
    for at, node in survey.nodes.items():
        source = survey.primary if isinstance(node, Failure) else node.source
        above[at] = source if source in survey.nodes and source != at else None
    return above


def _server(
    at: Address, node: NodeSurvey | Failure, above: NodeSurvey | None, replicas: tuple[Server, ...]
) -> Server:
    if isinstance(node, Failure):
        return Server(address=str(at), role="unknown", trouble=node.text, replicas=replicas)
    row = above.followers.get(at) if above is not None else None
    leads = above.number("master_repl_offset") if above is not None else None
    replica = node.role == "slave"
    link = node.info.get("master_link_status") if replica else None
    return Server(
        address=str(at),
        role=_ROLES.get(node.role or "", "server"),
        trouble=_trouble(node, link),
        offset=node.number("slave_repl_offset" if replica else "master_repl_offset"),
        behind=leads - int(row["offset"]) if leads is not None and row is not None else None,
        lag=int(row["lag"]) if row is not None else None,
        link=link,
        version=str(node.info.get("valkey_version") or node.info.get("redis_version") or ""),
        memory=node.number("used_memory"),
        max_memory=node.number("maxmemory") or None,
        clients=node.number("connected_clients"),
        replicas=replicas,
    )


def _trouble(node: NodeSurvey, link: str | None) -> str | None:
    if node.info.get("loading"):
        return "is loading its data"
    used, limit = node.number("used_memory") or 0, node.number("maxmemory") or 0
    if limit and used > MEMORY_FULL * limit:
        return "is full"
    if node.refusal is not None:
        return f"refuses writes: {node.refusal}"
    return f"has no link to {node.source}" if link not in {None, "up"} else None


def _watchers(survey: Survey) -> list[Watcher]:
    return [
        Watcher(address=str(at), trouble=said.text)
        if isinstance(said, Failure)
        else Watcher(
            address=str(at),
            names=str(said.named),
            epoch=said.epoch,
            tilted=bool(said.info.get("sentinel_tilt")),
        )
        for at, said in survey.sentinels.items()
    ]


def _in_trouble(server: Server) -> bool:
    return any(each.trouble is not None or _in_trouble(each) for each in server.replicas)
