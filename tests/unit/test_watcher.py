"""What the watch on the Sentinels asks them, and when writing stops and goes on."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.fuzz.between import Posing
from tests.unit.test_panel import GROUP, S1, S2, S3, A, B, panel_at, says

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import AragoraRedisError, LinkDownError, UnexpectedReplyError
from aragora_redis.events import Events
from aragora_redis.link import watcher
from aragora_redis.link.account import account_of
from aragora_redis.link.connection import Login
from aragora_redis.link.pipe import Pipe
from aragora_redis.link.watcher import CONFIRM_LIMIT, SentinelWatcher
from aragora_redis.settings import Credentials
from aragora_redis.testing import FakeClock
from aragora_redis.topology.panel import INSIST

MASTER = "aragora-master"
LOGIN = Login(
    account_of(
        Credentials(None, None),
        setting="ARAGORA_REDIS_PASSWORD",
        clock=SYSTEM_CLOCK,
        events=Events(),
    )
)
AT = {name: Address(name, 26379) for name in GROUP}


class Watch:
    """A watch on three Sentinels that all name A under epoch 5, and what it has told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[object] = []
        self.panel = panel_at(A, 5, at=self.now)
        self.watcher = SentinelWatcher(
            MASTER,
            list(AT.values()),
            LOGIN,
            LOGIN,
            self.panel,
            clock=self.clock,
            events=Events(),
            on_view=lambda view: self.told.append(view.primary),
            on_doubt=lambda _doubt: self.told.append("stop"),
            on_confirmed=lambda: self.told.append("go on"),
            on_lost=self.told.append,
        )
        self.watcher._ids |= {address: name for name, address in AT.items()}

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def announce(self, old, new, by=S1):
        words = (MASTER, *map(str, (*old, *new)))
        self.watcher._on_push(AT[by], [b"message", b"+switch-master", " ".join(words).encode()])

    async def hear(self, *said):
        """Record these statements, and let what follows from them happen."""
        for statement in said:
            self.panel.record(statement)
        self.watcher._decide()
        if self.watcher._proving is not None:
            await self.watcher._proving

    async def hear_for(self, seconds, *said):
        """Hear it ten times a second; `said` are those who say it, whom and under which epoch."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            await self.hear(*(says(one, primary, epoch, self.now) for one, primary, epoch in said))


@pytest.fixture
def answer(monkeypatch):
    """What the server says of itself that most Sentinels name; an error if it does not."""
    answers: list[str | AragoraRedisError | None] = [None]

    async def told_fault(*_):
        if isinstance(answers[0], AragoraRedisError):
            raise answers[0]
        return answers[0]

    monkeypatch.setattr(watcher, "told_fault", told_fault)
    return lambda said: answers.__setitem__(0, said)


class Promoting:
    """A Sentinel that promotes B under epoch 6 as soon as it has answered one question."""

    def __init__(self) -> None:
        self.primary, self.epoch = A, 5

    async def request(self, *command: str, timeout: float) -> Any:  # noqa: ASYNC109
        del timeout
        primary, epoch = self.primary, self.epoch
        self.primary, self.epoch = B, 6
        match command[1]:
            case "GET-MASTER-ADDR-BY-NAME":
                return [primary.host.encode(), b"%d" % primary.port]
            case "MASTER":
                return {b"config-epoch": b"%d" % epoch, b"flags": b"master"}
            case "SENTINELS":
                return [
                    {b"runid": name.encode(), b"ip": name.encode(), b"port": b"26379"}
                    for name in GROUP
                    if name != S1
                ]
            case _:
                return []


async def test_a_promotion_between_two_questions_makes_nothing_stale():
    watch, sentinel = Watch(), cast("Pipe", Promoting())
    await watch.watcher._ask(AT[S1], sentinel, S1.encode())
    assert (A, 6) not in {(said.primary, said.epoch) for said in watch.panel.statements}
    await watch.watcher._ask(AT[S1], sentinel, S1.encode())
    assert watch.told == [B]
    await watch.watcher.close()


LOWER = [(name, B, 4) for name in GROUP]
"""All of them name B, under an epoch that does not justify it."""


@pytest.mark.usefixtures("answer")
async def test_what_is_announced_and_confirmed_is_not_written_until_it_is_chosen():
    watch = Watch()
    watch.announce(A, B)
    await watch.hear_for(CONFIRM_LIMIT + 0.5, *LOWER)
    assert watch.told == ["stop"]
    await watch.hear_for(INSIST, *LOWER)
    assert watch.told == ["stop", B]


async def test_what_is_announced_and_confirmed_by_nobody_is_forgotten():
    watch = Watch()
    watch.announce(A, B)
    await watch.hear_for(CONFIRM_LIMIT - 0.2, (S1, B, 4))
    assert watch.told == ["stop"]
    await watch.hear_for(0.5, (S1, B, 4))
    assert watch.told == ["stop", "go on"]


async def test_most_sentinels_stop_writing_without_an_announcement(answer):
    watch = Watch()
    answer(LinkDownError("it cannot be reached"))
    await watch.hear_for(0.1, LOWER[0])
    assert watch.told == []
    await watch.hear_for(2 * INSIST, *LOWER)
    assert watch.told == ["stop"]
    await watch.hear_for(0.1, *((name, A, 5) for name in GROUP))
    assert watch.told == ["stop", "go on"]


async def test_who_says_that_it_is_no_primary_stops_nobody_for_long(answer):
    """Sentinels that were redeployed may name whoever was primary when their file was written."""
    watch = Watch()
    answer("its role is slave")
    await watch.hear_for(0.1, *LOWER)
    assert watch.told == ["stop", "go on"]
    await watch.hear_for(2 * INSIST, *LOWER)
    assert watch.told == ["stop", "go on"]
    answer(None)
    await watch.hear_for(0.1, *LOWER)
    assert watch.told == ["stop", "go on", B]


async def test_who_is_called_down_stops_nobody(answer):
    watch = Watch()
    answer(LinkDownError("it cannot be reached"))
    await watch.hear(*(says(one, B, 4, watch.now, flags=("master", "s_down")) for one in GROUP))
    assert watch.told == []


@pytest.mark.usefixtures("answer")
async def test_sentinels_that_lag_behind_a_failover_stop_nobody():
    watch = Watch()
    await watch.hear_for(0.1, (S1, B, 6), (S2, A, 5), (S3, A, 5))
    assert watch.told == [B]
    await watch.hear_for(1, (S2, A, 5))
    assert watch.told == [B]


@pytest.mark.usefixtures("answer")
async def test_one_sentinel_that_was_redeployed_stops_nobody():
    watch = Watch()
    fresh = says("n1", B, 0, watch.now, group=("n1", S1, S2))
    await watch.hear(fresh, says(S2, A, 5, watch.now), says(S3, A, 5, watch.now))
    assert watch.told == []


def test_what_was_published_before_a_silence_says_nothing_of_it():
    """Who stood still reads it afterwards."""
    watch = Watch()
    watch.clock.advance(10)
    since = watch.now
    for sentinel in GROUP:
        watch.announce(B, A, by=sentinel)
    assert not watch.panel.heard_majority_since(since)


def said(*parts):
    """An array of words, as Sentinels send it."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


