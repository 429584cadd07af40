"""What a guarded call says of its dependency, and how many there may be at once: no Redis."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import suppress
from functools import partial, wraps
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from msgspec.structs import replace
from tests.integration.fleet import until

from aragora_redis import SharedState
from aragora_redis.circuit import note, operations
from aragora_redis.circuit.machine import Phase
from aragora_redis.circuit.permit import Permit
from aragora_redis.errors import (
    CircuitFullError,
    CircuitOpenError,
    InvalidInputError,
    LinkDownError,
    SessionDataError,
)
from aragora_redis.events import CircuitChanged
from aragora_redis.names import validate_name
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings
from aragora_redis.sync import SharedState as SyncState
from aragora_redis.sync.call import Call
from aragora_redis.testing import FakeClock, memory_state
from aragora_redis.web.httpx import CircuitTransport, SyncCircuitTransport, by_host

POLICIES = """
[circuits.default]
minimum_calls = 100
[circuits.few]
max_concurrent = 2
max_waiting = 1
max_wait = "5 seconds"
[circuits.impatient]
max_concurrent = 1
max_waiting = 5
max_wait = "10 ms"
"""


@pytest.fixture
def policies():
    return parse_policies(POLICIES, source="test")


@pytest.fixture
async def state(policies):
    async with SharedState(Settings(), policies=policies) as made:
        yield made


@pytest.fixture
def threads(tmp_path):
    path = tmp_path / "policies.toml"
    path.write_text(POLICIES)
    with SyncState(Settings(policies=path)) as made:
        yield made


def counts(circuit):
    seen = circuit._known.window.seen(circuit.monotonic())
    return seen.calls, seen.failures


RULES = {
    "failure_on": (OSError,),
    "ignore": (FileNotFoundError,),
    "classify": lambda found: None if found == 404 else found >= 500,
}
CASES = [
    (200, (1, 0)),
    (503, (1, 1)),
    (404, (0, 0)),
    (OSError(), (1, 1)),
    (FileNotFoundError(), (0, 0)),
    (ValueError(), (1, 0)),
    (asyncio.CancelledError(), (0, 0)),
    (KeyboardInterrupt(), (0, 0)),
]
IDS = [type(case).__name__ if isinstance(case, BaseException) else str(case) for case, _ in CASES]


def outcome(case):
    if isinstance(case, BaseException):
        raise case
    return case


@pytest.mark.parametrize(("case", "counted"), CASES, ids=IDS)
async def test_exceptions_and_results_are_judged_by_the_callers_rules(state, case, counted):
    circuit = state.circuits["judged"]

    @circuit.protect(**RULES)
    async def call():
        return outcome(case)

    with suppress(BaseException):
        assert await call() == case
    assert counts(circuit) == counted
    with suppress(BaseException):
        async with circuit.guard(**RULES) as guard:
            guard.result(outcome(case))
    assert counts(circuit) == (2 * counted[0], 2 * counted[1])


@pytest.mark.parametrize(("case", "counted"), CASES, ids=IDS)
def test_so_they_are_for_threads(threads, case, counted):
    circuit = threads.circuits["judged"]

    @circuit.protect(**RULES)
    def call():
        return outcome(case)

    with suppress(BaseException):
        assert call() == case
    threads.circuits.all()  # what was counted before is counted by then
    assert counts(circuit._circuit()) == counted


async def test_a_protected_async_generator_is_followed_to_its_end(state):
    circuit, sent = state.circuits["stream"], []

    @circuit.protect(failure_on=(OSError,))
    async def stream(error=None):
        for number in range(2):
            try:
                sent.append((yield number))
            except KeyError as thrown:
                sent.append(thrown)
        if error is not None:
            raise error

    assert inspect.isasyncgenfunction(stream)
    parts = stream(OSError())
    assert (counts(circuit), circuit.bulkhead.in_flight) == ((0, 0), 0)  # it has not begun
    assert await anext(parts) == 0
    assert (counts(circuit), circuit.bulkhead.in_flight) == ((0, 0), 1)
    assert await parts.asend("word") == 1
    with pytest.raises(OSError):  # noqa: PT011 - it has no words
        await parts.athrow(KeyError("k"))
    assert (sent[0], type(sent[1])) == ("word", KeyError)
    assert (counts(circuit), circuit.bulkhead.in_flight) == ((1, 1), 0)
    assert [item async for item in stream()] == [0, 1]
    parts = stream()
    await anext(parts)
    await parts.aclose()  # left, so it says nothing
    assert (counts(circuit), circuit.bulkhead.in_flight) == ((2, 1), 0)


def test_a_protected_generator_of_a_thread_is_followed_to_its_end(threads):
    circuit, sent = threads.circuits["stream"], []

    @circuit.protect(failure_on=(OSError,))
    def stream(error=None):
        sent.append((yield 0))
        if error is not None:
            raise error
        return "end"

    there = circuit._circuit()
    parts = stream(OSError())
    next(parts)
    assert (counts(there), there.bulkhead.in_flight) == ((0, 0), 1)
    with pytest.raises(OSError):  # noqa: PT011 - it has no words
        parts.send("word")
    threads.circuits.all()  # what was counted before is counted by then
    assert (sent, counts(there), there.bulkhead.in_flight) == (["word"], (1, 1), 0)
    parts = stream()
    next(parts)
    with pytest.raises(StopIteration) as end:
        next(parts)
    assert end.value.value == "end"
    parts = stream()
    next(parts)
    del parts  # left, so it says nothing
    threads.circuits.all()
    assert (counts(there), there.bulkhead.in_flight) == ((2, 1), 0)


async def test_a_stream_is_slow_by_its_first_item():
    clock = FakeClock()
    circuit = memory_state(clock=clock).circuits["slow"]

    @circuit.protect()
    async def stream(first, later):
        clock.advance(first)
        yield 0
        clock.advance(later)
        yield 1

    for first, later in ((0.1, 100.0), (100.0, 0.1)):
        before = circuit._known.window.seen(clock.monotonic()).slow
        assert [item async for item in stream(first, later)] == [0, 1]
        slow = circuit._known.window.seen(clock.monotonic()).slow - before
        assert slow == (first > 1)


def test_a_decorator_refuses_what_it_cannot_follow(threads):
    here = SharedState(Settings()).circuits["kinds"]
    there = threads.circuits["kinds"]

    async def asynchronous(): ...

    async def items():
        yield 0

    def plain(): ...

    def plain_items():
        yield 0

    @wraps(asynchronous)
    def wrapped():
        return asynchronous()

    cases: Any = (
        (here, (plain, plain_items, partial(plain)), (asynchronous, items, wrapped, AsyncMock())),
        (there, (asynchronous, items), (plain, plain_items, partial(plain), print)),
    )
    for circuit, wrong, right in cases:
        for work in wrong:
            with pytest.raises(InvalidInputError, match="put on a"):
                circuit.protect()(work)
        for work in right:
            assert callable(circuit.protect()(work))
    streams: Any = ((here, items), (there, plain_items))
    for circuit, stream in streams:
        with pytest.raises(InvalidInputError, match="returns nothing"):
            circuit.protect(classify=bool)(stream)


async def test_a_timeout_within_is_a_failure_and_one_around_is_none(state):
    circuit = state.circuits["timeouts"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), circuit:
            await asyncio.Event().wait()
    assert counts(circuit) == (0, 0)
    with pytest.raises(TimeoutError):
        async with circuit, asyncio.timeout(0.01):
            await asyncio.Event().wait()
    assert counts(circuit) == (1, 1)


async def test_a_generator_that_is_left_says_nothing(state):
    circuit = state.circuits["generator"]

    async def stream():
        async with circuit.guard():
            for number in range(10):
                yield number

    parts = stream()
    assert await anext(parts) == 0
    assert circuit.bulkhead.in_flight == 1
    await parts.aclose()
    assert (counts(circuit), circuit.bulkhead.in_flight) == ((0, 0), 0)


async def test_a_bulkhead_lets_so_many_in_and_the_rest_wait_in_turn(state):
    circuit, gates, order = state.circuits["few"], [asyncio.Event() for _ in range(3)], []

    async def call(number):
        async with circuit.guard():
            order.append(number)
            await gates[number].wait()

    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(call(number)))
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    shown = circuit.snapshot()
    assert (order, shown.in_flight, shown.waiting) == ([0, 1], 2, 1)
    refused: list[Any] = []
    state.events.subscribe(refused.append)
    with pytest.raises(CircuitFullError) as full:
        async with circuit.guard():
            pass
    assert not isinstance(full.value, CircuitOpenError)
    assert [each.state for each in refused] == ["full"]
    gates[1].set()
    await tasks[1]
    assert order == [0, 1, 2]
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks)
    assert circuit.bulkhead.in_flight == circuit.bulkhead.waiting == 0


async def test_who_waits_too_long_or_goes_away_leaves_no_trace(state):
    circuit = state.circuits["impatient"]
    async with circuit.guard():
        with pytest.raises(CircuitFullError):
            async with circuit.guard():
                pass
        waiting = asyncio.create_task(circuit.guard().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert circuit.bulkhead.waiting == 0
    assert circuit.bulkhead.in_flight == 0
    # Handed a place in the very turn in which it is cancelled: the place goes on.
    async with circuit.guard():
        waiting = asyncio.create_task(circuit.guard().__aenter__())
        await asyncio.sleep(0)
        circuit.bulkhead.leave()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert circuit.bulkhead.in_flight == 0
        circuit.bulkhead.take()


async def test_any_mix_of_calls_and_cancels_gives_every_place_back(state):
    circuit, most = state.circuits["few"], 0

    async def call(number):
        nonlocal most
        with suppress(CircuitFullError):
            async with circuit.guard():
                most = max(most, circuit.bulkhead.in_flight)
                await asyncio.sleep(number % 7 / 1000)

    for _ in range(5):
        tasks = [asyncio.create_task(call(number)) for number in range(50)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                await asyncio.sleep(0)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert circuit.bulkhead.in_flight == circuit.bulkhead.waiting == 0
    assert most == 2


def test_threads_share_the_bulkhead(threads):
    circuit, gate, inside = threads.circuits["few"], threading.Event(), threading.Semaphore(0)

    def call():
        with circuit:
            inside.release()
            gate.wait(10)

    running = [threading.Thread(target=call) for _ in range(2)]
    for thread in running:
        thread.start()
    assert all(inside.acquire(timeout=10) for _ in running)
    waiting = threading.Thread(target=call)
    waiting.start()
    while circuit._circuit().bulkhead.waiting == 0:
        pass
    with pytest.raises(CircuitFullError), circuit:
        pass
    gate.set()
    for thread in (*running, waiting):
        thread.join(10)
    threads.circuits.all()
    assert circuit._circuit().bulkhead.in_flight == 0


async def test_who_is_not_the_one_that_entered_may_leave(state):
    """A streamed response closes what its request has entered, whose task may still run."""
    circuit, left = state.circuits["few"], asyncio.Event()

    async def enter(stay):
        await circuit.__aenter__()
        if stay:
            await left.wait()

    request, fixture = (asyncio.create_task(enter(stay)) for stay in (True, False))
    await until(lambda: circuit.bulkhead.in_flight == 2)
    await fixture
    for in_flight in (1, 0):
        await circuit.__aexit__(None, None, None)
        assert circuit.bulkhead.in_flight == in_flight
    with pytest.raises(RuntimeError, match="more often"):
        await circuit.__aexit__(None, None, None)
    left.set()
    await request


def test_so_may_threads(threads):
    circuit = threads.circuits["few"]
    circuit.__enter__()
    leaving = threading.Thread(target=circuit.__exit__, args=(None, None, None))
    leaving.start()
    leaving.join(10)
    threads._crossing.cross(lambda _: asyncio.sleep(0), 1)
    assert circuit._circuit().bulkhead.in_flight == 0


async def test_a_force_says_who_why_and_until_when_and_ends_by_itself(state):
    circuit = state.circuits["forced"]
    forced = await state.circuits.force("forced", "open", reason="a\tb", actor="ann", ttl=0.2)
    assert (forced.state, forced.reason, forced.forced_by) == ("forced-open", "a\tb", "ann")
    assert forced.forced_until == pytest.approx(forced.forced_at + 0.2, abs=0.1)
    assert 0 < forced.retry_after <= 0.2
    with pytest.raises(CircuitOpenError):
        await circuit.acquire()
    await until(lambda: circuit.state == "closed")
    async with circuit:
        pass
    shown = (await state.circuits.all())[0]
    assert (shown.state, shown.reason, shown.forced_by, shown.forced_until) == (
        "closed", "", "", None,
    )  # fmt: skip
    for _ in range(100):
        circuit.count(await circuit.acquire(), ok=False, duration=0)
    await circuit.report_evidence()
    assert circuit.state == "open", "its calls decide again"


async def test_who_only_looks_has_seen_nothing_change(state):
    await state.circuits.force("elsewhere", "open", reason="drill", actor="ann")
    state.circuits._circuits.clear()  # as on an instance that does not call it
    await state.circuits._run(operations.names(state.circuits._keys, ["elsewhere"]))
    told: list[Any] = []
    state.events.subscribe(told.append)
    shown = [await state.circuits.look("elsewhere"), *await state.circuits.all()]
    assert [(each.state, each.reason, each.retry_after) for each in shown] == [
        ("forced-open", "drill", state.circuits["elsewhere"].policy.open_for)
    ] * 2
    assert [each for each in told if isinstance(each, CircuitChanged)] == []


async def test_other_policies_hold_at_once_for_circuits_and_sessions_in_use(state):
    few, judged = state.circuits["few"], state.circuits["judged"]
    held = [few.guard() for _ in range(3)]
    for guard in held[:2]:
        await guard.__aenter__()
    waiting = asyncio.create_task(held[2].__aenter__())
    await asyncio.sleep(0)
    made = await state.sessions.create("42", {"a": "x" * 50})
    state.use_policies(
        parse_policies(
            "[circuits.few]\nmax_concurrent = 3\n[circuits.default]\nminimum_calls = 1\n"
            "[sessions]\nmax_per_user = 1\nmax_bytes = 20\n",
            source="test",
        )
    )
    await waiting
    with pytest.raises(CircuitFullError):
        await few.guard().__aenter__()
    judged.count(await judged.acquire(), ok=False, duration=0)
    await judged.report_evidence()
    assert judged.state == "open"
    with pytest.raises(SessionDataError):
        await state.sessions.update(made, set={"b": "x" * 20})
    newest = await state.sessions.create("42")
    assert [each.handle for each in await state.sessions.of_user("42")] == [newest.handle]


@pytest.mark.parametrize(
    "wrong",
    [{"ttl": 0}, {"ttl": float("nan")}, {"actor": "a\nb"}, {"actor": "x" * 101}],
    ids=repr,
)
async def test_a_force_that_cannot_be_is_refused(state, wrong):
    with pytest.raises(InvalidInputError):
        await state.circuits.force("forced", "open", **wrong)


@pytest.mark.parametrize("text", ["", "why", "x\ty\tz", "1.5\tann\twhy\tnot"])
def test_a_note_is_read_whatever_it_is(text):
    read = note.read(text)
    assert read.reason in text
    assert read.by in {"", "ann"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.example.org/x", "api.example.org"),
        ("http://localhost:8080/", "localhost_8080"),
        ("http://[::1]/", "__1"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example"),
        ("https://" + ".".join(["a" * 60] * 4), "a" * 47 + "-dd0948d6e5863699"),
        ("http://[::]/", "host__"),
        ("http://[::]:8080/", "___8080"),
    ],
    ids=["plain", "port", "v6", "idn", "long", "any", "any-port"],
)
def test_a_host_names_its_circuit(url, name):
    named = by_host(httpx.Request("GET", url))
    assert named == name
    validate_name(named, "a circuit")


async def test_dead_hosts_make_room_for_others_when_nobody_has_called_them_for_long(
    state, monkeypatch
):
    monkeypatch.setattr("aragora_redis.state.circuits.circuits.CIRCUITS", 1)
    dead = state.circuits["dead"]
    for _ in range(100):
        dead.count(await dead.acquire(), ok=False, duration=0)
    await dead.report_evidence()
    assert dead.state == "open"
    with pytest.raises(InvalidInputError):
        state.circuits["another"]
    dead._used_at -= 3600
    with pytest.raises(InvalidInputError):
        state.circuits["another"]
    monkeypatch.setattr(dead._known, "now", lambda now=dead._known.now: now() + 3600 * 1_000_000)
    assert state.circuits["another"].state == "closed"


async def test_who_holds_a_circuit_that_made_room_is_still_heard_and_told(state, monkeypatch):
    monkeypatch.setattr("aragora_redis.state.circuits.circuits.CIRCUITS", 1)
    circuits, keys = state.circuits, state.circuits._keys
    held = circuits["few"]
    held.count(await held.acquire(), ok=True, duration=0)
    held._used_at -= 3600
    other = circuits["another"]
    assert held.resting
    assert circuits["few"] is held, "or its bulkhead would be there twice"
    circuits.use(parse_policies("[circuits.few]\nmax_concurrent = 7\n", source="test"))
    assert held.policy.max_concurrent == 7

    async def force(phase, nonce):
        """As another instance does it."""
        return await circuits._run(
            operations.force(keys, "few", phase, reason="", nonce=nonce, ttl=0)
        )

    await force(Phase.FORCED_OPEN, "1")
    with pytest.raises(CircuitOpenError):
        async with held:
            pass
    with pytest.raises(CircuitOpenError):
        await held.acquire()
    assert circuits["few"] is held, "before it is followed again"
    other._used_at -= 3600
    await until(lambda: list(circuits._circuits) == ["few"] and other.resting)
    closed = (await force(Phase.FORCED_CLOSED, "2")).standing
    await until(lambda: held.state == "forced-closed")
    told = f"another 1 {closed.era} {closed.n} forced-open 0 0 0 "
    circuits.on_push([b"message", circuits.channel, told.encode()])
    assert (other.state, other.resting) == ("forced-open", True)


def test_a_place_is_given_back_where_it_was_taken_whatever_the_policy_is_by_then(threads):
    few = threads.circuits["few"]
    there, bounded = few._circuit(), few._circuit().policy

    def reload(policy):
        threads._crossing.later(lambda: there.use(policy))
        threads._crossing.cross(lambda _: asyncio.sleep(0), 1)

    with few.guard():
        assert there.bulkhead.in_flight == 1
        reload(replace(bounded, max_concurrent=0))
    threads._crossing.cross(lambda _: asyncio.sleep(0), 1)
    assert there.bulkhead.in_flight == 0
    with few.guard():
        reload(bounded)
    threads._crossing.cross(lambda _: asyncio.sleep(0), 1)
    assert there.bulkhead.in_flight == 0


@pytest.mark.parametrize("way", ["enter", "acquire"])
def test_leave_that_nobody_waits_for_any_more_is_given_back(threads, monkeypatch, way):
    few = threads.circuits["few"]
    there = few._circuit()
    wait = Call.wait

    def interrupted(call, within):
        assert wait(call, within)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Call, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            getattr(few, way)()
    threads._crossing.cross(lambda _: asyncio.sleep(0), 1)
    assert there.bulkhead.in_flight == 0


class Answer(
    httpx.AsyncByteStream, httpx.SyncByteStream, httpx.AsyncBaseTransport, httpx.BaseTransport
):
    """A transport's one answer, which tells whether it was closed."""

    closed = False

    async def handle_async_request(self, _):
        return httpx.Response(200, stream=self)

    def handle_request(self, _):
        return httpx.Response(200, stream=self)

    async def aclose(self):
        self.close()

    def close(self):
        self.closed = True


