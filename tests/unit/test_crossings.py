"""How a call of a thread crosses over to the loop and back: wake-ups, interruptions, ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial

import pytest

from aragora_redis.errors import NotStartedError, OutcomeUnknownError
from aragora_redis.sync.alarms import Latch
from aragora_redis.sync.call import Call
from aragora_redis.sync.inbox import NAP_ENTRIES
from aragora_redis.sync.loop import Loop

TAG = ContextVar("TAG", default="none")


@pytest.fixture(autouse=True)
def _untagged():
    before = TAG.set("none")
    yield
    TAG.reset(before)


class KnownError(Exception):
    """Of these tests."""


@pytest.fixture(params=["asyncio", "asyncio with latches", "uvloop"])
def kind(request, monkeypatch):
    name, *latches = request.param.split(" ", 1)
    if name == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    else:
        pytest.importorskip("uvloop")
    if latches:
        monkeypatch.setattr("aragora_redis.sync.alarms.THERE", False)
    return name


@pytest.fixture
def loop(kind):
    made = Loop()
    assert kind in type(made.loop).__module__
    yield made
    if not made.loop.is_closed():
        made.stop()


def test_it_runs_as_a_task_in_the_context_of_its_thread(loop):
    async def work():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(10)
        seen = TAG.get()
        TAG.set("of the loop")
        return seen

    TAG.set("of the thread")
    assert loop.run(work(), 5) == "of the thread"
    assert TAG.get() == "of the thread"


def test_its_error_leads_to_where_it_was_raised_and_is_not_kept(loop):
    async def work():
        await asyncio.sleep(0)
        raise KnownError

    def call():
        try:
            loop.run(work(), 5)
        except KnownError as error:
            frames = traceback.extract_tb(error.__traceback__)
            return [frame.name for frame in frames], weakref.ref(error)

    gc.disable()
    try:
        names, error = call()
        deadline = time.monotonic() + 10
        while error() is not None:  # the loop's thread may still hold the last frame
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        gc.enable()
    assert (names[0], names[-1]) == ("call", "work")


@pytest.fixture
def interrupt():
    """Interrupts the main thread once, as Ctrl-C does; to be repeated until it has come.

    What comes just before a thread sleeps on a lock does not wake it (CPython).
    """
    came = list[int]()

    def interrupted(number, _frame):
        came.append(number)
        if len(came) == 1:
            raise KeyboardInterrupt

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, interrupted)
    yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


async def interrupted_for_good(interrupt):
    while True:
        interrupt()
        await asyncio.sleep(0.01)


def test_who_is_interrupted_waits_no_longer_and_it_is_cancelled(loop, interrupt):
    cancelled = threading.Event()

    async def work():
        try:
            await interrupted_for_good(interrupt)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        loop.run(work(), 60)
    assert cancelled.wait(10)
    assert loop.run(asyncio.sleep(0, "goes on"), 5) == "goes on"


def test_who_is_interrupted_while_it_wakes_the_loop_leaves_it_to_be_woken(loop, monkeypatch):
    """A signal's handler may raise between the words that the loop is awake, and its bell."""

    async def work():
        return 7

    assert loop.run(work(), 5) == 7
    wake, broken = loop._inbox.wake, [KeyboardInterrupt]

    def interrupted():
        if broken:
            raise broken.pop()
        wake()

    monkeypatch.setattr(loop._inbox, "wake", interrupted)
    until(lambda: not loop._inbox.awake)
    with pytest.raises(KeyboardInterrupt):
        loop.run(work(), 5)
    until(lambda: not loop._inbox.awake)
    assert loop.run(work(), 0) == 7


def test_what_was_given_up_wakes_nobody_else_at_its_end(loop, monkeypatch):
    monkeypatch.setattr("aragora_redis.sync.loop.CROSSING", 0.01)
    go = threading.Event()

    async def work():
        while not go.is_set():  # in spite of being cancelled
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)

    with pytest.raises(OutcomeUnknownError):
        loop.run(work(), 0)
    monkeypatch.undo()
    go.set()
    for number in range(100):
        assert loop.run(asyncio.sleep(0.001, number), 60) == number


