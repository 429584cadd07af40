"""The session scripts and their models: the same cases, and any sequence of calls in step."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    multiple,
    rule,
    run_state_machine_as_test,
)
from msgspec import structs

from aragora_redis.operation import Kind, Operation
from aragora_redis.scripts.catalog import load
from aragora_redis.sessions import operations
from aragora_redis.sessions.client import UNKNOWN, Client
from aragora_redis.sessions.data import FIELD_LIMIT
from aragora_redis.sessions.ids import SessionRef
from aragora_redis.sessions.operations import Ended, SessionKeys
from aragora_redis.sessions.policy import OnFull, SessionPolicy
from aragora_redis.sessions.stored import Full, Moved, Stored, text_of

HOME = SessionRef(7, b"u" * 16)
_members = itertools.count(1)


class World:
    """Sessions of one user's slot on one side, under keys of their own."""

    def __init__(self, side):
        self.side = side
        self.keys = SessionKeys(f"test-{secrets.token_hex(8)}")

    def run(self, operation):
        return asyncio.run(self.side.run(operation, within=1))

    def ref(self):
        return SessionRef(HOME.shard, next(_members).to_bytes(16, "big"))

    def create(self, ref=None, *, user="u", nonce="n0", data=None, cut_off=0, **policy):
        return self.run(
            operations.create(
                self.keys,
                ref or self.ref(),
                SessionPolicy(**({"on_full": OnFull.REFUSE} | policy)),
                user=user,
                index=HOME if user else None,
                fields=data or {},
                nonce=nonce,
                cut_off=cut_off,
            )
        )

    def made(self, **given):
        ref = self.ref()
        return ref, self.create(ref, **given)

    def read(self, ref, held=None):
        return self.run(operations.read(self.keys, ref, held=held))

    def update(self, *given, **how):
        return self.run(self.update_of(*given, **how))

    def update_of(
        self, ref, version, fields=None, removed=(), *, nonce=None, exact=False, most=65536,
        client=None, onto=None,
    ):  # fmt: skip
        return operations.update(
            self.keys,
            ref,
            version=version,
            nonce=nonce or secrets.token_hex(8),
            exact=exact,
            max_bytes=most,
            fields=fields or {},
            removed=removed,
            client=client,
            onto=onto,
        )

    def rotate(self, old, new, *, user="u", grace=30.0):
        index = HOME if user else None
        return self.run(operations.rotate(self.keys, old, new, index=index, grace=grace))

    def end(self, ref, *, user="u", version=0, nonce=None):
        index = HOME if user else None
        nonce = nonce or secrets.token_hex(8)
        return self.run(operations.end(self.keys, ref, index=index, nonce=nonce, version=version))

    def index(self):
        return [member for member, _ in self.run(operations.of_user(self.keys, HOME))]

    def index_size(self):
        return self.side.size(self.keys.index(HOME))

    def index_lasts(self):
        return self.side.lasts(self.keys.index(HOME))

    def look(self, *members):
        return self.listed(*members).infos

    def listed(self, *members):
        return self.run(operations.look(self.keys, HOME, members))


