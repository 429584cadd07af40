"""What is kept of sessions that were read, and for how long it stands for what is stored."""

from __future__ import annotations

import pytest
from msgspec import structs

from aragora_redis.sessions.stored import Moved, Stored
from aragora_redis.state.sessions.copies import BYTES, COPIES, KEEP_FOR, Copies
from aragora_redis.testing.clock import FakeClock

READ = Stored(None, 1, 0.0, 1e6, 1e5, {"a": b"1"}, (), size=3)
MEMBER = b"m" * 16


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def copies(clock):
    return Copies(clock)


def test_a_copy_is_of_the_last_seconds(copies, clock):
    copies.put(MEMBER, READ)
    clock.advance(2)
    assert copies.get(MEMBER) is READ
    assert copies.get(MEMBER, within=1) is None
    clock.advance(KEEP_FOR)
    assert copies.get(MEMBER) is None


def test_what_is_confirmed_is_new_again_and_not_read_anew(copies, clock):
    """So what was put into the store by hand is seen in time."""
    copies.put(MEMBER, READ)
    for _ in range(3):
        clock.advance(KEEP_FOR / 4)
        assert copies.whole(MEMBER) is not None
        copies.confirm(MEMBER, newer := structs.replace(READ, seen_at=clock.wall()))
        assert copies.whole(MEMBER) is newer
        assert copies.get(MEMBER, within=1) is newer
    clock.advance(KEEP_FOR / 4 + 1)
    assert copies.whole(MEMBER) is None
    assert copies.get(MEMBER) is newer
    copies.put(MEMBER, READ)
    assert copies.whole(MEMBER) is READ


def test_what_was_changed_on_a_copy_is_as_old_as_that(copies, clock):
    """Or a session that is changed now and then would never be read anew."""
    read = structs.replace(READ, told_at=100.0, whole_at=100.0)
    for later in (4.0, 8.0):
        copies.put(MEMBER, structs.replace(read, told_at=100.0 + later))
        assert copies.whole(MEMBER) is not None
    clock.advance(KEEP_FOR - 8 + 0.1)
    assert copies.whole(MEMBER) is None
    assert copies.get(MEMBER) is not None


def test_a_clock_that_was_set_back_makes_no_copy_newer(copies, clock):
    copies.put(MEMBER, structs.replace(READ, told_at=100.0, whole_at=4_000.0))
    clock.advance(0.1)
    assert copies.whole(MEMBER) is None


def test_what_was_dropped_meanwhile_is_confirmed_as_it_was_read(copies):
    copies.confirm(MEMBER, READ)
    assert copies.get(MEMBER) is READ


def test_a_session_that_ends_sooner_is_kept_for_as_long(copies, clock):
    copies.put(MEMBER, short := structs.replace(READ, idle=2.0))
    copies.confirm(MEMBER, short)
    clock.advance(2.5)
    assert copies.get(MEMBER) is None


def test_a_trace_is_no_session(copies):
    copies.put(MEMBER, Moved(b"n" * 16))
    assert copies.whole(MEMBER) is None
    assert copies.get(MEMBER) == Moved(b"n" * 16)


def test_copies_are_bounded_and_what_was_used_last_stays(copies):
    copies.put(MEMBER, READ)
    for number in range(COPIES):
        copies.put(b"%016d" % number, READ)
        copies.confirm(MEMBER, READ)
    assert copies.get(MEMBER) is READ
    assert copies.get(b"%016d" % 0) is None
    copies.put(b"large" * 3 + b"x", structs.replace(READ, size=BYTES))
    assert copies.get(MEMBER) is None
