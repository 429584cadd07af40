"""A state of threads from its start to its end: what fails in between, and what a fork finds."""

from __future__ import annotations

import _thread
import multiprocessing.util
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import pytest

from aragora_redis import native
from aragora_redis.errors import NotStartedError, SettingsError
from aragora_redis.events import Decided, Event, Events, Recovered
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings, from_env
from aragora_redis.state.outage_log import OutageLog
from aragora_redis.sync import SharedState
from aragora_redis.sync.process import current

POLICIES = '[limits.api]\nrate = "2 per minute"\n'


def loop_users():
    loop = current().loop
    return loop.users if loop is not None else 0


def test_a_call_from_before_the_close_does_not_revive_it():
    state, before, said = SharedState(Settings()), loop_users(), list[object]()

    def ask():
        try:
            said.append(state.rate_limits.check("api", "u"))
        except NotStartedError as error:
            said.append(error)

    lock: Any = Waited(current().lock)
    state._crossing._started = True  # by a thread that has not come to make it yet
    current()._lock = lock
    try:
        with lock.inner:
            asking = threading.Thread(target=ask)
            asking.start()
            assert lock.wanted.wait(5)
            state._crossing._started = False  # `close`, which finds nothing to end
        asking.join()
    finally:
        current()._lock = lock.inner
    assert isinstance(said[0], NotStartedError)
    assert loop_users() == before


class Waited:
    """A lock that tells when it is wanted."""

    def __init__(self, inner):
        self.inner, self.wanted = inner, threading.Event()

    def __enter__(self):
        self.wanted.set()
        return self.inner.__enter__()

    def __exit__(self, *error):
        return self.inner.__exit__(*error)


def test_what_it_holds_without_a_redis_outlasts_a_close():
    """As a Redis would have it, and with `aragora_redis.SharedState`."""
    policies = parse_policies(POLICIES, source="here")
    state = SharedState(Settings(), policies=policies)
    with state:
        state.tokens.revoke("t", expires_at=time.time() + 60)
        state.sessions.create("42")
        reserved = state.rate_limits.reserve("api", "u", 2)
        boot_id = state.crossing.here.boot_id
    with state:
        assert state.crossing.here.boot_id != boot_id, "it is another instance"
        assert state.tokens.is_revoked({"jti": "t"})
        assert len(state.sessions.of_user("42")) == 1
        assert not state.rate_limits.check("api", "u").allowed
        assert reserved.settle(1).returned == 1
        assert state.rate_limits.check("api", "u").allowed


def test_a_start_that_fails_leaves_it_as_it_was(tmp_path):
    file, before = tmp_path / "policies.toml", loop_users()
    file.write_text(POLICIES)
    state = SharedState(from_env({"ARAGORA_POLICIES": str(file)}))
    file.write_text("nonsense")
    with pytest.raises(SettingsError):
        state.start()
    assert loop_users() == before
    file.write_text(POLICIES)
    with pytest.raises(NotStartedError):
        state.rate_limits.check("api", "u")
    with state:
        assert state.rate_limits.check("api", "u").allowed
    assert loop_users() == before


