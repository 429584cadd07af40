"""For how long a circuit's state holds here, whatever becomes of the server's clock: no Redis."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from aragora_redis.circuit.machine import Phase, Standing
from aragora_redis.circuit.policy import CircuitPolicy
from aragora_redis.errors import CircuitOpenError, LinkDownError, LinkSilentError
from aragora_redis.rate_limit.share import FleetSize
from aragora_redis.state.circuits.lone_trials import LoneTrials
from aragora_redis.testing import FakeClock, memory_state

POLICIES = "[circuits.default]\nminimum_calls = 1\nreporters = 1\nopen_for = '30 seconds'\n"
HOUR = 3600.0


class SetBack(FakeClock):
    """A clock that is set back, as that of the next primary may be."""

    def set_back(self, seconds: float) -> None:
        self._wall -= seconds


@pytest.fixture
def clock():
    return SetBack()


@pytest.fixture
def state(clock):
    return memory_state(POLICIES, clock=clock)


async def tripped(state):
    circuit = state.circuits["llm"]
    circuit.count(await circuit.acquire(), ok=False, duration=0)
    await circuit.report_evidence()
    assert circuit.state == "open"
    return circuit


@pytest.mark.parametrize("asked", [False, True], ids=["unasked", "asked again"])
async def test_an_open_circuit_is_tried_again_when_it_was_to_be(state, clock, asked):
    circuit = await tripped(state)
    left = circuit.snapshot().retry_after
    clock.advance(10)
    clock.set_back(HOUR)
    assert circuit.snapshot().retry_after == pytest.approx(left - 10)
    if asked:
        await circuit.report_evidence()
        assert circuit.snapshot().retry_after == pytest.approx(left), "the server has begun again"
    clock.advance(left + 0.001)
    assert circuit.state == "half-open"
    if asked:
        assert (await circuit.acquire()).trial
        return
    with pytest.raises(CircuitOpenError) as refused:
        await circuit.acquire()
    assert refused.value.retry_after == pytest.approx(left), "the server begins again only now"


async def test_what_is_forced_ends_when_it_was_to(state, clock):
    await state.circuits.force("llm", "open", reason="why", ttl=60)
    circuit = state.circuits["llm"]
    clock.set_back(HOUR)
    with pytest.raises(CircuitOpenError):
        await circuit.acquire()
    await circuit.report_evidence()
    assert circuit.snapshot().reason == "why"
    clock.advance(59)
    assert circuit.state == "forced-open"
    clock.advance(1.001)
    assert circuit.state == "closed"
    assert not (await circuit.acquire()).trial


def test_no_word_of_a_server_makes_more_of_a_span(state, clock):
    """As of one that has told of it before it found out."""
    circuit, now = state.circuits["llm"], int(clock.wall() * 1e6)
    given = Standing(1, 1, Phase.OPEN, now + 30_000_000, 1, 30_000_000)
    circuit.adopt(given, now - int(HOUR * 1e6))
    assert circuit.snapshot().retry_after == 30
    clock.advance(30)
    assert circuit.state == "half-open"


async def test_what_this_instance_has_decided_alone_ends_too(state, clock):
    circuit = state.circuits["llm"]
    permit = await circuit.acquire()
    state.embedded.outage = LinkDownError("Redis is away")
    circuit.count(permit, ok=False, duration=0)
    await circuit.report_evidence()
    assert (circuit.state, circuit.snapshot().source) == ("open", "local")
    clock.set_back(HOUR)
    assert 30 <= circuit.snapshot().retry_after <= 36
    clock.advance(36)
    assert circuit.state == "half-open"


async def test_i7_nobody_makes_a_trial_call_of_his_own_while_redis_is_only_late(state, clock):
    """It may have given all places, and goes on counting them."""
    circuit = await tripped(state)
    clock.advance(40)
    state.embedded.outage = LinkSilentError("no answer for 100 ms")
    await circuit.report_evidence()
    with pytest.raises(CircuitOpenError):
        await circuit.acquire()
    state.embedded.outage = LinkDownError("no answer for 1 s: closed")
    assert (await circuit.acquire()).kind == "l"


async def test_a_trial_call_without_redis_is_kept_while_its_caller_says_so(state, clock):
    circuit = await tripped(state)
    state.embedded.outage = LinkDownError("Redis is away")
    await circuit.report_evidence()
    clock.advance(40)
    permit = await circuit.acquire()
    assert permit.kind == "l"
    for _ in range(10):  # longer than until another open time would let one more through
        clock.advance(4)
        assert await circuit.keep(permit) == circuit.lease == 5.0
        with pytest.raises(CircuitOpenError):
            await circuit.acquire()
    await circuit.report(permit, ok=True, duration=0.1)
    assert circuit.state == "closed"
    assert await circuit.keep(permit) == 0.0, "it has ended"


@pytest.mark.parametrize("own", range(4))
def test_whose_turn_it_is_without_redis_is_worked_out_once_an_open_time(clock, monkeypatch, own):
    """Each call that is refused asks, and a fleet may have thousands."""
    weighed, fleet, policy = list[bytes](), FleetSize(), CircuitPolicy()

    def weigh(text, **size):
        weighed.append(text)
        return blake2b(text, **size)

    monkeypatch.setattr("aragora_redis.state.circuits.lone_trials.blake2b", weigh)
    lone = LoneTrials(
        "up",
        lambda: policy,
        clock=clock,
        server_now=lambda: int(clock.wall() * 1e6),
        fleet=fleet,
        own=str(own),
    )
    for size in (10, 10, 11):
        fleet.observe(map(str, range(size)), healthy=True)
        said = [lone.take() for _ in range(9)]
        assert said[1:] == [None] * 8
        assert len(weighed) == size
        lone.finish(said[0] or "")
        weighed.clear()
        clock.advance(policy.open_for)
