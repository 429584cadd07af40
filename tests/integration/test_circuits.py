"""Circuits on real servers: shared evidence, trial calls fleet-wide, and no Redis at all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.fleet import healthy, instances, until

from aragora_redis.circuit.operations import LEASE_FLOOR
from aragora_redis.errors import CircuitOpenError, LinkDownError, OutcomeUnknownError

_names = itertools.count(1)


@pytest.fixture
def name():
    """A circuit of the test's own."""
    return f"{os.getpid()}-{next(_names)}"


async def fail(circuit, times=6):
    for _ in range(times):
        with pytest.raises((ConnectionError, CircuitOpenError)):
            async with circuit:
                raise ConnectionError


async def succeed(circuit, times=1):
    for _ in range(times):
        async with circuit:
            pass


async def test_what_one_instance_sees_opens_for_all_and_trials_close_again(standalone_lab, name):
    async with instances(standalone_lab, 2) as (one, two):
        here, there = one.circuits[name], two.circuits[name]
        await fail(here)
        await until(lambda: there.state == "open", within=3)
        with pytest.raises(CircuitOpenError) as refused:
            await there.acquire()
        assert 0 < refused.value.retry_after <= 1.2
        await until(lambda: there.state == "half-open", within=3)
        await succeed(there, 3)
        assert there.state == "closed"
        await until(lambda: here.state == "closed", within=3)


async def test_a_failed_trial_opens_for_longer(standalone_lab, name):
    async with instances(standalone_lab, 1) as (state,):
        circuit = state.circuits[name]
        await fail(circuit)
        await until(lambda: circuit.state == "half-open", within=3)
        await fail(circuit, 1)
        assert circuit.snapshot().opens == 2
        assert circuit.snapshot().retry_after > 1.2


async def test_one_instance_that_fails_alone_opens_nothing(standalone_lab, name):
    async with instances(standalone_lab, 2) as (one, two):
        await succeed(two.circuits[name], 2)
        await until(lambda: two.circuits[name].snapshot().calls == 2, within=3)
        await fail(one.circuits[name], 8)
        await until(lambda: one.circuits[name].snapshot().calls == 10, within=3)
        assert one.circuits[name].state == "closed"
        await fail(two.circuits[name], 1)
        await until(lambda: two.circuits[name].state == "open", within=3)


async def test_a_healthy_call_costs_no_round_trip(standalone_lab, name):
    async with instances(standalone_lab, 1) as (state,):
        circuit = state.circuits[name]
        await succeed(circuit)
        asked = []
        run = state._executor.run

        async def counted(operation, *, within):
            asked.append(operation)
            return await run(operation, within=within)

        state._executor.run = counted
        began = time.monotonic()
        await succeed(circuit, 1000)
        took = time.monotonic() - began
        # Reports in the background go by time and not by calls.
        ours = [each for each in asked if each.script and each.script.name.startswith("circuit")]
        assert len(ours) <= 5 + 3 * took


async def test_excluded_errors_and_cancellation_say_nothing(standalone_lab, name):
    async with instances(standalone_lab, 1) as (state,):
        circuit = state.circuits[name]
        for _ in range(10):
            with pytest.raises(KeyError):
                async with circuit.guard(ignore=(KeyError,)):
                    raise KeyError

        @circuit.protect()
        async def forever():
            await asyncio.Event().wait()

        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await forever()
        assert circuit._known.window.seen(time.monotonic()).calls == 0


async def test_tasks_share_one_object(standalone_lab, policies, name):
    # It is not to open while the slower of them are still on their way.
    env = policies("[circuits.default]\nminimum_calls = 1000\n")
    async with instances(standalone_lab, 1, **env) as (state,):
        circuit = state.circuits[name]

        async def call(number):
            async with circuit:
                await asyncio.sleep(0.01 * (number % 3))
                async with circuit:
                    if number % 2:
                        raise ConnectionError

        results = await asyncio.gather(*(call(n) for n in range(20)), return_exceptions=True)
        assert sum(isinstance(each, ConnectionError) for each in results) == 10
        assert not circuit._entered._guards


