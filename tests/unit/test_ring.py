"""The changes that are kept by their numbers, in as little memory as is said."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.tokens.entry import DAYS, MEMBER_BYTES, PARDON_BYTES, SCORES, Entry
from aragora_redis.tokens.position import Position
from aragora_redis.tokens.ring import RING_BYTES, Ring

sizes = st.sampled_from([MEMBER_BYTES, PARDON_BYTES])
entries = st.builds(
    Entry,
    day=st.integers(-DAYS, DAYS),
    member=sizes.flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    score=st.integers(-SCORES, SCORES),
    note=st.sampled_from(["", "stolen"]),
)


def at(seq: int) -> Position:
    """Each with a name of the history of its own, as they are read."""
    return Position(
        bytes(bytearray(b"nonce-of-this-data-set")), bytes(bytearray(b"r" * 40)), 1, seq
    )


@given(st.lists(st.tuples(st.lists(entries, min_size=1, max_size=5), st.booleans())))
def test_what_is_kept_comes_back_as_it_was(changes):
    ring = Ring()
    for seq, (some, own) in enumerate(changes):
        assert ring.keep(at(seq), some, own=own) == []
    assert len(ring) == len(changes)
    told = [(kept.at, list(kept.entries), kept.own) for kept in ring]
    assert told == [(at(seq), some, own) for seq, (some, own) in enumerate(changes)]


@pytest.mark.parametrize("member_bytes", [MEMBER_BYTES, PARDON_BYTES])
@pytest.mark.parametrize("count", [1, 128])
def test_it_takes_as_much_memory_as_it_may_and_the_oldest_go(count, member_bytes):
    ring, seq = Ring(), 0
    gone: list[Position] = []
    tracemalloc.start()
    while len(gone) < 3:
        seq += 1
        some = [Entry(20_000 + seq, os.urandom(member_bytes), 10**12 + n) for n in range(count)]
        gone += ring.keep(at(seq), some, own=False)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [each.seq for each in gone] == [1, 2, 3]
    assert [kept.at.seq for kept in ring] == list(range(4, seq + 1))
    assert 0.7 * RING_BYTES < taken < 1.1 * RING_BYTES


def test_what_is_forgotten_makes_room():
    ring, seq = Ring(), 1
    while not ring.keep(at(seq), [Entry(1, b"x" * MEMBER_BYTES, 1)], own=False):
        seq += 1
    ring.retain(())
    for number in range(1, seq):
        assert ring.keep(at(number), [Entry(1, b"x" * MEMBER_BYTES, 1)], own=False) == []