def test_who_is_interrupted_in_the_start_leaves_nothing_behind(monkeypatch):
    before, state = loop_users(), SharedState(Settings())
    with SharedState(Settings()):  # another one, so that the loop goes on
        loop: Any = current().loop
        run, left = loop.run, list[Any]()

        def interrupted(work, within, **how):
            if work.__name__ != "_start":
                return run(work, within, **how)
            run(work, within, **how)
            left.append(state._made)
            raise KeyboardInterrupt

        monkeypatch.setattr(loop, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            state.start()
        assert loop_users() == before + 1
        assert not left[0].life.lives
        assert not left[0]._background


def test_a_close_that_raises_gives_the_loop_back(monkeypatch):
    before, state = loop_users(), SharedState(Settings())
    state.start()

    async def fail():
        raise OSError("the disk")

    monkeypatch.setattr(state._crossing.here, "close", fail)
    with pytest.raises(OSError, match="the disk"):
        state.close()
    assert loop_users() == before


@pytest.mark.parametrize(
    ("which", "ready"), [("living", True), ("being started", None), ("never started", None)]
)
def test_who_listens_may_ask_what_is_ready_while_another_one_starts(which, ready, monkeypatch):
    """The start waits for the loop, in which listeners are called."""
    monkeypatch.setattr("aragora_redis.sync.loop.CROSSING", 1.0)
    other, starts, said = SharedState(Settings()), threading.Event(), list[bool | None]()
    make = other._crossing._make

    def begun():
        starts.set()
        return make()

    def listen(_event):
        assert starts.wait(5)
        try:
            said.append(asked.ready)
        except NotStartedError:
            said.append(None)

    monkeypatch.setattr(other._crossing, "_make", begun)
    with SharedState(Settings()) as state:
        never = SharedState(Settings())
        asked = {"living": state, "being started": other, "never started": never}[which]
        state.events.subscribe(listen, to=(Recovered,))
        state.crossing.later(lambda: state.events.emit(Recovered(1.0)))
        with other:
            assert said == [ready]


def test_it_does_not_start_among_greenlets_of_eventlet(monkeypatch):
    patcher: Any = ModuleType("eventlet.patcher")
    patcher.is_monkey_patched = lambda module: module == "thread"
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    before, state = loop_users(), SharedState(Settings())
    with pytest.raises(SettingsError, match="gthread"):
        state.start()
    assert loop_users() == before


HOOKS: dict[str, object] = {"py-call-uwsgi-fork-hooks": True}


@pytest.mark.parametrize(
    ("worker", "master", "processes", "options", "fits"),
    [
        (0, 4711, 2, {"enable-threads": True}, False),
        (0, 4711, 1, {"py-call-uwsgi-fork-hooks": b"false"}, False),
        (0, 0, 2, {}, False),
        (0, 0, 1, {}, True),
        (1, 4711, 2, {"lazy-apps": True}, True),
        (0, 4711, 2, HOOKS, True),
    ],
    ids=["default", "said no", "without a master", "alone", "lazy", "hooks"],
)
def test_it_starts_in_uwsgi_where_that_does_not_fork_behind_its_back(
    worker, master, processes, options, fits, monkeypatch
):
    uwsgi: Any = ModuleType("uwsgi")
    uwsgi.worker_id, uwsgi.masterpid = (lambda: worker), (lambda: master)
    uwsgi.numproc, uwsgi.opt = processes, options
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    before, state = loop_users(), SharedState(Settings())
    with nullcontext() if fits else pytest.raises(SettingsError, match="lazy-apps"), state:
        assert state.ready
    assert loop_users() == before


OUTLIVES = """
import asyncio, atexit, sys, threading, time
from aragora_redis.settings import from_env
from aragora_redis.sync import SharedState
state = SharedState(from_env({"ARAGORA_TOKENS_OUTBOX": sys.argv[1]}))
state.start()
assert state.wait_ready(5)
def revoke(jti):
    print(jti, state.tokens.revoke(jti, expires_at=time.time() + 60).outbox)
def serve():
    threading.main_thread().join()
    revoke("serving")
    print(state.crossing.cross(lambda _: asyncio.to_thread(str, "aside"), 1))
threading.Thread(target=serve).start()
atexit.register(revoke, "ending")
"""


def test_what_works_beside_the_loop_outlives_the_main_thread(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", OUTLIVES, str(tmp_path / "outbox")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout.splitlines() == ["serving disk", "aside", "ending disk"], ended.stderr
    with SharedState(from_env({"ARAGORA_TOKENS_OUTBOX": str(tmp_path / "outbox")})) as state:
        assert all(state.tokens.is_revoked({"jti": jti}) for jti in ("serving", "ending"))


def test_where_no_thread_can_be_had_any_more_work_is_done_all_the_same(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    threads = native.Executor(1)
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert threads.submit(threading.get_ident).result(0) == threading.get_ident()
    monkeypatch.undo()
    assert threads.submit(threading.get_ident).result(5) != threading.get_ident()


def test_work_for_which_the_machine_has_no_thread_now_fails_and_holds_nobody_up(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    threads = native.Executor(1)
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    with pytest.raises(OSError, match="start new thread"):
        threads.submit(threading.get_ident).result(0)
    monkeypatch.undo()
    assert threads.submit(threading.get_ident).result(5) != threading.get_ident()


def test_who_enters_before_it_is_ready_is_warned(monkeypatch, caplog):
    for module in ("sync", "state.shared"):
        monkeypatch.setattr(f"aragora_redis.{module}.START_LIMIT", 0.01)
    with SharedState(from_env({"ARAGORA_REDIS_URL": "redis://127.0.0.1:1"})):
        assert "not ready after 0.01 s: revocations are not loaded" in caplog.text


def test_multiprocessing_is_told_once_to_end_it():
    ends: dict[object, object] = vars(multiprocessing.util)["_finalizer_registry"]
    before = len(ends)
    for _ in range(3):
        with SharedState(Settings()):
            pass
    assert len(ends) <= before + 1


# --- forks ------------------------------------------------------------------------------


def ends_in_child(work):
    """Whether it ends well in a fork, within ten seconds."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - the parent has its status
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_finds_a_circuit_that_others_are_entering_free():
    with SharedState(Settings()) as state:
        circuit = state.circuits["llm"]

        def use():
            with circuit:
                pass

        use()
        with current().entering:  # as another thread holds it at that moment
            assert ends_in_child(use)
        use()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_knows_nothing_of_those_who_are_inside_in_its_parent():
    with SharedState(Settings()) as state:
        circuit, inside, go = state.circuits["llm"], threading.Event(), threading.Event()

        def other():
            with circuit:
                inside.set()
                assert go.wait(20)

        def in_flight():
            return state.status().in_flight["llm"]  # asked behind what was told to the loop

        def child():
            circuit.__exit__(None, None, None)  # which this thread has entered before the fork
            circuit.__enter__()
            assert in_flight() == 1
            leaving = threading.Thread(target=circuit.__exit__, args=(None, None, None))
            leaving.start()
            leaving.join()
            assert in_flight() == 0
            with pytest.raises(RuntimeError, match="more often"):
                circuit.__exit__(None, None, None)

        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(5)
        circuit.__enter__()
        assert ends_in_child(child)
        circuit.__exit__(None, None, None)
        assert in_flight() == 1, "the parent's go on"
        go.set()
        thread.join()
        assert in_flight() == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_what_nobody_has_asked_of_is_closed_before_a_fork_and_begins_where_it_is_asked():
    def asks():
        assert state.rate_limits.check("api", "u").allowed
        assert state.ready

    before, state = loop_users(), SharedState(Settings())
    state.start()
    assert state.wait_ready(5)
    assert state.ready
    assert state.status().ready, "to look is not to ask"
    assert state.rate_limits.policy("api").name == "api"
    there = state._crossing.seen
    first = there.boot_id
    assert ends_in_child(asks)
    assert loop_users() == before
    assert not there.life.lives
    asks()
    second = state._crossing.here.boot_id
    assert second != first
    assert ends_in_child(asks)
    assert state._crossing.here.boot_id == second, "who was asked goes on"
    state.close()
    assert loop_users() == before
    with pytest.raises(NotStartedError):
        asks()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_who_listens_hears_each_run_and_each_fork():
    state, heard = SharedState(Settings()), list[Event]()
    state.events.subscribe(heard.append, to=(Decided,))

    def asks():
        heard.clear()
        state.rate_limits.check("api", "u")
        assert len(heard) == 1

    with state:
        asks()
        assert ends_in_child(asks)
    with state:
        asks()


def test_who_asks_while_it_is_closed_for_a_fork_begins_anew(monkeypatch):
    with SharedState(Settings()) as state:
        begun, crossing = state._crossing._begun, state._crossing

        def forked_meanwhile():
            monkeypatch.setattr(crossing, "_begun", begun)
            life = begun()
            crossing.before_fork()
            return life

        monkeypatch.setattr(crossing, "_begun", forked_meanwhile)
        assert state.rate_limits.check("api", "u").allowed


def test_what_lives_on_in_the_parent_tells_of_no_outage_in_a_child(monkeypatch):
    events, heard = Events(), list[OutageLog]()
    monkeypatch.setattr(OutageLog, "_hear", lambda log, _: heard.append(log))
    monkeypatch.setattr("aragora_redis.sync.START_LIMIT", 0.01)
    nowhere = from_env({"ARAGORA_REDIS_URL": "redis://127.0.0.1:1"})
    with SharedState(nowhere, events=events) as state:
        first, state._crossing._unasked = state._crossing._unasked, None  # as a fork finds it
        assert first is not None
        assert state._crossing.seen is not first.state
        heard.clear()
        events.emit(Recovered(1.0))
        assert len({*map(id, heard)}) == 1
        first.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forks_in_the_middle_of_calls_of_other_threads():
    with memory_state_of_threads() as state, ThreadPoolExecutor(4) as threads:
        circuit, over = state.circuits["llm"], threading.Event()

        def use():
            with circuit:
                state.rate_limits.check("leased", "u")
                state.rate_limits.acquire("slow", "u", wait=0.02)
                state.sessions.get("none")

        def go_on():
            while not over.is_set():
                use()

        going = [threads.submit(go_on) for _ in range(4)]
        try:
            assert all(ends_in_child(use) for _ in range(5))
        finally:
            over.set()
        for each in going:
            each.result(10)


def memory_state_of_threads():
    limits = """
    limits.leased = {rate = "999 per second", lease = 5}
    limits.slow = {rate = "9 per second"}
    """
    return SharedState(Settings(), policies=parse_policies(limits, source="here"))


ENDS = """
import os, sys
from aragora_redis.policies import parse_policies
from aragora_redis.settings import Settings
from aragora_redis.sync import SharedState
with SharedState(Settings()) as state:
    if os.fork() == 0:
        state.rate_limits.check("api", "u")
        state.close()
        sys.exit(0)
    assert os.wait()[1] == 0
"""


def test_a_child_ends_without_a_word_of_its_parents_tasks():
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ENDS],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "Task" not in ended.stderr, ended.stderr