def raw_fields(keys, ref) -> Operation[set[bytes]]:
    """The fields of data that are stored, removed ones too."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.session(ref),),
        args=(0,),
        read=lambda reply: {name for name in reply[2][::2] if name.startswith(b"d:")},
        script=load("session_read"),
    )


class Reversed:
    """Stands for a seal: a text backwards, behind the number of the key and its place."""

    on = True

    def __init__(self, key):
        self.key = key

    def seal(self, member, field, text):
        return b"%d|%b|%b|%b" % (self.key, member.hex().encode(), field, text[::-1])

    def open(self, member, field, stored):
        _, where, name, text = stored.split(b"|")
        assert (where, name) == (member.hex().encode(), field)
        return text[::-1]

    def stale(self, stored):
        return not stored.startswith(b"%d|" % self.key)


def assert_measured(world, ref):
    """The script that adds to a session knows how much it holds, as it is sealed."""
    read = world.read(ref)
    held = sum(len(n) - 2 + len(text_of(n, v)) for n, v in read.sealed.items() if n[:2] == b"d:")
    most = held + len("new") + len(world.keys.seal.seal(ref.member, b"d:new", b"1"))
    assert world.update(ref, read.version, {"new": b"1"}, most=most - 1) == "large"
    assert isinstance(world.update(ref, read.version, {"new": b"1"}, most=most), Stored)


@pytest.fixture
def world(side):
    return World(side)


# --- one table, two sides ---------------------------------------------------------------


def test_what_was_made_is_read(world):
    before = world.side.now()
    ref, made = world.made(data={"a": b"1", "": b'"x y\\n"'})
    assert world.read(ref) == made
    assert (made.user, made.fields) == ("u", {"a": b"1", "": b'"x y\\n"'})
    assert before <= made.created_at <= world.side.now()
    assert made.expires_at == pytest.approx(made.created_at + 43_200, abs=1e-3)
    assert made.version == pytest.approx(made.created_at * 1e6, abs=1)


def test_a_creation_that_is_sent_again_finds_its_own_work(world):
    ref, made = world.made(data={"a": b"1"}, max_per_user=1)
    assert world.create(ref, data={"a": b"1"}, max_per_user=1) == made
    assert world.index() == [ref.member]


def test_what_begins_is_younger_than_a_cut_off_ahead_of_the_clock(world):
    cut_off = int(world.side.now() * 1000) + 3_600_000
    _, before = world.made(cut_off=1)
    _, made = world.made(cut_off=cut_off)
    assert abs(before.created_at - world.side.now()) < 60
    assert int(made.created_at * 1000) in (cut_off + 1, cut_off + 2)
    assert made.expires_at < made.created_at + SessionPolicy().absolute


def test_where_it_is_used_from_is_kept_replaced_and_forgotten(world):
    ref, made = world.made()
    for client, stored in [
        (Client("d", None), Client("d", None)),
        (None, Client("d", None)),
        (UNKNOWN, UNKNOWN),
        (None, UNKNOWN),
    ]:
        assert world.update(ref, made.version, client=client).client == stored
        assert world.read(ref).client == stored


def test_nobody_known_has_no_user_and_no_index(world):
    _, made = world.made(user=None)
    assert made.user is None
    assert world.index() == []


def test_what_is_sealed_is_rotated_only_as_it_was_read(world):
    world.keys.seal = Reversed(1)
    ref, made = world.made(data={"a": b"12"})
    newer = world.update(ref, made.version, {"a": b"34"})
    to = world.ref()

    def rotate(stored):
        return world.run(
            operations.rotate(world.keys, ref, to, index=HOME, grace=30.0, stored=stored)
        )

    assert rotate(made) == "conflict"
    world.keys.seal = Reversed(22)
    moved = rotate(newer)
    assert (moved.user, moved.fields, moved.version) == ("u", {"a": b"34"}, newer.version)
    assert world.read(ref) == Moved(to.member)
    assert world.read(to) == moved
    assert_measured(world, to)


@pytest.mark.parametrize(
    ("before", "after"),
    [(UNKNOWN, Client("d", None)), (Client("d", None), UNKNOWN)],
    ids=["told", "forgotten"],
)
def test_a_rotation_that_has_read_another_client_does_not_move_what_is_sealed(world, before, after):
    world.keys.seal = Reversed(1)
    ref, made = world.made()
    read = world.update(ref, made.version, client=before)
    newer = world.update(ref, made.version, client=after)
    to = world.ref()
    answers = [
        world.run(operations.rotate(world.keys, ref, to, index=HOME, grace=30.0, stored=stored))
        for stored in (read, newer)
    ]
    assert answers[0] == "conflict"
    assert world.read(to) == answers[1]
    assert answers[1].client == after


def test_another_key_is_put_in_without_a_change(world):
    world.keys.seal = Reversed(1)
    ref, made = world.made(data={"a": b"12", "b": b"3"})
    changed = world.update(ref, made.version, {"b": b"4"})
    world.keys.seal = Reversed(22)
    assert world.run(operations.reseal(world.keys, ref, made)) == 2, "b is not as it was"
    read = world.read(ref)
    assert (read.fields, read.version) == ({"a": b"12", "b": b"4"}, changed.version)
    assert world.run(operations.reseal(world.keys, ref, read)) == 1
    assert operations.reseal(world.keys, ref, world.read(ref)) is None
    assert_measured(world, ref)


def test_what_never_was_is_gone(world):
    ref = world.ref()
    assert world.read(ref) == "gone"
    assert world.update(ref, 1, {"a": b"1"}) == "gone"
    assert world.rotate(ref, world.ref()) == "gone"
    assert world.end(ref) == "gone"
    assert world.read(ref) == "gone", "nothing of that creates it"


def test_an_update_sets_and_removes(world):
    ref, made = world.made(data={"a": b"1", "b": b"2"})
    changed = world.update(ref, made.version, {"c": b"3"}, ["a", "never there"])
    assert changed.fields == {"b": b"2", "c": b"3"}
    assert changed.version > made.version
    assert world.read(ref) == changed


CHANGES: list[dict[str, Any]] = [
    {"fields": {"a": b"3", "c": b"4"}},
    {"fields": {"": b"5"}, "removed": ["a", "never there"]},
    {"removed": ["b"]},
    {"client": Client("d", "192.0.2.1")},
    {"fields": {"c": b"6"}, "client": UNKNOWN},
    {"removed": ["never there"]},
]


@pytest.mark.parametrize("sealed", [False, True])
def test_who_holds_what_was_read_is_told_what_is_new_and_knows_the_rest(world, sealed):
    if sealed:
        world.keys.seal = Reversed(1)
    ref, held = world.made(data={"a": b"1", "b": b"2"})
    for change in CHANGES:
        held = world.update(ref, held.version, **change, onto=held)
        assert held == (read := world.read(ref))
        assert (held.sealed, held.seen_at) == (read.sealed, read.seen_at)
        assert held.size == read.size
    world.update(ref, held.version, {"theirs": b"7"})
    mine = world.update(ref, held.version, {"mine": b"8"}, onto=held)
    assert mine == world.read(ref)
    assert {"theirs", "mine"} <= mine.fields.keys()


def test_who_holds_what_is_stored_is_told_only_of_its_use(world):
    ref, held = world.made(data={"a": b"1"})
    again = world.read(ref, held)
    assert (again, again.told_at > held.told_at) == (held, True)
    assert again.fields is held.fields, "they were not sent"
    world.update(ref, held.version, client=Client("d", None))
    seen = world.read(ref, held)
    assert (seen.client, seen.fields is held.fields) == (Client("d", None), True)
    changed = world.update(ref, held.version, {"b": b"2"})
    assert world.read(ref, held) == changed
    to = world.ref()
    world.rotate(ref, to)
    assert world.read(ref, changed) == Moved(to.member)
    world.end(to)
    assert world.read(to, changed) == "gone"


def test_what_is_held_is_used_by_being_read(world):
    ref, held = world.made(idle=3)
    while world.side.now() < held.created_at + 4:
        read = world.read(ref, held)
        assert isinstance(read, Stored)
        assert read.seen_at >= world.side.now() - 1
        time.sleep(0.2)  # for longer than it lives unused: time is the subject


def test_updates_of_other_fields_merge(world):
    ref, made = world.made()
    for number in range(10):
        world.update(ref, made.version, {f"f{number}": b"%d" % number})
    assert world.read(ref).fields == {f"f{number}": b"%d" % number for number in range(10)}


def test_updates_of_one_field_conflict(world):
    ref, made = world.made(data={"a": b"0", "b": b"0"})
    first = world.update(ref, made.version, {"a": b"1"})
    assert world.update(ref, made.version, {"a": b"2", "b": b"2"}) == "conflict"
    assert world.read(ref) == first, "not even in part"
    assert world.update(ref, first.version, {"a": b"2"}).fields["a"] == b"2"


@pytest.mark.parametrize("how", ["set", "remove"])
def test_a_removal_conflicts_like_a_change(world, how):
    ref, made = world.made(data={"a": b"1"})
    world.update(ref, made.version, {}, ["a"])
    fields, removed = ({"a": b"2"}, ()) if how == "set" else ({}, ["a"])
    assert world.update(ref, made.version, fields, removed) == "conflict"
    assert world.read(ref).fields == {}


def test_a_removal_is_remembered_for_as_long_as_a_version_can_be_built_upon(world):
    ref, made = world.made(data={"a": b"1"})
    version = world.update(ref, made.version, {}, ["a"]).version
    version = world.update(ref, version, {"b": b"0"}).version
    assert world.update(ref, made.version, {"a": b"2"}) == "conflict"
    for number in range(33):
        version = world.update(ref, version, {"b": b"%d" % number}).version
    assert world.run(raw_fields(world.keys, ref)) == {b"d:b"}


def test_exact_takes_no_other_change(world):
    ref, made = world.made()
    changed = world.update(ref, made.version, {"a": b"1"}, exact=True)
    assert world.update(ref, made.version, {"b": b"1"}, exact=True) == "conflict"
    assert isinstance(world.update(ref, changed.version, {"b": b"1"}, exact=True), Stored)


@pytest.mark.parametrize("version", [0, 1, 2**52])
def test_a_version_of_another_history_is_none(world, version):
    ref, _ = world.made()
    assert world.update(ref, version, {"a": b"1"}) == "conflict"


def test_a_version_is_forgotten_after_thirty_two_changes(world):
    ref, made = world.made()
    versions = [made.version]
    for number in range(33):
        versions.append(world.update(ref, versions[-1], {"n": b"%d" % number}).version)
    assert world.update(ref, versions[0], {"other": b"1"}) == "conflict"
    assert isinstance(world.update(ref, versions[2], {"other": b"1"}), Stored)


def test_an_update_that_is_sent_again_is_applied_once(world):
    ref, made = world.made()
    first = world.update(ref, made.version, {"a": b"1"}, nonce="mine")
    world.update(ref, made.version, {"b": b"1"})
    now = world.read(ref)
    assert world.update(ref, made.version, {"a": b"1"}, nonce="mine") == now
    assert now.version > first.version
    assert world.update(ref, made.version, {"a": b"1"}, nonce="other") == "conflict"


def test_an_update_of_nothing_changes_nothing(world):
    ref, made = world.made(data={"a": b"1"})
    assert world.update(ref, made.version, {}, ["never there"]) == made


def test_the_size_is_that_of_names_and_values(world):
    ref, made = world.made(data={"a": b"123"})
    assert world.update(ref, made.version, {"b": b"123"}, most=7) == "large"
    fits = world.update(ref, made.version, {"b": b"123"}, most=8)
    smaller = world.update(ref, fits.version, {}, ["a"], most=8)
    assert world.update(ref, smaller.version, {"c": b"123"}, most=8) == "large", (
        "a removal is remembered, and its name counts"
    )
    assert isinstance(world.update(ref, smaller.version, {"c": b"12"}, most=8), Stored)


def test_a_session_has_so_many_fields(world):
    ref, made = world.made(data={f"f{number}": b"1" for number in range(FIELD_LIMIT - 1)})
    full = world.update(ref, made.version, {"last": b"1"})
    assert world.update(ref, full.version, {"one more": b"1"}) == "large"
    assert isinstance(world.update(ref, full.version, {"instead": b"1"}, ["last"]), Stored)


def test_what_is_too_large_already_may_shrink(world):
    ref, made = world.made(data={"a": b"12345"})
    assert isinstance(world.update(ref, made.version, {"a": b"123"}, most=2), Stored)


def test_rotation_leaves_a_trace_that_leads_on(world):
    old, made = world.made(data={"a": b"1"})
    new = world.ref()
    moved = structs.replace(made, before=(old.member,))
    assert world.rotate(old, new) == moved
    assert world.read(old) == Moved(new.member)
    assert world.update(old, made.version, {"a": b"2"}) == Moved(new.member)
    assert world.read(new) == moved
    assert world.index() == [new.member]


def test_a_rotation_that_is_sent_again_finds_its_own_work(world):
    old, _ = world.made()
    new = world.ref()
    first = world.rotate(old, new)
    changed = world.update(new, first.version, {"a": b"1"})
    assert world.rotate(old, new) == changed
    assert world.index() == [new.member]


def test_a_rotation_that_is_sent_again_when_the_session_has_moved_on_is_a_conflict(world):
    old, _ = world.made()
    new, newer = world.ref(), world.ref()
    world.rotate(old, new)
    world.rotate(new, newer)
    assert world.rotate(old, new) == "conflict"
    assert world.read(newer).before == (old.member, new.member)


def test_a_session_remembers_its_last_eight_ids(world):
    refs = [world.made()[0]]
    for _ in range(10):
        refs.append(world.ref())
        world.rotate(refs[-2], refs[-1])
    assert world.end(refs[-1]).before == tuple(ref.member for ref in refs[2:-1])


def test_a_users_index_ends_with_the_last_session(world):
    ref, _ = world.made(absolute=100)
    world.rotate(ref, world.ref())
    assert 0 < world.index_lasts() <= 100


def test_lapsed_sessions_leave_the_index_where_nothing_limits_them(world):
    for _ in range(3):
        world.made(absolute=1)
    time.sleep(1.1)  # past their absolute end, which is the subject
    world.made()
    assert world.index_size() == 1


def test_two_rotations_at_once_make_one(world):
    old, _ = world.made()
    one, two = world.ref(), world.ref()
    world.rotate(old, one)
    assert world.rotate(old, two) == Moved(one.member)
    assert world.index() == [one.member]


def test_rotation_without_grace_leaves_nothing(world):
    old, _ = world.made(user=None)
    world.rotate(old, world.ref(), user=None, grace=0)
    assert world.read(old) == "gone"


def test_an_end_removes_and_says_until_when_it_would_have_lived(world):
    ref, made = world.made()
    ended = world.end(ref)
    assert ended.expires_at == pytest.approx(made.expires_at)
    assert ended.before == ()
    assert world.read(ref) == "gone"
    assert world.end(ref) == "gone"
    assert world.index() == []


def test_an_end_of_a_version_needs_that_version(world):
    ref, made = world.made(user=None)
    changed = world.update(ref, made.version, {"a": b"1"})
    assert world.end(ref, user=None, version=made.version) == "conflict"
    ended = world.end(ref, user=None, version=changed.version, nonce="mine")
    assert isinstance(ended, Ended)
    assert world.end(ref, user=None, version=changed.version, nonce="mine") == ended, "sent again"
    assert world.end(ref, user=None, version=changed.version, nonce="another") == "gone"
    assert world.read(ref) == "gone"


def test_an_end_of_a_version_that_is_sent_again_tells_the_ids_from_before_too(world):
    old, made = world.made(user=None)
    new = world.ref()
    world.rotate(old, new, user=None, grace=0)
    for _ in range(2):
        ended = world.end(new, user=None, version=made.version, nonce="mine")
        assert ended.before == (old.member,)


@pytest.mark.parametrize("of_a_version", [True, False])
def test_an_end_of_a_rotated_id_leads_on_however_often_it_is_asked(world, of_a_version):
    old, made = world.made()
    new = world.ref()
    world.rotate(old, new)
    for _ in range(2):  # whoever had no answer asks again
        assert world.end(old, version=made.version if of_a_version else 0) == Moved(new.member)
    assert world.read(old) == Moved(new.member)
    assert isinstance(world.read(new), Stored)


def test_a_user_may_have_so_many(world):
    refs = [world.made(max_per_user=2)[0] for _ in range(2)]
    assert world.create(max_per_user=2) == Full((refs[0].member,))
    assert world.create(max_per_user=1) == Full(tuple(ref.member for ref in refs))
    world.end(refs[0])
    assert isinstance(world.create(max_per_user=2), Stored)


def test_a_list_tells_who_lives_and_forgets_who_does_not(world):
    ref, made = world.made(idle=100)
    lapsed, _ = world.made(idle=1)
    time.sleep(1.1)  # unread past its idle time, which is the subject
    living, gone = world.look(ref.member, lapsed.member)
    assert gone is None
    assert living.created_at == pytest.approx(made.created_at, abs=1e-3)
    assert living.idle_until - world.side.now() == pytest.approx(100, abs=10)
    assert world.index() == [ref.member]
    assert isinstance(world.rotate(ref, moved := world.ref()), Stored)
    assert world.listed(moved.member, ref.member).before == [(ref.member,), ()]


def test_idle_time_begins_anew_with_use_and_not_beyond_the_absolute_end(world):
    ref, made = world.made(idle=2, absolute=3.5)
    until = made.created_at + 3.3
    while world.side.now() < until:
        read = world.read(ref)
        assert isinstance(read, Stored) or world.side.now() > until
        time.sleep(0.2)  # used often enough, for as long as it may live: time is the subject
    while world.side.now() < made.created_at + 3.6:
        time.sleep(0.05)
    assert world.read(ref) == "gone"


# --- what only a server can do ----------------------------------------------------------


def calls_on(keys, ref, version):
    """One call of each script that writes, about a session that has `version`."""
    return {
        "create": operations.create(
            keys, ref, SessionPolicy(), user="u", index=HOME, fields={"a": b"1"}, nonce="n"
        ),
        "update": operations.update(
            keys,
            ref,
            version=version,
            nonce="m",
            exact=False,
            max_bytes=99,
            fields={"a": b"2"},
            removed=(),
        ),
        "rotate": operations.rotate(keys, ref, SessionRef(7, b"b" * 16), index=HOME, grace=1),
        "end": operations.end(keys, ref, index=HOME, nonce="e"),
        "read": operations.read(keys, ref),
        "look": operations.look(keys, HOME, [ref.member]),
    }


@pytest.mark.parametrize("script", ["create", "read", "update", "rotate", "end", "look"])
async def test_what_comes_late_does_not_run(on_server, script):
    keys, ref = SessionKeys(f"test-{secrets.token_hex(8)}"), SessionRef(7, b"a" * 16)
    made = "gone"
    if script != "create":
        made = await on_server.run(calls_on(keys, ref, 0)["create"])
    late = calls_on(keys, ref, getattr(made, "version", 0))[script]
    with pytest.raises(redis.ResponseError, match="LATE"):
        await on_server.run(late, not_after=1)
    assert await on_server.run(operations.read(keys, ref)) == made


@pytest.mark.parametrize("script", ["create", "update", "rotate", "end"])
async def test_a_server_that_refuses_writes_is_left_as_it_was(own_server, script):
    keys, ref = SessionKeys("test"), SessionRef(7, b"a" * 16)
    made = "gone"
    if script != "create":
        made = await own_server.run(calls_on(keys, ref, 0)["create"])
    own_server.client.config_set("min-replicas-to-write", 1)
    with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
        await own_server.run(calls_on(keys, ref, getattr(made, "version", 0))[script])
    read = operations.read(keys, ref)
    assert await own_server.run(read) == made, "reads go on"
    own_server.client.config_set("min-replicas-to-write", 0)
    assert await own_server.run(read) == made


# --- several in one call ----------------------------------------------------------------


def test_what_becomes_of_one_session_concerns_no_other_of_the_call(on_server):
    world = World(on_server)
    (ref, made), (other, _) = world.made(data={"a": b"1"}), world.made()
    key, raw = world.keys.session, on_server.client
    raw.set(key(wrong := world.ref()), "no session")
    raw.hset(key(broken := world.ref()), mapping={"a": 2**52, "i": "x"})
    refs = [wrong, ref, broken, world.ref(), ref, other]

    def changes(number, at):
        return world.update_of(at, made.version if at == ref else 0, {"a": b"%d" % number})

    found = on_server.call([changes(number, at) for number, at in enumerate(refs)])
    assert [type(each) for each in found[:3:2]] == [redis.ResponseError] * 2
    assert "WRONGTYPE" in str(found[0])
    assert found[1].fields == {"a": b"1"}
    assert found[3:] == ["gone", "conflict", "conflict"]
    read = on_server.call([operations.read(world.keys, at) for at in refs])
    assert [type(each) for each in read[:3:2]] == [redis.ResponseError] * 2
    assert (read[1], read[3], read[4]) == (found[1], "gone", found[1])
    assert read[5].version != found[1].version


def test_what_is_too_large_beside_others_comes_alone(on_server):
    world = World(on_server)
    large = {"a": b'"%s"' % (b"x" * 40_000)}
    (one, made), (two, second), (little, third) = [world.made(data=d) for d in (large, large, {})]
    first, refused, last = on_server.call(
        [operations.read(world.keys, ref) for ref in (one, two, little)]
    )
    assert (first, last) == (made, third)
    assert isinstance(refused, redis.exceptions.TryAgainError)
    assert world.read(two) == second
    changed, refused = on_server.call(
        [
            world.update_of(ref, held.version, {"b": b"1"})
            for ref, held in ((one, made), (two, second))
        ]
    )
    assert changed.fields == made.fields | {"b": b"1"}
    assert isinstance(refused, redis.exceptions.TryAgainError)
    assert world.read(two) == second, "it was not changed either"
    told = [
        world.update_of(ref, held.version, {"c": b"2"}, onto=held)
        for ref, held in ((one, changed), (two, second))
    ]
    assert all(isinstance(each, Stored) for each in on_server.call(told)), "little is answered"


def test_a_server_that_is_no_primary_says_so_of_the_whole_call(own_server):
    world = World(own_server)
    (ref, made), (other, _) = world.made(), world.made()
    own_server.client.replicaof("127.0.0.1", 1)
    updates = [world.update_of(at, made.version, {"a": b"1"}) for at in (other, ref)]
    with pytest.raises(redis.exceptions.ReadOnlyError):
        own_server.call(updates)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        own_server.call([world.update_of(ref, made.version, client=Client("phone", None))])
    assert own_server.call([operations.read(world.keys, ref)]) == [made], "reads go on"


# --- any sequence, in step --------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "a b", ""])
VALUES = st.sampled_from([b"1", b"null", b'"x"', b'{"deep":[1, 2]}'])


class Pair(RuleBasedStateMachine):
    """Both sides take the same calls; versions differ in number and never in what they allow."""

    make_sides: Callable[[], tuple[Any, ...]]
    ids = Bundle("ids")

    def __init__(self):
        super().__init__()
        self.worlds = tuple(World(side) for side in self.make_sides())
        self.versions = {}
        self.held = {}

    def both(self, call):
        answers = [call(world, side) for side, world in enumerate(self.worlds)]
        one, two = (self.normal(answer) for answer in answers)
        assert one == two
        return answers

    def normal(self, answer):
        if isinstance(answer, Stored):
            return ("stored", answer.user, answer.fields, answer.before)
        if isinstance(answer, Full):  # which ends first may differ: the sides' clocks do
            return ("full", len(answer.first))
        return ("ended", answer.before) if isinstance(answer, Ended) else answer

    def saw(self, ref, answers):
        if isinstance(answers[0], Stored):
            seen = self.versions.setdefault(ref, [])
            pair = tuple(answer.version for answer in answers)
            if pair not in seen:
                seen.append(pair)
            self.held[ref, pair] = answers

    @rule(
        target=ids,
        user=st.sampled_from([None, "u"]),
        data=st.dictionaries(NAMES, VALUES, max_size=3),
        most=st.sampled_from([0, 2, 3]),
    )
    def create(self, user, data, most):
        ref = self.worlds[0].ref()
        answers = self.both(
            lambda world, _: world.create(ref, user=user, data=data, max_per_user=most)
        )
        if not isinstance(answers[0], Stored):
            return multiple()
        self.saw(ref, answers)
        return (ref, user)

    @rule(session=ids)
    def read(self, session):
        self.saw(session[0], self.both(lambda world, _: world.read(session[0])))

    @rule(
        session=ids,
        data=st.data(),
        fields=st.dictionaries(NAMES, VALUES, max_size=2),
        removed=st.sets(NAMES, max_size=2),
        exact=st.booleans(),
        most=st.sampled_from([12, 65536]),
        again=st.booleans(),
    )
    def update(self, session, data, fields, removed, exact, most, again):
        ref = session[0]
        base = data.draw(st.sampled_from(self.versions.get(ref) or [(0, 0)]))
        nonce, unset = secrets.token_hex(8), sorted(removed - set(fields))
        held = self.held.get((ref, base), (None, None))
        for _ in range(2 if again else 1):
            answers = self.both(
                lambda world, side: world.update(
                    ref, base[side], fields, unset,
                    nonce=nonce, exact=exact, most=most, onto=held[side],
                )
            )  # fmt: skip
            self.saw(ref, answers)
            if isinstance(answers[0], Stored):
                assert answers == [world.read(ref) for world in self.worlds]

    @rule(target=ids, session=ids, grace=st.sampled_from([0, 30]), again=st.booleans())
    def rotate(self, session, grace, again):
        (old, user), new = session, self.worlds[0].ref()
        answers = []
        for _ in range(2 if again else 1):
            answers = self.both(lambda world, _: world.rotate(old, new, user=user, grace=grace))
        if not isinstance(answers[0], Stored):
            return multiple()
        self.versions[new] = list(self.versions.get(old, []))
        self.saw(new, answers)
        return (new, user)

    @rule(session=ids, data=st.data(), exact=st.booleans(), again=st.booleans())
    def end(self, session, data, exact, again):
        ref, user = session
        version = (0, 0)
        if exact:
            version = data.draw(st.sampled_from(self.versions.get(ref) or [(1, 1)]))
        nonce = secrets.token_hex(8)
        for _ in range(2 if again else 1):
            self.both(
                lambda world, side: world.end(ref, user=user, version=version[side], nonce=nonce)
            )

    @rule(session=consumes(ids))
    def forget(self, session):
        """Let the machine turn to others."""

    @rule()
    def index(self):
        members = self.worlds[0].index()
        assert sorted(members) == sorted(self.worlds[1].index())
        looks = [world.listed(*members) for world in self.worlds]
        assert [info is None for info in looks[0].infos] == [i is None for i in looks[1].infos]
        assert looks[0].before == looks[1].before


def test_any_sequence_of_calls_has_one_outcome(on_server, in_process):
    machine = type("SessionPair", (Pair,), {"make_sides": lambda _: (on_server, in_process())})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
