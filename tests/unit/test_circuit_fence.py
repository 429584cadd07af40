"""Circuits beside a primary that may have been replaced: nobody is told what Redis would say."""

from __future__ import annotations

import pytest

from aragora_redis.circuit import operations
from aragora_redis.circuit.machine import Phase
from aragora_redis.circuit.operations import CircuitKeys
from aragora_redis.errors import CircuitOpenError, LinkDownError, OutageError
from aragora_redis.operation import Fence
from aragora_redis.testing import FakeClock, memory_state

POLICIES = """
[circuits.default]
minimum_calls = 2
reporters = 1
half_open_probes = 3
open_for = "30 seconds"
"""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def state(clock):
    return memory_state(POLICIES, clock=clock)


@pytest.fixture
def island(state, monkeypatch):
    """From now on the primary may have been replaced."""
    run = state._executor.run

    async def run_unfenced(operation, *, within):
        if operation.fence is not Fence.NONE:
            raise LinkDownError("most Sentinels are silent")
        return await run(operation, within=within)

    return lambda: monkeypatch.setattr(state._executor, "run", run_unfenced)


async def fail(circuit, calls=2):
    for _ in range(calls):
        circuit.count(await circuit.acquire(), ok=False, duration=0)
    await circuit.report_evidence()


async def test_trial_calls_go_by_the_local_rule(state, clock, island):
    circuit = state.circuits["llm"]
    await fail(circuit)
    clock.advance(60)
    island()
    trial = await circuit.acquire()
    with pytest.raises(CircuitOpenError):
        await circuit.acquire()
    await circuit.report(trial, ok=True, duration=0)
    assert (circuit.state, circuit._known.alone) == ("closed", True)


async def test_what_a_trial_call_found_before_is_kept_here(state, clock, island):
    circuit = state.circuits["llm"]
    await fail(circuit)
    clock.advance(60)
    trial = await circuit.acquire()
    island()
    await circuit.report(trial, ok=False, duration=0)
    assert (circuit.state, circuit._known.alone) == ("open", True)


async def test_evidence_is_pooled_with_nobody(state, island):
    circuit = state.circuits["llm"]
    await fail(circuit, 0)
    island()
    await fail(circuit)
    assert (circuit.state, circuit._known.alone) == ("open", True)


async def test_nothing_is_forced(state, island):
    island()
    with pytest.raises(OutageError):
        await state.circuits.force("llm", "open")


def test_a_force_wants_proof_of_a_server_that_was_silent():
    force = operations.force(CircuitKeys("p"), "llm", Phase.FORCED_OPEN, reason="", nonce="n")
    assert force.fence is Fence.PROBE
