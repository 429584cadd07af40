"""How an instance follows a shard: positions, rollbacks, and what must be said again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from aragora_redis.tokens.entry import DAY, DayDigest, Entry, fingerprint
from aragora_redis.tokens.position import Position
from aragora_redis.tokens.ring import Ring
from aragora_redis.tokens.shard import ACCEPTED_AFTER, COUNTED_DAYS, Head, Shard

DAY_NOW = 20_000
NOW = DAY_NOW * DAY + 100.0
N, R1, R2, R3 = b"nonce", b"rid1", b"rid2", b"rid3"


def entry(number, score=1, day=DAY_NOW):
    return Entry(day, number.to_bytes(16, "big"), score)


def at(rid, era, seq, nonce=N):
    return Position(nonce, rid, era, seq)


def head(rid, era, seq, ends=None, digests=None, nonce=N):
    return Head(at(rid, era, seq, nonce), 0, ends or {}, digests or {}, int(NOW * 1_000_000))


def follow(shard, there):
    return shard.on_head(there, asked_at=shard.position)


def loaded(seq=0):
    shard = Shard(0)
    assert follow(shard, head(R1, 1, seq)).full
    shard.on_full(head(R1, 1, seq))
    return shard


def test_a_starter_compares_in_full():
    shard = Shard(0)
    assert follow(shard, head(R1, 1, 7)).full
    shard.on_full(head(R1, 1, 7))
    assert shard.position == at(R1, 1, 7)


def test_contiguous_messages_move_the_position():
    shard = loaded()
    assert shard.on_message(at(R1, 1, 1), [entry(1)])
    assert shard.on_message(at(R1, 1, 2), [entry(2)])
    assert shard.position == at(R1, 1, 2)
    assert shard.on_message(at(R1, 1, 2), [entry(2)]), "a repetition is no gap"


@pytest.mark.parametrize("position", [at(R1, 1, 3), at(R2, 2, 1), at(R1, 1, 1, b"other")])
def test_a_message_that_does_not_continue_is_believed_but_asks_for_a_look(position):
    shard = loaded()
    assert not shard.on_message(position, [entry(9)])
    assert shard.position == at(R1, 1, 0)
    assert shard.replica.score(entry(9).member) == 1


def test_a_lost_tail_is_published_again_own_apart_from_learned():
    shard = loaded()
    for seq in range(1, 5):
        shard.on_message(at(R1, 1, seq), [entry(seq)])
    shard.add_own(entry(50))
    shard.confirmed(at(R1, 1, 5), [entry(50)], own=True)
    plan = follow(shard, head(R2, 2, 0, {1: (R1, 2)}))
    assert not plan.full
    assert [e.member[-1] for e in plan.own] == [50]
    assert [e.member[-1] for e in plan.learned] == [3, 4]
    assert shard.position == at(R1, 1, 2)
    assert shard.arrive(head(R2, 2, 0, {1: (R1, 2)}))
    assert shard.position == at(R2, 2, 0)


@pytest.mark.parametrize("own", [True, False])
def test_what_survived_one_failover_is_not_forgotten_before_the_position_is_beyond_it(own):
    shard = loaded()
    shard.add_own(entry(50))
    shard.confirmed(at(R1, 1, 1), [entry(50)], own=own)
    follow(shard, head(R2, 2, 0, {1: (R1, 1)}))  # and this server is lost before its feed is read
    plan = follow(shard, head(R3, 2, 0, {1: (R1, 0)}))
    assert (plan.own or plan.learned) == (entry(50),)


def test_what_is_heard_of_an_era_that_is_over_is_published_in_our_own():
    shard = loaded()
    there = head(R2, 2, 0, {1: (R1, 0)})
    follow(shard, there)
    assert shard.arrive(there)
    assert not shard.on_message(at(R1, 1, 1), [entry(9)])
    shard.add_own(entry(50))
    shard.confirmed(at(R1, 1, 2), [entry(50)], own=True)
    plan = follow(shard, there)
    assert (plan.own, plan.learned) == ((entry(50),), (entry(9),))
    shard.confirmed(at(R2, 2, 1), [entry(9)], own=False)
    shard.confirmed(at(R2, 2, 2), [entry(50)], own=True)
    assert (shard.dirty, shard.learned) == ((), ())


def test_what_the_ring_has_forgotten_is_compared_although_it_survived_one_failover():
    shard = loaded(1)
    shard.on_full(head(R1, 1, 1))
    follow(shard, head(R2, 2, 0, {1: (R1, 1)}))
    assert follow(shard, head(R3, 2, 0, {1: (R1, 0)})).full


def test_what_survived_is_not_published_again():
    shard = loaded()
    for seq in range(1, 4):
        shard.on_message(at(R1, 1, seq), [entry(seq)])
    plan = follow(shard, head(R2, 2, 0, {1: (R1, 3)}))
    assert (plan.full, plan.own, plan.learned) == (False, (), ())


def test_learned_entries_that_the_feed_shows_are_not_published():
    shard = loaded()
    shard.on_message(at(R1, 1, 1), [entry(1)])
    shard.on_message(at(R1, 1, 2), [entry(2)])
    there = head(R2, 2, 1, {1: (R1, 0)})
    assert len(follow(shard, there).learned) == 2
    assert shard.on_feed(there, [(2, 1, [entry(1)])])
    assert shard.learned == (entry(2),)


def test_a_history_that_overtook_the_old_position_is_still_read():
    """With stream ids alone XREAD would return nothing: 1-3 lies behind what was read as 1-5."""
    shard = loaded()
    for seq in range(1, 6):
        shard.on_message(at(R1, 1, seq), [entry(seq)])
    there = head(R2, 2, 9, {1: (R1, 2)})
    follow(shard, there)
    records = [(2, seq, [entry(100 + seq)]) for seq in range(1, 10)]
    assert shard.on_feed(there, records)
    assert shard.arrive(there)
    assert shard.replica.score(entry(109).member) == 1


@pytest.mark.parametrize(
    "records",
    [[(1, 4, [])], [(2, 2, [])], [(3, 1, [])]],
    ids=["hole in an era", "an era without its first", "an era passed over"],
)
def test_a_hole_in_the_feed_is_seen(records):
    shard = loaded()
    for seq in (1, 2):
        shard.on_message(at(R1, 1, seq), [entry(seq)])
    there = head(R3, 3, 5, {1: (R1, 3), 2: (R2, 4)})
    follow(shard, there)
    assert not shard.on_feed(there, records)


def test_empty_eras_are_crossed():
    shard = loaded()
    shard.on_message(at(R1, 1, 1), [entry(1)])
    there = head(R3, 3, 1, {1: (R1, 1), 2: (R2, 0)})
    follow(shard, there)
    assert shard.on_feed(there, [(3, 1, [entry(2)])])
    assert shard.position == at(R3, 3, 1)


def test_records_that_messages_were_faster_with_are_skipped():
    shard = loaded()
    shard.on_message(at(R1, 1, 1), [entry(1)])
    there = head(R1, 1, 2)
    assert shard.on_feed(there, [(1, 1, [entry(1)]), (1, 2, [entry(2)]), (2, 1, [entry(3)])])
    assert shard.position == at(R1, 1, 2)


@pytest.mark.parametrize(
    "there",
    [head(b"foreign", 9, 4, {8: (b"alien", 3)}), head(R1, 1, 3, nonce=b"wiped"), head(R1, 1, 3)],
    ids=["foreign history", "wiped", "behind within an era"],
)
def test_a_history_that_cannot_be_followed_is_compared_in_full(there):
    shard = loaded()
    for seq in range(1, 6):
        shard.on_message(at(R1, 1, seq), [entry(seq)])
    assert follow(shard, there).full


@pytest.mark.parametrize(("survived", "full"), [(1, False), (0, True)])
def test_an_overflown_ring_leads_to_a_comparison(survived, full):
    ring, shard, seq = Ring(), loaded(), 1
    shard.on_message(at(R1, 1, seq), [entry(seq)])
    while not ring.keep(at(R1, 1, seq), [entry(seq)], own=False):
        seq += 1
        shard.on_message(at(R1, 1, seq), [entry(seq)])
    assert follow(shard, head(R2, 2, 0, {1: (R1, survived)})).full is full


def test_what_a_comparison_pulled_may_be_lost_too():
    """Entries taken over by a comparison have no number of their own in the ring."""
    shard = Shard(0)
    follow(shard, head(R1, 1, 7))
    shard.replica.apply(entry(1))
    shard.on_full(head(R1, 1, 7))
    assert follow(shard, head(R2, 2, 0, {1: (R1, 6)})).full
    shard.on_full(head(R2, 2, 0, {1: (R1, 6)}))
    assert not follow(shard, head(R3, 3, 0, {1: (R1, 6), 2: (R2, 0)})).full


def test_own_entries_are_dirty_until_confirmed():
    shard = loaded()
    shard.add_own(entry(1, score=5))
    assert shard.dirty == (entry(1, score=5),)
    shard.confirmed(at(R1, 1, 1), [entry(1, score=4)], own=True)
    assert shard.dirty == (entry(1, score=5),), "a smaller score confirms nothing"
    shard.confirmed(at(R1, 1, 2), [entry(1, score=5)], own=True)
    assert shard.dirty == ()


def test_what_a_primary_calls_over_is_joined_again_in_another_history_or_later():
    """With each look it would be a storm: a clock that is days ahead leaves out all of it."""
    shard = loaded()
    shard.add_own(entry(1))
    shard.add_own(entry(2))
    shard.hold_back([entry(1)])
    assert (shard.dirty, shard.due) == ((entry(1), entry(2)), (entry(2),))
    assert follow(shard, head(R2, 2, 0, {1: (R1, 0)})).own == (entry(1), entry(2))
    shard.hold_back([entry(1)])
    shard.release()
    assert shard.due == shard.dirty


def test_only_days_whose_tokens_may_be_accepted_are_compared():
    """Those of a token are accepted for its skew beyond its day: a starter must know of them."""
    shard = loaded()
    for day in (DAY_NOW - 1, DAY_NOW, DAY_NOW + 3):
        shard.replica.apply(entry(1, day=day))
    assert shard.differing_days(head(R1, 1, 0), NOW) == [DAY_NOW - 1, DAY_NOW, DAY_NOW + 3]
    later = NOW + ACCEPTED_AFTER
    assert shard.differing_days(head(R1, 1, 0), later) == [DAY_NOW, DAY_NOW + 3]
    same = DayDigest(1, fingerprint(entry(1).member, 1))
    assert shard.differing_days(head(R1, 1, 0, digests={DAY_NOW: same}), later) == [DAY_NOW + 3]
    ahead = Head(at(R1, 1, 0), 0, {}, {}, int((later + DAY) * 1_000_000))
    assert shard.differing_days(ahead, NOW) == [DAY_NOW + 3], "the server's clock is ahead"


def test_a_set_that_has_not_the_size_of_its_digest_differs():
    shard = loaded()
    same = {DAY_NOW: DayDigest(1, fingerprint(entry(1).member, 1))}
    shard.replica.apply(entry(1))
    cases = [({DAY_NOW: 1}, []), ({DAY_NOW: 0}, [DAY_NOW]), ({DAY_NOW + 1: 3}, [DAY_NOW + 1])]
    for sizes, differing in cases:
        there = replace(head(R1, 1, 0, digests=same), sizes=sizes)
        assert shard.differing_days(there, NOW) == differing
    counted = shard.counted_days(NOW + 40 * DAY)
    assert counted[0] == DAY_NOW + 39
    assert len(counted) == COUNTED_DAYS
    shard.replica.apply(entry(1, day=DAY_NOW + 900))
    assert shard.counted_days(NOW)[-1] == DAY_NOW + 900


def test_past_days_are_forgotten_with_what_waits_for_them():
    shard = loaded()
    shard.add_own(entry(1))
    shard.add_own(entry(1, score=9, day=DAY_NOW + 1))
    shard.drop_past(NOW + DAY)
    assert shard.replica.score(entry(1).member) == 9
    shard.drop_past(NOW + 4 * DAY)
    assert shard.replica.score(entry(1).member) is None
    assert shard.dirty == ()
    assert len(shard.replica) == 0


def test_a_record_of_an_era_that_ends_nowhere_is_a_hole():
    """Digests were put right in the second era, while we stood at the end of the first."""
    shard = loaded()
    shard.on_message(at(R1, 1, 1), [entry(1)])
    there = head(R2, 3, 0, {1: (R1, 1)})
    shard.on_head(there, asked_at=shard.position)
    assert not shard.on_feed(there, [(2, 1, [entry(2)])])


def test_past_days_are_forgotten_in_short_steps_and_take_nothing_in_between(monkeypatch):
    monkeypatch.setattr("aragora_redis.tokens.table.DROPPED_AT_ONCE", 4)

    def packed(number, **more):
        return entry(number, **more)._replace(member=number.to_bytes(8, "big"))

    shard = loaded()
    for number in range(2000):
        shard.replica.apply(packed(number))
    shard.replica.apply(packed(1, day=DAY_NOW + 9))
    past = NOW + 4 * DAY
    assert shard.drop_past(past), "not all at once"
    assert DAY_NOW not in shard.replica.digests(), "first of all"
    for number in (0, 1, 1999, 2001):
        shard.on_message(at(R1, 1, 1), [packed(number, score=500)])
    shard.replica.apply(packed(2, day=DAY_NOW + 9))
    steps = 1
    while shard.drop_past(past):
        steps += 1
    assert steps > 5
    assert {each.member for each in shard.replica.entries()} == {packed(1).member, packed(2).member}
    assert shard.replica.digests().keys() == {DAY_NOW + 9}
    assert len(shard.replica) == 2
    assert not shard.drop_past(past)


def test_a_greater_score_of_another_is_not_lost_behind_ones_own():
    shard = loaded()
    shard.on_message(at(R1, 1, 1), [entry(1, score=200)])
    shard.confirmed(at(R1, 1, 2), [entry(1, score=100)], own=True)
    plan = follow(shard, head(R2, 2, 0, {1: (R1, 0)}))
    assert max(e.score for e in (*plan.own, *plan.learned)) == 200


def test_a_dirty_score_is_not_lowered_by_the_ring():
    shard = loaded()
    shard.confirmed(at(R1, 1, 1), [entry(1, score=100)], own=True)
    shard.add_own(entry(1, score=200))
    assert follow(shard, head(R2, 2, 0, {1: (R1, 0)})).own == (entry(1, score=200),)


def test_a_comparison_that_failed_is_still_due():
    shard = loaded(7)
    there = head(R2, 2, 0, {1: (R1, 6)})
    assert follow(shard, there).full
    assert follow(shard, there).full, "the first attempt may have failed"
    shard.on_full(there)
    assert not follow(shard, there).full


def test_a_message_behind_a_gap_may_be_lost_too():
    shard = loaded()
    assert not shard.on_message(at(R1, 1, 5), [entry(5)])
    assert follow(shard, head(R2, 2, 0, {1: (R1, 4)})).learned == (entry(5),)


def test_a_message_that_overtakes_the_head_is_no_foreign_history():
    shard = loaded()
    asked_at = shard.position
    shard.on_message(at(R1, 1, 1), [entry(1)])
    assert not shard.on_head(head(R1, 1, 0), asked_at=asked_at).full


def test_a_replication_id_that_returns_does_not_lend_its_first_end_to_its_second_era():
    """A slot that moves to another server and back is twice under one id."""
    mine, message = entry(1), entry(2)
    shard = Shard(0)
    shard.on_full(head(b"A", 3, 3, {1: (b"A", 100), 2: (b"B", 7)}))
    shard.add_own(mine)
    shard.confirmed(at(b"A", 3, 4), [mine], own=True)
    shard.on_message(at(b"A", 3, 6), [message])
    after = head(b"C", 4, 0, {1: (b"A", 100), 2: (b"B", 7), 3: (b"A", 3)})
    plan = shard.on_head(after, asked_at=shard.position)
    assert (plan.own, plan.learned) == ((mine,), (message,))
