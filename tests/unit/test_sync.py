"""The face for threads, over in-process states: local answers, circuits, fork, misuse."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from tests.artefacts import api_reference
from tests.artefacts.api_reference import CHAPTERS

from aragora_redis import LimitCheck, Rate, sync
from aragora_redis.errors import (
    CircuitOpenError,
    DeadlineError,
    InvalidInputError,
    LimitExceededError,
    NotStartedError,
    OutcomeUnknownError,
    Ran,
    SessionGoneError,
    UnknownPolicyError,
)
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings
from aragora_redis.state.revocations.importing import IMPORT_STEP
from aragora_redis.sync import SharedState
from aragora_redis.sync.call import Call
from aragora_redis.sync.circuits import Guard
from aragora_redis.sync.loop import Loop
from aragora_redis.sync.process import current
from aragora_redis.sync.rate_limits import Limited, Reserved
from aragora_redis.tokens.entry import jti_entry

POLICIES = parse_policies(
    """
[limits.api]
rate = "2 per minute"
[circuits.default]
open_for = "100 ms"
""",
    source="test",
)


@pytest.fixture
def state():
    with SharedState(Settings(), policies=POLICIES) as made:
        yield made


def loop_users():
    loop = current().loop
    return loop.users if loop is not None else 0


@pytest.fixture
def crossings(state):
    """How many calls have left their thread."""
    count = [0]
    cross = state._crossing.cross

    def counted(*given, **named):
        count[0] += 1
        return cross(*given, **named)

    state._crossing.cross = counted
    return count


def test_all_four_uses(state):
    assert state.rate_limits.check("api", "u").allowed
    receipt = state.tokens.revoke("t", expires_at=time.time() + 60, reason="logout")
    assert receipt.level.word == "local"
    assert state.tokens.is_revoked({"jti": "t"})
    state.tokens.revoke_user("7")
    assert state.tokens.verdict({"sub": "7", "iat": 0}).value == "user"
    session = state.sessions.create("42", {"a": 1})
    session = state.sessions.update(session, set={"b": 2}, unset=["a"])
    session = state.sessions.rotate(session)
    assert state.sessions.get(session.id).data == {"b": 2}
    assert len(state.sessions.of_user("42")) == 1
    state.sessions.end(session.id)
    with pytest.raises(SessionGoneError):
        state.sessions.update(session, set={"b": 3})
    user = state.sessions.authenticate(state.sessions.create(), "42")
    assert (user.user, state.sessions.end_user("42").count) == ("42", 1)
    assert state.status().health == "healthy"
    with pytest.raises(UnknownPolicyError):
        state.rate_limits.check("nobody", "u")


def test_what_is_reserved_is_settled_or_given_back(state):
    with state.rate_limits.reserve("api", "llm", 2) as reserved:
        assert reserved.settle(1).returned == 1
    with pytest.raises(LimitExceededError), state.rate_limits.reserve("api", "llm", 2):
        pytest.fail("it was refused")
    with pytest.raises(ZeroDivisionError), state.rate_limits.reserve("api", "llm", 1):
        raise ZeroDivisionError
    other = state.rate_limits.reserve("api", "llm", 1)
    assert state.rate_limits.refund(other.id).returned == 1
    assert not state.rate_limits.set_limit("api", "llm", Rate("1/second", burst=9))
    assert state.rate_limits.peek("api", "llm").decision.remaining == 8


def test_a_reservation_that_was_interrupted_as_it_was_entered_is_not_kept(state, monkeypatch):
    wait, reserved = Call.wait, state.rate_limits.reserve("api", "llm", 1)

    def interrupted(call, within):
        assert wait(call, within)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Call, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reserved.__enter__()
    await_kept_no_more(state)


def test_a_reservation_that_was_interrupted_as_it_was_left_is_not_kept(state):
    reserved = state.rate_limits.reserve("api", "llm", 1)
    reserved.__enter__()
    keeping, interrupts = reserved._keeping, [KeyboardInterrupt]
    assert keeping is not None

    def get_loop():
        if interrupts:
            raise interrupts.pop()
        return keeping.get_loop()

    interrupted: Any = SimpleNamespace(get_loop=get_loop, cancel=keeping.cancel)
    reserved._keeping = interrupted
    with pytest.raises(KeyboardInterrupt):
        reserved.__exit__(None, None, None)
    await_kept_no_more(state)


def test_a_reservation_that_is_dropped_is_not_kept(state):
    """Where who leaves it is interrupted before anything of that runs, nothing else is done."""
    state.rate_limits.reserve("api", "llm", 1).__enter__()
    await_kept_no_more(state)


def await_kept_no_more(state):
    """Nothing keeps a reservation any more."""

    async def keepers(_):
        await asyncio.sleep(0)
        return [task for task in asyncio.all_tasks() if "keep_alive" in str(task.get_coro())]

    end = time.monotonic() + 5
    while state.crossing.cross(keepers, 1):
        assert time.monotonic() < end


def test_what_cannot_be_given_back_hides_no_exception(state, monkeypatch, caplog):
    def fails(_cost):
        raise OutcomeUnknownError("no answer in time")

    reserved = state.rate_limits.reserve("api", "llm", 1)
    monkeypatch.setattr(reserved, "settle", fails)
    with pytest.raises(ZeroDivisionError), reserved:
        raise ZeroDivisionError
    assert "no answer in time" in caplog.text


def test_what_is_known_here_does_not_leave_the_thread(state, crossings):
    state.rate_limits.check("api", "u", cost=2)
    assert not state.rate_limits.check("api", "u").allowed
    circuit = state.circuits["llm"]
    circuit.acquire()
    before = crossings[0]
    for _ in range(100):
        assert not state.rate_limits.check("api", "u").allowed
        assert not state.tokens.is_revoked({"jti": "x"})
        with state.circuits["llm"]:
            pass
    assert crossings[0] == before
    assert state.rate_limits.reset("api", "u")
    assert state.rate_limits.check("api", "u").allowed


def test_a_circuit_opens_tries_and_closes(state):
    circuit = state.circuits["llm"]

    @circuit.protect(ignore=(KeyError,))
    def call(error=None):
        if error is not None:
            raise error

    for _ in range(10):
        with pytest.raises(KeyError):
            call(KeyError())
    assert circuit.state == "closed"
    for _ in range(5):
        with pytest.raises(OSError, match="down"):
            call(OSError("down"))
    await_state(circuit, "open")
    with pytest.raises(CircuitOpenError):
        call()
    await_state(circuit, "half-open")
    for _ in range(3):
        call()
    assert circuit.state == "closed"
    permit = circuit.acquire()
    assert circuit.keep(permit) == 5.0
    assert (circuit.snapshot().state, circuit.snapshot().in_flight) == ("closed", 1)
    circuit.release(permit)
    assert state.circuits.force("llm", "open", reason="why").reason == "why"
    assert [each.state for each in state.circuits.all()] == ["forced-open"]


def test_policies_are_replaced_and_stay_so_in_a_fork(state):
    parsed = parse_policies('[limits.api]\nrate = "9 per minute"', source="test")
    state.use_policies(parsed)
    state.reread_policies()  # there is no file
    assert state.rate_limits.check("api", "u").limit == 9
    first, state._crossing._life = state._crossing._life, None  # as a fork finds it
    assert state.rate_limits.policy("api").burst == 9
    first.close()


def test_policies_that_were_refused_for_want_of_a_start_are_not_in_force_after_it():
    state = SharedState(Settings(), policies=POLICIES)
    with pytest.raises(NotStartedError) as refused:
        state.use_policies(parse_policies("", source="test"))
    assert refused.value.ran is Ran.NO
    with state:
        assert state.rate_limits.policy("api").burst == 2


def test_a_fork_goes_by_what_the_file_has_said_since(tmp_path):
    path = tmp_path / "policies.toml"

    def parsed(rate):
        path.write_text(f'[limits.api]\nrate = "{rate} per minute"')
        return parse_policies(path.read_text(), source="test")

    by_hand, written = parsed(9), parsed(7)
    with SharedState(Settings(policies=path)) as state:
        state.use_policies(by_hand)
        assert state.rate_limits.policy("api").burst == 9
        state.reread_policies()
        end = time.monotonic() + 10
        while state._crossing.here.policies.hash != written.hash:
            assert time.monotonic() < end
            time.sleep(0.01)
        first, state._crossing._life = state._crossing._life, None  # as a fork finds it
        assert first is not None
        assert state.rate_limits.policy("api").burst == 7
        first.close()


def await_state(circuit, wanted):
    end = time.monotonic() + 10
    while circuit.state != wanted:
        assert time.monotonic() < end, circuit.state
        time.sleep(0.01)


def test_many_threads_at_once(state):
    def work(number):
        with state.circuits["llm"]:
            state.tokens.revoke(f"t{number}", expires_at=time.time() + 60)
        made = state.sessions.create(data={"n": number})
        return state.sessions.get(made.id).data["n"]

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(work, range(64))) == list(range(64))
    assert all(state.tokens.is_revoked({"jti": f"t{n}"}) for n in range(64))


async def test_a_coroutine_is_told_to_use_the_other_face(state):
    with pytest.raises(RuntimeError, match=r"aragora_redis\.SharedState"):
        state.rate_limits.check("api", "u")


def test_before_start_and_after_close_it_says_so():
    state = SharedState(Settings(), policies=POLICIES)
    with pytest.raises(NotStartedError, match="not started"):
        state.status()
    state.start()
    assert state.ready
    state.close()
    with pytest.raises(NotStartedError, match="not started"):
        state.status()


def test_who_is_interrupted_as_it_waits_to_be_ready_leaves_nothing_behind(monkeypatch):
    state, before = SharedState(Settings()), loop_users()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "wait_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        state.__enter__()
    assert loop_users() == before
    with pytest.raises(NotStartedError):
        state.rate_limits.check("api", "u")


def test_the_loop_ends_with_its_last_user():
    def loops():
        return [each for each in threading.enumerate() if each.name == "aragora-redis"]

    before = len(loops())
    one, two = (
        SharedState(Settings(), policies=POLICIES),
        SharedState(Settings(), policies=POLICIES),
    )
    one.start()
    two.start()
    assert len(loops()) == max(before, 1)
    one.close()
    two.close()
    assert len(loops()) == before


def test_what_the_loop_began_is_unknown_and_what_it_did_not_never_runs(monkeypatch):
    monkeypatch.setattr("aragora_redis.sync.loop.CROSSING", 0.05)
    loop, go, ran = Loop(), threading.Event(), list[str]()

    async def work(name):
        ran.append(name)
        assert go.wait(10)

    with pytest.raises(OutcomeUnknownError):
        loop.run(work("begun"), 0)
    with pytest.raises(DeadlineError):
        loop.run(work("too late"), 0)
    go.set()
    assert loop.run(asyncio.sleep(0, "round"), 5) == "round"
    loop.stop()
    assert ran == ["begun"]


FACES = {
    **{name: getattr(sync, name) for name in sync.__all__},
    **{face.__name__: face for face in (Guard, Limited, Reserved)},
}
NOT_FOR_THREADS = {
    # A waiter belongs to the tasks of one event loop.
    "RateLimits.acquire": "waiter",
    "RateLimits.acquire_all": "waiter",
}


@pytest.mark.parametrize("name", FACES)
def test_threads_have_what_the_api_shows_and_call_it_alike(name):
    ((chapter, of_tasks),) = (
        (chapter, thing)
        for chapter in CHAPTERS
        if chapter.module.startswith("aragora_redis.state.")
        for shown, thing in api_reference.shown(chapter)
        if shown == name
    )
    for attribute, member in api_reference.members(chapter, of_tasks):
        left_out = NOT_FOR_THREADS.get(f"{name}.{attribute}")
        expected = [each for each in parameters(member) if each[0] != left_out]
        assert parameters(inspect.getattr_static(FACES[name], attribute)) == expected, attribute


def parameters(member):
    """Of a method: the name, the kind and the default of each."""
    if isinstance(member, property):
        return [(property,)]
    function = getattr(member, "__func__", member)
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


EXPIRES = time.time() + 3600
MANY = 3 * IMPORT_STEP + 7


@pytest.mark.parametrize("vouched_by_another", [False, True])
def test_what_is_loaded_while_a_thread_judges_is_heeded(state, monkeypatch, vouched_by_another):
    tokens = state._crossing.here.tokens
    revocations, judge = tokens._revocations, tokens._judge.judge
    turns: list[Any] = []

    def judged(claims, scores):
        found = judge(claims, scores)
        if not turns:  # the loop has its turn, and perhaps another thread too
            revocations.apply(jti_entry(tokens._key, "late", time.time() + 60, ""))
            if vouched_by_another:
                revocations.vouch(set)
        turns.append(found)
        return found

    revocations.vouched_until = float("-inf")
    monkeypatch.setattr(tokens, "_judge", SimpleNamespace(judge=judged))
    assert state.tokens.is_revoked({"jti": "late"})
    assert turns[0] is None


@pytest.fixture
def exported(state):
    for number in range(MANY):
        state._crossing.here.revocations.apply(jti_entry(b"k", str(number), EXPIRES, ""))
    return b"".join(state.tokens.export_all()).splitlines(keepends=True)


def test_an_import_has_its_time_for_each_step_and_reads_in_its_own_thread(
    state, exported, monkeypatch
):
    publisher, cross = state._crossing.here.tokens._publisher, state._crossing.cross
    publish, readers = publisher.publish_all, set[int]()
    steps, allowed = list[tuple[int, float]](), list[float]()

    async def counted(entries, within):
        steps.append((len(allowed), within))
        return await publish(entries, within)

    def crossed(work, within):
        allowed.append(within)
        return cross(work, within)

    def read():
        for line in exported:
            readers.add(threading.get_ident())
            yield line

    monkeypatch.setattr(publisher, "publish_all", counted)
    monkeypatch.setattr(state._crossing, "cross", crossed)
    assert state.tokens.import_all(read(), within=7.0).entries == MANY
    assert steps == [(1, 7.0), (2, 7.0), (3, 7.0), (5, 7.0)], "the last one at its end"
    assert set(allowed) == {7.0}
    assert readers == {threading.get_ident()}


def test_an_import_whose_reading_fails_ends_and_has_joined_what_came_before(exported):
    def read():
        yield from exported[: IMPORT_STEP + 5]
        raise OSError("the file is gone")

    with SharedState(Settings()) as state:
        with pytest.raises(OSError, match="gone"):
            state.tokens.import_all(read())
        with pytest.raises(InvalidInputError, match="line 4"):
            state.tokens.import_all([*exported[:3], b"spoilt\n", *exported[4:]])
        assert len(state._crossing.here.tokens) == IMPORT_STEP - 1
        life = state._crossing._life
        assert life is not None
        tasks = asyncio.all_tasks(life.loop.loop)
        assert not [each for each in tasks if "import_all" in str(each.get_coro())]


def test_an_import_whose_state_is_closed_meanwhile_says_that_it_has_joined_some(exported):
    def of(state, lines):
        for number, line in enumerate(exported):
            if number == lines:
                state.close()
            yield line

    for lines, ran in ((0, Ran.NO), (IMPORT_STEP, Ran.YES), (2 * IMPORT_STEP, Ran.YES)):
        with SharedState(Settings()) as state:
            loop = current().loop
            with pytest.raises(NotStartedError) as caught:
                state.tokens.import_all(of(state, lines))
            assert (caught.value.ran, caught.value.__context__) == (ran, None)
    assert loop is not None
    assert not [t for t in loop.run(all_tasks(), 1) if "import_all" in str(t.get_coro())]


async def all_tasks():
    await asyncio.sleep(0)
    return asyncio.all_tasks()


NO_TIMES = [
    lambda state, seconds: state.rate_limits.acquire("api", "u", wait=seconds),
    lambda state, seconds: state.rate_limits.acquire_all(LimitCheck("api", "u"), wait=seconds),
    lambda state, seconds: state.tokens.revoke("t", expires_at=EXPIRES, within=seconds),
    lambda state, seconds: state.sessions.create("u", within=seconds),
    lambda state, seconds: state.wait_ready(seconds),
]


@pytest.mark.parametrize("call", NO_TIMES)
@pytest.mark.parametrize("seconds", [float("nan"), "5", None])
def test_how_long_to_wait_that_is_no_time_is_refused_before_anything_begins(state, call, seconds):
    with pytest.raises(InvalidInputError, match="seconds"):
        call(state, seconds)
    assert not state.tokens.is_revoked({"jti": "t"})
    assert state.rate_limits.peek("api", "u").decision.remaining == 2


@pytest.mark.parametrize("name", [[], None, "", "a b"])
def test_a_circuit_that_cannot_be_named(state, name):
    with pytest.raises(InvalidInputError):
        state.circuits[name]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_of_a_fork_makes_itself_anew(state):
    state.rate_limits.check("api", "u", cost=2)
    parent = state._crossing.here.boot_id
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child
        said = b"failed"
        try:
            allowed = state.rate_limits.check("api", "u").allowed
            anew = state._crossing.here.boot_id != parent
            state.close()
            said = b"anew" if allowed and anew else b"not anew"
        finally:
            os.write(writer, said)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        assert told.read() == b"anew"
    assert os.waitpid(pid, 0)[1] == 0
    assert not state.rate_limits.check("api", "u").allowed, "the parent goes on"
