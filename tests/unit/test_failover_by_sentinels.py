"""A switchover through Sentinels that answer late, die or refuse: who is let write afterwards."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import Ran
from aragora_redis.ops import commands
from aragora_redis.ops.failover import by_sentinels, steps, switch_over, switchover
from aragora_redis.ops.failover.by_sentinels import SentinelHandover
from aragora_redis.ops.failover.plan import Plan, Refusal
from aragora_redis.ops.failover.report import Progress
from aragora_redis.ops.failover.steps import AdriftError, BackedOutError, Steps
from aragora_redis.ops.targets import SentinelTarget

OLD, X, Y = (Address(f"10.0.0.1{n}", 6379) for n in range(3))
S0, S1, S2 = SENTINELS = tuple(Address(f"10.0.0.2{n}", 26379) for n in range(3))
HISTORY, NONE = "a" * 40, ("0" * 40, -1)
IN_PROGRESS = ResponseError("INPROG Failover already in progress")


class Deployment:
    """A primary, two replicas and three Sentinels, which do as they are told."""

    def __init__(self):
        self.roles = {OLD: "master", X: "slave", Y: "slave"}
        self.dead: set[Address] = set()
        self.dies: set[Address] = set()
        """Who is dead once a Sentinel was told."""
        self.answer: object = True
        """What the Sentinels say to SENTINEL FAILOVER; None says nothing."""
        self.promotes = True
        self.started_again: dict[Address, tuple[str, int]] = {}
        """Who is a primary with such a past once a Sentinel was told, though not promoted."""
        self.pasts = dict.fromkeys((OLD, X, Y), NONE)
        """Which history each had before its own, and the first offset that it lacks of it."""
        self.told: list[Address] = []
        self.paused = False
        self.flags = dict.fromkeys((X, Y), "slave")
        """As the Sentinels have them."""
        self.blind: set[Address] = set()
        """Sentinels that reach no replica."""
        self.heir = X
        """Whom they promote."""
        self.slow_answers = 0
        """How many of its answers are late then."""
        self.looks = 0
        """How often a Sentinel was asked for the replicas."""
        self.heard_after = 0
        """How many looks pass before the Sentinels have heard of any priority but 0."""
        self.offsets = dict.fromkeys((OLD, X, Y), 5)
        """What the replicas have; there is no more than 5."""
        self.priorities = dict.fromkeys((OLD, X, Y), 100)
        self.files = dict(self.priorities)
        """The priorities that they start with again."""
        self.has_files = True

    @asynccontextmanager
    async def connected(self, at, _access):
        yield Client(self, at)

    def named(self):
        return next((at for at in (X, Y) if self.roles[at] == "master"), OLD)

    def rewrite(self, at):
        self.files[at] = self.priorities[at]

    async def hand_over(self, to=None):
        plan = Plan(
            master_name="m", sentinels=SENTINELS, majority=2, old=OLD, new=to, others=(X, Y)
        )
        progress = Progress()
        doing = Steps(SYSTEM_CLOCK, progress, lambda _phase: None)
        self.progress = progress
        await SentinelHandover(plan, SentinelTarget(SENTINELS, "m"), doing).hand_over()
        return progress


class Client:
    def __init__(self, deployment, at):
        self._all, self._at = deployment, at

    async def ping(self):
        await self._answer()

    async def execute_command(self, *words):
        await self._answer()
        servers = self._all
        match words:
            case ("SENTINEL FAILOVER", _):
                servers.told.append(self._at)
                servers.dead |= servers.dies
                if servers.promotes:
                    heir = servers.heir
                    servers.roles[heir] = "master"
                    servers.pasts[heir] = (HISTORY, servers.offsets[heir] + 1)
                    servers.rewrite(heir)
                servers.roles |= dict.fromkeys(servers.started_again, "master")
                servers.pasts |= servers.started_again
                if isinstance(servers.answer, Exception):
                    raise servers.answer
                if servers.answer is None:
                    await asyncio.sleep(60)
            case ("SENTINEL GET-MASTER-ADDR-BY-NAME", _):
                return [*servers.named()]
            case ("REPLICAOF", *_):
                servers.roles[self._at] = "slave"
        return None

    async def sentinel_master(self, _name):
        await self._answer()
        host, port = self._all.named()
        return {"ip": host, "port": port}

    async def sentinel_slaves(self, _name):
        await self._answer()
        servers = self._all
        assert not servers.paused
        servers.looks += 1
        return [
            {
                "ip": at.host,
                "port": at.port,
                "flags": "slave,s_down" if self._at in servers.blind else flags,
                "slave-priority": servers.priorities[at] * (servers.looks > servers.heard_after),
            }
            for at, flags in servers.flags.items()
        ]

    async def config_get(self, name):
        return {name: str(self._all.priorities[self._at])}

    async def config_set(self, _name, priority):
        self._all.priorities[self._at] = priority

    async def config_rewrite(self):
        if not self._all.has_files:
            raise ResponseError("The server is running without a config file")
        self._all.rewrite(self._at)

    async def info(self, _section):
        await self._answer()
        if self._at == self._all.heir and self._all.told and self._all.slow_answers:
            self._all.slow_answers -= 1
            raise TimeoutError
        host, port = self._all.named()
        before, lacks = self._all.pasts[self._at]
        return {
            "role": self._all.roles[self._at],
            "master_replid": HISTORY,
            "master_replid2": before,
            "second_repl_offset": lacks,
            "master_repl_offset": 5,
            "slave_repl_offset": self._all.offsets[self._at],
            "master_host": host,
            "master_port": port,
            "master_link_status": "up",
        }

    async def client_pause(self, _ms, **_how):
        self._all.paused = True

    async def client_unpause(self):
        if self._at == OLD:
            self._all.paused = False

    async def client_kill_filter(self, **_which):
        return None

    async def _answer(self):
        if self._at in self._all.dead:
            raise RedisConnectionError("connection refused")


@pytest.fixture
def deployment(monkeypatch):
    made = Deployment()
    monkeypatch.setattr(by_sentinels, "connected", made.connected)
    monkeypatch.setattr(commands, "STEP_LIMIT", 0.05)
    monkeypatch.setattr(steps, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(by_sentinels, "PROMOTE_LIMIT", 0.05)
    return made


@pytest.mark.parametrize("answer", [None, RedisConnectionError("closed"), IN_PROGRESS])
async def test_a_sentinel_that_may_have_begun_is_waited_for_and_no_second_one_told(
    deployment, answer
):
    deployment.answer = answer
    progress = await deployment.hand_over()
    assert progress.new == X
    assert deployment.told == [S0]
    assert deployment.roles[OLD] == "slave"
    assert not deployment.paused
    assert any("has not answered" in note for note in progress.notes) is (answer is not IN_PROGRESS)


async def test_one_that_cannot_be_reached_has_not_begun_so_the_next_is_told(deployment):
    deployment.dead = {S0}
    assert (await deployment.hand_over()).new == X
    assert deployment.told == [S1]


async def test_who_refuses_has_not_begun(deployment):
    deployment.answer, deployment.promotes = ResponseError("NOGOODSLAVE"), False
    with pytest.raises(BackedOutError, match="NOGOODSLAVE"):
        await deployment.hand_over()
    assert deployment.told == [*SENTINELS]
    assert not deployment.paused


@pytest.mark.parametrize("chosen", [None, X])
async def test_writes_are_held_once_the_sentinels_would_promote(deployment, chosen):
    deployment.heard_after = 5
    assert (await deployment.hand_over(to=chosen)).new == X
    assert deployment.looks > deployment.heard_after


@pytest.mark.parametrize("flags", ["slave,s_down", "slave,disconnected"])
async def test_whom_the_sentinels_do_not_reach_costs_nobody_a_pause(deployment, monkeypatch, flags):
    monkeypatch.setattr(by_sentinels, "PREFER_LIMIT", 0.05)
    deployment.flags[X] = flags
    with pytest.raises(BackedOutError, match=f"would promote {X}"):
        await deployment.hand_over(to=X)
    deployment.flags[Y] = flags
    with pytest.raises(BackedOutError, match="would promote a replica"):
        await deployment.hand_over()
    assert deployment.told == []


async def test_a_sentinel_that_cannot_see_the_replica_is_not_told(deployment, monkeypatch):
    monkeypatch.setattr(by_sentinels, "PREFER_LIMIT", 0.05)
    deployment.blind = {S0}
    assert (await deployment.hand_over(to=X)).new == X
    assert deployment.told == [S1]


async def test_the_old_primary_follows_nobody_whom_they_promoted_with_less(deployment):
    """The chosen one had everything, and another was promoted."""
    deployment.heir, deployment.offsets[Y] = Y, 4
    with pytest.raises(AdriftError, match=f"promoted {Y}, which lacks some of what {OLD} has"):
        await deployment.hand_over(to=X)
    assert (deployment.roles[OLD], deployment.paused) == ("master", True)


async def test_a_new_primary_whose_first_answer_is_late_is_asked_again(deployment):
    deployment.slow_answers = 2
    assert (await deployment.hand_over()).new == X
    assert (deployment.roles[OLD], deployment.paused) == ("slave", False)


async def test_whoever_was_promoted_and_says_nothing_is_named(deployment, monkeypatch):
    monkeypatch.setattr(by_sentinels, "LONG_PAUSE", 2 * commands.STEP_LIMIT + 0.2)
    deployment.heir, deployment.slow_answers = Y, 10**6
    with pytest.raises(AdriftError, match=f"promoted {Y}, which does not answer as a primary"):
        await deployment.hand_over(to=X)
    assert deployment.progress.new == Y


async def test_a_promotion_that_too_few_sentinels_are_left_to_name_demotes_the_old_primary(
    deployment, monkeypatch
):
    monkeypatch.setattr(by_sentinels, "VERIFY_LIMIT", 0.05)
    deployment.dead = {S1, S2}
    progress = await deployment.hand_over()
    assert progress.new == X
    assert deployment.roles[OLD] == "slave"
    assert any("not everybody follows" in note for note in progress.notes)


@pytest.mark.parametrize(
    "past",
    [NONE, ("b" * 40, 6), (HISTORY, 5)],
    ids=["it is empty", "it had another history", "it lacks the last of it"],
)
async def test_the_old_primary_never_follows_one_that_has_less(deployment, past):
    """A replica whose file has no `replicaof` is a primary once it was started again."""
    deployment.promotes, deployment.started_again = False, {Y: past}
    deployment.dead = {S1, S2}
    with pytest.raises(AdriftError, match=f"{Y} is primary without all that {OLD} has"):
        await deployment.hand_over()
    assert (deployment.roles[OLD], deployment.paused) == ("master", True)


async def test_two_primaries_are_left_to_a_human(deployment):
    deployment.started_again, deployment.dead = {Y: NONE}, {S1, S2}
    with pytest.raises(AdriftError, match=f"{X} and {Y} are primary"):
        await deployment.hand_over()
    assert (deployment.roles[OLD], deployment.paused) == ("master", True)


async def test_an_old_primary_that_may_take_writes_again_is_not_made_to_lose_them(
    deployment, monkeypatch
):
    monkeypatch.setattr(by_sentinels, "LONG_PAUSE", 0.0)
    with pytest.raises(AdriftError, match=f"{X} was promoted, but only as the pause"):
        await deployment.hand_over()
    assert deployment.roles[OLD] == "master"


async def test_nobody_promoted_lets_the_old_primary_go_on(deployment):
    deployment.promotes = False
    with pytest.raises(BackedOutError, match="no replica was promoted"):
        await deployment.hand_over()
    assert (deployment.roles[OLD], deployment.paused) == ("master", False)


async def test_while_a_silent_replica_may_be_primary_the_old_one_takes_no_writes(deployment):
    """Its pause is left to end by itself."""
    deployment.promotes, deployment.answer, deployment.dies = False, None, {Y}
    with pytest.raises(AdriftError, match=rf"{Y} may have been promoted; {OLD} holds writes"):
        await deployment.hand_over()
    assert deployment.paused


async def test_the_priority_that_chooses_is_undone_in_the_file_too(deployment):
    """Sentinels have the one that they promote write its file."""
    await deployment.hand_over(to=X)
    assert deployment.priorities == deployment.files == dict.fromkeys((OLD, X, Y), 100)


async def test_a_server_without_a_file_has_its_priority_back(deployment):
    deployment.has_files = False
    progress = await deployment.hand_over(to=X)
    assert deployment.priorities[X] == 100
    assert progress.notes == []


@pytest.mark.parametrize(
    ("others", "kept"),
    [({OLD: 50, Y: 50}, 50), ({OLD: 50, Y: 0}, 50), ({OLD: 50, Y: 60}, 1), ({OLD: 1, Y: 1}, 1)],
    ids=["the others agree", "one is never promoted", "they differ", "all are first"],
)
async def test_a_priority_that_a_killed_switchover_left_becomes_what_the_others_have(
    deployment, others, kept
):
    deployment.priorities |= {X: 1} | others
    deployment.rewrite(X)
    progress = await deployment.hand_over(to=X)
    assert deployment.priorities == {X: kept} | others
    assert deployment.files[X] == kept
    assert len(progress.notes) == (kept != 1)


@pytest.mark.parametrize(
    ("ends", "replaced"),
    [
        (None, Ran.YES),
        (TimeoutError(), Ran.YES),
        (BackedOutError("it cannot go on"), Ran.NO),
        (AdriftError("who is primary is not known"), Ran.UNKNOWN),
        (Refusal(("it would hurt",)), Ran.NO),
    ],
    ids=["done", "not demoted", "backed out", "adrift", "refused"],
)
async def test_the_report_says_whether_there_is_another_primary(monkeypatch, ends, replaced):
    async def survey(*_, **__):
        return None

    async def hand_over(*_):
        if ends is not None:
            raise ends

    plan = Plan(master_name="m", sentinels=SENTINELS, majority=2, old=OLD, new=X, others=(X, Y))
    monkeypatch.setattr(switchover, "survey", survey)
    planned = ends if isinstance(ends, Refusal) else plan
    monkeypatch.setattr(switchover, "_plan", lambda *_, **__: planned)
    monkeypatch.setattr(switchover, "_hand_over", hand_over)
    target = SentinelTarget(SENTINELS, "m")
    report = await switch_over(target, prefix="p", clock=SYSTEM_CLOCK)
    assert report.replaced is replaced
