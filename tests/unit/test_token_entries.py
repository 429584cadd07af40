"""Members, records, and which claims they catch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.errors import InvalidInputError, UnexpectedReplyError
from aragora_redis.tokens.claims import Judge, Verdict
from aragora_redis.tokens.entry import (
    DAY,
    PARDONED,
    SCORES,
    SHARDS,
    Entry,
    RevocationKind,
    cut_off_entry,
    full_digest,
    jti_entry,
    member_of,
    read_blob,
)
from aragora_redis.tokens.lines import entry_of, line_of
from aragora_redis.tokens.note import Note
from aragora_redis.tokens.operations import ShardKeys, first_of_day
from aragora_redis.tokens.replica import ShardReplica, lacking

KEY = b"k" * 16
SCOPES = {
    Verdict.USER: ("sub", "u"),
    Verdict.TENANT: ("org_id", "t"),
    Verdict.FAMILY: ("sid", "f"),
}
days = st.integers(0, 999_999)
scores = st.integers(0, PARDONED - 1)
revocations = st.builds(Entry, days, st.binary(min_size=8, max_size=8), scores, st.just(""))
pardons = st.builds(
    Entry,
    days,
    st.binary(min_size=16, max_size=16),
    st.integers(PARDONED, SCORES - 1),
    st.just(""),
)
entries = revocations | pardons


def test_a_member_shows_nothing_and_differs_by_kind_and_key():
    jti = member_of(KEY, RevocationKind.JTI, "user-42")
    assert len(jti) == 8
    assert full_digest(KEY, RevocationKind.JTI, "user-42").startswith(jti)
    assert member_of(KEY * 9, RevocationKind.JTI, "user-42") != jti, "a key of any length"
    assert jti != member_of(KEY, RevocationKind.USER, "user-42")
    assert jti != member_of(b"other" * 4, RevocationKind.JTI, "user-42")
    assert "user-42" not in repr(jti_entry(KEY, "user-42", 1e9, "why"))


@pytest.mark.parametrize("value", ["", "x" * 1025])
def test_ids_have_bounds(value):
    with pytest.raises(InvalidInputError):
        member_of(KEY, RevocationKind.JTI, value)


@given(st.lists(entries, max_size=5))
def test_a_record_of_the_feed_reads_back(written):
    blob = b"".join(map(record, written))
    assert read_blob(blob) == written


def test_pardons_that_are_as_long_as_some_revocations_read_back():
    pardons = [Entry(1, bytes((number,)) * 16, PARDONED + number) for number in range(15)]
    assert read_blob(b"".join(map(record, pardons))) == pardons


def record(entry):
    return b"%c%b%06d%015d" % (len(entry.member), entry.member, entry.day, entry.score)


IMPOSSIBLE = [Entry(1, b"m" * 8, PARDONED), Entry(1, b"m" * 16, PARDONED - 1)]
"""The score is a pardon's and the member is none, or the other way round."""


@pytest.mark.parametrize(
    "blob",
    [
        b"x",
        b"\x08" + b"m" * 8 + b"12345x" + b"0" * 15,
        b"\x09" + b"m" * 9 + b"123456" + b"0" * 15,
        record(Entry(1, b"m" * 8, 1)) + b"x",
        b"x" + record(Entry(1, b"m" * 8, 1)),
        record(Entry(1, b"m" * 8, 1))[:-1],
        *map(record, IMPOSSIBLE),
    ],
)
def test_a_broken_record_is_a_typed_error(blob):
    with pytest.raises(UnexpectedReplyError):
        read_blob(blob)


@pytest.mark.parametrize("impossible", IMPOSSIBLE)
def test_a_pardon_is_one_by_member_and_score_wherever_it_comes_from(impossible):
    """Or a revocation that is taken for a pardon could be imported without being judged."""
    assert entry_of(line_of(impossible)) is None
    page = first_of_day(ShardKeys("p", 0), 1, 0, SCORES, 9)
    with pytest.raises(UnexpectedReplyError):
        page.result([impossible.member, str(impossible.score)])


@given(st.lists(entries, max_size=12), st.randoms())
def test_joins_commute_and_repeat_harmlessly(some, random):
    one, two = ShardReplica(), ShardReplica()
    for entry in some:
        one.apply(entry)
    shuffled = [*some, *some]
    random.shuffle(shuffled)
    for entry in shuffled:
        two.apply(entry)
    assert one.digests() == two.digests()
    assert all(one.score(e.member) == two.score(e.member) for e in some)


def test_whoever_listens_hears_of_all_that_may_change_an_answer():
    replica, heard = ShardReplica(), []
    replica.on_change = lambda: heard.append(len(replica))
    replica.apply(Entry(1, b"m" * 8, 5))
    replica.apply(Entry(1, b"m" * 8, 5))
    replica.apply(Entry(1, b"m" * 8, 4))
    assert len(heard) == 1, "what is known changes nothing"
    replica.apply(Entry(1, b"m" * 8, 6))
    replica.join(2, {b"m" * 8: 5, b"n" * 8: 5})
    assert len(heard) == 3
    while replica.drop_past(3 * DAY):
        assert len(heard) == 3
    assert len(heard) == 4, "a pardon may be forgotten with its day"


