"""A sketch of the topology, out of what the servers, a lab and the instance itself say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...address import Address
from ...lab import Kind, State
from ...ops.access import Failure, Fault
from ...ops.cluster_verdict import shards_of
from ...ops.cluster_view import told_slots
from ...ops.overview import Server
from ...ops.survey import NodeSurvey, Survey
from ...settings import Feature
from ...state.status import RedisStatus
from .picture import Picture, Scene
from .sketch import Box, Condition, Part, Sketch, Tie
from .wording import size

_FAULTS = {
    Fault.UNREACHABLE: "no answer",
    Fault.REFUSED: "refuses to answer",
    Fault.DENIED: "login refused",
    Fault.UNKNOWN_MASTER: "does not know the master",
    Fault.NO_CLUSTER: "no node of a cluster",
}
_STATES: Mapping[State, tuple[Condition, str]] = {
    State.RUNNING: ("well", "runs"),
    State.FROZEN: ("frozen", "frozen"),
    State.DEAD: ("gone", "dead"),
}
NAMED_AT_MOST = 2
"""Ranges of slots that a box names."""


def sketch_of(picture: Picture, scene: Scene) -> Sketch:
    """Draw up what is known of the servers of one Redis."""
    gateway = _gateway(picture, scene)
    survey = scene.sight.survey
    if survey is None:
        return _from_status(picture, scene.redis, gateway)
    view = _Seen(picture, scene, survey)
    known = _from_status(picture, scene.redis, gateway).groups
    groups = tuple(view.groups()) if survey.nodes else known
    sentinels = tuple(view.sentinels())
    ties = (*view.writes(groups), *view.feeds(groups), *view.namings(sentinels, groups))
    return Sketch(gateway, groups, sentinels, ties)


def _gateway(picture: Picture, scene: Scene) -> Box:
    redis = scene.redis
    conditions: dict[str, tuple[Condition, str]] = {
        "healthy": ("well", "decides with Redis"),
        "failing-over": ("troubled", "decides alone"),
        "degraded": ("troubled", "decides alone"),
    }
    condition, words = conditions[redis.health]
    shards = redis.mode == "cluster"
    if shards and condition != "well":
        lost, all_of_it = scene.of_it(picture.ongoing), scene.of_it(picture.reigns)
        words = "decides in part alone" if len(lost) < len(all_of_it) else words
    if redis.features and {Feature.LIMITS, Feature.CIRCUITS}.isdisjoint(redis.features):
        words = words.replace("decides", "works")  # what is kept there decides nothing
    if redis.mode == "embedded":
        words = "holds the state itself"
    return Box(
        id="gateway",
        kind="gateway",
        name="This gateway",
        role="gateway",
        condition=condition,
        words=words,
    )


def _from_status(picture: Picture, redis: RedisStatus, gateway: Box) -> Sketch:
    """What the instance itself knows, where the servers were not asked yet, or cannot be."""
    if redis.primary is None:
        return Sketch(gateway)
    whole = redis.health == "healthy"
    box = Box(
        id=redis.primary,
        kind="primary",
        name=picture.names.get(redis.primary, redis.primary),
        role="primary",
        condition="well" if whole else "gone",
        words="linked" if whole else "not reached",
    )
    tie = Tie("gateway", box.id, "writes", whole)
    return Sketch(gateway, ((box,),), (), (tie,))


class _Seen:
    """Reads a survey, with what a lab knows of its processes."""

    def __init__(self, picture: Picture, scene: Scene, survey: Survey) -> None:
        self._picture = picture
        self._scene = scene
        self._survey = survey
        lab = picture.lab.status if picture.lab is not None else None
        self._states = {str(node.address): node.state for node in lab.nodes} if lab else {}
        overview = scene.sight.overview
        self._servers = dict(_flat(overview.servers)) if overview is not None else {}

    def groups(self) -> Iterator[tuple[Box, ...]]:
        survey = self._survey
        if survey.cluster is not None:
            drawn: set[Address] = set()
            for shard in shards_of(survey, survey.cluster):
                holder = shard.holder
                members = (holder.address, *holder.replicas)
                drawn.update(members)
                slots = told_slots(holder.slots, most=NAMED_AT_MOST)
                notes = (f"slots {slots}", f"epoch {holder.epoch}")
                yield (
                    self._box(holder.address, "primary", notes, shard.problem),
                    *(self._box(at, "replica") for at in holder.replicas),
                )
            for at in survey.nodes:
                if at not in drawn:
                    yield (self._box(at, "replica"),)
            return
        primary = self._primary()
        rest = [at for at in survey.nodes if at != primary]
        first = () if primary is None else (self._box(primary, "primary", self._epoch()),)
        yield (*first, *(self._box(at, "replica") for at in rest))

    def _primary(self) -> Address | None:
        """Who leads: as this instance believes, which hears of it first."""
        own = self._scene.redis.primary
        at = next((each for each in self._survey.nodes if str(each) == own), None)
        return at or self._survey.primary

    def _epoch(self) -> tuple[str, ...]:
        epoch = self._scene.redis.epoch
        return () if epoch is None else (f"epoch {epoch}",)

    def _box(
        self,
        at: Address,
        kind: Part,
        notes: tuple[str, ...] = (),
        problem: str | None = None,
    ) -> Box:
        address = str(at)
        node = self._survey.nodes.get(at)
        condition, words = self._condition(address, node, problem)
        name = self._picture.names.get(address)
        told = notes if name is None else (address, *notes)
        role = self._role(kind, node)
        return Box(
            id=address,
            kind=kind,
            name=name or address,
            role=role,
            condition=condition,
            words=words,
            notes=told,
        )

    def _role(self, kind: Part, node: NodeSurvey | Failure | None) -> str:
        said = node.role if isinstance(node, NodeSurvey) else None
        if kind == "primary":
            if said == "slave":
                return "replica, being promoted"
            return "primary" if said == "master" or not self._endable else "primary until now"
        if said == "master":
            return "calls itself primary"
        return "replica" if said == "slave" else "server"

    @property
    def _endable(self) -> bool:
        """Whether anybody may take the primary's place."""
        return self._survey.master_name is not None or self._survey.cluster is not None

    def _condition(
        self, address: str, node: NodeSurvey | Failure | None, problem: str | None
    ) -> tuple[Condition, str]:
        state = self._states.get(address)
        if state in {State.FROZEN, State.DEAD}:
            return _STATES[state]
        if isinstance(node, Failure) and node.fault is Fault.DENIED:
            return "unknown", _FAULTS[node.fault]  # it lives, and does not tell us how
        if not isinstance(node, NodeSurvey):
            return "gone", _FAULTS[node.fault] if node is not None else "not asked"
        server = self._servers.get(address)
        if server is not None and server.link not in {None, "up"}:
            return "troubled", "no link to its primary"
        trouble = problem or (server.trouble if server is not None else None)
        if trouble is not None:
            return "troubled", trouble
        return "well", "answers"

    def sentinels(self) -> Iterator[Box]:
        for at, said in self._survey.sentinels.items():
            address = str(at)
            state = self._states.get(address)
            name = self._picture.names.get(address, address)
            notes: tuple[str, ...] = ()
            condition: Condition = "well"
            words = "answers"
            if state is State.FROZEN:
                condition, words = "frozen", "frozen"
            elif state is State.DEAD or isinstance(said, Failure):
                condition = "gone"
                words = "dead" if state is State.DEAD else "no answer"
            if not isinstance(said, Failure):
                notes = (f"epoch {said.epoch}",)
                missing = {"s_down", "o_down"} & said.flags
                if condition == "well" and missing:
                    agreed = "o_down" in missing
                    condition, words = "troubled", "says down" if agreed else "misses it"
                if condition == "well" and said.info.get("sentinel_tilt"):
                    condition, words = "troubled", "in TILT mode"
            yield Box(
                id=address,
                kind="sentinel",
                name=name,
                role="Sentinel",
                condition=condition,
                words=words,
                notes=notes,
            )

    def writes(self, groups: tuple[tuple[Box, ...], ...]) -> Iterator[Tie]:
        """From the gateway to each primary."""
        interrupted = {it.holder for it in self._scene.of_it(self._picture.ongoing)}
        for group in groups:
            for box in group:
                if box.leads:
                    whole = box.id not in interrupted and "" not in interrupted
                    yield Tie("gateway", box.id, "writes", whole and box.condition != "gone")

    def feeds(self, groups: tuple[tuple[Box, ...], ...]) -> Iterator[Tie]:
        """From each server to those that replicate it."""
        conditions = {box.id: box.condition for group in groups for box in group}
        for at, node in self._survey.nodes.items():
            if isinstance(node, Failure) or node.source is None:
                continue
            source, target = str(node.source), str(at)
            server = self._servers.get(target)
            linked = server is not None and server.link == "up"
            whole = linked and {conditions.get(source), conditions.get(target)} <= {"well"}
            if source in conditions and target in conditions:
                label = lag_of(server) if whole else "no link"
                yield Tie(source, target, "feeds", whole, label)

    def namings(
        self, sentinels: tuple[Box, ...], groups: tuple[tuple[Box, ...], ...]
    ) -> Iterator[Tie]:
        """From each Sentinel to the server that it tells clients is primary."""
        known = {box.id for group in groups for box in group}
        for box in sentinels:
            said = self._survey.sentinels[_at(self._survey, box.id)]
            if not isinstance(said, Failure) and str(said.named) in known:
                if box.condition in {"gone", "frozen"}:
                    continue
                yield Tie(box.id, str(said.named), "names", box.condition == "well")


