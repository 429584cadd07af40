"""What a server that is only reached by wire does not do is one line, and no traceback.

What it may have done, or did, is measured.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import LabError, OutcomeUnknownError, Ran
from aragora_redis.ops.drill import (
    RemoteActor,
    Scenario,
    Stage,
    Terms,
    run,
    run_drill,
    scenarios,
    switcher,
)
from aragora_redis.ops.drill.canaries import Canary
from aragora_redis.ops.drill.measures import OURS, PEER, Objectives
from aragora_redis.ops.drill.parts import Part
from aragora_redis.ops.drill.records import Outcome
from aragora_redis.ops.failover import SwitchoverReport
from aragora_redis.ops.report import Status
from aragora_redis.ops.survey import NodeSurvey, Survey
from aragora_redis.ops.targets import SentinelTarget, StandaloneTarget
from aragora_redis.settings import Settings

PRIMARY, SENTINEL = Address("10.0.0.10", 6379), Address("10.0.0.20", 26379)
CLOSED = RedisConnectionError("Connection closed by server.")
DENIED = NoPermissionError("this user has no permissions to run the 'shutdown' command")


class Server:
    """Is a primary that can be reached or not, and ends by an error or not at all."""

    def __init__(self, ends, out_of_reach=None):
        self._ends, self._out_of_reach = ends, out_of_reach

    async def execute_command(self, *words):
        if words == ("ROLE",):
            return ["master", 0, []]
        if words == ("PING",):
            if self._out_of_reach is not None:
                raise self._out_of_reach
            return True
        if self._ends is None:
            await asyncio.sleep(60)
        raise self._ends


@pytest.mark.parametrize("scenario", [Scenario.KILL_PRIMARY, Scenario.LOSE_SENTINEL])
@pytest.mark.parametrize(
    ("ends", "kind", "said"),
    [
        (DENIED, LabError, "log in as one who may"),
        (None, OutcomeUnknownError, "and may yet do it"),
    ],
    ids=["denied", "silent"],
)
async def test_a_command_that_fails_is_told(monkeypatch, scenario, ends, kind, said):
    actor = acting(monkeypatch, scenario, Server(ends))
    with pytest.raises(kind, match=said):
        await actor.begin()
    await actor.end()


@pytest.mark.parametrize("scenario", [Scenario.KILL_PRIMARY, Scenario.LOSE_SENTINEL])
@pytest.mark.parametrize(
    "error",
    [RedisConnectionError("connection refused"), AuthenticationError("invalid password")],
    ids=["refused", "not let in"],
)
async def test_one_that_is_out_of_reach_was_not_shut_down(monkeypatch, scenario, error):
    actor = acting(monkeypatch, scenario, Server(CLOSED, out_of_reach=error))
    with pytest.raises(LabError, match=str(error)):
        await actor.begin()


@pytest.mark.parametrize("scenario", [Scenario.KILL_PRIMARY, Scenario.LOSE_SENTINEL])
async def test_one_that_is_shut_down_closes_the_connection(monkeypatch, scenario):
    await acting(monkeypatch, scenario, Server(CLOSED)).begin()


def acting(monkeypatch, scenario, server):
    @asynccontextmanager
    async def connected(_at, _access):
        yield server

    async def switch():
        raise AssertionError

    monkeypatch.setattr(scenarios, "connected", connected)
    monkeypatch.setattr(scenarios, "COMMAND_LIMIT", 0.02)
    return RemoteActor(SentinelTarget((SENTINEL,), "m"), scenario, PRIMARY, switch)


@pytest.mark.parametrize(
    ("status", "replaced", "kind"),
    [
        (Status.OK, Ran.YES, None),
        (Status.WARNING, Ran.YES, None),
        (Status.WARNING, Ran.NO, LabError),
        (Status.CRITICAL, Ran.NO, LabError),
        (Status.CRITICAL, Ran.UNKNOWN, OutcomeUnknownError),
    ],
    ids=["done", "done and not all follow", "refused", "backed out", "adrift"],
)
async def test_a_switchover_that_has_promoted_somebody_was_begun(
    monkeypatch, status, replaced, kind
):
    async def switch_over(*_, **__):
        return SwitchoverReport(status, "what became of it", replaced=replaced)

    monkeypatch.setattr(scenarios, "switch_over", switch_over)
    switch = switcher(SentinelTarget((), "m"), "p", SYSTEM_CLOCK, shard=None, force=False)
    if kind is None:
        return await switch()
    with pytest.raises(kind, match="what became of it"):
        await switch()
    return None


class Writer:
    """A client whose every write is acknowledged."""

    async def start(self, key):
        del key

    async def add(self, key, number):
        del key, number
        return Outcome.ACKNOWLEDGED, ""

    async def close(self):
        pass


class Keeps:
    """A server that has what was written."""

    async def smembers(self, key):
        del key
        return {str(number) for number in range(10_000)}

    async def unlink(self, key):
        del key


class Actor:
    """Makes a fault, or says why not."""

    def __init__(self, error):
        self._error = error
        self.ended = False

    async def begin(self):
        if self._error is not None:
            raise self._error

    async def end(self):
        self.ended = True


@pytest.fixture
def stage(monkeypatch):
    node = NodeSurvey(role="master", source=None, info={}, config={})
    seen = Survey(master_name=None, sentinels={}, nodes={PRIMARY: node}, now=0.0)

    async def survey(*_, **__):
        return seen

    @asynccontextmanager
    async def connected(_at, _access):
        yield Keeps()

    part = Part(PRIMARY)
    writers = {name: (part, Canary(Writer(), b"k", hands=1)) for name in (OURS, PEER)}
    monkeypatch.setattr(run, "survey", survey)
    monkeypatch.setattr(run, "connected", connected)
    monkeypatch.setattr(run, "writers_of", lambda *_: writers)
    monkeypatch.setattr(run, "sources_of", lambda *_: [])
    monkeypatch.setattr(run, "BASELINE", 0.05)
    monkeypatch.setattr(run, "SWITCH_LIMIT", 0.0)
    return Stage(Settings(), StandaloneTarget(PRIMARY), part)


async def drilled(stage, error, scenario=Scenario.KILL_PRIMARY):
    terms = Terms(objectives=Objectives(gap=5.0), hold=0.0)
    return await run_drill(stage, scenario, Actor(error), terms=terms, clock=SYSTEM_CLOCK)


async def test_a_fault_that_is_not_made_is_no_drill(stage):
    report = await drilled(stage, LabError("it is refused"))
    assert (report.exit_code, report.verdict) == (2, None)
    assert report.headline == "REFUSED: kill-primary was not begun: it is refused"


async def test_what_comes_of_a_fault_that_may_have_been_made_is_measured(stage):
    error = OutcomeUnknownError("it has not answered, and may yet do it", remedy="see doctor")
    report = await drilled(stage, error)
    assert report.verdict.writers[OURS].acknowledged
    assert report.notes[0] == "it has not answered, and may yet do it (see doctor)"
    # Nobody has seen it, so nothing was shown to hold.
    assert report.exit_code == 1
    assert report.headline == "MISSED: kill-primary: it has not answered, and may yet do it"


async def test_a_fault_is_mended_whatever_becomes_of_those_who_are_told(stage):
    def tell(step):
        if step == "mending it":
            raise SystemExit(1)

    actor, terms = Actor(None), Terms(objectives=Objectives(gap=5.0), hold=0.0)
    task = run_drill(
        stage, Scenario.KILL_PRIMARY, actor, terms=terms, clock=SYSTEM_CLOCK, on_step=tell
    )
    with pytest.raises(SystemExit):
        await task
    assert actor.ended


async def test_what_goes_wrong_after_the_fault_throws_no_measurement_away(stage, monkeypatch):
    async def lost(*_):
        raise LabError("the lab is gone")

    monkeypatch.setattr(run._Drill, "_wait_for_switch", lost)
    report = await drilled(stage, None)
    assert report.verdict.writers[OURS].acknowledged
    assert "the lab is gone" in report.notes
