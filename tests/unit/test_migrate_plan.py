"""What stands against a migration, by what was found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aragora_redis.address import Address
from aragora_redis.errors import InvalidInputError
from aragora_redis.ops.migrate import journal
from aragora_redis.ops.migrate.by_replication import ExchangeState, state_of_exchange
from aragora_redis.ops.migrate.inventory import Inventory
from aragora_redis.ops.migrate.journal import Journal, State
from aragora_redis.ops.migrate.plan import Way, make_plan, reads
from aragora_redis.ops.migrate.replication import Role
from aragora_redis.ops.report import Status

SOURCE = Inventory(
    address=Address("10.0.0.1", 6379),
    flavour="redis",
    version=(7, 0, 15),
    primary=True,
    clustered=False,
    keys={0: 100},
    expiring=10,
    memory=1 << 20,
    max_memory=0,
    policy="noeviction",
    run_id="a",
)
TARGET = replace(SOURCE, address=Address("10.0.0.2", 6379), keys={}, memory=0, run_id="b")
NODE = replace(TARGET, clustered=True)


def version(flavour, *numbers):
    return {"flavour": flavour, "version": numbers}


def test_an_empty_target_replicates():
    made = make_plan(SOURCE, [TARGET])
    assert (made.way, made.status, made.blocked) == (Way.REPLICATION, Status.OK, None)
    assert made.headline == "OK: 100 keys can be moved by replication"


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ({}, {"clustered": True}, "nodes of a Redis Cluster"),
        ({}, {"follows": False}, "does not take REPLICAOF"),
        ({"feeds": False}, {}, "lets nobody replicate it"),
    ],
)
def test_where_nobody_can_follow_keys_are_copied(source, target, why):
    ours, theirs = replace(SOURCE, **source), replace(TARGET, **target)
    made = make_plan(ours, [theirs])
    assert (made.way, made.status) == (Way.COPY, Status.OK)
    assert any("not been used" in clause for clause in made.stays)
    refused = make_plan(ours, [theirs], wanted=Way.REPLICATION)
    assert refused.way is None
    assert why in (refused.blocked or "")


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ({"address": TARGET.address}, {}, "both the source and the target"),
        ({}, {"run_id": "a"}, "10.0.0.1:6379 is both the source and the target, as 10.0.0.2:6379"),
        ({"clustered": True}, {}, "the source is a Redis Cluster"),
        ({"primary": False}, {}, "is a replica: name its primary"),
        ({"version": (7, 2, 0)}, {}, "cannot load what Redis 7.2.0 dumps"),
        ({"modules": ("bf", "json")}, {"modules": ("json",)}, "has no module bf"),
        ({"keys": {0: 1, 3: 1}}, {"clustered": True}, "keys in 3"),
        ({"memory": 1 << 30}, {"max_memory": 1 << 20}, "do not fit into"),
        ({"pauses": False, "feeds": False}, {}, "cannot hold writes"),
        ({}, {"keys": {0: 7}}, "holds 7 keys, which would be replaced"),
    ],
)
def test_what_stands_against_it(source, target, why):
    made = make_plan(replace(SOURCE, **source), [replace(TARGET, **target)])
    assert made.way is None
    assert made.status is Status.CRITICAL
    assert why in (made.blocked or "")
    assert made.headline == f"CRITICAL: {made.blocked}"


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ({"version": (6, 2, 14)}, {}, "may be no way back"),
        ({"policy": "allkeys-lru"}, {}, "evicts by noeviction"),
        ({"policy": "allkeys-lru"}, {}, "what it evicts meanwhile"),
        ({"large": {"big": 1 << 28}}, {}, "256.0 MiB holds up the source while it is read: big"),
        ({"replicas": 2}, {}, "2 replicas of the source"),
        ({"sentinels": 3}, {}, "3 Sentinels watch the source: a failover of theirs"),
        ({}, {"ahead": 5.2}, "is 5 s ahead of the source's: keys expire that much earlier"),
        ({"ahead": 5.2}, {}, "is 5 s behind the source's: keys expire that much later"),
    ],
)
def test_what_is_to_be_known_before(source, target, told):
    made = make_plan(replace(SOURCE, **source), [replace(TARGET, **target)])
    assert made.way is not None
    assert made.status is Status.WARNING
    assert any(told in finding.text for finding in made.findings)


@pytest.mark.parametrize("run_id", ["", "0" * 40], ids=["nothing", "zeros"])
def test_who_does_not_say_which_run_it_is_is_told_apart_by_the_address(run_id):
    made = make_plan(replace(SOURCE, run_id=run_id), [replace(TARGET, run_id=run_id)])
    assert made.blocked is None


def test_what_sentinels_of_the_source_would_take_back_is_copied():
    watched = replace(SOURCE, sentinels=3)
    assert make_plan(watched, [TARGET]).way is Way.COPY
    refused = make_plan(watched, [TARGET], wanted=Way.REPLICATION).blocked or ""
    assert "would have the target follow it" in refused


def test_what_the_target_holds_may_be_given_up_or_is_the_sources_already():
    held = replace(TARGET, keys={0: 7})
    assert make_plan(SOURCE, [held], overwrite=True).way is Way.REPLICATION
    assert make_plan(SOURCE, [replace(held, primary=False)], attached=True).way is Way.REPLICATION


@pytest.mark.parametrize(
    ("reader", "writer", "can"),
    [
        (("redis", 7, 0, 0), ("redis", 6, 2, 0), True),
        (("redis", 6, 2, 0), ("redis", 7, 0, 0), False),
        (("valkey", 8, 0, 1), ("redis", 7, 2, 4), True),
        (("valkey", 8, 0, 1), ("redis", 7, 4, 0), False),
        (("redis", 7, 0, 0), ("valkey", 8, 0, 1), False),
        (("redis", 8, 0, 0), ("valkey", 8, 0, 1), True),
        (("redis", 8, 0, 0), ("valkey", 9, 0, 0), False),
        (("valkey", 9, 0, 0), ("redis", 8, 0, 0), False),
    ],
)
def test_who_loads_whose_dumps(reader, writer, can):
    ours, theirs = (replace(SOURCE, **version(*each)) for each in (reader, writer))
    assert reads(ours, theirs) is can


GOAL = ("h", 5)


def role(*, primary, offset=5, linked=False, histories=("h", "0")):
    said = {"left": 0, "size": 0, "follows": None, "histories": histories}
    return Role(primary=primary, linked=linked, offset=offset, **said)


def test_an_exchange_that_was_interrupted_is_known_by_who_takes_writes_and_has_everything():
    primary, replica = role(primary=True), role(primary=False)
    promoted = role(primary=True, histories=("new", "h"))
    linked = role(primary=False, linked=True)
    assert state_of_exchange(primary, replica, GOAL) is ExchangeState.GIVER
    assert state_of_exchange(replica, replica, GOAL) is ExchangeState.NOBODY
    assert state_of_exchange(replica, promoted, GOAL) is ExchangeState.TAKER
    assert state_of_exchange(primary, primary, GOAL) is ExchangeState.BOTH
    for anew in ({"offset": 4}, {"histories": ("new", "0")}):
        less = role(primary=True, **anew)
        assert state_of_exchange(replica, less, GOAL) is ExchangeState.ANEW
        assert state_of_exchange(linked, less, GOAL) is ExchangeState.TAKER
    less = role(primary=False, offset=4)
    assert state_of_exchange(replica, less, GOAL) is ExchangeState.BACK
    assert state_of_exchange(less, less, GOAL) is ExchangeState.NOBODY


def test_a_journal_comes_back_as_it_was(tmp_path):
    path = tmp_path / "journal"
    assert journal.read(path) is None
    ours = Journal(source="a:1", target="m", way="copy", state=State.MOVED, patience={"s:1": 5})
    journal.write(path, ours)
    assert journal.read(path) == ours
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["journal"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b"[]", b'{"source":1}', b'{"source":"a","x":1}', b"null"]
)
def test_what_is_no_journal_is_refused(tmp_path, content):
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="is no journal"):
        journal.read(path)


def test_a_journal_of_another_version_is_refused(tmp_path):
    path = tmp_path / "journal"
    journal.write(path, Journal(source="a", target="b", way="copy", version=2))
    with pytest.raises(InvalidInputError, match="another version"):
        journal.read(path)