def unable(_):
    raise ValueError("cannot tell")


@pytest.mark.parametrize("how", ["headers", "body"])
async def test_an_answer_that_the_caller_does_not_get_is_closed(state, how):
    answer, request = Answer(), httpx.Request("GET", "http://few")
    transport = CircuitTransport(state.circuits, transport=answer, failed=unable, until=how)
    with pytest.raises(ValueError, match="cannot tell"):
        await transport.handle_async_request(request)
    assert answer.closed
    assert state.circuits["few"].bulkhead.in_flight == 0


@pytest.mark.parametrize("how", ["headers", "body"])
def test_nor_by_threads(threads, how):
    answer, request = Answer(), httpx.Request("GET", "http://few")
    transport = SyncCircuitTransport(threads.circuits, transport=answer, failed=unable, until=how)
    with pytest.raises(ValueError, match="cannot tell"):
        transport.handle_request(request)
    assert answer.closed
    threads._crossing.cross(lambda _: asyncio.sleep(0), 1)
    assert threads.circuits["few"]._circuit().bulkhead.in_flight == 0


async def test_a_body_that_is_dropped_in_another_thread_gives_leave_back_in_the_loop(
    state, monkeypatch
):
    few = state.circuits["few"]
    leave, left_in = few.bulkhead.leave, []

    def leaving():
        left_in.append(threading.current_thread())
        leave()

    monkeypatch.setattr(few.bulkhead, "leave", leaving)
    transport = CircuitTransport(state.circuits, transport=Answer(), until="body")
    held = [await transport.handle_async_request(httpx.Request("GET", "http://few"))]
    await asyncio.to_thread(held.clear)
    await until(lambda: left_in)
    assert left_in == [threading.current_thread()]
    assert few.bulkhead.in_flight == 0