def test_digests_tell_different_sets_apart():
    one, two = ShardReplica(), ShardReplica()
    one.apply(Entry(1, b"m" * 8, 5))
    two.apply(Entry(1, b"m" * 8, 6))
    assert one.digests() != two.digests()


def test_lacking_lists_what_is_absent_or_smaller():
    mine = {b"a": 1, b"b": 5, b"c": 3}
    assert dict(lacking(mine, {b"b": 4, b"c": 3})) == {b"a": 1, b"b": 5}


def judged(claims, *revoked):
    replica = ShardReplica()
    for entry in revoked:
        replica.apply(entry)
    found = Judge(KEY).judge(claims, (replica.score,) * SHARDS)
    return found and found.verdict


def cut_off(name, at, kind=RevocationKind.USER):
    return cut_off_entry(member_of(KEY, kind, name), at, 30 * DAY, "")


def test_a_jti_is_caught_and_no_other():
    revoked = jti_entry(KEY, "a", 1e9, "")
    assert judged({"jti": "a"}, revoked) is Verdict.JTI
    assert judged({"jti": "b"}, revoked) is None


@pytest.mark.parametrize(
    ("issued", "verdict"),
    [(999, Verdict.USER), (1000, Verdict.USER), (1001, None), (None, Verdict.USER)],
    ids=["before", "at", "after", "without iat"],
)
def test_a_cut_off_catches_what_was_issued_at_or_before_it(issued, verdict):
    claims = {"jti": "x", "sub": "42"} | ({} if issued is None else {"iat": issued})
    assert judged(claims, cut_off("42", 1000.0)) is verdict


def test_the_latest_cut_off_wins_whatever_the_order():
    early, late = cut_off("42", 1000.0), cut_off("42", 2000.0)
    for order in ((early, late), (late, early)):
        assert judged({"sub": "42", "iat": 1500}, *order) is Verdict.USER


@pytest.mark.parametrize("early", list(SCOPES))
@pytest.mark.parametrize("late", list(SCOPES))
def test_of_several_cut_offs_the_latest_decides(early, late):
    """Keycloak let a realm's newer `not-before` be undone by a user's older one."""
    if early is late:
        return
    claims = {"jti": "x"} | dict(SCOPES.values())
    both = [cut_off(SCOPES[of][1], at, of.kind) for of, at in ((early, 1000.0), (late, 2000.0))]
    for order in (both, both[::-1]):
        assert judged(claims | {"iat": 1500}, *order) is late
        assert judged(claims | {"iat": 2001}, *order) is None
        assert judged({"jti": "x", "iat": 1500}, *order) is None


def test_a_tenant_may_be_a_number_and_an_empty_one_is_none():
    revoked = cut_off("7", 1000.0, RevocationKind.TENANT)
    assert judged({"org_id": 7, "iat": 1}, revoked) is Verdict.TENANT
    assert judged({"jti": "x", "org_id": "", "sid": ""}, revoked) is None


def test_a_note_reads_back():
    note = Note.of(RevocationKind.JTI, "ann", "lost\ta laptop")
    assert Note.read(note.text) == note
    assert Note.of(RevocationKind.JTI, "", "").text == ""
    assert Note.read(None) == Note(None)
    assert len(Note.of(RevocationKind.USER, "a", "x" * 999).reason) == 200
    with pytest.raises(InvalidInputError):
        Note.of(RevocationKind.JTI, "a\tb", "")


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"jti": 7},
        {"sub": ["a"]},
        {"jti": "a", "iat": "now"},
        {"jti": "a", "iat": True},
        {"sub": "a", "iat": 10**400},
        {"jti": "a", "org_id": ["t"]},
        {"jti": "a", "sid": True},
        {"jti": "", "sub": ""},
    ],
)
def test_claims_of_wrong_types_are_refused(claims):
    with pytest.raises(InvalidInputError):
        judged(claims)


def test_names_that_are_remembered_have_a_bound_and_are_never_shown(monkeypatch):
    monkeypatch.setattr("aragora_redis.tokens.claims.KEPT", 3)
    judge, replica = Judge(KEY), ShardReplica()
    replica.apply(jti_entry(KEY, "jti-0", 1e9, ""))
    for _ in range(2):
        for number in range(10):
            found = judge.judge({"jti": f"jti-{number}"}, (replica.score,) * SHARDS)
            assert (found is not None) is (number == 0)
            assert 0 < len(judge._jti) <= 3
    assert "jti-9" in judge._jti
    assert "jti" not in repr(judge._jti)
