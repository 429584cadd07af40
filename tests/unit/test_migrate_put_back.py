"""Settings that a server does not take back are not forgotten."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate.by_replication import ByReplication, TargetServers
from aragora_redis.ops.migrate.journal import Journal, State
from aragora_redis.ops.migrate.replication import Server, changed_by, put_back, secret_of
from aragora_redis.ops.targets import StandaloneTarget

AT, SOURCE = Address("10.0.0.10", 6379), Address("old-redis", 6379)


class Primary:
    """A server with settings, which may be cut off."""

    access = Access(password="its own")

    def __init__(self, address=AT, **settings):
        self.address = address
        self.settings = settings
        self.cut_off = False

    @asynccontextmanager
    async def open(self):
        yield self

    async def config_get(self, name):
        if self.cut_off:
            raise RedisConnectionError("connection refused")
        return {name: self.settings[name]} if name in self.settings else {}

    async def config_set(self, name, value):
        self.settings[name] = value

    async def execute_command(self, *_words):
        pass

    async def info(self, _section):
        assert not self.cut_off
        ids = dict.fromkeys(("master_replid", "master_replid2"), "a" * 40)
        return {"role": "master", "master_repl_offset": 1} | ids


def steps(primary: Any, kept, *, source: Any = None, state=State.MOVED):
    journal = Journal(source=str(SOURCE), target=str(AT), way="replication", state=state, kept=kept)
    made = ByReplication(
        journal,
        lambda _journal: None,
        source=source or Server(SOURCE, Access()),
        source_id="a" * 40,
        target=StandaloneTarget(AT),
        seen=TargetServers(primary, (), ()),
        clock=SYSTEM_CLOCK,
        on_step=lambda _text: None,
        on_copied=lambda _copied: None,
    )
    return made, journal


async def test_what_a_server_does_not_take_back_is_tried_again():
    primary = Primary(masteruser="operator")
    made, journal = steps(primary, {str(AT): {"masteruser": "replica"}})
    primary.cut_off = True
    for _ in range(2):
        (left,) = await made.settle()
        assert f"settings of {AT} are not put back" in left
        assert journal.kept == {str(AT): {"masteruser": "replica"}}
    primary.cut_off = False
    assert await made.settle() == []
    assert (primary.settings, journal.kept) == ({"masteruser": "replica"}, {})


async def test_the_rollback_that_lets_the_target_go_tries_the_source_once_more():
    source = Primary(SOURCE, **{"replica-priority": "0"})
    kept = {str(SOURCE): {"replica-priority": "100"}}
    made, journal = steps(Primary(), kept, source=source, state=State.FOLLOWING)
    assert await made.detach() == []
    assert (source.settings, journal.kept) == ({"replica-priority": "100"}, {})
    assert journal.state is State.ROLLED_BACK


@pytest.mark.parametrize(
    ("before", "kept", "after"),
    [("its own", "own:", "its own"), ("another", "set", "ours"), ("", "", "")],
    ids=["the one that we log in with", "another", "none"],
)
async def test_the_password_that_we_log_in_with_is_given_back(before, kept, after):
    """It is known, and yet not written down."""
    primary: Any = Primary(masterauth=before)
    leader = Server(SOURCE, Access(password="ours"))
    settings = await changed_by(primary, leader)
    assert settings == {"masterauth": kept}
    primary.settings["masterauth"] = "ours"
    made, journal = steps(primary, {str(AT): dict(settings)})
    assert bool(await made.settle()) is (before == "another")
    assert (primary.settings["masterauth"], journal.kept) == (after, {})


async def test_a_secret_that_nobody_knows_is_told_once():
    """What no second run could do either does not keep a migration from its end."""
    made, journal = steps(Primary(masterauth="ours"), {str(AT): {"masterauth": "set"}})
    (left,) = await made.settle()
    assert "had another masterauth" in left
    assert journal.kept == {}
    assert await made.settle() == []


THEN, NOW = Access(username="then", password="its own"), Access(username="now", password="new")


@pytest.mark.parametrize(
    ("login", "fellows", "after"),
    [
        (THEN, [], "its own"),
        (NOW, [], None),
        (NOW, ["its own"], "its own"),
        (THEN, [""], "its own"),
    ],
    ids=["the same", "another", "another, and a replica tells", "the same, and a replica has none"],
)
async def test_a_login_that_has_changed_between_two_runs_is_no_guess(login, fellows, after):
    primary: Any = Primary(masterauth="its own")
    primary.access = THEN
    kept = await changed_by(primary, Server(SOURCE, Access(password="ours")))
    primary.settings["masterauth"], primary.access = "ours", login
    told: Any = [Primary(masterauth=each) for each in fellows]
    _, left = await put_back(primary, kept, await secret_of(told))
    assert primary.settings["masterauth"] == (after or "ours")
    assert bool(left) is (after is None)
