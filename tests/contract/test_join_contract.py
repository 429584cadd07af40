"""The join script and its model, through the same cases."""

from __future__ import annotations

import itertools
import uuid
from hashlib import blake2b
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aragora_redis.operation import Operation
from aragora_redis.scripts.catalog import load
from aragora_redis.tokens import operations
from aragora_redis.tokens.entry import DAY, PARDONED, SUMS, DayDigest, Entry, fingerprint
from aragora_redis.tokens.model import ShardModel
from aragora_redis.tokens.operations import ShardKeys

T = TypeVar("T")

NONCE = b"nonce-0"


class Script:
    """One shard on a real server, driven through the operations that the product builds."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        # redis-py would reshape some replies; the product reads them as they come.
        self.raw = redis.Redis(connection_pool=client.connection_pool)
        self.raw.response_callbacks.clear()
        self.keys = ShardKeys(f"test-{uuid.uuid4().hex}", 3)

    def run(self, operation: Operation[T], *, not_after: int = 0) -> T:
        script, keys, args = operation.script, operation.keys, operation.args
        if script is None:
            return operation.read(self.raw.execute_command(*args))
        if script.writes:
            args = (not_after, *args)
        return operation.read(self.raw.eval(script.source.decode(), len(keys), *keys, *args))

    def join(self, entries, *, durable=False, not_after=0):
        operation = operations.join(self.keys, entries, nonce=NONCE, durable=durable)
        return self.run(operation, not_after=not_after)

    def members(self, day):
        pairs: Any = self.client.zrange(self.keys.members(day), 0, -1, withscores=True)
        return {member: int(score) for member, score in pairs}


@pytest.fixture
def client(standalone_lab):
    node = standalone_lab.node("redis-0")
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as made:
        yield made


@pytest.fixture
def script(client):
    return Script(client)


def today(client):
    return client.time()[0] // DAY


def member(number):
    """One that looks random; each third one has the length of a pardon's."""
    return blake2b(b"%d" % number, digest_size=8 if number % 3 else 16).digest()


def entry_of(day, number, score):
    """The revocation of a member, or the pardon where it is one's."""
    return Entry(day, member(number), score if number % 3 else PARDONED + score)


def rid(client):
    return client.info("replication")["master_replid"].encode()


# Each step: entries as (days ahead, member, score), durable.
CASES = {
    "nothing": [([], False)],
    "nothing, durably": [([], True), ([], True)],
    "one": [([(0, 1, 5)], False)],
    "the same twice": [([(0, 1, 5)], False), ([(0, 1, 5)], False)],
    "the same twice, durably": [([(0, 1, 5)], True), ([(0, 1, 5)], True)],
    "a greater score": [([(0, 1, 5)], False), ([(0, 1, 6)], False)],
    "a smaller score": [([(0, 1, 5)], False), ([(0, 1, 4)], False)],
    "twice in one call": [([(0, 1, 5), (0, 1, 7), (0, 1, 6)], False)],
    "several days": [([(0, 1, 5), (3, 1, 5), (30, 2, 9)], False), ([(3, 2, 1)], False)],
    "a day that is over": [([(-2, 1, 5), (0, 2, 5)], False)],
    "yesterday": [([(-1, 1, 5)], False)],
    "the greatest score": [([(0, 3, PARDONED - 1)], False), ([(0, 3, PARDONED - 2)], False)],
    "a full call": [([(0, number, number) for number in range(128)], True)],
}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
def test_the_script_keeps_the_models_rules(script, client, steps):
    check_steps(script, client, steps)


def check_steps(script, client, steps):
    base = today(client)
    model = ShardModel(rid(client))
    for step, durable in steps:
        entries = [entry_of(base + ahead, number, score) for ahead, number, score in step]
        joined = script.join(entries, durable=durable)
        expected = model.join(entries, nonce=NONCE, now=joined.server_now, durable=durable)
        assert (joined.position, joined.changed) == expected
        for entry in entries:
            stored = entry.member in script.members(entry.day)
            assert stored is (entry not in joined.refused(entries, 0))
    head = script.run(operations.survey(script.keys))
    wanted = model.head(head.server_now)
    assert wanted is not None
    assert (head.position, head.ends, head.digests) == (
        wanted.position,
        wanted.ends,
        wanted.digests,
    )
    for day in {*model.days, *head.digests}:
        assert script.members(day) == model.days[day]
    start = head.position._replace(seq=0)
    assert script.run(operations.feed_after(script.keys, start)) == model.feed
    assert script.run(operations.standing(script.keys)) == head.position


steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 9)), max_size=6),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_script_keeps_the_models_rules_whatever_comes(client, steps):
    check_steps(Script(client), client, steps)


