"""What threads wait on: woken once, within a time, through signals, and never more than a few."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path

import pytest

from aragora_redis.sync.alarms import LATCHED, MOST, THERE, Alarm, Alarms, Interpreter, Latch

needs_events = pytest.mark.skipif(not THERE, reason="this system has no alarms")


def alarm_of_none():
    return Alarm(os.eventfd(0), Interpreter())


EACH = [pytest.param(alarm_of_none, id="alarm", marks=needs_events)]
EACH.append(pytest.param(Latch, id="latch"))
each = pytest.mark.parametrize("made", EACH)


@each
def test_it_wakes_who_waits_and_who_will_and_each_of_them_once(made):
    alarm = made()
    assert not alarm.wait(0.01)
    alarm.ring()
    assert alarm.wait(10)
    assert not alarm.wait(0.01)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(alarm.wait, 10)
        time.sleep(0.01)
        alarm.ring()
        assert waiting.result(10)


@each
def test_nobody_waits_for_what_the_system_cannot_count(made):
    for forever in (30 * 86_400.0, inf):
        alarm = made()
        alarm.ring()
        assert alarm.wait(forever)
        assert not alarm.wait(-1.0)


@each
def test_signals_that_are_handled_do_not_prolong_the_wait(made):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        began = time.monotonic()
        assert not made().wait(0.1)
        assert 0.09 < time.monotonic() - began < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def open_files():
    return len([*Path("/proc/self/fd").iterdir()])


@needs_events
def test_there_are_a_few_of_them_and_others_have_a_latch():
    before, alarms = open_files(), Alarms()
    taken = [alarms.take() for _ in range(MOST + 2)]
    assert [type(each) for each in taken] == [Alarm] * MOST + [Latch] * 2
    assert open_files() == before + 2 * MOST
    assert len({*taken}) == MOST + 2
    back = taken[0]
    for each in taken:
        alarms.give_back(each)
    assert {type(alarms.take()) for _ in range(MOST)} == {Alarm}
    assert back in taken


@needs_events
def test_one_that_is_not_given_back_is_closed_and_replaced():
    before, alarms = open_files(), Alarms()
    for _ in range(2 * MOST):
        assert isinstance(alarms.take(), Alarm)
    assert open_files() == before


@needs_events
def test_who_has_no_file_descriptors_left_waits_on_a_latch(monkeypatch):
    def refused(_count):
        raise OSError(errno.EMFILE, "too many open files")

    before = open_files()
    for name in ("os.eventfd", "select.epoll"):
        with monkeypatch.context() as patched:
            patched.setattr(name, refused)
            assert isinstance(Alarms().take(), Latch)
    assert open_files() == before


@needs_events
def test_who_rings_gives_the_interpreter_away():
    """Else the thread that it wakes sleeps again at once, until it gets the interpreter."""
    alarm, woken = alarm_of_none(), threading.Event()

    def wait():
        assert alarm.wait(10)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    before, end = sys.getswitchinterval(), time.monotonic() + 10
    try:
        sys.setswitchinterval(100)  # nothing but the ringing gives it away from here on
        while not woken.is_set() and time.monotonic() < end:
            alarm.ring()
        assert woken.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join(20)


@needs_events
def test_while_a_thread_computes_calls_wait_on_latches():
    alarms, over = Alarms(), threading.Event()
    alarm = alarms.take()

    def compute():
        while not over.is_set():
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        end = time.monotonic() + 10
        while isinstance(alarms.take(), Alarm):
            assert time.monotonic() < end
            alarm.ring()
    finally:
        over.set()
        thread.join(10)
    assert {type(alarms.take()) for _ in range(LATCHED - 1)} == {Latch}
    assert isinstance(alarms.take(), Alarm), "it is tried again"
