"""I1 in every order that small bounds allow, and the code walking the ways of the model."""

from __future__ import annotations

import functools
import random

import pytest

from aragora_redis.tokens.entry import DAY, Entry
from aragora_redis.tokens.model import ShardModel
from aragora_redis.tokens.position import Position
from aragora_redis.tokens.shard import Head, Shard

from .__main__ import main
from .explorer import Step, explore
from .instance import Rules
from .store import Store
from .world import Bounds, World, fault, in_step, sign, steps

TODAY = 20_000
NOW = TODAY * DAY * 1_000_000
TOKENS = [Entry(TODAY, bytes([number]) * 8, 1) for number in range(8)]


REVOKED = (("revoke", "0"), ("is joined", "0"))
NEWCOMER = (
    *(("restart", "0"), ("fail over to", "1-0"), ("revoke", "0")),
    *(("begins to", "0", "open era"), ("hears", "0")),
)
COMPARED = (
    *(("revoke", "0"), ("is joined", "0"), ("hears of its own", "0"), ("hears", "0")),
    *(("fail over to", "nothing"), ("is led on", "0"), ("begins to", "0", "open era")),
    *(("hears", "0"),) * 5,
    *(("is led on", "1"), ("fail over to", "1-1"), ("is led on", "0", "and asks again")),
)
"""What a wipe has lost is pushed, and the primary that was compared is replaced meanwhile."""
STARTING = (("restart", "1"), ("revoke", "1"), ("fail over to", "nothing"), ("restart", "0"))
"""Who alone knows a token has not loaded anything yet."""
WIPED = (("revoke", "0"), ("restart", "1"), ("fail over to", "nothing"))


@functools.cache  # the whole protocol is explored once, whatever rule another lacks
def explored(bounds, rules, *opening):
    """All that may follow an opening."""
    world = World.of(2, bounds)
    for step in opening:
        world = dict(steps(world, rules))[step]
    return visited(world, rules)


def visited(world, rules):
    """All that may follow a world."""
    return explore(
        world,
        lambda world: steps(world, rules),
        lambda world: fault(world, rules),
        most=100_000,
        sign=sign,
    )


@pytest.mark.parametrize(
    ("bounds", "opening"),
    [
        pytest.param(Bounds(1, 1, 0, 0), (), id="failover"),
        pytest.param(Bounds(2, 0, 1, 0), (), id="connection lost"),
        pytest.param(Bounds(2, 0, 0, 1), WIPED[:1], id="instance lost"),
    ],
)
def test_in_every_order_what_one_revoked_all_refuse_in_the_end(bounds, opening):
    found = explored(bounds, Rules(), *opening)
    assert found.bad is None
    assert found.states > 1_000, "or there was nothing to explore"


