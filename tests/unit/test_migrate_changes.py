"""What is dirty, when nobody knows, and what of it is said."""

from __future__ import annotations

import pytest

from aragora_redis.ops.migrate.calls import shown
from aragora_redis.ops.migrate.changes import (
    Count,
    Dirty,
    batches,
    enough,
    mark_of,
    told_of,
    untold,
    with_enough,
)


def follower(keys=3, size=100):
    dirty = Dirty(keys=keys, size=size)
    dirty.begin()
    return dirty


def test_before_a_full_pass_everything_is_dirty():
    dirty = Dirty(keys=3, size=100)
    dirty.add(0, b"a")
    assert dirty.everything
    assert not len(dirty)


def test_a_key_is_dirty_once_and_again_after_it_was_taken():
    dirty = follower()
    dirty.add(0, b"a")
    dirty.add(0, b"a")
    dirty.add(1, b"a")
    assert set(dirty.take()) == {(0, b"a"), (1, b"a")}
    assert not len(dirty)
    dirty.add(0, b"a")
    dirty.give_back([(0, b"a"), (1, b"a")])
    assert len(dirty) == 2


@pytest.mark.parametrize("names", [(b"a", b"b", b"c", b"d"), (b"x" * 101,)], ids=["keys", "size"])
def test_too_many_are_everything_until_all_is_read_again(names):
    dirty = follower()
    for name in names:
        dirty.add(0, name)
    assert dirty.everything
    dirty.add(0, b"later")
    assert not len(dirty)
    dirty.begin()
    assert dirty.everything is None
    dirty.add(0, b"a")
    assert dirty.take() == ((0, b"a"),)


def test_what_was_taken_makes_room():
    dirty = follower()
    for _ in range(3):
        for name in (b"a" * 30, b"b" * 30, b"c" * 30):
            dirty.add(0, name)
        assert len(dirty.take()) == 3
    assert dirty.everything is None


INFO = {
    "run_id": "r",
    "master_replid": "h",
    "role": "master",
    "cmdstat_flushdb": {"calls": 1, "usec": 5},
    "cmdstat_get": {"calls": 1, "usec": 5},
    "cmdstat_config|set": {"calls": 1, "usec": 5},
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"cmdstat_get": {"calls": 2, "usec": 5}}, None),
        ({"run_id": "s"}, "was started again"),
        ({"master_replid": "i"}, "took over another history, or became a replica"),
        ({"role": "slave"}, "took over another history, or became a replica"),
        ({"cmdstat_flushdb": {"calls": 2, "usec": 9}}, "was given FLUSHDB"),
        # CONFIG RESETSTAT, and a flush after it.
        ({"cmdstat_flushdb": {"calls": 1, "usec": 4}}, "was given FLUSHDB"),
        ({"cmdstat_swapdb": {"calls": 1, "usec": 4}}, "was given SWAPDB"),
        ({"cmdstat_config|set": {"calls": 2, "usec": 9}}, "was given CONFIG SET"),
    ],
    ids=str,
)
def test_what_nobody_tells_key_by_key_is_seen_by_marks(changed, said):
    assert untold(mark_of(INFO, "KA"), mark_of(INFO | changed, "KA")) == said


def test_a_target_that_evicts_is_found_out():
    before, after = ({**INFO, "evicted_keys": count} for count in (0, 7))
    assert "evicted" in str(untold(mark_of(before, evictions=True), mark_of(after, evictions=True)))
    assert untold(mark_of(before, "KA"), mark_of(after, "KA")) is None


def test_only_of_a_source_that_tells_settings_count():
    changed = INFO | {"cmdstat_config|set": {"calls": 2, "usec": 9}}
    assert untold(mark_of(INFO), mark_of(changed)) is None
    assert untold(mark_of(INFO, "KA"), mark_of(changed, "KA"), settings=False) is None
    assert "notify-keyspace-events" in str(untold(mark_of(INFO, "KA"), mark_of(INFO, "K")))


@pytest.mark.parametrize(
    ("flags", "is_enough"),
    [("", False), ("AE", False), ("K$", False), ("AK", True), ("g$lszhxetKE", True)],
    ids=str,
)
def test_flags_of_notifications(flags, is_enough):
    assert enough(flags) is is_enough
    assert enough(with_enough(flags))
    assert told_of(with_enough(flags)) >= told_of(flags)


@pytest.mark.parametrize(
    ("one", "other", "spare", "agree"),
    [
        (Count(5, 0), Count(5, 0), 0, True),
        (Count(5, 0), Count(4, 0), 0, False),
        (Count(5, 0), Count(6, 0), 0, False),
        (Count(5, 1), Count(4, 0), 0, True),
        (Count(5, 1), Count(3, 0), 0, False),
        (Count(5, 0), Count(6, 1), 0, True),
        (Count(5, 0), Count(4, 0), 1, True),
    ],
    ids=str,
)
def test_counts_agree_but_for_what_may_have_expired(one, other, spare, agree):
    assert one.agrees(other, spare=spare) is agree


def test_lots_are_small_and_what_is_large_is_alone():
    items = [("a", 4), ("b", 4), ("c", 4), ("large", 50), ("d", 1), ("e", 1)]
    assert batches(items, 10) == [["a", "b"], ["c"], ["large"], ["d", "e"]]
    assert batches([], 10) == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"session:secret", "'session:...' of 14 bytes"),
        (b"secret", "'...' of 6 bytes"),
        (b"\xff\n:secret", r"'\xff\n:...' of 9 bytes"),
    ],
    ids=str,
)
def test_a_key_is_shown_without_its_last_part(key, text):
    assert shown(key) == text