async def test_force_holds_for_all_until_it_is_lifted(standalone_lab, name):
    async with instances(standalone_lab, 2) as (one, two):
        here, there = one.circuits[name], two.circuits[name]
        await fail(here)
        await until(lambda: there.state == "open", within=3)
        forced = await one.circuits.force(name, "closed", reason="known and harmless")
        assert (forced.state, forced.reason) == ("forced-closed", "known and harmless")
        await until(lambda: there.state == "forced-closed", within=3)
        await fail(there, 10)
        await there.report_evidence()
        assert there.state == "forced-closed", "an older open does not come back"
        await two.circuits.force(name, "open")
        await until(lambda: here.state == "forced-open", within=3)
        with pytest.raises(CircuitOpenError):
            await here.acquire()
        await one.circuits.force(name, "auto")
        await until(lambda: there.state == "closed", within=3)


async def test_the_first_call_of_an_instance_knows_what_the_fleet_knows(standalone_lab, name):
    async with instances(standalone_lab, 2) as (one, two):
        await one.circuits.force(name, "open")
        with pytest.raises(CircuitOpenError):
            async with two.circuits[name]:
                raise AssertionError("let through")


async def test_all_circuits_of_the_fleet_are_listed(standalone_lab, name):
    async with instances(standalone_lab, 2) as (one, two):
        await succeed(one.circuits[name])
        end = time.monotonic() + 5
        while name not in {each.name for each in await two.circuits.all()}:
            assert time.monotonic() < end


def overlap(lines):
    """The most trial calls at one time, from begins and ends of all processes."""
    moves = sorted((at, 1 if word == "begin" else -1) for word, at in lines)
    return max(itertools.accumulate(step for _, step in moves), default=0)


class Probers:
    """Processes that try one circuit at once."""

    def __init__(self, lab, name, count, *, seconds, longest):
        arguments = map(str, (count, name, seconds, longest))
        self.count = count
        self.process: Any = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.prober", *arguments],
            env=os.environ | lab.env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def begin(self):
        for _ in range(self.count):
            assert self.process.stdout.readline() == "ready\n"
        self.process.stdin.write("!" * self.count)
        self.process.stdin.flush()

    def lines(self):
        split = [line.split() for line in self.process.communicate(timeout=60)[0].splitlines()]
        return [(word, float(at)) for word, at in split]

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


async def half_open(state, name):
    circuit = state.circuits[name]
    await fail(circuit)
    await until(lambda: circuit.state == "half-open", within=3)
    return circuit


async def test_i7_twenty_processes_never_make_more_than_three_trial_calls(standalone_lab, name):
    async with instances(standalone_lab, 1) as (state,):
        await half_open(state, name)
        probers = Probers(standalone_lab, name, 20, seconds=3, longest=0.1)
        try:
            await asyncio.to_thread(probers.begin)
            lines = await asyncio.to_thread(probers.lines)
        finally:
            probers.end()
        assert state.circuits[name].state == "half-open"
        assert len(lines) > 60
        assert overlap(lines) == 3


async def test_i7_a_place_is_kept_while_the_call_lasts_and_free_when_its_process_is_killed(
    standalone_lab, name
):
    async with instances(standalone_lab, 1) as (state,):
        circuit = await half_open(state, name)
        for _ in range(2):
            circuit.follow(await circuit.acquire())

        async def free():
            try:
                await circuit.acquire()
            except CircuitOpenError:
                return False
            return True

        probers = Probers(standalone_lab, name, 1, seconds=600, longest=6000)
        try:
            await asyncio.to_thread(probers.begin)
            told = await asyncio.to_thread(probers.process.stdout.readline)
            assert told.startswith("begin")
            longer = time.monotonic() + LEASE_FLOOR + 1
            while time.monotonic() < longer:
                assert not await free()
                await asyncio.sleep(0.1)
        finally:
            probers.end()
        end = time.monotonic() + LEASE_FLOOR + 5
        while not await free():
            assert time.monotonic() < end
            await asyncio.sleep(0.05)