RAISED = pytest.mark.parametrize(
    ("error", "failures"),
    [
        (ConnectionResetError("not one of httpx's"), 1),
        (httpx.ReadTimeout("late"), 1),
        (httpx.StreamConsumed(), 0),
        (LinkDownError("of a transport within"), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)


def raising(error):
    def answer(_):
        raise error

    return httpx.MockTransport(answer)


def counted(circuit):
    seen = circuit._known.window.seen(circuit.monotonic())
    return seen.calls, seen.failures


@RAISED
async def test_whatever_a_transport_raises_is_a_failure(state, error, failures):
    transport = CircuitTransport(state.circuits, transport=raising(error))
    with pytest.raises(type(error)):
        await transport.handle_async_request(httpx.Request("GET", "http://few"))
    assert counted(state.circuits["few"]) == (failures, failures)


@RAISED
def test_so_it_is_by_threads(threads, error, failures):
    transport = SyncCircuitTransport(threads.circuits, transport=raising(error))
    with pytest.raises(type(error)):
        transport.handle_request(httpx.Request("GET", "http://few"))
    threads._crossing.cross(lambda _: asyncio.sleep(0), 1)
    assert counted(threads.circuits["few"]._circuit()) == (failures, failures)


async def test_a_request_without_a_host_has_no_circuit(state):
    transport = CircuitTransport(
        state.circuits, transport=raising(httpx.UnsupportedProtocol("no host"))
    )
    with pytest.raises(httpx.UnsupportedProtocol):
        await transport.handle_async_request(httpx.Request("GET", "/orders"))
    assert state.circuits.held == []


def test_nor_has_it_by_threads(threads):
    transport = SyncCircuitTransport(
        threads.circuits, transport=raising(httpx.UnsupportedProtocol("no host"))
    )
    with pytest.raises(httpx.UnsupportedProtocol):
        transport.handle_request(httpx.Request("GET", "/orders"))


async def test_places_are_kept_at_once_and_given_back_until_that_fails(state, monkeypatch):
    circuit, asked, together = state.circuits["slow"], [], asyncio.Event()
    trials = circuit._trials
    kept = [Permit("p", 1, 1, token=f"{number:016x}") for number in range(3)]
    trials._places = dict.fromkeys(kept, circuit.monotonic() - 3600)

    async def run(operation, **_):
        asked.append(operation.script.name)
        if asked.count("circuit_acquire") == len(kept):
            together.set()
        await asyncio.wait_for(together.wait(), 5)
        raise LinkDownError("Redis is away")

    for number in range(100):
        trials.give_up(Permit("p", 1, 2, token=f"{number:016x}"))
    monkeypatch.setattr(state._executor, "run", run)
    await trials.tend(circuit.monotonic())
    assert asked == ["circuit_acquire"] * len(kept) + ["circuit_settle"]
    assert not trials.owing


async def test_a_place_that_was_given_back_is_not_kept():
    few = '[circuits.default]\nminimum_calls = 2\nopen_for = "200 ms"\nhalf_open_probes = 1'
    clock = FakeClock()
    async with memory_state(few, clock=clock) as state:
        circuit = state.circuits["llm"]

        async def trial():
            with suppress(CircuitOpenError):
                permit = await circuit.acquire()
                if permit.trial:
                    return permit
                circuit.count(permit, ok=False, duration=0)
            clock.advance(0.1)
            return None

        async with asyncio.timeout(10):
            while (given := await trial()) is None:  # noqa: ASYNC110 - nobody says when
                await asyncio.sleep(0.01)
        assert await circuit.keep(given) > 0
        await circuit.release(given)
        assert await circuit.keep(given) == 0
        given = await circuit.acquire()
        assert given.trial, "the place is free"
        circuit.give_up(given)
        assert await circuit.keep(given) == 0, "it is under way"