def test_a_new_replication_id_opens_an_era_and_remembers_the_end_of_the_last(script, client):
    base = today(client)
    script.join([Entry(base, member(1), 5)])
    script.join([Entry(base, member(2), 5)])
    client.hset(script.keys.head, "rid", "f" * 40)  # as if another server had written that
    joined = script.join([])
    assert joined.position[1:] == (rid(client), 2, 0)
    head = script.run(operations.survey(script.keys))
    assert head.ends == {1: (b"f" * 40, 2)}
    assert head.surviving(b"f" * 40, 1) == 2
    assert head.opened == joined.server_now


def test_ends_of_long_past_eras_are_forgotten(script, client):
    for number in range(70):
        script.join([])
        client.hset(script.keys.head, "rid", f"{number:040x}")
    script.join([])
    ends = script.run(operations.survey(script.keys)).ends
    assert len(ends) == 64
    assert max(ends) == 70


def test_each_change_is_published_with_its_position(script, client):
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(script.keys.feed)
        listener.get_message(timeout=1)
        entries = [Entry(today(client), member(1), 5, "why")]
        joined = script.join(entries)
        message = next(said for _ in itertools.count() if (said := listener.get_message(timeout=1)))
    position, read = operations.read_message(message["data"])
    assert position == joined.position
    assert read == [entries[0]._replace(note="")]


def test_notes_are_kept_beside_the_members(script, client):
    day = today(client)
    script.join([Entry(day, member(1), 5, "logout"), Entry(day, member(2), 5)])
    assert script.run(operations.note_of(script.keys, day, member(1))) == "logout"
    assert script.run(operations.note_of(script.keys, day, member(2))) is None


def test_days_expire_a_day_after_their_end(script, client):
    day = today(client) + 3
    script.join([Entry(day, member(1), 5, "why")])
    for key in (script.keys.members(day), script.keys.notes(day)):
        seconds, micros = client.time()
        ends = seconds * 1000 + micros / 1000 + client.pttl(key)
        assert abs(ends - (day + 2) * DAY * 1000) < 1000


def test_digests_of_days_that_are_long_over_are_forgotten(script, client):
    """Others tell that a set has gone since the clock of the server was days ahead."""
    day = today(client)
    for over in (day - 31, day - 32):
        client.hset(script.keys.digests, mapping={f"c:{over}": 1, f"x:{over}": "0" * 16})
    script.join([Entry(day, member(1), 5)])
    assert set(script.run(operations.survey(script.keys)).digests) == {day, day - 31}


def test_a_call_that_is_late_changes_nothing(script, client):
    seconds, micros = client.time()
    with pytest.raises(redis.ResponseError, match=r"^LATE \d+$"):
        script.join([Entry(today(client), member(1), 5)], not_after=seconds * 10**6 + micros - 1)
    assert client.exists(script.keys.head) == 0