def unseen(picture: Picture, sketches: Iterable[Sketch]) -> tuple[Box, ...]:
    """The processes of a lab that are in no sketch: those behind the name of a managed service."""
    lab = picture.lab.status if picture.lab is not None else None
    drawn = {box.id for sketch in sketches for box in sketch.boxes}
    return tuple(
        Box(
            id=str(node.address),
            kind="sentinel" if node.kind is Kind.SENTINEL else "replica",
            name=node.name,
            role=node.role or "server",
            condition=_STATES[node.state][0],
            words=_STATES[node.state][1],
            notes=(str(node.address),),
        )
        for node in (lab.nodes if lab is not None else ())
        if str(node.address) not in drawn and node.kind in {Kind.REDIS, Kind.SENTINEL}
    )


def lag_of(server: Server | None) -> str:
    """How far a replica is behind, in a few words."""
    if server is None or server.behind is None:
        return ""
    if server.behind <= 0:
        return "in step"
    return f"{size(server.behind)} behind"


def _at(survey: Survey, address: str) -> Address:
    return next(at for at in survey.sentinels if str(at) == address)


def _flat(servers: tuple[Server, ...]) -> Iterator[tuple[str, Server]]:
    for server in servers:
        yield server.address, server
        yield from _flat(server.replicas)