async def test_news_that_come_while_a_sentinel_answers_have_it_asked_again(monkeypatch):
    monkeypatch.setattr(watcher, "POLL_EVERY", 3600)
    watch, asked, again = Watch(), [], asyncio.Event()

    def answer(command):
        match command[1]:
            case b"MYID":
                return b"+s1\r\n"
            case b"MASTER":
                asked.append(command)
                (watch.watcher.poke if len(asked) == 1 else again.set)()
                return said(b"config-epoch", b"5", b"flags", b"master")
            case b"GET-MASTER-ADDR-BY-NAME":
                return said(A.host.encode(), b"%d" % A.port)
            case _:
                return said()

    sentinel = Posing()
    sentinel.answer = answer
    async with sentinel.listening():
        watch.watcher._watch(sentinel.address)
        try:
            await asyncio.wait_for(again.wait(), 5)
        finally:
            await watch.watcher.close()


async def test_what_is_to_be_corrected_is_told_before_what_may_pass_by_itself():
    """A Sentinel that is away must not hide that another has never heard of the master."""
    watch = Watch()
    watch.panel.view = None
    watch.watcher._note_trouble(
        AT[S1], watch.watcher._explain(UnexpectedReplyError("ERR No such master with that name"))
    )
    watch.watcher._note_trouble(
        AT[S2], watch.watcher._explain(LinkDownError(f"{AT[S2]} cannot be reached"))
    )
    for told in watch.told:
        assert str(told).startswith(f"no master named '{MASTER}' here, says Sentinel {AT[S1]}")
        assert str(told).endswith("(check ARAGORA_REDIS_SENTINEL_MASTER)")
    assert len(watch.told) == 2
