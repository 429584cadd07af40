"""The packed table against plain dictionaries, and under readers in other threads."""

from __future__ import annotations

import random
import threading
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aragora_redis.tokens.entry import DAY, Entry
from aragora_redis.tokens.table import FILL, Table, _index

# Few distinct bytes, so that members occur inside of others, across the borders of records.
members = st.one_of(st.just(8), st.just(8), st.just(16)).flatmap(
    lambda size: st.binary(min_size=size, max_size=size).map(lambda raw: bytes(b % 2 for b in raw))
)
days = st.sampled_from([0, 1, 257, 20_000, 999_999])
# Of the day itself, before it and after it, by as much as a record can say and by more; or numbers.
scores = st.integers(0, 10**15 - 1) | st.integers(0, 9) | st.sampled_from([2**23, 2**43])
instants = st.tuples(st.integers(-33, 2), st.integers(0, DAY * 1000 - 1))
puts = st.lists(st.tuples(days, members, scores | instants), max_size=80)


def score_of(day, score):
    """A score as it was drawn, or as so many days from the day, and milliseconds."""
    return score if isinstance(score, int) else max((day + score[0]) * DAY * 1000 + score[1], 0)


@settings(max_examples=200)
@given(puts, st.sets(st.sampled_from([0, 1, 257])))
def test_it_is_a_dictionary_by_member_and_day(given_puts, dropped):
    table = Table()
    plain: dict[tuple[int, bytes], int] = {}
    for day, member, drawn in given_puts:
        before, score = plain.get((day, member)), score_of(day, drawn)
        news = before is None or before < score
        came, changed = table.join(day, {member: score})
        joined = [*((each, at, None) for each, at in came.items()), *changed]
        assert joined == ([(member, score, before)] if news else [])
        plain[day, member] = score if before is None else max(before, score)
    for step in range(2):
        assert len(table) == len(plain)
        assert sorted(table) == sorted(Entry(*key, score) for key, score in plain.items())
        for _, member, _ in given_puts:
            scores = {day: score for (day, m), score in plain.items() if m == member}
            assert table.score(member) == max(scores.values(), default=None)
            assert {e.day: e.score for e in table.entries(member)} == scores
        if step == 0:
            for _ in table.drop(dropped):
                pass
            plain = {key: score for key, score in plain.items() if key[0] not in dropped}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puts, st.sets(st.sampled_from([0, 1, 257]), min_size=1), puts, st.integers(0, 3))
def test_what_is_joined_while_days_are_forgotten_stays(monkeypatch, first, past, then, splits):
    """And nothing of the days does: not of members that get other days, nor in a split bucket."""
    monkeypatch.setattr("aragora_redis.tokens.table.DROPPED_AT_ONCE", 1)
    table = Table()
    plain: dict[tuple[int, bytes], int] = {}

    def put(day, member, drawn):
        score = score_of(day, drawn)
        table.join(day, {member: score})
        plain[day, member] = max(score, plain.get((day, member), 0))

    for each in first:
        put(*each)
    for _ in range(splits):
        table._split()
    later = iter(each for each in then if each[0] not in past)
    for _ in table.drop(past):
        for each in islice(later, 20):
            put(*each)
        if len(table._buckets) < 12:
            table._split()
    left = {key: score for key, score in plain.items() if key[0] not in past}
    assert sorted(table) == sorted(Entry(*key, score) for key, score in left.items())
    assert len(table) == len(left)
    for member in {member for _, member in plain}:
        scores = {day: score for (day, m), score in left.items() if m == member}
        assert table.score(member) == max(scores.values(), default=None)
        assert {e.day: e.score for e in table.entries(member)} == scores


@pytest.mark.parametrize("expected", [0, 20_000])
def test_many_are_found_and_others_are_not(expected):
    rng = random.Random(1)
    table, known = Table(), [rng.randbytes(8) for _ in range(20_000)]
    table.expect(expected)
    scores = {member: 20_000 * DAY * 1000 + number for number, member in enumerate(known)}
    for start in range(0, 20_000, 1000):
        page = {member: scores[member] for member in known[start : start + 1000]}
        assert table.join(20_000, page) == (page, [])
    assert {member: table.score(member) for member in known} == scores
    assert not any(table.score(rng.randbytes(8)) is not None for _ in range(20_000))
    assert max(map(len, table._buckets)) < 4 * FILL * 14


def test_a_reader_in_another_thread_never_misses_what_was_there():
    rng = random.Random(2)
    table, known = Table(), [rng.randbytes(8) for _ in range(500)]
    for member in known:
        table.join(1, {member: 7})
    missed: list[bytes] = []
    stop = threading.Event()

    def read():
        while not stop.is_set():
            missed.extend(member for member in known if table.score(member) != 7)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(60_000):
        table.join(2, {rng.randbytes(8): 9})
    stop.set()
    for reader in readers:
        reader.join()
    assert not missed


def test_who_lists_the_days_of_a_member_looks_again_after_a_split(monkeypatch):
    table, member = Table(), bytes(8)
    table.join(1, {member: 7})

    def index_and_split(member, shape):
        """The bucket by the shape that was read, and then another thread moves the member."""
        monkeypatch.undo()
        number = _index(member, shape)
        while _index(member, table._shape) == number:
            table._split()
        return number

    monkeypatch.setattr("aragora_redis.tokens.table._index", index_and_split)
    assert table.entries(member) == [Entry(1, member, 7)]