async def test_with_redis_gone_each_goes_by_what_it_has_seen(make_lab, name):
    lab = make_lab("standalone")
    lab.start()
    async with instances(lab, 1) as (state,):
        open_before, closed_before = state.circuits[name], state.circuits[f"{name}-b"]
        await state.circuits.force(name, "open")
        await asyncio.to_thread(lab.kill, "redis-0")
        await until(lambda: state.status().health == "degraded")
        assert open_before.state == "forced-open", "what was open stays so"
        await succeed(closed_before)
        await fail(closed_before)
        await until(lambda: closed_before.state == "open", within=5)
        assert closed_before.snapshot().source == "local"
        await until(lambda: closed_before.state == "half-open", within=5)
        await fail(closed_before, 1)
        assert closed_before.snapshot().opens == 2
        await until(lambda: closed_before.state == "half-open", within=5)
        await succeed(closed_before)
        assert closed_before.state == "closed"
        await asyncio.to_thread(lab.start_node, "redis-0")
        await until(healthy(state))
        await until(lambda: closed_before.snapshot().source == "redis", within=10)
        assert open_before.state == "forced-open"


async def test_an_open_circuit_outlives_the_primary_that_alone_had_it(sentinel_lab, connect, name):
    """The replicas miss the change, so the promoted one holds the circuit closed."""
    lab = sentinel_lab
    async with instances(lab, 2) as (one, two):
        await succeed(two.circuits[name])
        connect(lab, "primary").config_set("min-replicas-to-write", 0)
        for replica in ("replica-0", "replica-1"):
            connect(lab, replica).replicaof("127.0.0.1", 1)
        await one.circuits.force(name, "open", reason="down for good")
        await until(lambda: two.circuits[name].state == "forced-open", within=3)
        (old,) = await asyncio.to_thread(lab.kill, "primary")
        await one.close()
        await until(lambda: two.status().health != "healthy")
        assert two.circuits[name].state == "forced-open"
        await until(healthy(two), within=40)
        await until(lambda: lab.primary() != old)  # the Sentinels agree one after another
        async with instances(lab, 1) as (fresh,):
            await until(lambda: fresh.circuits[name].state == "forced-open", within=10)
            assert fresh.circuits[name].snapshot().reason == "down for good"
        assert two.circuits[name].state == "forced-open"


class Answers:
    """Stands before an executor and lets the answer to some scripts be lost, or be none."""

    def __init__(self, state, monkeypatch):
        self.lost = set()
        self.gone = set()
        self._run = state._executor.run
        monkeypatch.setattr(state._executor, "run", self.run)

    async def run(self, operation, *, within):
        name = operation.script.name if operation.script else ""
        if name in self.gone:
            raise LinkDownError("Redis is away")
        reply = await self._run(operation, within=within)
        if name in self.lost:
            raise OutcomeUnknownError("the answer was lost")
        return reply


async def test_i7_one_success_of_unknown_outcome_closes_nothing(standalone_lab, name, monkeypatch):
    async with instances(standalone_lab, 1) as (state,):
        circuit = await half_open(state, name)
        permit = await circuit.acquire()
        answers = Answers(state, monkeypatch)
        answers.lost = {"circuit_settle"}
        await circuit.report(permit, ok=True, duration=0.01)
        assert circuit.state == "half-open"


async def test_i7_a_place_of_unknown_outcome_is_not_given_twice(standalone_lab, name, monkeypatch):
    async with instances(standalone_lab, 1) as (state,):
        circuit = await half_open(state, name)
        answers = Answers(state, monkeypatch)
        answers.lost = {"circuit_acquire"}
        for _ in range(5):
            with pytest.raises(CircuitOpenError):
                await circuit.acquire()
        answers.lost = set()
        await until(lambda: not circuit._trials._given_up, within=3)
        permits = [await circuit.acquire() for _ in range(3)]
        assert {permit.kind for permit in permits} == {"p"}, "all places came free again"
        with pytest.raises(CircuitOpenError):
            await circuit.acquire()


async def test_i7_a_cancelled_request_for_a_place_gives_it_back(standalone_lab, name):
    async with instances(standalone_lab, 1) as (state,):
        circuit = await half_open(state, name)
        for _ in range(4):
            asking = asyncio.create_task(circuit.acquire())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not circuit._trials._given_up, within=3)
        assert (await circuit.acquire()).kind == "p"


