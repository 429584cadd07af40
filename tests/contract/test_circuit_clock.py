"""Circuits whose server's clock is set back, as by a failover to one that is an hour behind.

The scripts run on a real server with a clock of the test's instead of `TIME`, so that both sides
decide at the same microsecond.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from tests.contract.test_circuit_contract import NOTHING, World, token, trial

from aragora_redis.circuit.machine import Phase, Standing
from aragora_redis.circuit.operations import LEASE_FLOOR
from aragora_redis.circuit.policy import CircuitPolicy
from aragora_redis.state.embedded import EmbeddedExecutor

HOUR = 3600.0
POLICY = CircuitPolicy(minimum_calls=5, reporters=2, half_open_probes=2)


class Time:
    """Whole milliseconds, which a float holds exactly enough."""

    def __init__(self) -> None:
        self.ms = 1_795_400_000_123

    def wall(self) -> float:
        return (self.ms + 0.0001) / 1000

    def monotonic(self) -> float:
        raise AssertionError

    def move(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class OnModel(EmbeddedExecutor):
    def __init__(self) -> None:
        self.time = Time()
        super().__init__(self.time)


class OnScript:
    def __init__(self, raw: Any, model: OnModel | None = None) -> None:
        self.time = Time()
        self._raw = raw
        self._model = model

    async def run(self, operation: Any, *, within: float) -> Any:
        del within
        for key in operation.keys:
            if self._model is not None and self._model._memory.get(key) is None:
                self._raw.delete(key)  # it has ended, though not by the server's own clock
        seconds, ms = divmod(self.time.ms, 1000)
        source = operation.script.source.decode()
        source = source.replace("redis.call('TIME')", f"{{'{seconds}', '{ms * 1000}'}}")
        args = (*([0] if operation.script.writes else []), *operation.args)
        return operation.read(self._raw.eval(source, len(operation.keys), *operation.keys, *args))


@pytest.fixture(params=["script", "model"])
def world(request, on_server):
    side = OnScript(on_server._raw) if request.param == "script" else OnModel()
    return World(side, POLICY)


def left(world, standing):
    return standing.until / 1e6 - world.side.time.ms / 1000


@pytest.mark.parametrize("how", ["tripped", "forced open", "forced closed"])
def test_no_state_holds_for_longer_than_it_was_given_for(world, how):
    if how == "tripped":
        given = world.trip(open_for=30)
    else:
        phase = Phase.FORCED_OPEN if how == "forced open" else Phase.FORCED_CLOSED
        given = world.force(phase, "why", ttl=30)
    world.side.time.move(10)
    assert world.report(known=given).standing == given
    world.side.time.move(-HOUR)
    found = world.report("b", 9, 9, known=given).standing
    assert left(world, found) == pytest.approx(30, abs=0.001)
    assert found.generation > given.generation
    assert (found.phase, found.opens, found.reason) == (given.phase, given.opens, given.reason)
    for known in (given, found, NOTHING):
        assert world.report(known=known).standing == found, "all agree"
    world.side.time.move(30)
    if how == "tripped":
        assert world.acquire(found)[1].word == "permit"
    else:
        assert world.report("a", 9, 9, known=found).standing.phase is Phase.OPEN


def test_clocks_that_differ_a_little_change_nothing(world):
    given = world.trip(open_for=30)
    world.side.time.move(-1)
    assert world.report(known=given).standing == given
    assert world.acquire(given)[1].word == "early"


def test_nor_does_one_that_an_instance_brings_with_it(world):
    ends = (world.side.time.ms + round(HOUR * 1000)) * 1000
    known = Standing(3, 7, Phase.FORCED_OPEN, ends, 0, 30_000_000, "why")
    found = world.report(known=known).standing
    assert left(world, found) == pytest.approx(30, abs=0.001)
    assert (found.phase, found.reason) == (Phase.FORCED_OPEN, "why")
    assert world.report(known=known).standing == found


def test_who_asks_for_a_trial_call_finds_it_too(world):
    given = world.trip(open_for=30)
    world.side.time.move(-HOUR)
    asked = world.acquire(given)[1]
    assert (asked.word, left(world, asked.standing)) == ("changed", pytest.approx(30, abs=0.001))
    assert world.report(known=given).standing == asked.standing
    assert world.acquire(asked.standing)[1].word == "early"


def test_the_places_of_trial_calls_come_free_in_time(world):
    given = world.trip()
    for _ in range(2):
        assert world.acquire(given)[1].word == "permit"
    world.side.time.move(-HOUR)
    found = world.standing()
    asked = world.acquire(found)[1]
    assert (asked.word, asked.wait) == ("busy", pytest.approx(LEASE_FLOOR, abs=0.01))
    world.side.time.move(LEASE_FLOOR)
    assert world.acquire(found)[1].word == "permit"


def test_a_place_that_was_taken_for_long_is_kept_so_long(world):
    """By who has a shorter lease, too: policies differ while a file is followed."""
    given = world.trip()
    world.policy = CircuitPolicy(slow_call=50, half_open_probes=1)
    assert world.acquire(given)[1].word == "permit"
    world.policy = CircuitPolicy(half_open_probes=1)
    assert world.acquire(given)[1].wait == pytest.approx(100, abs=0.01)
    world.side.time.move(-HOUR)
    found = world.standing()
    assert world.acquire(found)[1].wait == pytest.approx(100, abs=0.01)


def test_what_was_told_before_counts_no_longer_than_it_would(world):
    world.report("a", 4, 4)
    world.side.time.move(-HOUR)
    assert world.report("b", 1, 1).pooled[:3] == (1, 1, 0)
    assert world.report("a", 4, 4).standing.phase is Phase.OPEN, "who lives tells it again"


def test_the_result_of_a_call_that_was_let_through_before_counts(world):
    given = world.trip()
    permits = [world.acquire(given)[0] for _ in range(2)]
    world.side.time.move(-HOUR)
    assert world.settle(permits[0], "ok").word == "settled"
    assert world.settle(permits[1], "ok").standing.phase is Phase.CLOSED


class Moved(RuleBasedStateMachine):
    """Both sides take the same calls at the same instants, and answer the same, to the digit."""

    raw: Any

    def __init__(self):
        super().__init__()
        model = OnModel()
        self.worlds = [World(side, POLICY) for side in (OnScript(self.raw, model), model)]
        self.worlds[0].keys = self.worlds[1].keys
        self.known = [NOTHING]
        self.permits = []

    def both(self, call):
        one, two = (call(world) for world in self.worlds)
        assert one == two
        if one.standing not in self.known:
            self.known.append(one.standing)

    @rule(seconds=st.sampled_from([0.001, 0.4, 3, 6, 31, HOUR, -0.4, -1, -1.001, -20, -HOUR]))
    def move(self, seconds):
        for world in self.worlds:
            world.side.time.move(seconds)

    @rule(
        data=st.data(),
        own=st.sampled_from("ab"),
        seen=st.sampled_from([(0, 0, 0), (4, 4, 0), (6, 3, 0), (9, 0, 0)]),
        open_for=st.sampled_from([0.0, 5.0, 30.0]),
    )
    def report(self, data, own, seen, open_for):
        known = data.draw(st.sampled_from(self.known))
        self.both(lambda world: world.report(own, *seen, known=known, open_for=open_for))

    @rule(data=st.data(), slow_call=st.sampled_from([1.0, 10.0]))
    def acquire(self, data, slow_call):
        known, name = data.draw(st.sampled_from(self.known)), token()
        for world in self.worlds:
            world.policy = CircuitPolicy(
                minimum_calls=5, reporters=2, half_open_probes=2, slow_call=slow_call
            )
        self.both(lambda world: world.acquire(known, name)[1])
        self.permits.append(trial(known, name))

    @rule(
        data=st.data(),
        outcome=st.sampled_from(["ok", "failed", "released"]),
        open_for=st.sampled_from([0.0, 30.0]),
    )
    def settle(self, data, outcome, open_for):
        if self.permits:
            permit = data.draw(st.sampled_from(self.permits))
            self.both(lambda world: world.settle(permit, outcome, open_for))

    @rule(
        phase=st.sampled_from([Phase.FORCED_OPEN, Phase.FORCED_CLOSED, Phase.CLOSED]),
        ttl=st.sampled_from([0.0, 5.0, 600.0]),
    )
    def force(self, phase, ttl):
        nonce = token()
        self.both(lambda world: world.run(world.forcing(phase, "by hand", nonce, ttl)))


def test_any_sequence_of_calls_has_one_outcome_on_any_clock(on_server):
    machine = type("MovedClock", (Moved,), {"raw": on_server._raw})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
