"""The record of acts by hand: pages of it, and that nothing waits for it or fails by it."""

from __future__ import annotations

import asyncio
import math
from typing import Any, ClassVar, cast

import pytest

from aragora_redis.audit.act import Act
from aragora_redis.audit.operations import earlier
from aragora_redis.audit.page import Gathered
from aragora_redis.errors import (
    InvalidInputError,
    LinkDownError,
    OutcomeUnknownError,
    SessionGoneError,
)
from aragora_redis.events import Acted, ActLost, AuditTrouble, Events
from aragora_redis.link import supervision
from aragora_redis.settings import Settings
from aragora_redis.state.audit import audit as state_audit
from aragora_redis.state.audit.audit import SURE_AFTER, Audit
from aragora_redis.state.audit.log import KEPT_HERE, MemoryAuditLog, RedisAuditLog
from aragora_redis.state.life import Life
from aragora_redis.sync import SharedState as SyncState
from aragora_redis.testing import FakeClock, memory_state

ACT = Act(actor="ann", action="limits reset", target="api 0011", reason="asked for")


def stored(moment, **named):
    return [f"{moment}-0".encode(), [part.encode() for pair in named.items() for part in pair]]


def page_of(*records, limit=9, actor=None, target=None):
    gathered = Gathered(limit, actor, target)
    return gathered.take(earlier("aragora", None, 9).read(list(records))) or gathered.page()


def test_the_records_of_an_act_are_one_and_unknown_fields_cost_nothing():
    page = page_of(
        stored(9000, id="b", actor="bob", outcome="unknown", at="7.5", of_a_later_version="x"),
        stored(8000, id="b", actor="bob", outcome="begun", at="7.5"),
        stored(2000, id="a", actor="alice", outcome="begun"),
        stored(1000, actor="eve"),
    )
    assert [(each.at, each.actor, each.outcome) for each in page.acts] == [
        (7.5, "bob", "unknown"),
        (2.0, "alice", "begun"),
        (1.0, "eve", "begun"),
    ]
    assert page.older is None


@pytest.mark.parametrize("at", ["nan", "inf", "1e999", "-1", "", "soon", "1" * 400])
def test_an_instant_that_is_none_is_that_of_the_record(at):
    (act,) = page_of(stored(3000, actor="eve", at=at)).acts
    assert act.at == 3.0
    assert math.isfinite(act.at)


def test_no_byte_that_somebody_stored_hides_the_others():
    page = page_of([b"5-1", [b"actor", b"\xff\x00", b"\xfe", b"x"]], stored(4000, actor="bob"))
    assert [act.actor for act in page.acts] == ["\ufffd\x00", "bob"]


async def test_pages_of_a_process_alone_follow_each_other_and_are_bounded():
    log = MemoryAuditLog()
    for number in range(KEPT_HERE + 5):
        await log.append(Act(actor="ann", target=f"{number}"), within=1)
    found, before = [], None
    while True:
        page = await log.recent(300, before=before, actor=None, target=None)
        found += [int(act.target) for act in page.acts]
        before = page.older
        if before is None:
            break
    assert found == list(range(KEPT_HERE + 4, 4, -1))
    with pytest.raises(InvalidInputError, match="no place in the record"):
        await log.recent(1, before="yesterday", actor=None, target=None)


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_record_that_may_be_there_is_looked_for_before_it_is_repeated(arrived):
    class Slow:
        held: ClassVar[list[Any]] = []

        async def run(self, operation, *, within):
            del within
            if operation.args[0] == "XADD":
                if arrived:
                    fields = [str(part).encode() for part in operation.args[6:]]
                    self.held.append([b"1-0", fields])
                raise OutcomeUnknownError("no answer in time")
            return operation.read(self.held)

    log = RedisAuditLog(cast("Any", Slow()), "aragora")
    if arrived:
        await log.append(ACT, within=1)
    else:
        with pytest.raises(OutcomeUnknownError):
            await log.append(ACT, within=1)


