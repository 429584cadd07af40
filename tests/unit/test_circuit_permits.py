"""Places of a bulkhead that permits hold: until they are told back, or their time is over."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
import time
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry

from aragora_redis.circuit.operations import LEASE_FLOOR
from aragora_redis.circuit.permit import Permit
from aragora_redis.errors import (
    CircuitFullError,
    CircuitOpenError,
    DeadlineError,
    InvalidInputError,
)
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings, from_env
from aragora_redis.sync import SharedState as SyncState
from aragora_redis.sync.call import Call
from aragora_redis.sync.process import current
from aragora_redis.telemetry.prometheus import Metrics
from aragora_redis.testing import FakeClock, memory_state
from aragora_redis.testing.sync import memory_state as sync_memory_state

POLICIES = """
[circuits.default]
minimum_calls = 1000
[circuits.few]
max_concurrent = 2
[circuits.patient]
max_concurrent = 1
max_waiting = 1
max_wait = "1 minute"
"""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def state(clock):
    return memory_state(POLICIES, clock=clock)


@pytest.fixture
def threads(tmp_path):
    path = tmp_path / "policies.toml"
    path.write_text(POLICIES)
    with SyncState(Settings(policies=path)) as made:
        yield made


async def test_a_permit_holds_a_place_until_it_is_told_back_once(state):
    few = state.circuits["few"]
    one, two = await few.acquire(), await few.acquire()
    with pytest.raises(CircuitFullError):
        await few.acquire()
    with pytest.raises(CircuitFullError):
        await few.guard().__aenter__()
    assert few.snapshot().in_flight == 2
    for _ in range(2):
        await few.report(Permit.parse(str(one)), ok=True, duration=0.1)
        assert few.snapshot().in_flight == 1
    with pytest.raises(InvalidInputError):
        await few.report(two, ok=True, duration=-1)
    assert few.snapshot().in_flight == 1
    three = await few.acquire()
    await few.release(three)
    few.give_up(two)
    assert few.snapshot().in_flight == 0


async def test_a_refusal_takes_none(state):
    await state.circuits.force("few", "open")
    with pytest.raises(CircuitOpenError):
        await state.circuits["few"].acquire()
    assert state.circuits["few"].snapshot().in_flight == 0


async def test_who_is_never_heard_of_again_holds_it_for_as_long_as_a_trial_call(state, clock):
    few = state.circuits["few"]
    lost, slow = await few.acquire(), await few.acquire()
    clock.advance(LEASE_FLOOR - 0.001)
    with pytest.raises(CircuitFullError):
        await few.acquire()
    few.follow(slow)
    clock.advance(0.001)
    await few.acquire()
    with pytest.raises(CircuitFullError):
        await few.acquire()
    await few.report(lost, ok=True, duration=LEASE_FLOOR)
    assert few.snapshot().in_flight == 2, "that place is another's by now"
    assert few._known.window.seen(clock.monotonic()).calls == 1, "but its result counts"
    await few.release(slow)
    assert few.snapshot().in_flight == 1


async def test_who_waits_gets_the_place_that_has_lapsed(state, clock):
    patient = state.circuits["patient"]
    await patient.acquire()
    waiting = asyncio.create_task(patient.acquire())
    await asyncio.sleep(0)
    assert patient.snapshot().waiting == 1
    assert patient.due_at <= clock.monotonic() + LEASE_FLOOR
    clock.advance(LEASE_FLOOR)
    await patient.tend()
    assert (await waiting).holds_place
    assert patient.snapshot().in_flight == 1


@pytest.mark.parametrize("when", ["it waits", "it asks"])
async def test_who_is_cancelled_holds_none(state, monkeypatch, when):
    patient = state.circuits["patient"]
    held = await patient.acquire() if when == "it waits" else None
    asking = asyncio.Event()

    async def hang(*_, **__):
        asking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(state._executor, "run", hang)
    task = asyncio.create_task(patient.acquire())
    await (asyncio.sleep(0) if held else asking.wait())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert patient.snapshot().waiting == 0
    assert patient.snapshot().in_flight == (1 if held else 0)


async def test_any_mix_of_holders_gives_every_place_back(state, clock):
    few, most, chance = state.circuits["few"], 0, random.Random(9)

    async def call(number):
        nonlocal most
        with suppress(CircuitFullError):
            permit = await few.acquire()
            most = max(most, few.snapshot().in_flight)
            await asyncio.sleep(0)
            match number % 4:
                case 0:
                    await few.report(permit, ok=True, duration=0)
                case 1:
                    await few.release(permit)
                case 2:
                    few.give_up(permit)

    for _ in range(50):
        tasks = [asyncio.create_task(call(chance.randrange(4))) for _ in range(5)]
        await asyncio.sleep(0)
        chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        clock.advance(chance.choice([0, 1, LEASE_FLOOR]))
    clock.advance(LEASE_FLOOR)
    await few.tend()
    assert few.snapshot().in_flight == few.snapshot().waiting == 0
    assert most == 2


async def test_what_is_held_without_a_limit_is_bounded(state, monkeypatch):
    monkeypatch.setattr("aragora_redis.state.circuits.bulkhead.HELD", 3)
    circuit = state.circuits["any"]
    permits = [await circuit.acquire() for _ in range(5)]
    assert circuit.snapshot().in_flight == 3
    for permit in permits:
        await circuit.release(permit)
    assert circuit.snapshot().in_flight == 0


async def test_calls_under_way_are_a_metric(state):
    registry = CollectorRegistry()
    Metrics(registry).watch(state.status)

    def shown(name):
        return registry.get_sample_value("aragora_redis_circuit_in_flight", {"circuit": name})

    assert shown("few") is None
    permit = await state.circuits["few"].acquire()
    async with state.circuits["any"]:
        assert (shown("few"), shown("any")) == (1, 1)
    await state.circuits["few"].release(permit)
    assert (shown("few"), shown("any")) == (0, 0)


def settled(threads):
    """What threads have left to the loop is done."""
    threads._crossing.cross(lambda _: asyncio.sleep(0), 1)


@pytest.mark.parametrize("name", ["few", "any"])
def test_threads_hold_places_by_permits_and_by_guards(threads, name):
    circuit = threads.circuits[name]
    in_flight = lambda: circuit._circuit().bulkhead.in_flight  # noqa: E731
    one, two = circuit.acquire(), circuit.acquire()
    settled(threads)
    assert in_flight() == 2
    if name == "few":
        with pytest.raises(CircuitFullError):
            circuit.acquire()
        with pytest.raises(CircuitFullError), circuit:
            pass
    circuit.follow(two)
    circuit.report(one, ok=True, duration=0.1)
    settled(threads)
    assert circuit._circuit().bulkhead._held == {two.place: float("inf")}
    with circuit:
        assert in_flight() == 2
    circuit.release(two)
    settled(threads)
    assert in_flight() == 0


def test_who_waits_is_let_in_when_a_thread_leaves_that_was_there_before_the_limit(threads):
    circuit = threads.circuits["patient"]
    there = circuit._circuit()
    limited = there.policy
    unlimited = threads.circuits["any"]._circuit().policy
    threads._crossing.later(lambda: there.use(unlimited))
    settled(threads)
    with circuit:
        pass
    guard = circuit.guard()
    guard.__enter__()
    assert len(there.bulkhead._outside) == 1
    threads._crossing.later(lambda: there.use(limited))
    settled(threads)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(circuit.acquire)
        while there.bulkhead.waiting == 0:
            assert not waiting.done()
        guard.__exit__(None, None, None)
        circuit.release(waiting.result(10))
    settled(threads)
    assert there.bulkhead.in_flight == 0


TRIES = """
[circuits.default]
open_for = "10 ms"
minimum_calls = 1
reporters = 1
half_open_probes = 1
"""


@pytest.mark.parametrize("why", ["interrupted", "it does not come round"])
@pytest.mark.parametrize("outcome", ["ok", "released"])
def test_a_trial_call_whose_end_cannot_be_told_gives_its_place_back(monkeypatch, why, outcome):
    """Else it would be kept for the fleet for good: who is followed here is renewed."""
    holds, held = threading.Event(), threading.Event()

    def hold():
        holds.set()
        held.wait(5)

    with sync_memory_state(TRIES) as state:
        circuit = state.circuits["up"]
        with pytest.raises(ZeroDivisionError), circuit:
            raise ZeroDivisionError
        until(lambda: circuit.state == "half-open")
        guard = circuit.guard()
        guard.__enter__()
        with monkeypatch.context() as patched:
            state.crossing.later(hold)
            assert holds.wait(5)
            if why == "interrupted":
                patched.setattr(Call, "wait", interrupted)
            else:
                patched.setattr("aragora_redis.sync.loop.CROSSING", -state.crossing.deadline)
            with pytest.raises((KeyboardInterrupt, DeadlineError)):
                guard.end(outcome)
            held.set()
        until(lambda: is_let_in(circuit))


INTERRUPTED = {
    "on entering": ("monotonic", lambda circuit: circuit.guard().__enter__()),
    "as it was entered": ("_inside", lambda circuit: circuit.__enter__()),
    "on leaving": ("report", lambda circuit: circuit.protect()(int)()),
    "in the middle of leaving": (
        "release",
        lambda circuit: circuit.protect(ignore=OSError)(open)(""),
    ),
}


@pytest.mark.parametrize("when", INTERRUPTED)
@pytest.mark.parametrize("name", ["few", "any"])
def test_who_is_interrupted_holds_none(threads, monkeypatch, name, when):
    circuit = threads.circuits[name]
    with circuit:
        pass  # the first one asks
    method, call = INTERRUPTED[when]
    with monkeypatch.context() as patched:
        patched.setattr(type(circuit), method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            call(circuit)
    settled(threads)
    assert threads.circuits.look(name).in_flight == 0


class InterruptedLock:
    """A signal's handler raises once: before it is taken, or when it is free again."""

    def __init__(self, at):
        self._inner, self._at = threading.Lock(), at

    def __enter__(self):
        self._pass("before")
        self._inner.acquire()

    def __exit__(self, *error):
        self._inner.release()
        self._pass("after")

    def _pass(self, at):
        if at == self._at:
            self._at = ""
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("step", ["entering", "leaving"])
@pytest.mark.parametrize("name", ["few", "any"])
def test_who_is_interrupted_as_who_is_inside_is_noted_is_so_no_more(
    threads, monkeypatch, name, step, at
):
    circuit = threads.circuits[name]

    def interrupt():
        monkeypatch.setattr(current(), "entering", InterruptedLock(at))

    def in_flight():
        settled(threads)
        return circuit._circuit().bulkhead.in_flight

    with circuit:
        if step == "entering":
            interrupt()
        with pytest.raises(KeyboardInterrupt), circuit:
            interrupt()
        assert in_flight() == 1, "who was inside before goes on"
    assert in_flight() == 0
    with pytest.raises(RuntimeError, match="more often"):
        circuit.__exit__(None, None, None)


