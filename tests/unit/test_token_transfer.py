"""Export and import of revocations, and pardons, by the rules and in this process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateways import client_of

from aragora_redis import sync
from aragora_redis.errors import InvalidInputError, Ran
from aragora_redis.settings import from_env
from aragora_redis.state.revocations.importing import IMPORT_STEP
from aragora_redis.state.shared import SharedState
from aragora_redis.tokens.entry import DAY, Entry, RevocationKind
from aragora_redis.tokens.lines import entry_of, line_of, sealed
from aragora_redis.tokens.note import Note
from aragora_redis.tokens.pardon import NAMED_BYTES, NO_PARDONS, Pardons, is_pardon
from aragora_redis.tokens.replica import ShardReplica
from aragora_redis.tokens.transfer import Reader, Writer

ADMIN = "admin-token-000001"
PARDON = {"ARAGORA_PARDON_KEY": "p" * 32}
NOW = 20_000 * DAY + 100.0
EXPIRES = time.time() + 3600


def entry(number, score=None, day=20_000, note=""):
    return Entry(day, number.to_bytes(8, "big"), score or day * DAY * 1000 + 5, note)


def written(*entries, key="aa"):
    writer = Writer(key, NOW)
    return (writer.head + writer.lines(list(entries)) + writer.end()).splitlines(keepends=True)


def read(lines, key="aa"):
    reader = Reader(key, earliest=NOW, latest=NOW, skew=2.0)
    found = [each for line in lines for each in reader.entries(line)]
    reader.finish()
    return found


SOME = [entry(1), entry(2, note="u\tann\twhy"), entry(3, day=20_030)]


def test_a_token_that_was_noted_as_one_is_no_cut_off():
    """Whenever it ends: what a pardon moved to another day, too."""
    late = int(NOW * 1000) + DAY * 1000
    for good in (entry(1, late, day=20_002, note="j\tann\t"), entry(1, late, day=20_000)):
        assert read(written(good)) == [good]


def test_what_is_exported_is_read_again_but_what_has_expired():
    assert read(written(*SOME, entry(4, day=19_999))) == SOME
    assert read(written()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [*lines[:2], lines[1], *lines[2:]],
        lambda lines: [*lines, lines[1]],
        lambda lines: [lines[0], lines[1].replace(b'"score":1', b'"score":2'), *lines[2:]],
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], b"\n", *lines[2:]],
        lambda lines: lines[:0],
        lambda lines: [b"\0" * 100, *lines],
    ],
    ids=["cut", "less", "more", "after", "altered", "no head", "empty", "nothing", "rubbish"],
)
def test_what_is_damaged_is_refused(spoil):
    with pytest.raises(InvalidInputError):
        read(spoil(written(*SOME)))


def test_an_export_in_another_format_is_refused_and_told_from_rubbish():
    head = sealed({"revocations": 1, "key": "aa", "at": int(NOW)})
    with pytest.raises(InvalidInputError, match="format is not 2"):
        read([head, *written(*SOME)[1:]])
    with pytest.raises(InvalidInputError, match="no export"):
        read([sealed({"outbox": 2, "key": "aa"})])


def test_another_key_and_cut_offs_of_the_future_are_refused():
    with pytest.raises(InvalidInputError, match="another key"):
        read(written(*SOME), key="bb")
    late = int(NOW * 1000) + 10_000
    for bad in (
        entry(1, late, day=20_030),
        entry(1, late, day=20_000, note="t\t\t"),
        entry(1, day=40_000),
    ):
        with pytest.raises(InvalidInputError):
            read(written(bad))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(1, 4), st.booleans(), st.booleans(), st.booleans()
        ),
        max_size=12,
    ),
    st.integers(0, 2),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from(["key", "no key", "desk", "desk without key"]),
)
def test_after_any_pardons_a_new_revocation_holds(steps, day, score, ends, last):
    """Whatever was revoked and pardoned before, in whatever order: the last word counts.

    Whoever revokes may lack the key, or know what Redis has of this member alone, as a desk does.
    """
    pardons, replica, member = Pardons(b"k" * 16), ShardReplica(), b"m" * 16
    for at, value, undo, keyed, end in steps:
        by = pardons if keyed else NO_PARDONS
        replica.apply(by.anew(replica, Entry(at, member, value), ends=end))
        assert pardons.due(replica, member)
        if undo:
            for each in pardons.due(replica, member):
                replica.apply(pardons.pardon(each, ""))
            assert not pardons.due(replica, member)
    known = replica
    if last.startswith("desk"):
        known = ShardReplica()
        for each in replica.entries_of(member):
            known.apply(each)
            for other in replica.entries():
                names = other.member[:NAMED_BYTES] == member[:NAMED_BYTES]
                if names and other.day == each.day and is_pardon(other.score):
                    known.apply(other)
    by = pardons if last in {"key", "desk"} else NO_PARDONS
    new = by.anew(known, Entry(day, member, score), ends=ends)
    undone = [
        each for each in range(score, new.score) if pardons.member(member, each) in replica.pardons
    ]
    assert ends or len(undone) == new.score - score, "a cut-off covers no more than it must"
    assert not ends or new.day == day, "what only ends is where it is looked for"
    replica.apply(new)
    assert max(each.score for each in pardons.due(replica, member)) >= score


def test_only_the_key_pardons_and_only_what_it_names():
    ours, theirs = Pardons(b"k" * 16), Pardons(b"x" * 16)
    replica, revoked = ShardReplica(), entry(1, 500)
    replica.apply(revoked)
    forged = theirs.pardon(revoked, "")
    other = ours.pardon(entry(1, 501), "")
    altered = ours.pardon(revoked, "")._replace(member=ours.pardon(revoked, "").member[:-1] + b"x")
    for each in (forged, other, altered):
        replica.apply(each)
        assert ours.due(replica, revoked.member) == [revoked]
    assert ours.stray(replica.pardons, [revoked]) == {
        each.member for each in (forged, other, altered)
    }
    good = ours.pardon(revoked, "")
    assert good.shard == revoked.shard
    replica.apply(good)
    assert not ours.due(replica, revoked.member)
    assert NO_PARDONS.due(replica, revoked.member) == [revoked], "without the key none is heeded"


@pytest.fixture
async def gateway():
    env = {"ARAGORA_ADMIN_TOKEN": ADMIN, "ARAGORA_JWT_SECRET": "0123456789abcdef" * 4} | PARDON
    state = SharedState(from_env(env))
    async with client_of(state, ADMIN) as client:
        yield state, client


async def test_over_http(gateway):
    state, client = gateway
    await state.tokens.revoke("x", expires_at=EXPIRES, reason="why", actor="ann")
    await state.tokens.revoke_user("u", reason="gone")
    rows = (await client.get("/v1/tokens")).json()
    assert (rows["total"], [row["what"] for row in rows["shown"]]) == (2, ["token", "user"])
    assert (rows["shown"][0]["actor"], rows["shown"][0]["reason"]) == ("ann", "why")
    exported = await client.get("/v1/tokens/export")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    async with SharedState(from_env({})) as other:
        imported = await other.tokens.import_all(exported.content.splitlines(keepends=True))
        assert imported.entries == 2
        assert other.tokens.is_revoked({"jti": "x"})
        assert await other.tokens.note({"jti": "x"}) == Note(RevocationKind.JTI, "ann", "why")
    back = await client.post("/v1/tokens/import", content=exported.content)
    assert back.json() == {"entries": 2, "expired": 0, "level": "local"}
    cut = await client.post("/v1/tokens/import", content=exported.content[:-9])
    assert (cut.status_code, cut.json()["ran"]) == (422, "yes")
    assert (await client.post("/v1/tokens/pardon", json={"jti": "y"})).status_code == 422
    assert (await client.post("/v1/tokens/pardon", json={"jti": "x"})).status_code == 200
    assert (await client.post("/v1/tokens/check", json={"jti": "x"})).json() == {"revoked": False}
    rows = (await client.get("/v1/tokens")).json()["shown"]
    assert [row["pardoned"] for row in rows if row["what"] == "token"] == [True]
    await state.tokens.revoke("x", expires_at=EXPIRES)
    assert state.tokens.is_revoked({"jti": "x"}), "what is revoked after a pardon is revoked"


@pytest.mark.parametrize(
    ("bad", "ran", "joined"),
    [
        (0, Ran.NO, 0),
        (1, Ran.NO, 0),
        (9, Ran.YES, 8),
        (IMPORT_STEP + 200, Ran.YES, IMPORT_STEP + 199),
    ],
)
async def test_i5_what_came_before_a_bad_line_is_joined_and_the_error_says_so(bad, ran, joined):
    async with SharedState(from_env({})) as state:
        today = int(time.time() // DAY)
        many = [entry(number, day=today + 1) for number in range(IMPORT_STEP + 500)]
        lines = written(*many, key=state.settings.fingerprint)
        lines[bad] = b"spoilt\n"
        with pytest.raises(InvalidInputError) as caught:
            await state.tokens.import_all(lines)
        assert (caught.value.ran, len(state.tokens)) == (ran, joined)


async def test_an_import_of_what_has_expired_does_not_hold_the_loop():
    async with SharedState(from_env({})) as state:
        over = [entry(number, day=10_000) for number in range(5 * IMPORT_STEP)]
        loading = asyncio.create_task(
            state.tokens.import_all(written(*over, key=state.settings.fingerprint))
        )
        turns = 0
        while not loading.done():
            await asyncio.sleep(0)
            turns += 1
        assert (await loading).expired == len(over)
        assert turns >= 5


async def test_what_was_pardoned_and_revoked_again_is_still_a_token_and_can_be_imported():
    async with SharedState(from_env(PARDON)) as state:
        await state.tokens.revoke("x", expires_at=EXPIRES + 7200)
        await state.tokens.pardon(jti="x")
        await state.tokens.revoke("x", expires_at=EXPIRES)
        shown = (await state.tokens.list()).shown
        assert {each.what for each in shown} == {"token", "pardon"}
        exported = b"".join([piece async for piece in state.tokens.export_all()])
        async with SharedState(from_env(PARDON)) as other:
            await other.tokens.import_all(exported.splitlines(keepends=True))
            assert other.tokens.is_revoked({"jti": "x"})


async def test_a_list_shows_what_was_revoked_and_no_refreshed_login():
    async with SharedState(from_env({})) as state:
        for user in range(20):
            await state.refresh_tokens.rotate(state.refresh_tokens.begin(str(user)))
        await state.sessions.end_all()
        await state.tokens.revoke("x", expires_at=EXPIRES)
        page = await state.tokens.list(limit=10)
        assert sorted(each.what for each in page.shown) == ["sessions", "token"]
        assert page.total == await state.tokens.count() == 2


async def test_a_list_is_read_in_pages(gateway):
    state, client = gateway
    for number in range(5):
        await state.tokens.revoke(f"{number}", expires_at=EXPIRES)  # all at the same moment
    await state.tokens.revoke("last", expires_at=EXPIRES + 2 * DAY)
    whole = await state.tokens.list()
    assert (len(whole.shown), whole.after) == (6, None)
    shown, page = [], (await client.get("/v1/tokens?limit=2")).json()
    while page["after"] is not None:
        shown += page["shown"]
        query = {"limit": 2, "after": page["after"]}
        page = (await client.get("/v1/tokens", params=query)).json()
    assert [each["digest"] for each in shown + page["shown"]] == [x.digest for x in whole.shown]
    assert (await client.get("/v1/tokens", params={"after": "1.2.x"})).status_code == 422


async def test_without_a_key_nothing_is_pardoned():
    async with SharedState(from_env({})) as state:
        await state.tokens.revoke("x", expires_at=EXPIRES)
        with pytest.raises(InvalidInputError, match="PARDON_KEY"):
            await state.tokens.pardon(jti="x")
        assert state.tokens.is_revoked({"jti": "x"})


def test_threads_have_all_of_it_too():
    with sync.SharedState.from_env(PARDON) as state:
        state.tokens.revoke("x", expires_at=EXPIRES, actor="ann")
        assert state.tokens.note({"jti": "x"}) == Note(RevocationKind.JTI, "ann")
        assert state.tokens.count() == 1
        assert state.tokens.list().total == 1
        lines = b"".join(state.tokens.export_all()).splitlines(keepends=True)
        assert state.tokens.import_all(lines).entries == 1
        state.tokens.pardon(jti="x")
        assert not state.tokens.is_revoked({"jti": "x"})


async def test_i1_what_is_over_by_a_clock_that_is_ahead_alone_is_revoked_all_the_same():
    """Or an instance two days ahead revokes nothing, and says that it did what was asked."""
    now = time.time()
    async with SharedState(from_env({})) as state:
        tokens: Any = state.tokens
        tokens._server_now = lambda: now - 2 * DAY
        alive = now - DAY
        assert tokens.revoked_until(alive) == alive
        assert tokens.revoked_until(now - 3 * DAY) is None
        assert await tokens.revoke("token", expires_at=alive)
    entry = Entry(int(alive // DAY), bytes(8), int(alive * 1000))
    writer = Writer("aa", now)
    lines = [writer.head, writer.lines([entry]), writer.end()]
    reader = Reader("aa", earliest=now - 2 * DAY, latest=now, skew=2.0)
    assert [each for line in lines for each in reader.entries(line)] == [entry]


def test_a_note_that_no_join_could_carry_makes_a_line_unreadable():
    """An import would end half way, and an adopted outbox would end the feed, again and again."""
    entry = Entry(20_000, bytes(8), 20_000 * DAY * 1000, "note")
    assert entry_of(line_of(entry)) == entry
    assert entry_of(line_of(entry._replace(note="\ud800"))) is None


@given(st.lists(st.binary(max_size=40) | st.sampled_from(written(*SOME)), max_size=6))
def test_rubbish_is_an_error_of_its_kind_and_brings_nothing_new(lines):
    reader = Reader("aa", earliest=NOW, latest=NOW, skew=2.0)
    found: list[Entry] = []
    try:
        for line in lines:
            found += reader.entries(line)
        reader.finish()
    except InvalidInputError:
        pass
    assert {*found} <= {*SOME}