@pytest.mark.alone
async def test_i7_without_redis_trial_calls_that_hang_do_not_add_up(make_lab, policies, name):
    lab = make_lab("standalone")
    lab.start()
    env = policies('[circuits.default]\nopen_for = "0.2 seconds"\n')
    async with instances(lab, 1, **env) as (state,):
        circuit = state.circuits[name]
        await asyncio.to_thread(lab.kill, "redis-0")
        await until(lambda: state.status().health == "degraded")
        await fail(circuit)
        await until(lambda: circuit.state == "half-open", within=5)
        hanging, end = [], time.monotonic() + 2
        while time.monotonic() < end:
            try:
                hanging.append(await circuit.acquire())
            except CircuitOpenError:
                await asyncio.sleep(0.02)
        assert len(hanging) == 1
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(CircuitOpenError):
                await circuit.acquire()
        assert time.monotonic() - began < 0.2, "what is known to be away is not waited for"
        await circuit.report(replace(hanging[0], token="0" * 16), ok=True, duration=0.01)
        assert circuit.state == "half-open", "a permit that was not given here"
        await circuit.report(hanging[0], ok=True, duration=0.01)
        assert circuit.state == "closed"


async def test_a_local_result_that_comes_after_redis_is_back_is_dropped(
    standalone_lab, name, monkeypatch
):
    # Of a fleet of its own: who else is seen in one may have the trial call without Redis.
    async with instances(standalone_lab, 1, ARAGORA_KEY_PREFIX=name) as (state,):
        circuit = await half_open(state, name)
        answers = Answers(state, monkeypatch)
        answers.gone = {"circuit_acquire", "circuit_report"}
        permit = await circuit.acquire()
        assert permit.kind == "l"
        answers.gone = set()
        await fail(circuit, 1)
        await circuit.report(permit, ok=True, duration=0.01)
        assert circuit.state != "closed"


async def test_no_circuit_stays_as_it_is_for_longer_because_a_clock_is_behind(
    standalone_lab, connect, name
):
    async with instances(standalone_lab, 2) as states:
        here, there = (state.circuits[name] for state in states)
        await states[0].circuits.force(name, "open", reason="why", ttl=30)
        await until(lambda: there.state == "forced-open", within=3)
        given = here._known.standing
        client, key = connect(standalone_lab, "redis-0"), states[0].circuits._keys.state(name)
        # What a primary whose clock is an hour behind would find.
        client.hincrby(key, "until", 3600 * 1_000_000)
        await until(lambda: here._known.standing.generation > given.generation, within=5)
        await until(lambda: there._known.standing == here._known.standing, within=5)
        assert here.snapshot().reason == there.snapshot().reason == "why"
        until_ = int(client.hget(key, "until"))
        assert until_ == here._known.standing.until
        assert 0 < until_ / 1e6 - client.time()[0] <= 31


async def test_a_slow_answer_is_no_outage(standalone_lab, name, monkeypatch):
    async with instances(standalone_lab, 2) as (one, two):
        await succeed(two.circuits[name], 20)
        await two.circuits[name].report_evidence()
        circuit = one.circuits[name]
        answers = Answers(one, monkeypatch)
        answers.lost = {"circuit_report"}
        for _ in range(8):
            with pytest.raises(ConnectionError):
                async with circuit:
                    raise ConnectionError
        await circuit.report_evidence()
        assert circuit.state == "closed", "it does not open on one instance's word"


async def test_a_force_holds_after_a_wipe(standalone_lab, connect, name):
    async with instances(standalone_lab, 1) as (state,):
        for word in ("open", "closed", "open", "auto"):
            await state.circuits.force(name, word)
        keys = state.circuits._keys
        connect(standalone_lab, "redis-0").delete(keys.state(name))
        assert (await state.circuits.force(name, "open")).state == "forced-open"
        await state.circuits[name].report_evidence()
        assert state.circuits[name].state == "forced-open"


async def test_a_circuit_that_is_left_in_another_task(standalone_lab, name):
    async with instances(standalone_lab, 1) as (state,):
        circuit = state.circuits[name]
        await asyncio.create_task(circuit.__aenter__())
        await circuit.__aexit__(None, None, None)
        assert not circuit._entered._guards


async def test_a_list_takes_no_places(standalone_lab, name):
    async with instances(standalone_lab, 2) as (one, two):
        await succeed(one.circuits[name])
        await one.circuits._tell_names(time.monotonic())
        shown = await two.circuits.all()
        assert name in [each.name for each in shown]
        assert name not in two.circuits._circuits
