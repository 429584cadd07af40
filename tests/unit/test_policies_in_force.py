"""Limits that only count, limits that are leased, and a policies file that changes meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from aragora_redis import LimitCheck, Rate, SharedState
from aragora_redis.errors import LimitUnavailableError
from aragora_redis.events import Decided, Event, PoliciesRefused, PoliciesReloaded
from aragora_redis.policies import parse_policies
from aragora_redis.rate_limit.gcra import Source
from aragora_redis.rate_limit.reservation import unseal
from aragora_redis.settings import from_env
from aragora_redis.testing import FakeClock, memory_state, outage

POLICIES = """
[limits.shadow]
rate = "2 per minute"
shadow = true
[limits.api]
rate = "5 per minute"
[limits.hot]
rate = "100 per minute"
lease = 10
[limits.hot-open]
rate = "100 per minute"
lease = 10
on_outage = "fail-open"
"""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def state(clock):
    async with memory_state(POLICIES, clock=clock) as made:
        yield made


@pytest.fixture
def events(state):
    heard: list[Event] = []
    state.events.subscribe(heard.append)
    return heard


async def test_a_limit_in_shadow_mode_counts_and_refuses_nobody(state, events):
    for _ in range(2):
        assert not (await state.rate_limits.check("shadow", "s")).shadow
    third = await state.rate_limits.check("shadow", "s")
    assert (third.allowed, third.shadow, third.remaining) == (True, True, 0)
    assert third.retry_after == pytest.approx(30)
    assert (await state.rate_limits.check("shadow", "s")).source is Source.DENY_CACHE
    async with outage(state):
        unknown = await state.rate_limits.check("shadow", "other")
        assert (unknown.allowed, unknown.shadow) == (True, True)
    assert [e.shadow for e in events if isinstance(e, Decided)] == [False, False, True, True, True]
    reserved = await state.rate_limits.reserve("shadow", "s", 1)
    assert (reserved.allowed, reserved.decision.shadow) == (True, True)
    assert (await reserved.settle(1)).charged + reserved.settled.overrun == 1
    daily = Rate("2 per day")
    for _ in range(2):
        assert (await state.rate_limits.check("shadow", "u", limit=daily)).allowed
    assert (await state.rate_limits.check("shadow", "u", limit=daily)).shadow
    denied = await state.rate_limits.reserve("shadow", "u", 1, limit=daily)
    key = state.rate_limits._decider.digest_key
    assert unseal(denied.id, key).rate == (1, 43_200_000_000, 2)


async def test_a_limit_in_shadow_mode_refuses_nobody_together_with_others_either(state):
    checks = LimitCheck("shadow", "s"), LimitCheck("api", "s")
    joints = [await state.rate_limits.check_all(*checks) for _ in range(6)]
    assert [joint.allowed for joint in joints] == [True] * 5 + [False]
    assert [joint.decisions[0] and joint.decisions[0].shadow for joint in joints] == [
        *(False, False, True, True, True),
        None,
    ]
    assert joints[2].retry_after == 0 < joints[5].retry_after
    looks = await state.rate_limits.check_all(*(check._replace(cost=0) for check in checks))
    assert looks.decisions[0].shadow


async def test_leased_tokens_are_given_away_without_asking(state, clock):
    limits = state.rate_limits
    sources = [(await limits.check("hot", "s")).source for _ in range(25)]
    assert set(sources) == {Source.LEASE}
    assert (await limits.check("hot", "s", 0)).remaining == 70, "30 are leased"
    async with outage(state):
        assert (await limits.check("hot", "s")).source is Source.LEASE
        clock.advance(2.1)
        with pytest.raises(LimitUnavailableError):
            await limits.check("hot", "s")
    assert (await limits.check("hot-open", "s")).remaining == 99
    await limits.finish()
    assert (await limits.check("hot-open", "s", 0)).remaining == 99


async def test_leases_never_give_away_more_than_the_limit(state):
    limits = state.rate_limits
    said = await asyncio.gather(*(limits.check("hot", "s", cost=3) for _ in range(60)))
    assert sum(each.allowed for each in said) == 33
    assert {each.source for each in said if each.allowed} == {Source.LEASE}
    assert (await limits.check("hot", "s")).allowed
    assert not (await limits.check("hot", "s")).allowed
    assert await limits.reset("hot", "s")
    assert (await limits.check("hot", "s")).allowed


@pytest.mark.parametrize(
    ("takes", "asked"),
    [
        (0.02, [("reserve", 0.05), ("reserve", 0.05)]),
        (0.04, [("reserve", 0.05), ("gcra", 0.01)]),
    ],
)
async def test_a_check_of_a_leased_limit_is_asked_within_one_deadline(state, clock, takes, asked):
    limits, run, seen = state.rate_limits, state.embedded.run, []
    limits._decider.fleet.observe([str(n) for n in range(20)], healthy=True)

    async def run_slowly(operation, *, within):
        seen.append((operation.script.name, pytest.approx(within)))
        await asyncio.sleep(0)
        clock.advance(takes)
        return await run(operation, within=within)

    state.embedded.run = run_slowly
    said = await asyncio.gather(limits.check("hot", "s"), limits.check("hot", "s", 10))
    assert all(each.allowed for each in said)
    assert seen == asked
    assert limits._decider.deadline == 0.05
    state.embedded.run = run
    await limits.finish()
    assert (await limits.check("hot", "s", 0)).remaining == 89, "nothing is charged twice"


async def test_who_waits_for_a_lease_waits_no_longer_than_for_redis(state):
    limits, run, never = state.rate_limits, state.embedded.run, asyncio.Event()

    async def run_never(operation, *, within):
        await never.wait()
        return await run(operation, within=within)

    state.embedded.run = run_never
    with pytest.raises(LimitUnavailableError):
        await limits.check("hot", "s")
    assert (await limits.check("hot-open", "s")).source is Source.LOCAL
    never.set()


async def test_a_lease_that_is_not_used_comes_back(state, clock):
    await state.rate_limits.check("hot", "s")
    clock.advance(2.0)
    for _ in range(500):
        if (await state.rate_limits.check("hot", "s", 0)).remaining == 99:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("it did not come back")


async def test_a_lease_that_is_being_fetched_at_the_end_comes_back_too(state):
    run, granted, go = state.embedded.run, asyncio.Event(), asyncio.Event()

    async def run_slowly(operation, *, within):
        reply = await run(operation, within=within)
        granted.set()
        await go.wait()
        return reply

    state.embedded.run = run_slowly
    checking = asyncio.create_task(state.rate_limits.check("hot", "s"))
    await granted.wait()
    closing = asyncio.create_task(state.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    go.set()
    await closing
    assert (await checking).allowed
    state.embedded.run = run
    state.start()
    assert (await state.rate_limits.peek("hot", "s")).decision.remaining == 99


async def test_a_lease_of_before_a_reload_brings_back_no_more_than_is_left_of_it(state, clock):
    limits, before = state.rate_limits, POLICIES
    assert (await limits.check("hot", "s")).allowed
    slow = before.replace(
        '[limits.hot]\nrate = "100 per minute"', '[limits.hot]\nrate = "100 per day"'
    )
    state.use_policies(parse_policies(slow, source="policies"))
    clock.advance(2)
    taken = [(await limits.check("hot", "s", 11)).allowed for _ in range(9)]
    await limits.finish()
    clock.advance(5)
    taken += [(await limits.check("hot", "s", 11)).allowed for _ in range(9)]
    assert sum(taken) == 9


async def test_a_lease_that_ends_while_all_are_brought_back_hinders_nobody(state):
    limits = state.rate_limits
    await limits.check("hot", "s")
    await limits.check("hot", "other")

    async def reset():
        await limits.reset("hot", "s")

    resetting = asyncio.create_task(reset())
    await limits.finish()
    await resetting
    assert (await limits.check("hot", "other", 0)).remaining == 99


async def test_a_lease_granted_before_a_reset_is_not_given_away_after_it(state):
    limits, embedded = state.rate_limits, state.embedded
    run, granted, arrive = embedded.run, asyncio.Event(), asyncio.Event()

    async def run_slowly(operation, *, within):
        answer = await run(operation, within=within)
        if operation.script.name == "reserve" and not arrive.is_set():
            granted.set()
            await arrive.wait()
        return answer

    embedded.run = run_slowly
    checking = asyncio.create_task(limits.check("hot", "s"))
    await granted.wait()
    await limits.reset("hot", "s")
    arrive.set()
    assert (await checking).allowed
    assert (await limits.check("hot", "s", 0)).remaining == 90, "one lease is out, not two"
    taken = [(await limits.check("hot", "s")).allowed for _ in range(110)]
    assert sum(taken) == 99


async def wait(heard, kind):
    for _ in range(1000):
        found = [event for event in heard if isinstance(event, kind)]
        if found:
            heard.clear()
            return found[0]
        await asyncio.sleep(0.01)
    raise AssertionError(kind)


async def test_a_policies_file_that_changes_is_in_force_and_a_bad_one_is_not(tmp_path):
    file = tmp_path / "policies.toml"

    def write(text):
        new = tmp_path / "new"
        new.write_text(text)
        new.replace(file)
        made.reread_policies()

    file.write_text('[limits.api]\nrate = "2 per minute"\n')
    made = SharedState(from_env({"ARAGORA_POLICIES": str(file)}))
    heard: list[Event] = []
    made.events.subscribe(heard.append)
    async with made:
        limits = made.rate_limits
        for _ in range(3):
            refused = await limits.check("api", "s")
        before = made.status().policies
        assert not refused.allowed
        write('[limits.api]\nrate = "2 per fortnight"\n')
        refusal = (await wait(heard, PoliciesRefused)).reason
        assert "line 2" in refusal
        assert made.status().troubles["policies"] == refusal
        assert (await limits.check("api", "s")).source is Source.DENY_CACHE
        file.unlink()
        made.reread_policies()
        await wait(heard, PoliciesRefused)
        write('[limits.api]\nrate = "2 per minute"\nburst = 12\n[limits.new]\nrate = "1/second"\n')
        assert (await wait(heard, PoliciesReloaded)).hash == made.status().policies != before
        assert (await limits.check("api", "s", 10)).allowed, "no refusal outlives its limit"
        assert not (await limits.check("api", "s")).allowed, "what was used stays used"
        assert (await limits.check("new", "s")).allowed


async def test_a_policies_file_that_is_mended_is_told_though_nothing_else_is_in_force(tmp_path):
    file = tmp_path / "policies.toml"
    good = '[limits.api]\nrate = "2 per minute"\n'
    file.write_text(good)
    made = SharedState(from_env({"ARAGORA_POLICIES": str(file)}))
    heard: list[Event] = []
    made.events.subscribe(heard.append)
    async with made:
        before = made.status().policies
        file.write_text(good + "brust = 3\n")
        made.reread_policies()
        assert "line 3" in (await wait(heard, PoliciesRefused)).reason
        file.write_text(good)
        made.reread_policies()
        assert (await wait(heard, PoliciesReloaded)).hash == made.status().policies == before
        assert not made.status().troubles
