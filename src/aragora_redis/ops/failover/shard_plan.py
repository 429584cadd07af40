"""Whether a shard of a cluster may be handed over, and to whom. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...address import Address
from ...slots import SLOTS
from ..access import Failure, Fault
from ..cluster_verdict import Shard, keeps_up, nobody, node_timeout, shards_of
from ..cluster_view import ClusterView, Holder, Slots, told_slots
from ..doctor import examine
from ..survey import Survey
from .plan import Refusal

_SETTLES = "nodes-disagree"
"""After every change the nodes disagree for a moment."""
_HURTS = {"cluster-down", "slots-uncovered", _SETTLES}
"""Diagnoses with which no shard should be handed over: the others have to vote."""
_HURTS_HERE = {
    "slot-stuck",
    "node-failing",
    "masterauth-missing",
    "passwords-differ",
    "unexpanded-variable",
    "persistence-failing",
    "memory-full",
}
"""Those of the two that hand over with which it may end in an outage, or half a move."""
_VOTES_APART = 4
"""How many times the cluster-node-timeout lies between two elections that one node calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """Who hands over to whom."""

    old: Address
    new: Address
    slots: Slots
    again_after: float
    """Seconds after which a node asks for votes once more, whatever became of the last time."""


def plan_shard_switchover(
    survey: Survey,
    view: ClusterView,
    *,
    shard: Address | int | None = None,
    to: Address | None = None,
    force: bool = False,
) -> ShardPlan | Refusal:
    """Decide about a switchover.

    Args:
        survey: what all nodes say.
        view: what they say together.
        shard: which, by any node of it or a slot; None where `to` says it, or there is but one.
        to: who is to be promoted; None takes the replica that has most.
        force: although it may hurt.
    """
    if not view.words:
        return Refusal((nobody(survey),))
    chosen = _choose(view, shard, to)
    if isinstance(chosen, Refusal):
        return chosen
    found = next(each for each in shards_of(survey, view) if each.holder == chosen)
    if (obstacle := _obstacle(survey, view, found)) is not None:
        return Refusal((obstacle,))
    heir = _heir(survey, view, chosen, to)
    if isinstance(heir, Refusal):
        return heir
    risks = dict(_risks(survey, chosen.address, heir))
    if risks and not force:
        return Refusal(tuple(risks), forcible=True, passing=set(risks.values()) == {_SETTLES})
    again_after = _VOTES_APART * node_timeout(survey.alive.get(heir))
    return ShardPlan(old=chosen.address, new=heir, slots=chosen.slots, again_after=again_after)


def _choose(view: ClusterView, shard: Address | int | None, to: Address | None) -> Holder | Refusal:
    """The shard that is meant."""
    if shard is None and to is None and len(view.holders) > 1:
        return _unclear(view, f"the cluster has {len(view.holders)} shards, and none was named")
    named: Sequence[Address | int] = [each for each in (shard, to) if each is not None]
    found = list(view.holders)
    for each in named:
        found = [holder for holder in found if _is_of(holder, each)]
        if not found and len(named) > 1 and each == to:
            return _unclear(view, f"{to} is no node of the shard that was named")
        if not found:
            what = f"slot {each} is held by nobody" if isinstance(each, int) else None
            return _unclear(view, what or f"{each} is no node of a shard")
    return found[0] if found else Refusal((f"none of {SLOTS} slots is held by anybody",))


def _is_of(holder: Holder, named: Address | int) -> bool:
    if isinstance(named, int):
        return any(named in part for part in holder.slots)
    return named in {holder.address, *holder.replicas}


def _unclear(view: ClusterView, why: str) -> Refusal:
    """A refusal that lists what may be named."""
    return Refusal((f"{why}; name a replica with --to, or a shard with --shard", *_listed(view)))