@pytest.mark.parametrize("name", ["few", "any"])
def test_who_is_interrupted_while_a_place_is_given_back_gives_it_back_once(
    threads, monkeypatch, name
):
    circuit = threads.circuits[name]
    other, guard = circuit.guard(), circuit.guard()
    other.__enter__()
    guard.__enter__()
    leave, left = guard._leave, list[int]()

    def interrupted():
        leave()
        left.append(1)
        if len(left) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(guard, "_leave", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guard.end("ok")
    settled(threads)
    assert left == [1, 1]
    assert circuit._circuit().bulkhead.in_flight == 1


@pytest.mark.parametrize("name", ["few", "any"])
def test_who_drops_a_call_gives_its_place_back(threads, name):
    circuit = threads.circuits[name]
    circuit.guard().__enter__()
    settled(threads)
    assert circuit._circuit().bulkhead.in_flight == 0


@pytest.mark.parametrize("name", ["few", "tried"])
def test_who_drops_a_call_in_the_loop_holds_nobody_up(monkeypatch, name):
    """A collection of garbage does so there, also while a state has just begun again."""
    nowhere = {"ARAGORA_REDIS_URL": "redis://127.0.0.1:1", "ARAGORA_EXPECTED_INSTANCES": "1"}
    policies = parse_policies(f"{TRIES}[circuits.few]\nmax_concurrent = 1\n", source="here")
    state = SyncState(from_env(nowhere), policies=policies)
    monkeypatch.setattr("aragora_redis.sync.crossing.FIRST_LIMIT", 0.0)
    state.start()
    circuit = state.circuits[name]
    if name == "tried":
        with pytest.raises(ZeroDivisionError), circuit:
            raise ZeroDivisionError
        until(lambda: circuit.state == "half-open")
    calls = [circuit.guard()]
    calls[0].__enter__()
    state.close()
    monkeypatch.setattr("aragora_redis.sync.crossing.FIRST_LIMIT", 4.0)
    monkeypatch.setattr("aragora_redis.sync.loop.CROSSING", 1.0)
    state.start()
    loop = current().loop
    assert loop is not None
    loop.later(calls.clear, can_wait=False)
    try:
        assert not state.status().ready
        assert not calls
    finally:
        state.close()


def test_a_generator_may_be_closed_after_its_state(threads):
    @threads.circuits["few"].protect()
    def stream():
        yield 1
        yield 2

    items = stream()
    assert next(items) == 1
    threads.close()
    items.close()


def interrupted(*_, **__):
    raise KeyboardInterrupt


def is_let_in(circuit):
    with suppress(CircuitOpenError):
        circuit.guard().__enter__()
        return True
    return False


def until(reached):
    end = time.monotonic() + 5
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)
