"""The packed table against plain dictionaries, and under readers in other threads."""

from __future__ import annotations

import random
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_redis.tokens.entry import Entry
from aragora_redis.tokens.table import Table, _index

# Few distinct bytes, so that members occur inside of others, across the borders of records.
members = st.binary(min_size=16, max_size=16).map(lambda raw: bytes(b % 2 for b in raw))
puts = st.lists(
    st.tuples(st.sampled_from([0, 1, 257, 999_999]), members, st.integers(0, 10**15 - 1)),
    max_size=80,
)


@settings(max_examples=200)
@given(puts, st.sets(st.sampled_from([0, 1, 257])))
def test_it_is_a_dictionary_by_member_and_day(given_puts, dropped):
    table = Table()
    plain: dict[tuple[int, bytes], int] = {}
    for day, member, score in given_puts:
        before = plain.get((day, member))
        assert table.join(day, member, score) == before
        plain[day, member] = score if before is None else max(before, score)
    for step in range(2):
        assert len(table) == len(plain)
        assert sorted(table) == sorted(Entry(*key, score) for key, score in plain.items())
        for _, member, _ in given_puts:
            scores = {day: score for (day, m), score in plain.items() if m == member}
            assert table.score(member) == max(scores.values(), default=None)
            assert {e.day: e.score for e in table.entries(member)} == scores
        if step == 0:
            table.drop(dropped)
            plain = {key: score for key, score in plain.items() if key[0] not in dropped}


def test_many_are_found_and_others_are_not():
    rng = random.Random(1)
    table, known = Table(), [rng.randbytes(16) for _ in range(20_000)]
    for number, member in enumerate(known):
        table.join(20_000, member, number)
    assert [table.score(member) for member in known] == list(range(20_000))
    assert not any(table.score(rng.randbytes(16)) is not None for _ in range(20_000))


def test_a_reader_in_another_thread_never_misses_what_was_there():
    rng = random.Random(2)
    table, known = Table(), [rng.randbytes(16) for _ in range(500)]
    for member in known:
        table.join(1, member, 7)
    missed: list[bytes] = []
    stop = threading.Event()

    def read():
        while not stop.is_set():
            missed.extend(member for member in known if table.score(member) != 7)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(60_000):
        table.join(2, rng.randbytes(16), 9)
    stop.set()
    for reader in readers:
        reader.join()
    assert not missed


def test_who_lists_the_days_of_a_member_looks_again_after_a_split(monkeypatch):
    table, member = Table(), bytes(16)
    table.join(1, member, 7)

    def index_and_split(member, shape):
        """The bucket by the shape that was read, and then another thread moves the member."""
        monkeypatch.undo()
        number = _index(member, shape)
        while _index(member, table._shape) == number:
            table._split()
        return number

    monkeypatch.setattr("aragora_redis.tokens.table._index", index_and_split)
    assert table.entries(member) == [Entry(1, member, 7)]
