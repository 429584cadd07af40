"""Whether what an operator does is recorded, before it is done and however it came out."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from aragora_redis.audit.act import Act
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import InvalidInputError, LinkDownError, OutcomeUnknownError, Ran
from aragora_redis.ops.desk import sessions
from aragora_redis.ops.desk.desk import Desk, kept
from aragora_redis.sessions.ids import all_sessions, sessions_of, user_ref
from aragora_redis.settings import Settings
from aragora_redis.state.revocations.ledger import Held
from aragora_redis.state.revocations.receipt import Level, Receipt
from aragora_redis.tokens.entry import Entry

ACT = Act(actor="alice", action="limits reset", target="api 0011", reason="asked for")
IN_PART = InvalidInputError("a bad line")
IN_PART.ran = Ran.YES


class Redis:
    """Stands in for the way to the primary; it answers as often as it is told."""

    def __init__(self, answers=9):
        self.executor = self.links = self
        self.lanes = {"durable": None}
        self.outcomes: list[str] = []
        self._answers = answers

    def lead(self, slot):
        del slot

    def required_replicas(self):
        return 0

    def replicating(self):
        return False

    async def run(self, operation, *, within):  # noqa: ARG002 - as the executor is called
        if self._answers <= len(self.outcomes):
            raise LinkDownError("it is gone")
        named = dict(zip(operation.args[6::2], operation.args[7::2], strict=True))
        assert (named["actor"], named["reason"], named["via"]) == ("alice", "asked for", "cli")
        self.outcomes.append(named["outcome"])
        return operation.read(b"1-1")


def desk_over(redis):
    return Desk(Settings(), cast("Any", redis), cast("Any", redis), SYSTEM_CLOCK, prepared=True)


def doing(result):
    async def work():
        if isinstance(result, BaseException):
            raise result
        return result

    return work


async def test_what_is_done_is_recorded_before_and_after():
    redis = Redis()

    async def work():
        assert redis.outcomes == ["begun"]
        return 7

    assert await desk_over(redis).act(ACT, work, lambda result: f"{result} ended") == 7
    assert redis.outcomes == ["begun", "7 ended"]


@pytest.mark.parametrize(
    ("error", "outcomes"),
    [
        (OutcomeUnknownError("lost"), ["begun", "unknown"]),
        (LinkDownError("down"), ["begun", "did not run"]),
        (IN_PART, ["begun", "ran, with an error"]),
        (asyncio.CancelledError(), ["begun"]),
        (KeyboardInterrupt(), ["begun"]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_goes_wrong_is_on_record_too(error, outcomes):
    redis = Redis()
    with pytest.raises(type(error)):
        await desk_over(redis).act(ACT, doing(error), str)
    assert redis.outcomes == outcomes


async def test_what_cannot_be_recorded_is_not_done():
    done = False

    async def work():
        nonlocal done
        done = True

    with pytest.raises(LinkDownError, match="cannot be recorded, so nothing was done"):
        await desk_over(Redis(answers=0)).act(ACT, work, str)
    assert not done


async def test_what_was_done_is_told_though_its_end_cannot_be_recorded():
    redis = Redis(answers=1)
    assert await desk_over(redis).act(ACT, doing(7), str) == 7
    assert redis.outcomes == ["begun"]


async def test_the_error_of_an_act_is_told_and_not_that_of_its_record():
    with pytest.raises(OutcomeUnknownError, match="lost"):
        await desk_over(Redis(answers=1)).act(ACT, doing(OutcomeUnknownError("lost")), str)


def test_what_only_this_process_knows_is_not_called_done():
    with pytest.raises(OutcomeUnknownError, match="no primary has confirmed it"):
        kept(Receipt(Level.LOCAL, Level.REPLICATED))
    assert kept(Receipt(Level.PRIMARY, Level.REPLICATED)).level is Level.PRIMARY


@pytest.mark.parametrize("whose", ["42", None])
async def test_a_cut_off_of_sessions_comes_after_the_last_whatever_the_clock_says(whose):
    desk = desk_over(Redis(answers=0))
    home = user_ref(desk.digest_key, "42")
    member = sessions_of(desk.digest_key, home) if whose else all_sessions(desk.digest_key)
    last = Entry(30_000, member, int(SYSTEM_CLOCK.wall() + 3600) * 1000)
    joined = []

    class Ledger:
        async def held(self, members):
            assert member in members
            return {member: [Held(last.day, last.score)]}

    async def end_sessions(entries, **_):
        joined.extend(entries)
        return Receipt(Level.PRIMARY, Level.PRIMARY)

    async def no_page(_):
        return {}

    async def act(_, work, __):
        return await work()

    desk.ask_of_tokens, desk.act = no_page, act
    desk.revocations.ledger, desk.revocations.end_sessions = Ledger(), end_sessions
    if whose:
        await sessions.end_user(desk, whose, actor="alice", reason="asked for")
    else:
        await sessions.end_all(desk, actor="alice", reason="asked for")
    assert [entry.score > last.score for entry in joined] == [True]
