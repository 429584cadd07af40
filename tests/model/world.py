"""A primary, the one before it, and instances: what may happen next, and what must not be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .explorer import Step
from .instance import AGREED, LOOKING, UNVOUCHED, Instance, Question, Rules
from .store import NOTHING, Position, Store


class Bounds(NamedTuple):
    """How often what may befall does.

    Attributes:
        revocations: each of another token.
        failovers: a server becomes the primary that holds a prefix of its data, or nothing.
        cuts: an instance's connections end, and it is connected anew.
        restarts: an instance loses its memory.
    """

    revocations: int = 1
    failovers: int = 0
    cuts: int = 0
    restarts: int = 0


class World(NamedTuple):
    """Everything.

    Attributes:
        primary: the shard on the primary,
        stale: and on the one before it, as long as an instance is connected to that.
        instances: who follow them.
        left: what may still befall.
        births: replication ids that were given out.
        revoked: tokens that were.
        survived: what was known as the primary took over, and is to somebody still.
        missed: what an instance lacked of that as it began to judge.
    """

    primary: Store
    stale: Store | None
    instances: tuple[Instance, ...]
    left: Bounds
    births: int = 1
    revoked: int = 0
    survived: int = 0
    missed: int = 0

    @classmethod
    def of(cls, instances: int, left: Bounds) -> World:
        """Everybody is in step with a primary that holds nothing."""
        store, position, _ = Store(0).join(0)
        one = Instance(position=position, ground=False, ready=True, reconciled=position[:3])
        return cls(store, None, (one,) * instances, left)

    def seen_by(self, instance: Instance) -> Store:
        """The shard on the server that an instance is connected to."""
        return self.stale if instance.behind and self.stale is not None else self.primary

    def having(self, index: int, instance: Instance) -> World:
        """The same with another state of one instance."""
        instances = (*self.instances[:index], instance, *self.instances[index + 1 :])
        stale = self.stale if any(each.behind for each in instances) else None
        return self._replace(instances=instances, stale=stale)


def in_step(before: int, instances: int, left: Bounds) -> World:
    """Everybody is in step with a primary that holds so many revocations, of the first instance."""
    world = World.of(instances, Bounds(before))
    for _ in range(before):
        world = dict(steps(world, Rules()))["revoke", "0"]
        while calm := [each for _, each in steps(world, Rules()) if each.left == world.left]:
            world = calm[0]
    return world._replace(left=left)


def sign(world: World) -> int:
    """A number that worlds share if all that differs is which instance is called what.

    Else two share one by chance alone: once in 2^61.
    """
    primary, stale, instances, *rest = world
    there, before = dict(primary.rows), dict(stale.rows) if stale is not None else {}
    each = sorted(
        hash((instance, there.get(index), before.get(index)))
        for index, instance in enumerate(instances)
    )
    bare = stale and stale._replace(rows=())
    return hash((primary._replace(rows=()), bare, *each, *rest))


# --- what may happen ------------------------------------------------------------------------


def steps(world: World, rules: Rules) -> Iterator[tuple[Step, World]]:
    """All that may happen next."""
    if world.left.failovers and world.stale is None:
        yield from _failovers(world)
    for index, instance in enumerate(world.instances):
        name = str(index)
        for what, after in _befalls(world, index, rules):
            yield (what, name), after
        if instance.behind:
            yield from _leads_on(world, index)
        if instance.lane is not None:
            yield _lane(world, index, *instance.lane)
        if not all(each.ready for each in world.instances):
            yield from _beats(world, index, rules)
        if instance.inbox:
            yield ("hears", name), _ask(_hear(world, index, rules), index)
        elif instance.asks is None:
            for asks in _begins(world, instance):
                looking = LOOKING if instance.vouched == AGREED else instance.vouched
                began = world.having(
                    index, instance._replace(asks=asks, woken=False, vouched=looking)
                )
                yield ("begins to", name, asks.what), _ask(began, index)


def _hear(world: World, index: int, rules: Rules) -> World:
    """An instance takes in what its server has sent, and may judge tokens from then on."""
    instance = world.instances[index]
    heard = instance.hears(rules)
    after = world.having(index, heard)
    if instance.ready or not heard.ready or instance.behind:
        return after
    return after._replace(missed=world.survived & ~heard.known)


def _failovers(world: World) -> Iterator[tuple[Step, World]]:
    """To any replica, since replication may lag; everybody is behind then."""
    behind = tuple(each._replace(behind=True) for each in world.instances)
    left = world.left._replace(failovers=world.left.failovers - 1)
    for prefix in world.primary.prefixes():
        held = f"{prefix.head.era}-{prefix.head.seq}" if prefix.head else "nothing"
        yield (
            ("fail over to", held),
            world._replace(
                primary=prefix._replace(rid=world.births),
                stale=world.primary,
                instances=behind,
                left=left,
                births=world.births + 1,
                survived=_known(world.instances),
            ),
        )


def _befalls(world: World, index: int, rules: Rules) -> Iterator[tuple[str, World]]:
    instance, left = world.instances[index], world.left
    if left.revocations:
        token = 1 << world.revoked
        revoking = instance._replace(
            known=instance.known | token,
            owed=instance.owed | token if rules.owed else instance.owed,
            lane=instance.lane or (token, None),
        )
        left_now = left._replace(revocations=left.revocations - 1)
        after = world.having(index, revoking)._replace(revoked=world.revoked + 1)
        yield "revoke", after._replace(left=left_now)
    if left.cuts:
        cut = instance.connected()._replace(behind=instance.behind)
        yield "cut", world.having(index, cut)._replace(left=left._replace(cuts=left.cuts - 1))
    if left.restarts:
        left_now = left._replace(restarts=left.restarts - 1)
        others = (*world.instances[:index], *world.instances[index + 1 :])
        yield (
            "restart",
            world.having(index, Instance())._replace(
                left=left_now, survived=world.survived & _known(others)
            ),
        )


def _beats(world: World, index: int, rules: Rules) -> Iterator[tuple[Step, World]]:
    """An instance says what it has reconciled; who starts hears whether all have.

    That an era is old enough is that each that lives has had the time to say so.
    """
    instance = world.instances[index]
    before = world.seen_by(instance)
    store = before.beat(index, instance.word(rules))
    agreed = (
        instance.reconciled is not None
        and len(store.rows) == len(world.instances)
        and {history for _, history in store.rows} <= {instance.reconciled, NOTHING}
    )
    heard = ("agreed", instance.reconciled)
    news = agreed and not instance.ready and instance.vouched == UNVOUCHED
    if news and heard not in instance.inbox:
        instance = instance._replace(inbox=(*instance.inbox, heard))
    elif store == before:
        return
    after = world._replace(stale=store) if instance.behind else world._replace(primary=store)
    yield ("beats", str(index)), after.having(index, instance)


def _known(instances: Iterable[Instance]) -> int:
    """All that anybody knows."""
    known = 0
    for instance in instances:
        known |= instance.known
    return known


def _leads_on(world: World, index: int) -> Iterator[tuple[Step, World]]:
    """An instance finds the new primary; what it asks may be asked there once more."""
    instance = world.instances[index]
    yield ("is led on", str(index)), world.having(index, instance.connected())
    if instance.asks is not None:
        again = world.having(index, instance.connected(asks_again=True))
        yield ("is led on", str(index), "and asks again"), _ask(again, index)


def _lane(world: World, index: int, some: int, stands: Position | None) -> tuple[Step, World]:
    """A revocation is joined, or its instance hears that it was."""
    if stands is not None:
        heard = world.instances[index].confirmed(stands, some, own=True)._replace(lane=None)
        return ("hears of its own", str(index)), world.having(index, heard)
    world, stands = _join(world, index, some, durable=True)
    joined = world.instances[index]._replace(lane=(some, stands))
    return ("is joined", str(index)), world.having(index, joined)


def _begins(world: World, instance: Instance) -> Iterator[Question]:
    """To look, if it has reason to, or to publish what it has learned."""
    there, mine = world.seen_by(instance).head, instance.position
    owed = instance.owed and instance.lane is None
    if instance.ground:
        yield Question("open era")
    elif (
        instance.woken
        or instance.compare
        or owed
        or mine != there
        or instance.vouched == AGREED
        or (not instance.learned and mine and instance.reconciled != mine[:3])
    ):
        yield Question("survey", position=mine)
    if instance.learned and not instance.ground:
        yield Question("publish learned", instance.learned)


def _ask(world: World, index: int) -> World:
    """The server answers what an instance asks, if it does; the answer is on its way."""
    asks = world.instances[index].asks
    if asks is None or asks.sent:
        return world
    store = world.seen_by(world.instances[index])
    answer: object
    match asks.what:
        case "survey" | "compare" | "survey again":
            answer = store.survey
        case "read feed" if asks.position is not None:
            answer = tuple(each for each in store.feed if each[:2] > asks.position[2:])
        case "scan":
            answer = store.members
        case _:
            world, answer = _join(world, index, asks.some)
    instance = world.instances[index]
    inbox = (*instance.inbox, ("answer", answer))
    return world.having(index, instance._replace(asks=asks._replace(sent=True), inbox=inbox))


def _join(world: World, index: int, some: int, *, durable: bool = False) -> tuple[World, Position]:
    """Have the server of an instance join members, and publish what that changes."""
    behind = world.instances[index].behind
    before = world.seen_by(world.instances[index])
    store, position, news = before.join(some, durable=durable)
    world = world._replace(stale=store) if behind else world._replace(primary=store)
    if store.feed != before.feed:
        heard = ("message", position, news)
        world = world._replace(
            instances=tuple(
                each._replace(inbox=(*each.inbox, heard)) if each.behind == behind else each
                for each in world.instances
            )
        )
    return world, position


# --- what must not be -----------------------------------------------------------------------


def fault(world: World, rules: Rules) -> str | None:
    """Why a state must not be, or None."""
    if world.missed:
        return f"an instance judges tokens, and does not know {world.missed:b}"
    for index, instance in enumerate(world.instances):
        if (instance.owed | instance.learned) & ~instance.known:
            return f"instance {index} owes what it does not refuse"
        if missing := _unknown(world, instance):
            return f"instance {index} is at {instance.position} and does not know {missing:b}"
    if not any(world.left) and next(steps(world, rules), None) is None:
        return _unrest(world)
    return None


def _unknown(world: World, instance: Instance) -> int:
    """What lies before an instance's position and is not known to it: nothing, or it is lost."""
    head, mine = world.seen_by(instance).survey, instance.position
    if instance.ground or instance.compare or mine is None or head is None:
        return 0
    if mine.nonce != head.position.nonce or head.history(mine.era) != mine.rid:
        return 0
    applied = 0
    for era, seq, some in world.seen_by(instance).feed:
        applied |= some if (era, seq) <= mine[2:] else 0
    return applied & ~instance.known


def _unrest(world: World) -> str | None:
    """Nothing will happen any more, so all know all that anybody knows (I1)."""
    everything = _known(world.instances)
    if lost := everything & ~world.primary.members:
        return f"the primary never learns of {lost:b}"
    for index, instance in enumerate(world.instances):
        if not instance.ready:
            return f"instance {index} never judges tokens"
        if lost := everything & ~instance.known:
            return f"instance {index} never learns of {lost:b}"
        if instance.owed or instance.learned:
            return f"instance {index} owes for ever"
    return None