def _listed(view: ClusterView) -> Iterator[str]:
    for holder in view.holders:
        heirs = ", ".join(f"--to {at}" for at in holder.replicas) or "no replica"
        yield f"--shard {holder.address} ({told_slots(holder.slots)}): {heirs}"


def _obstacle(survey: Survey, view: ClusterView, shard: Shard) -> str | None:
    """What no force overcomes: it would hold writes in vain."""
    at = shard.holder.address
    if isinstance(shard.node, Failure):
        return (
            f"the primary {at} {shard.node.text}: most primaries together have a replica take over "
            "from one that is gone, and `aragora-redis doctor` says what keeps them from it"
        )
    if shard.problem is not None:
        return f"the primary {at} {shard.problem}; see aragora-redis doctor"
    able = [
        holder
        for holder in view.holders
        if holder.address in view.words or _denies(survey, holder.address)
    ]
    if len(able) < view.majority:
        return (
            f"{len(able)} of {len(view.holders)} primaries can be heard, and {view.majority} have "
            "to vote for who takes over"
        )
    return None


def _denies(survey: Survey, at: Address) -> bool:
    """Whether it lets us not in; it may vote all the same."""
    node = survey.nodes.get(at)
    return isinstance(node, Failure) and node.fault is Fault.DENIED


def _heir(
    survey: Survey, view: ClusterView, holder: Holder, to: Address | None
) -> Address | Refusal:
    """Who takes over: they have next to everything, or writes would be held until they have."""
    if to == holder.address:
        return Refusal((f"{to} is the primary already",))
    asked = holder.replicas if to is None else (to,)
    unfit = {at: _unfit(survey, view, holder, at) for at in asked}
    fit = [at for at, why in unfit.items() if why is None]
    if not fit:
        whys = "; ".join(why for why in unfit.values() if why is not None)
        return Refusal((f"nobody can take over from {holder.address}: {whys or 'no replica'}",))
    best = min(fit, key=lambda at: (_barred(survey, at), -_offset(survey, at), at))
    if not _is_known(view, holder, best):
        return Refusal((f"most primaries do not know yet that {best} is a replica",), passing=True)
    return best


def _unfit(survey: Survey, view: ClusterView, holder: Holder, replica: Address) -> str | None:
    node = survey.nodes.get(replica)
    if isinstance(node, Failure):
        return f"{replica} {node.text}"
    if node is None:
        return f"{replica} was not asked"
    if view.is_missed(replica):
        return f"{replica} is down for most primaries"
    if not keeps_up(survey, view, holder, replica):
        return f"{replica} does not keep up with {holder.address} (see aragora-redis doctor)"
    return None


def _is_known(view: ClusterView, holder: Holder, replica: Address) -> bool:
    """Whether its primary would listen to a replica, and enough of the others vote for it.

    After a change they hear of it one after the other.
    """
    unaware = {
        voter.address
        for voter in view.voters
        if not any(
            (each.address, each.primary_id) == (replica, holder.node_id)
            for each in view.words[voter.address].statement.followers
        )
    }
    return holder.address not in unaware and len(view.holders) - len(unaware) >= view.majority


def _offset(survey: Survey, at: Address) -> int:
    node = survey.alive.get(at)
    return 0 if node is None else node.number("slave_repl_offset") or 0


def _barred(survey: Survey, at: Address) -> bool:
    """Whether it was configured never to take over by itself."""
    node = survey.alive.get(at)
    return node is not None and node.config.get("cluster-replica-no-failover") == "yes"


def _risks(survey: Survey, old: Address, new: Address) -> Iterator[tuple[str, str]]:
    """What speaks against it, each with the name of its diagnosis."""
    here = {str(old), str(new)}
    for each in examine(survey).diagnoses:
        near = not here.isdisjoint(each.subject.split())
        if each.name in _HURTS or (each.name in _HURTS_HERE and near):
            yield each.headline, each.name
    if _barred(survey, new):
        yield f"{new} is configured not to take over (cluster-replica-no-failover yes)", "barred"
