"""The circuit scripts and their models: the same cases, and any sequence of calls in step."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from aragora_redis.circuit import operations
from aragora_redis.circuit.machine import Evidence, Phase, Standing
from aragora_redis.circuit.operations import CircuitKeys
from aragora_redis.circuit.permit import Permit
from aragora_redis.circuit.policy import CircuitPolicy

POLICY = CircuitPolicy(minimum_calls=5, reporters=2, half_open_probes=2)
NOTHING = Standing()
_tokens = itertools.count(1)


def token():
    return f"{next(_tokens):016x}"


def trial(standing, name=None):
    return Permit("p", standing.era, standing.n, token=name or token())


class World:
    """One circuit on one side, under keys of its own."""

    def __init__(self, side, policy=POLICY):
        self.side = side
        self.policy = policy
        self.keys = CircuitKeys(f"test-{secrets.token_hex(8)}")

    def run(self, operation):
        return asyncio.run(self.side.run(operation, within=1))

    def report(self, own="a", calls=0, failures=0, slow=0, *, known=NOTHING, open_for=0.0):
        return self.run(
            operations.report(
                self.keys,
                "llm",
                self.policy,
                known=known,
                own=own,
                seen=Evidence(calls, failures, slow),
                open_for=open_for,
            )
        )

    def trip(self, **given):
        return self.report("a", 10, 10, known=self.standing(), **given).standing

    def standing(self):
        return self.report("nobody").standing

    def acquire(self, standing, name=None):
        permit = trial(standing, name)
        asked = self.run(operations.acquire(self.keys, "llm", self.policy, permit))
        return permit, asked

    def settle(self, permit, outcome, open_for=0.0):
        settle = operations.settle(
            self.keys, "llm", self.policy, permit, outcome, open_for=open_for
        )
        return self.run(settle)

    def forcing(self, phase, reason="", nonce=None, ttl=0.0):
        nonce = nonce or secrets.token_hex(8)
        return operations.force(self.keys, "llm", phase, reason=reason, nonce=nonce, ttl=ttl)

    def force(self, phase, reason="", nonce=None, ttl=0.0):
        return self.run(self.forcing(phase, reason, nonce, ttl)).standing


@pytest.fixture
def world(side):
    return World(side)


# --- one table, two sides ---------------------------------------------------------------


def test_an_unknown_circuit_is_closed(world):
    told = world.report()
    assert told.standing == NOTHING
    assert told.pooled[:3] == (0, 0, 0)


@pytest.mark.parametrize(
    ("calls", "failures", "slow", "phase"),
    [
        (4, 4, 4, Phase.CLOSED),  # too few calls
        (5, 2, 2, Phase.CLOSED),  # below both rates
        (6, 3, 0, Phase.OPEN),
        (6, 0, 3, Phase.OPEN),
        (0, 0, 0, Phase.CLOSED),
    ],
)
def test_a_rate_opens(world, calls, failures, slow, phase):
    before = world.side.now()
    told = world.report("a", calls, failures, slow, open_for=7)
    assert told.standing.phase is phase
    assert told.pooled[:3] == (calls, failures, slow)
    if phase is Phase.OPEN:
        assert told.standing.opens == 1
        assert before + 7 <= told.standing.until / 1e6 <= world.side.now() + 7


def test_what_each_has_told_is_read(world):
    assert world.run(operations.evidence(world.keys, "llm")) == []
    world.report("b", 3, 1, 2)
    world.report("a", 4)
    told = sorted(world.run(operations.evidence(world.keys, "llm")))
    assert [(each[0], *each[2:]) for each in told] == [("a", 4, 0, 0), ("b", 3, 1, 2)]
    assert all(0 <= each.age < 1 for each in told)


@pytest.mark.parametrize("phase", [Phase.FORCED_OPEN, Phase.FORCED_CLOSED])
def test_what_is_forced_for_a_time_holds_so_long_and_is_closed_then(world, phase):
    forced = world.force(phase, "why", ttl=0.3)
    assert forced.until / 1e6 == pytest.approx(world.side.now() + 0.3, abs=0.2)
    assert world.report("a", 50, 50, known=forced).standing == forced
    assert world.side.lasts(world.keys.state("llm")) > 86_400
    while forced.shown(int(world.side.now() * 1e6)) != "closed":
        time.sleep(0.01)
    opened = world.report("a", 50, 50, known=forced).standing
    assert (opened.phase, opened.opens, opened.reason) == (Phase.OPEN, 1, "")
    assert world.force(phase).until == 0
    assert world.side.lasts(world.keys.state("llm")) is None


def test_evidence_is_pooled(world):
    assert world.report("a", 3, 3).standing.phase is Phase.CLOSED
    told = world.report("b", 3, 3)
    assert (told.standing.phase, told.pooled[:3]) == (Phase.OPEN, (6, 6, 0))


def test_one_instance_alone_does_not_open_for_those_that_see_no_trouble(world):
    world.report("a", 5, 0)
    assert world.report("b", 50, 50).standing.phase is Phase.CLOSED
    assert world.report("a", 5, 1).standing.phase is Phase.OPEN, "now both see it"


def test_the_last_word_of_an_instance_counts_and_not_their_sum(world):
    for _ in range(3):
        told = world.report("a", 3, 3)
    assert told.pooled[:3] == (3, 3, 0)
    assert world.report("a").pooled[:3] == (0, 0, 0)


def test_evidence_ends_with_the_window(side):
    world = World(side, CircuitPolicy(window=1))
    world.report("a", 4, 4)
    time.sleep(1.05)  # past the window, which is the subject
    assert world.report("b", 1, 0).pooled[:3] == (1, 0, 0)


def test_evidence_about_an_earlier_state_does_not_count(world):
    opened = world.trip()
    told = world.report("b", 50, 50, known=NOTHING)
    assert (told.standing, told.pooled[:3]) == (opened, (0, 0, 0))
    world.report("a", 3, 1, known=opened)
    for calls in (50, 0):
        told = world.report("a", calls, calls, known=NOTHING)
        assert told.pooled[:3] == (3, 1, 0), "what does count is told"


def test_a_known_later_state_is_taken_over(world):
    known = Standing(3, 7, Phase.OPEN, 2**50, 2, 99, "why")
    told = world.report(known=known).standing
    assert (told, told.reason) == (known, "why")
    assert world.standing() == known


@pytest.mark.parametrize(
    "older",
    [Standing(1, 1, Phase.OPEN, 2**50, 1), Standing(3, 6, Phase.OPEN, 2**50, 1), NOTHING],
)
def test_a_known_earlier_state_is_not(world, older):
    newer = Standing(3, 7, Phase.FORCED_CLOSED)
    world.report(known=newer)
    assert world.report(known=older).standing == newer


def test_what_follows_a_state_of_another_history_is_later(world):
    known = Standing(3, 7, Phase.CLOSED)
    world.report(known=known)
    before = world.side.now()
    era, n = world.trip().generation
    assert n == 1
    assert before - 1 <= era / 1000 <= world.side.now() + 1, "later than all before a wipe, too"
    assert world.force(Phase.CLOSED).generation == (era, 2)


def test_a_force_stays_when_it_is_told_again(world):
    forced = world.force(Phase.FORCED_OPEN)
    later = replace(forced, n=forced.n + 1)
    world.report(known=later)
    assert world.side.lasts(world.keys.state("llm")) is None


def test_trial_calls_are_limited(world):
    opened = world.trip()
    (_, one), (_, two), (_, three) = (world.acquire(opened) for _ in range(3))
    assert [each.word for each in (one, two, three)] == ["permit", "permit", "busy"]
    assert 0 < three.wait <= 5


def test_a_place_is_held_by_its_token(world):
    opened = world.trip()
    for _ in range(3):
        assert world.acquire(opened, "0" * 16)[1].word == "permit"
    assert world.acquire(opened)[1].word == "permit"


def test_no_trial_before_the_time_is_over(world):
    opened = world.trip(open_for=60)
    _, asked = world.acquire(opened)
    assert asked.word == "early"
    assert 50 < asked.wait <= 60


def test_a_closed_circuit_has_no_places(world):
    assert world.acquire(NOTHING)[1].word == "changed"


def test_as_many_successes_as_places_close(world):
    opened = world.trip()
    one, two = world.acquire(opened)[0], world.acquire(opened)[0]
    assert world.settle(one, "ok").standing == opened
    settled = world.settle(two, "ok").standing
    assert (settled.phase, settled.opens) == (Phase.CLOSED, 0)
    assert settled.later_than(opened)
    assert world.report("b", known=settled).pooled[:3] == (0, 0, 0), "old evidence is gone"


def test_one_failure_opens_again_and_calls_under_way_keep_their_places(world):
    opened = world.trip()
    one, two = world.acquire(opened)[0], world.acquire(opened)[0]
    settled = world.settle(one, "failed").standing
    assert (settled.phase, settled.opens) == (Phase.OPEN, 2)
    assert settled.later_than(opened)
    free, asked = world.acquire(settled)
    assert asked.word == "permit"
    assert world.acquire(settled)[1].word == "busy", "the other trial call is still under way"
    kept = world.run(operations.acquire(world.keys, "llm", world.policy, two))
    assert kept.word == "permit", "for as long as it takes"
    world.settle(free, "released")
    late = world.settle(two, "ok")
    assert (late.word, late.standing) == ("late", settled)
    assert [world.acquire(settled)[1].word for _ in range(3)] == ["permit", "permit", "busy"]


def test_a_place_that_is_given_back_is_free(world):
    opened = world.trip()
    one, _ = world.acquire(opened)[0], world.acquire(opened)
    assert world.settle(one, "released").standing == opened
    assert world.acquire(opened)[1].word == "permit"


def test_to_keep_a_place_takes_none_anew(world):
    opened = world.trip()
    one = world.acquire(opened)[0]

    def kept():
        keep = operations.acquire(world.keys, "llm", world.policy, one, anew=False)
        return world.run(keep).word

    assert kept() == "permit"
    world.settle(one, "released")
    assert kept() == "changed"
    assert [world.acquire(opened)[1].word for _ in range(3)] == ["permit", "permit", "busy"]


def test_a_result_is_taken_in_once(world):
    opened = world.trip()
    one = world.acquire(opened)[0]
    assert [world.settle(one, "ok").word for _ in range(2)] == ["settled", "late"]
    assert world.standing() == opened


def test_a_result_without_a_place_is_late(world):
    opened = world.trip()
    assert world.settle(trial(opened), "failed").word == "late"
    assert world.standing() == opened


def test_a_force_holds_against_everything_older(world):
    opened = world.trip()
    forced = world.force(Phase.FORCED_CLOSED, "maintenance")
    assert (forced.phase, forced.reason) == (Phase.FORCED_CLOSED, "maintenance")
    assert world.report("a", 50, 50, known=opened).standing == forced
    assert world.report("a", 50, 50, known=forced).standing == forced, "evidence does not count"
    auto = world.force(Phase.CLOSED)
    assert auto.later_than(forced)
    assert world.report("a", 50, 50, known=auto).standing.phase is Phase.OPEN


def test_a_force_that_is_sent_again_is_one(world):
    forced = world.force(Phase.FORCED_OPEN, nonce="mine")
    assert world.force(Phase.FORCED_OPEN, nonce="mine") == forced


def test_names_are_kept_the_last_used_first(world):
    assert world.run(operations.names(world.keys, ())) == []
    world.run(operations.names(world.keys, ("a",)))
    time.sleep(0.002)  # names of one millisecond have no order
    assert world.run(operations.names(world.keys, ("b",))) == ["b", "a"]


# --- what only a server can do ----------------------------------------------------------


def of_each_script(world, standing):
    permit = trial(standing)
    keys = world.keys
    return {
        "report": operations.report(
            keys, "llm", POLICY, known=standing, own="a", seen=Evidence(9, 9), open_for=1
        ),
        "acquire": operations.acquire(keys, "llm", POLICY, permit),
        "settle": operations.settle(keys, "llm", POLICY, permit, "ok", open_for=1),
        "force": operations.force(keys, "llm", Phase.FORCED_OPEN, reason="", nonce="n"),
        "names": operations.names(keys, ("llm",)),
    }


@pytest.mark.parametrize("script", ["report", "acquire", "settle", "force", "names"])
async def test_what_comes_late_does_not_run(on_server, script):
    world = World(on_server)
    with pytest.raises(redis.ResponseError, match="LATE"):
        await on_server.run(of_each_script(world, NOTHING)[script], not_after=1)
    assert not on_server.client.keys(world.keys.names.split(b"{")[0] + b"*")


@pytest.mark.parametrize("script", ["report", "acquire", "force", "names"])
def test_a_server_that_refuses_writes_is_left_as_it_was(own_server, script):
    world = World(own_server)
    opened = world.trip() if script == "acquire" else NOTHING
    own_server.client.config_set("min-replicas-to-write", 1)
    with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
        world.run(of_each_script(world, opened)[script])
    own_server.client.config_set("min-replicas-to-write", 0)
    assert world.standing() == opened


def test_a_row_that_no_instance_has_told_disables_nothing(on_server):
    world = World(on_server)
    evidence = operations.report(
        world.keys, "llm", POLICY, known=NOTHING, own="a", seen=Evidence(9, 9), open_for=1
    ).keys[1]
    on_server.client.hset(evidence, "wrong", "x")
    assert world.report("a", 4, 1).pooled[:3] == (4, 1, 0)
    assert [each[0] for each in world.run(operations.evidence(world.keys, "llm"))] == ["a"]
    assert world.report("a", 9, 9).standing.phase is Phase.OPEN


def test_a_state_that_nobody_of_ours_has_stored_is_closed(on_server):
    world = World(on_server)
    spoilt = dict.fromkeys(("era", "n", "until", "span", "opens", "ok", "lease"), "x")
    for state in ("weird", "open"):
        on_server.client.hset(world.keys.state("llm"), mapping=spoilt | {"state": state})
        found = world.report().standing
        assert (found.generation, found.until) == ((0, 0), 0)
        assert found.phase is (Phase.OPEN if state == "open" else Phase.CLOSED)
    permit, asked = world.acquire(found)
    assert asked.word == "permit"
    world.settle(permit, "failed", open_for=7)
    assert world.standing().phase is Phase.OPEN
    world.force(Phase.CLOSED)
    assert world.report("a", 9, 9, known=world.standing()).standing.phase is Phase.OPEN


def test_changes_are_published(on_server):
    world = World(on_server)
    listener = on_server.client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(world.keys.channel)
    listener.get_message(timeout=1)
    opened = world.trip()
    permit = world.acquire(opened)[0]
    again = world.settle(permit, "failed").standing
    forced = world.force(Phase.FORCED_CLOSED, "two words")
    heard: list[tuple[str, int, Standing]] = []
    while len(heard) < 3:
        message: Any = listener.get_message(timeout=5)
        assert message, heard
        heard.append(operations.read_change(message["data"]))
    listener.close()
    assert [(name, told) for name, _, told in heard] == [
        ("llm", opened),
        ("llm", again),
        ("llm", forced),
    ]
    assert heard[2][2].reason == "two words"
    assert heard[0][1] / 1e6 == pytest.approx(on_server.now(), abs=1)


# --- any sequence, in step --------------------------------------------------------------


class Pair(RuleBasedStateMachine):
    """Both sides take the same calls. Times differ: spans are nothing, or far longer than a run."""

    make_sides: Callable[[], tuple[Any, ...]]

    def __init__(self):
        super().__init__()
        self.worlds = tuple(World(side) for side in self.make_sides())
        self.known = [(NOTHING, NOTHING)]
        self.permits = []

    def both(self, call):
        answers = tuple(call(world, side) for side, world in enumerate(self.worlds))
        one, two = (self.normal(answer) for answer in answers)
        assert one == two
        standings = tuple(answer.standing for answer in answers)
        if standings not in self.known:
            self.known.append(standings)
        return answers

    def normal(self, answer):
        standing = answer.standing
        rest = answer.pooled[:3] if hasattr(answer, "pooled") else answer.word
        far = standing.until > 2**49 or standing.until / 1e6 > time.time() + 30
        # An era begun on this data is the time, which differs.
        era = min(standing.era, 10)
        return (era, standing.n, standing.phase, standing.opens, standing.reason, far, rest)

    @rule(
        data=st.data(),
        own=st.sampled_from("abc"),
        seen=st.sampled_from([(0, 0, 0), (4, 4, 0), (6, 3, 0), (6, 2, 3), (9, 0, 0), (9, 1, 1)]),
        open_for=st.sampled_from([0.0, 60.0]),
    )
    def report(self, data, own, seen, open_for):
        known = data.draw(st.sampled_from(self.known))
        self.both(
            lambda world, side: world.report(own, *seen, known=known[side], open_for=open_for)
        )

    @rule(era=st.integers(0, 4), n=st.integers(0, 4), phase=st.sampled_from(Phase))
    def tell(self, era, n, phase):
        known = Standing(era, n, phase, 0, int(phase is Phase.OPEN))
        self.both(lambda world, _: world.report(known=known))

    @rule(data=st.data())
    def acquire(self, data):
        known, name = data.draw(st.sampled_from(self.known)), token()
        self.both(lambda world, side: world.acquire(known[side], name)[1])
        self.permits.append(tuple(trial(each, name) for each in known))

    @rule(
        data=st.data(),
        outcome=st.sampled_from(["ok", "failed", "released"]),
        open_for=st.sampled_from([0.0, 60.0]),
    )
    def settle(self, data, outcome, open_for):
        if self.permits:
            permit = data.draw(st.sampled_from(self.permits))
            self.both(lambda world, side: world.settle(permit[side], outcome, open_for))

    @rule(
        phase=st.sampled_from([Phase.FORCED_OPEN, Phase.FORCED_CLOSED, Phase.CLOSED]),
        nonce=st.sampled_from(["one", "two"]),
    )
    def force(self, phase, nonce):
        self.both(lambda world, _: world.run(world.forcing(phase, "by hand", nonce)))


def test_any_sequence_of_calls_has_one_outcome(on_server, in_process):
    machine = type("CircuitPair", (Pair,), {"make_sides": lambda _: (on_server, in_process())})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