async def test_who_gives_up_before_the_first_step_leaves_nothing_behind():
    faults = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: faults.append(told))
    begun = list[int]()

    async def work():
        begun.append(1)

    call = Call(work(), Latch(), begun.append)
    call.begin()
    call.give_up()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (faults, begun) == ([], [])


@pytest.mark.parametrize("ends", ["by itself", "in spite of it"])
def test_a_result_that_nobody_got_is_undone(loop, interrupt, ends):
    undone = list[str]()

    async def work():
        if ends == "by itself":
            interrupt()
            return ends
        try:
            await interrupted_for_good(interrupt)
        except asyncio.CancelledError:
            return ends

    with pytest.raises(KeyboardInterrupt):
        loop.run(work(), 60, undo=undone.append)
    until(lambda: undone == [ends])


def test_who_waits_when_the_loop_ends_is_told(loop):
    begun = threading.Event()

    async def work():
        begun.set()
        await asyncio.sleep(60)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, work(), 60)
        assert begun.wait(10)
        loop.stop()
        with pytest.raises(OutcomeUnknownError, match="was ended"):
            waiting.result(10)
    with pytest.raises(NotStartedError):
        loop.run(asyncio.sleep(0), 60)


@pytest.fixture
def wakes(loop, monkeypatch):
    """How often the loop was woken."""
    count, wake = [0], loop._inbox.wake

    def counted():
        count[0] += 1
        wake()

    monkeypatch.setattr(loop._inbox, "wake", counted)
    return count


def until(reached):
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_only_a_loop_that_sleeps_is_woken(loop, wakes):
    held, holds = threading.Event(), threading.Event()

    def hold():
        holds.set()
        held.wait(10)

    loop.later(hold, can_wait=False)
    assert holds.wait(10)
    wakes[0] = 0
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(loop.run, asyncio.sleep(0, n), 5) for n in range(8)]
        until(lambda: len(loop._inbox._entries) == 8)
        held.set()
        assert [call.result(10) for call in calls] == list(range(8))
    assert wakes[0] <= 1
    until(lambda: not loop._inbox.awake)
    wakes[0] = 0
    assert loop.run(asyncio.sleep(0, "woken"), 5) == "woken"
    assert wakes[0] == 1


@pytest.mark.parametrize("nap", [0.001, 60])
def test_errands_that_can_wait_do_not_wake_the_loop_each(loop, wakes, monkeypatch, nap):
    monkeypatch.setattr("aragora_redis.sync.inbox.NAP", nap)
    ran = list[str]()
    until(lambda: not loop._inbox.awake)
    loop.later(lambda: ran.append(TAG.get()), can_wait=True)
    until(lambda: ran and not loop._inbox.awake)
    TAG.set("its own")
    loop.later(lambda: ran.append(TAG.get()), can_wait=True)
    if nap < 1:
        until(lambda: len(ran) == 2)
    else:
        assert (ran, wakes[0]) == (["none"], 1)
        assert loop.run(asyncio.sleep(0, "after it"), 5) == "after it"
    assert ran == ["none", "its own"]


def test_no_more_errands_wait_than_a_few(loop, wakes, monkeypatch):
    monkeypatch.setattr("aragora_redis.sync.inbox.NAP", 60)
    ran = list[int]()
    loop.later(partial(ran.append, 0), can_wait=True)
    until(lambda: ran and not loop._inbox.awake)
    for number in range(NAP_ENTRIES):
        loop.later(partial(ran.append, number), can_wait=True)
    until(lambda: len(ran) > NAP_ENTRIES)
    assert wakes[0] == 2


def test_a_process_ends_while_a_thread_waits():
    program = """
import asyncio, contextlib, threading
from aragora_redis.errors import OutcomeUnknownError
from aragora_redis.settings import Settings
from aragora_redis.sync import SharedState
state, begun = SharedState(Settings()), threading.Event()
state.start()
async def work(_):
    begun.set()
    await asyncio.sleep(60)
def wait():
    with contextlib.suppress(OutcomeUnknownError):
        state._crossing.cross(work, 60)
threading.Thread(target=wait, daemon=True).start()
begun.wait(10)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