@pytest.mark.parametrize(
    ("rule", "bounds", "opening"),
    [
        ("ends", Bounds(1, 1, 0, 0), ()),
        ("ring", Bounds(1, 1, 0, 1), (*REVOKED, ("restart", "0"))),
        ("floors", Bounds(1, 1, 0, 1), NEWCOMER),
        ("arrived", Bounds(1, 2, 0, 0), (*REVOKED, ("fail over to", "1-1"))),
        ("owed", Bounds(1, 0, 1, 0), ()),
        ("order", Bounds(1, 1, 0, 0), ()),
        ("unanimous", Bounds(1, 1, 0, 1), WIPED),
        ("nothing", Bounds(1, 1, 0, 2), STARTING),
        ("look", Bounds(1, 1, 0, 1), WIPED),
        ("later", Bounds(1, 3, 0, 0), COMPARED),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_protocol_that_lacks_a_rule_is_caught(rule, bounds, opening):
    found = explored(bounds, Rules()._replace(**{rule: False}), *opening)
    assert found.bad is not None
    assert leads_to(found.bad, bounds, Rules()._replace(**{rule: False}), *opening)
    assert explored(bounds, Rules(), *opening).bad is None


def leads_to(bad, bounds, rules, *opening):
    """Whether the way that is told ends in the state that is told."""
    world = World.of(2, bounds)
    for step in (*opening, *bad.steps):
        world = dict(steps(world, rules))[step]
    return (world, fault(world, rules)) == (bad.state, bad.why)


def renamed(world):
    """The same with two instances that have changed their names."""

    def other(store):
        return store and store._replace(rows=tuple(sorted((1 - at, row) for at, row in store.rows)))

    return world._replace(
        primary=other(world.primary), stale=other(world.stale), instances=world.instances[::-1]
    )


def test_worlds_share_a_signature_only_if_nothing_differs_but_names():
    """Else the explorer would take a state for one that it has visited."""
    chance = random.Random(1)
    met: dict[int, set[World]] = {}
    for _ in range(60):
        world = World.of(2, Bounds(2, 1, 1, 1))
        while choices := [after for _, after in steps(world, Rules())]:
            world = chance.choice(choices)
            assert sign(renamed(world)) == sign(world)
            met.setdefault(sign(world), {world, renamed(world)}).add(world)
    assert max(map(len, met.values())) == 2, "more worlds than one and its twin share one"
    assert any(world.primary.rows for twins in met.values() for world in twins)


def test_three_revocations_that_all_know_survive_a_failover_to_any_prefix_in_every_order():
    world = in_step(3, 2, Bounds(revocations=0, failovers=1))
    assert world.primary.members == 0b111
    assert not list(steps(world._replace(left=Bounds(0)), Rules())), "nothing is under way"
    found = visited(world, Rules())
    assert found.bad is None
    assert found.states > 1_000, "or there was nothing to explore"


def test_wider_bounds_are_explored_by_hand(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tests.model", "--failovers", "1"])
    assert main() == 0
    assert "all that is revoked is refused by all" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["tests.model", "--failovers", "1", "--without", "ends"])
    assert main() == 1
    assert "fail over to" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["tests.model", "--failovers", "1", "--most", "100"])
    with pytest.raises(SystemExit, match="more than 100 states"):
        main()


class Walk:
    """The code beside a world of the model, step by step."""

    def __init__(self, world: World) -> None:
        self.shards = [Shard(0) for _ in world.instances]
        for shard, instance in zip(self.shards, world.instances, strict=True):
            shard.position = code(instance.position)

    def take(self, world: World, step: Step) -> None:
        """Have the code do what the model does in this world."""
        what, name, *_ = step
        if what == "fail over to":
            return
        shard, instance = self.shards[int(name)], world.instances[int(name)]
        match what:
            case "revoke":
                shard.add_own(TOKENS[world.revoked])
            case "restart":
                self.shards[int(name)] = Shard(0)
            case "hears of its own" if instance.lane:
                some, position = instance.lane
                shard.confirmed(code(position), tokens(some), own=True)
            case "hears":
                match instance.inbox[0]:
                    case "message", position, some:
                        shard.on_message(code(position), tokens(some))
                    case "answer", answer:
                        hear_answer(shard, instance, answer)

    def compare(self, world: World) -> None:
        """Both know the same."""
        for shard, instance in zip(self.shards, world.instances, strict=True):
            ring = {(k.at, bits(k.entries), k.own) for k in shard._ring}
            assert shard.position == code(instance.position)
            assert bits(shard.replica.entries()) == instance.known
            assert bits(shard.dirty) == instance.owed
            assert shard.knows_nothing == instance.knows_nothing(Rules())
            if instance.position is None:  # later it is the feed that says so
                found = shard.reconciled and (*shard.reconciled[:3],)
                assert found == code_history(instance.reconciled)
            assert bits(shard.learned) == instance.learned
            assert shard._must_compare == instance.compare
            assert ring == {(code(k.at), *k[1:]) for k in instance.ring}
            assert shard._floors == {(named(r), era): seq for r, era, seq in instance.floors}


def hear_answer(shard, instance, answer):
    """What `state.token_feed` does with an answer."""
    asked = instance.asks
    match asked.what:
        case "survey" if answer is not None:
            shard.on_head(code_head(answer), asked_at=code(asked.position))
        case "publish owed" | "publish learned" | "publish rest":
            own = asked.what == "publish owed"
            shard.confirmed(code(answer), tokens(asked.some), own=own)
            if asked.what == "publish rest":
                shard.on_full(code_head(asked.head))
        case "read feed":
            head = code_head(asked.head)
            if shard.on_feed(head, [(era, seq, tokens(some)) for era, seq, some in answer]):
                shard.arrive(head)
        case "scan":
            shard.replica.join(TODAY, {each.member: each.score for each in tokens(answer)})
        case "compare" if answer is not None and answer.members == instance.known:
            shard.on_full(code_head(answer))
        case "survey again" if answer is not None and not asked.some & ~answer.members:
            if answer.position[:3] == asked.head.position[:3]:
                shard.on_full(code_head(asked.head))


def named(number):
    return b"rid-%d" % number


def code(position):
    if position is None:
        return None
    return Position(b"%d" % position.nonce, named(position.rid), position.era, position.seq)


def code_history(history):
    return history and (b"%d" % history[0], named(history[1]), history[2])


def code_head(survey):
    ends = {era: (named(rid), seq) for era, rid, seq in survey.ends}
    return Head(code(survey.position), 0, ends)


def tokens(some):
    return [entry for number, entry in enumerate(TOKENS) if some >> number & 1]


def bits(entries):
    return sum(1 << TOKENS.index(entry) for entry in {*entries})


@pytest.mark.parametrize("seed", range(8))
def test_the_code_walks_the_ways_of_the_model(seed):
    """Beyond the bounds that can be explored, too: three instances, and all that may befall."""
    chance = random.Random(seed)
    for _ in range(40):
        world = World.of(3, Bounds(3, 2, 2, 1))
        walk = Walk(world)
        while choices := list(steps(world, Rules())):
            step, after = chance.choice(choices)
            walk.take(world, step)
            walk.compare(after)
            world = after
        assert fault(world, Rules()) is None


def test_the_join_script_s_model_keeps_a_shard_as_the_store_does():
    """It is held to the script itself by the contract tests."""
    chance = random.Random(1)
    for _ in range(200):
        store, births = Store(0), 1
        server = ShardModel(named(0))
        for _ in range(12):
            if chance.random() < 0.2:
                store, births = store._replace(rid=births), births + 1
                server = server.promoted(named(store.rid))
            some, durable = chance.randrange(8), chance.random() < 0.5
            store, position, news = store.join(some, durable=durable)
            nonce = f"{position.nonce}".encode()
            told, count = server.join(tokens(some), nonce=nonce, now=NOW, durable=durable)
            assert told[1:] == code(position)[1:]
            assert count == news.bit_count()
            found = server.head(NOW)
            assert found is not None
            assert found.ends == {era: (named(rid), seq) for era, rid, seq in store.ends}
            assert [(e, s, bits(some)) for e, s, some in server.feed] == list(store.feed)
