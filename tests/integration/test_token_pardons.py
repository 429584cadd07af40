"""Pardons, export and import on real servers: rolled back, forged, and by hand."""

from __future__ import annotations

import asyncio
import json
import time

from tests.integration.fleet import healthy, instances, replaced, until

from aragora_redis.events import EraChanged
from aragora_redis.tokens.entry import DAY, PARDONED, RevocationKind, member_of
from aragora_redis.tokens.lines import entry_of
from aragora_redis.tokens.operations import ShardKeys
from aragora_redis.tokens.pardon import Pardons
from aragora_redis.tokens.replica import ShardReplica

KEY = {"ARAGORA_PARDON_KEY": "p" * 32}


def expiry():
    return time.time() + 3600


async def test_i1_a_pardon_in_a_lost_tail_is_published_again_like_what_it_undoes(
    sentinel_lab, connect
):
    lab = sentinel_lab
    async with instances(lab, 2, **KEY) as (witness, dying):
        await dying.tokens.revoke("undone", expires_at=expiry(), reason="mistake")
        await dying.tokens.revoke("kept", expires_at=expiry())
        connect(lab, "primary").config_set("min-replicas-to-write", 0)
        for replica in ("replica-0", "replica-1"):
            connect(lab, replica).replicaof("127.0.0.1", 1)
        await dying.tokens.pardon(jti="undone", actor="ann", within=0.3)
        await until(lambda: not witness.tokens.is_revoked({"jti": "undone"}), within=2)
        await dying.close()
        old, eras = witness.status().primary, list[EraChanged]()
        witness.events.subscribe(lambda e: eras.append(e) if isinstance(e, EraChanged) else None)
        await asyncio.to_thread(lab.kill, "primary")
        await until(lambda: witness.status().primary != old and healthy(witness)())
        await until(lambda: any(era.republish_learned == 1 for era in eras))
        await replaced(lab)
        async with instances(lab, 1, **KEY) as (fresh,), instances(lab, 1) as (keyless,):
            assert not fresh.tokens.is_revoked({"jti": "undone"})
            assert fresh.tokens.is_revoked({"jti": "kept"})
            assert keyless.tokens.is_revoked({"jti": "undone"}), "without the key none is heeded"
            await until(lambda: "pardons" in keyless.status().troubles)
            assert "pardons" not in fresh.status().troubles
            await fresh.tokens.revoke("undone", expires_at=expiry())
            await until(lambda: witness.tokens.is_revoked({"jti": "undone"}), within=2)


async def test_a_forged_or_altered_pardon_is_not_heeded_and_is_said(make_lab, connect):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1, **KEY) as (state,):
        await state.tokens.revoke("x", expires_at=expiry())
        await state.tokens.revoke("y", expires_at=expiry())
        await state.tokens.pardon(jti="y")
        client = connect(lab, "redis-0")
        member = member_of(state.settings.digest_key.reveal_bytes(), RevocationKind.JTI, "x")
        shard = state._shards[member[0] % 16]
        (entry,) = shard.replica.entries_of(member)
        forged = entry.member[:4] + b"f" * 12
        keys = ShardKeys("aragora", shard.index)
        client.zadd(keys.members(entry.day), {forged: PARDONED + entry.score})
        client.hincrby(keys.digests, f"c:{entry.day}", 1)
        state._redis.feed._compared_at = 0.0
        await until(lambda: forged in shard.replica.pardons)
        assert state.tokens.is_revoked({"jti": "x"})
        assert not state.tokens.is_revoked({"jti": "y"})
        await until(lambda: "1 pardons" in state.status().troubles.get("pardons", ""))


def due_of_all(pardons, known):
    """What holds by all that was exported, as an instance with the key sees it."""
    members = {entry.member for entry in known.entries()}
    return [entry for member in members for entry in pardons.due(known, member)]


def test_by_hand(standalone_lab, cli, tmp_path, monkeypatch):
    env = standalone_lab.env() | {"ARAGORA_KEY_PREFIX": "byhand"}
    other = env | {"ARAGORA_KEY_PREFIX": "byhand2"}

    def run(*words, **more):
        return cli("tokens", *words, **(env | KEY | more))

    ends = str(int(time.time() + 2 * DAY))
    signed = ("--reason", "r", "--actor", "ann")
    assert run("revoke", "--jti", "x", "--expires-at", ends, *signed)[0] == 0
    assert run("revoke", "--family", "f", *signed)[0] == 0
    assert run("revoke", "--tenant", "t", *signed)[0] == 2
    assert run("revoke", "--tenant", "t", "--users", "7", *signed)[0] == 0
    code, out, _ = run("list", "--json")
    rows = json.loads(out)["shown"]
    assert {(row["what"], row["actor"]) for row in rows} == {
        (what, "ann") for what in ("token", "family", "tenant")
    }
    assert "7 users: r" in {row["reason"] for row in rows}
    file = tmp_path / "out.jsonl"
    told = json.loads(run("export", str(file), "--json")[1])
    assert told == {"written": 3, "path": str(file)}
    assert b"7 users" in file.read_bytes()
    code, out, _ = run("import", str(file), *signed, **other)
    assert (code, "3 revocations read" in out) == (0, True)
    assert run("look", "--family", "f", **other)[1].startswith("revoked, issued until")
    file.write_bytes(file.read_bytes()[:-30])
    assert run("import", str(file), *signed, **other)[0] == 1
    assert run("pardon", "--jti", "nobody", *signed)[0] == 1
    assert run("pardon", "--jti", "x", *signed)[0] == 0
    assert run("look", "--jti", "x")[1] == "not revoked\n"
    assert run("pardon", "--jti", "x", *signed)[0] == 1
    assert run("revoke", "--jti", "x", "--expires-at", ends, *signed)[0] == 0
    assert run("look", "--jti", "x")[1].startswith("revoked")
    assert run("pardon", "--jti", "x", *signed)[0] == 0
    monkeypatch.delenv("ARAGORA_PARDON_KEY")
    again = ("revoke", "--jti", "x", "--expires-at", ends, *signed)
    assert cli("tokens", *again, **env)[0] == 0, "who has no key for pardons may revoke"
    assert run("look", "--jti", "x")[1].startswith("revoked")
    code, out, _ = cli("audit", "--json", **env)
    assert "tokens pardon" in out
    first: tuple[str, ...] = ()
    for ago in (120, 60):  # the later one hides the earlier one, which is pardoned all the same
        before = ("--issued-before", str(int(time.time()) - ago))
        assert run("revoke", "--user", "u", *before, *signed)[0] == 0
        assert run("pardon", "--user", "u", *signed)[0] == 0
        first = first or before
    assert run("revoke", "--user", "u", *first, *signed)[0] == 0
    assert run("export", str(file))[0] == 0
    known, pardons = ShardReplica(), Pardons(KEY["ARAGORA_PARDON_KEY"].encode())
    for line in file.read_bytes().splitlines(keepends=True):
        if (entry := entry_of(line)) is not None:
            known.apply(entry)
    cut_off = int(first[1]) * 1000
    assert [e for e in due_of_all(pardons, known) if cut_off <= e.score < cut_off + 1000]