@pytest.mark.parametrize("spoilt", ["members", "notes", "digests"])
def test_a_key_of_another_type_changes_nothing(script, client, spoilt):
    day = today(client)
    keys = {"members": script.keys.members, "notes": script.keys.notes}
    client.set(keys[spoilt](day + 1) if spoilt in keys else script.keys.digests, "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        script.join([Entry(day, member(1), 5), Entry(day + 1, member(1), 5, "why")])
    assert not script.members(day)
    assert client.exists(script.keys.head) == 0


@pytest.fixture
def refusing(make_lab):
    """A server of its own, whose settings a test may spoil."""
    lab = make_lab("standalone")
    lab.start()
    node = lab.node("redis-0")
    with redis.Redis(port=node.port, password=lab.password(node)) as made:
        yield made


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_a_server_that_refuses_writes_changes_nothing(refusing, known):
    script = Script(refusing)
    day = today(refusing)
    if known:
        script.join([Entry(day, member(1), 5)])
    before = refusing.hgetall(script.keys.head)
    refusing.config_set("min-replicas-to-write", "1")
    with pytest.raises(redis.RedisError, match="NOREPLICAS"):
        script.join([Entry(day, member(2), 5), Entry(day, member(3), 5)], durable=True)
    refusing.config_set("min-replicas-to-write", "0")
    assert refusing.hgetall(script.keys.head) == before
    assert script.members(day) == ({member(1): 5} if known else {})
    script.join([Entry(day, member(2), 5)])
    assert member(2) in script.members(day)


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_memory_that_is_full_takes_revocations_and_nothing_that_can_wait(refusing, known):
    script = Script(refusing)
    day = today(refusing)
    if known:
        script.join([Entry(day, member(1), 5)])
    refusing.config_set("maxmemory", "1")
    with pytest.raises(redis.OutOfMemoryError):
        refusing.set("a", "b")
    entries = [entry_of(day, 2, 5)._replace(note="why"), entry_of(day + 1, 4, 5)]
    first = script.join(entries, durable=True)
    again = script.join(entries, durable=True)
    assert again.position.seq == first.position.seq + 1
    assert script.members(day) == {entries[0].member: 5} | ({member(1): 5} if known else {})
    assert script.members(day + 1) == {entries[1].member: 5}
    records = script.run(operations.feed_after(script.keys, first.position._replace(seq=0)))
    assert records[-2][1] == first.position.seq


def test_a_look_refused_for_want_of_replicas_still_answers_in_a_known_era(refusing):
    """A cut-off primary may be read, but the beat it refuses keeps what is read from counting."""
    script = Script(refusing)
    position = script.join([]).position
    refusing.config_set("min-replicas-to-write", "1")
    assert script.join([]).position == position


def test_two_data_sets_never_have_the_same_nonce(script, client):
    """A wipe keeps the replication id; the same instance may seed both."""
    first = script.join([]).position
    client.delete(script.keys.head, script.keys.digests, script.keys.feed)
    second = script.join([]).position
    assert first[1:] == second[1:]
    assert first.nonce != second.nonce


def test_a_feed_that_outlived_its_head_is_begun_anew(script, client):
    day = today(client)
    for number in range(3):
        script.join([entry_of(day, number, 5)])
    client.delete(script.keys.head)
    joined = script.join([entry_of(day, 9, 5)])
    assert joined.position.seq == 1
    records = script.run(operations.feed_after(script.keys, joined.position._replace(seq=0)))
    assert [record[:2] for record in records] == [(1, 1)]


@pytest.mark.parametrize("count", [0, 1, 128, 129, 400])
def test_calls_carry_what_one_join_may(count):
    entries = [Entry(1, member(number), 5, "x" * 200) for number in range(count)]
    calls = list(operations.calls(entries))
    assert [entry for call in calls for entry in call] == entries
    assert all(len(call) <= operations.CALL_ENTRIES for call in calls)
    long = [Entry(1, member(number), 5, "é" * 200) for number in range(128)]
    assert len(list(operations.calls(long))) == 1
    heavy = [entry._replace(note="x" * 1000) for entry in long]
    assert len(list(operations.calls(heavy))) > 1


def test_leases_are_few_and_come_back(script):
    def take(holder, *, take=True):
        return script.run(operations.lease(script.keys, holder, take=take))

    assert [take(f"h{number}") for number in range(6)] == [True] * 4 + [False] * 2
    assert take("h0"), "a holder may renew"
    take("h1", take=False)
    assert take("h5")
    assert not take("h6")


def test_leases_from_ahead_of_a_clock_that_went_back_end_with_the_others(script, client):
    """Four who died then would let nobody compare for as long as it went back."""
    hour_ahead = 3_600_000 + client.time()[0] * 1000
    client.zadd(script.keys.leases, {f"dead-{number}": hour_ahead for number in range(4)})
    assert not script.run(operations.lease(script.keys, "starter", take=True))
    seconds, micros = client.time()
    longest = max(end for _, end in client.zrange(script.keys.leases, 0, -1, withscores=True))
    assert longest <= seconds * 1000 + micros / 1000 + operations.LEASE_MS


def test_every_script_declares_what_it_takes():
    assert load("join").writes
    assert not load("survey").writes


def test_a_digest_is_put_right_only_where_nothing_has_changed_since_it_was_read(script, client):
    day = today(client)
    model = ShardModel(rid(client))
    entries = [Entry(day, member(number), number) for number in (1, 2, 3)]
    now = script.join(entries).server_now
    model.join(entries, nonce=NONCE, now=now)
    before = script.run(operations.survey(script.keys, [day - 1, day]))
    assert before.sizes == {day - 1: 0, day: 3}
    client.zrem(script.keys.members(day), member(3))
    del model.days[day][member(3)]
    stored = before.digests[day]
    true = DayDigest(2, (fingerprint(member(1), 1) + fingerprint(member(2), 2)) % SUMS)
    attempts = [
        (stored._replace(sum=0), true),
        (stored._replace(size=2), true),
        (stored, true._replace(size=3)),
        (stored, true),
        (stored, true),
    ]
    for read, wanted in attempts:
        operation = operations.redigest(script.keys, day, stored=read, true=wanted)
        done = model.redigest(day, stored=read, true=wanted, now=now)
        assert script.run(operation) is done
        head, expected = script.run(operations.survey(script.keys, [day])), model.head(now)
        assert expected is not None
        assert (head.position, head.ends, head.digests, head.sizes) == (
            expected.position,
            expected.ends,
            expected.digests,
            expected.sizes,
        )
    assert head.position == before.position._replace(era=before.position.era + 1, seq=0)
    assert head.opened >= before.opened
    assert head.surviving(before.position.rid, before.position.era) is None

    client.delete(script.keys.members(day))
    assert script.run(operations.redigest(script.keys, day, stored=true, true=DayDigest()))
    assert script.run(operations.survey(script.keys)).digests == {}