class Log(MemoryAuditLog):
    """Records as often as it is told, and then does not."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error
        self.tries = 0

    async def append(self, act, *, within):
        self.tries += 1
        if self.error is not None:
            raise self.error
        await super().append(act, within=within)


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def heard():
    return []


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def audit(log, heard, clock, monkeypatch):
    monkeypatch.setattr(state_audit, "RETRY_AFTER", 0.01)
    events = Events()
    events.subscribe(heard.append)
    made = Audit(
        log,
        life=Life(begun=True),
        clock=clock,
        events=events,
        server_now=lambda: 1234.5,
        instance="gw-1",
    )
    monkeypatch.setattr(supervision, "PAUSE", 0.01)
    running = asyncio.create_task(supervision.supervised("the record", made.run))
    yield made
    running.cancel()


def doing(result):
    async def work():
        if isinstance(result, BaseException):
            raise result
        return result

    return work


async def test_what_names_an_actor_is_recorded_with_its_outcome(audit, heard):
    assert await audit.act(ACT, doing(7), lambda taken: f"taken: {taken}") == 7
    (act,) = (await audit.recent()).acts
    assert (act.at, act.outcome, act.via, act.instance) == (1234.5, "taken: 7", "python", "gw-1")
    assert (act.actor, act.reason, act.id) == ("ann", "asked for", ACT.id)
    assert heard == [Acted("ann", "limits reset", "api 0011", "taken: 7", "python")]


async def test_what_names_nobody_is_not(audit, log, heard):
    assert await audit.act(Act(action="sessions end"), doing(7), str) == 7
    assert (await audit.recent()).acts == ()
    assert (log.tries, heard) == (0, [])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OutcomeUnknownError("lost"), "unknown"),
        (LinkDownError("down"), "did not run"),
        (SessionGoneError("gone"), "did not run"),
        (asyncio.CancelledError(), "unknown"),
        (ZeroDivisionError(), "unknown"),
        (InvalidInputError("a slip of the pen"), None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_goes_wrong_is_told_as_such(audit, error, outcome):
    with pytest.raises(type(error)):
        await audit.act(ACT, doing(error), str)
    acts = (await audit.recent()).acts
    assert [act.outcome for act in acts] == ([outcome] if outcome else [])


@pytest.mark.parametrize("actor", ["x" * 101, "\x1b[2J", "a\nb", "\ud800"])
async def test_who_cannot_be_anybody_does_nothing(audit, actor):
    async def work():
        raise AssertionError

    with pytest.raises(InvalidInputError):
        await audit.act(Act(actor=actor), work, str)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.001)


async def test_acts_do_not_wait_for_their_record_and_none_is_lost_in_an_outage(audit, log, heard):
    log.error = LinkDownError("Redis is away", remedy="")
    for number in range(100):
        assert await audit.act(Act(actor="ann", target=f"{number}"), doing(1), str) == 1
    await until(lambda: audit.trouble is not None)
    assert [each for each in heard if isinstance(each, AuditTrouble)] == [
        AuditTrouble(100, "Redis is away")
    ]
    log.error = None
    await until(lambda: audit.trouble is None)
    acts = (await audit.recent(200)).acts
    assert [int(act.target) for act in acts] == list(range(99, -1, -1))


async def test_a_fault_of_ours_leaves_no_act_behind(audit, log):
    log.error = ZeroDivisionError()
    audit.note(Act(actor="ann", target="x", outcome="done"))
    await until(lambda: log.tries)
    log.error = None
    await until(lambda: log._records)


async def test_what_finds_no_room_is_counted_and_told_and_done_all_the_same(
    audit, log, heard, monkeypatch
):
    monkeypatch.setattr(state_audit, "WAITING", 2)
    log.error = LinkDownError("Redis is away", remedy="")
    for number in range(5):
        assert await audit.act(Act(actor="ann", target=f"{number}"), doing(1), str) == 1
    assert [each.target for each in heard if isinstance(each, ActLost)] == ["2", "3", "4"]


async def test_more_acts_at_once_than_there_is_room_for_are_all_recorded(audit, monkeypatch):
    monkeypatch.setattr(state_audit, "WAITING", 20)
    acts = [Act(actor="ann", target=f"{number}") for number in range(300)]
    await asyncio.gather(*(audit.act(act, doing(1), str) for act in acts))
    assert len((await audit.recent(400)).acts) == 300


async def test_an_act_that_is_cancelled_as_it_waits_for_room_was_done_and_is_told(
    audit, heard, monkeypatch
):
    monkeypatch.setattr(state_audit, "WAITING", 0)
    acting = asyncio.create_task(audit.act(Act(actor="ann", target="x"), doing(1), str))
    await asyncio.sleep(0)
    acting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acting
    assert [each.outcome for each in heard if isinstance(each, ActLost)] == ["1"]


async def test_the_end_of_an_instance_records_what_waits(audit):
    for number in range(100):
        audit.note(Act(actor="ann", target=f"{number}", outcome="done"))
    await audit.finish()
    assert len((await audit.recent(200)).acts) == 100


async def test_what_an_instance_takes_with_it_is_told(audit, log, heard):
    log.error = LinkDownError("Redis is away", remedy="")
    audit.note(Act(actor="ann", target="last", outcome="done"))
    await audit.finish()
    audit.note(Act(actor="ann", target="later", outcome="done"))
    assert [each for each in heard if isinstance(each, ActLost)] == [
        ActLost("ann", "", "last", "done", "Redis is away"),
        ActLost("ann", "", "later", "done", "Redis is away"),
    ]


async def test_a_new_history_gets_what_was_recorded_last(audit, log, clock):
    began = clock.monotonic()
    audit.note(Act(actor="ann", target="old", outcome="done"))
    await audit.recent()
    clock.advance(SURE_AFTER + 1)
    audit.in_step(began + SURE_AFTER + 1)
    audit.note(Act(actor="ann", target="new", outcome="done"))
    await audit.recent()
    audit.in_step(began + SURE_AFTER + 3)
    for _ in range(2):  # until it is sure
        log._records.clear()
        audit.record_again()
        assert [act.target for act in (await audit.recent()).acts] == ["new"]


async def test_in_memory_acts_are_told_too():
    async with memory_state() as state:
        await state.circuits.force("llm", "open", reason="maintenance", actor="ann")
        await state.circuits.force("llm", "auto")
        await state.tokens.revoke_user("mallory", actor="bob", reason="r" * 300)
        await state.sessions.end_all(actor="carol")
        acts = (await state.audit.recent()).acts
        assert [(act.actor, act.action, act.outcome) for act in acts] == [
            ("carol", "sessions end", "local"),
            ("bob", "tokens revoke", "local"),
            ("ann", "circuits force open", "forced-open"),
        ]
        assert acts[1].reason == "r" * 200
        assert "mallory" not in str(acts)
        wrong: list[Any] = [0, 10_001, True, 1.5]
        for limit in wrong:
            with pytest.raises(InvalidInputError, match="a page has"):
                await state.audit.recent(limit)


def test_threads_act_and_read_too():
    with SyncState(Settings()) as state:
        session = state.sessions.create(user="ann")
        state.sessions.create(user="ann")
        state.sessions.end(session, actor="bob", reason="lost")
        state.sessions.end_user("ann", actor="bob")
        acts = state.audit.recent(target="session").acts
        assert [(act.via, act.outcome) for act in acts] == [
            ("sync", "1 ended, local"),
            ("sync", "local"),
        ]
        assert state.audit.recent(actor="eve").acts == ()
