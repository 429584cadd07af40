"""What users are shown of their sessions, who ends them, and how many there may be at once."""

from __future__ import annotations

import asyncio
import secrets

import pytest
import redis
from tests.integration.fleet import instances, until

from aragora_redis.errors import SessionGoneError, TooManySessionsError
from aragora_redis.sessions.client import Client
from aragora_redis.sessions.stored import Session

PHONE = Client("Firefox on a phone\r\n\u202e" + "x" * 500, "2001:db8:1:2::3")


@pytest.fixture
def user():
    return f"user-{secrets.token_hex(6)}"


async def test_users_see_their_sessions_and_end_the_others(standalone_lab, user):
    keys = {"ARAGORA_SESSION_KEYS": "k:" + "k" * 32}
    async with instances(standalone_lab, 2, **keys) as (one, two):
        here = await one.sessions.create(user, client=Client("laptop", "203.0.113.9"))
        anonymous = await one.sessions.create(data={"cart": 1})
        there = await two.sessions.authenticate(anonymous, user, client=PHONE)
        rotated = await two.sessions.rotate(there)
        first, second = await one.sessions.of_user(user)
        assert (first.handle, first.device, first.address) == (here.handle, "laptop", "203.0.113.9")
        assert (second.handle, second.address) == (rotated.handle, "2001:db8:1:2::3")
        assert second.device.startswith("Firefox on a phone xxx")
        assert len(second.device) == 256
        moved = await one.sessions.update(here, client=Client("laptop", "198.51.100.7"))
        assert moved.version == here.version, "where it is used from is no change"
        assert (await two.sessions.get(here.id)).client.address == "198.51.100.7"
        assert first.created_at == pytest.approx(first.seen_at, abs=1)
        ended = await one.sessions.end_user(user, keep=here.handle)
        assert ended.count == 1
        await until(lambda: two.revocations.has_ended(rotated.ref.member))
        assert await two.sessions.get(rotated.id) is None
        assert [each.handle for each in await two.sessions.of_user(user)] == [here.handle]


async def test_last_use_is_known_to_a_hundredth_of_the_idle_time(standalone_lab, policies, user):
    env = policies('[sessions]\nidle = "10 seconds"\nabsolute = "10 seconds"\n')
    async with instances(standalone_lab, 1, **env) as (state,):
        made = await state.sessions.create(user)
        await until(lambda: state._redis.server_now() > made.seen_at + 0.2)
        used = await state.sessions.get(made.id)
        assert used.seen_at >= made.seen_at + 0.15
        (info,) = await state.sessions.of_user(user)
        assert info.seen_at == used.seen_at


@pytest.mark.parametrize(
    ("remember", "device", "address"),
    [("network", "d", "2001:db8:1::/48"), ("nothing", None, None)],
    ids=["network", "nothing"],
)
async def test_a_service_stores_less_of_the_client(
    standalone_lab, policies, user, remember, device, address
):
    env = policies(f'[sessions]\nremember = "{remember}"\n')
    node = standalone_lab.node("redis-0")
    async with instances(standalone_lab, 1, **env) as (state,):
        made = await state.sessions.create(user, client=Client("d", "2001:db8:1:2::3"))
        (info,) = await state.sessions.of_user(user)
        assert (info.device, info.address) == (device, address)
        with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
            held = client.hget(state.sessions._store.keys.session(made.ref), "w")
        assert b"2::3" not in held


@pytest.mark.parametrize("on_full", ["end-oldest", "refuse"])
async def test_a_hundred_logins_at_once_leave_three(standalone_lab, policies, user, on_full):
    env = policies(f'[sessions]\nmax_per_user = 3\non_full = "{on_full}"\n')
    async with instances(standalone_lab, 2, **env) as states:
        outcomes = await asyncio.gather(
            *(states[n % 2].sessions.create(user, within=10) for n in range(100)),
            return_exceptions=True,
        )
        made = [each for each in outcomes if isinstance(each, Session)]
        others = [each for each in outcomes if not isinstance(each, Session)]
        assert all(isinstance(each, TooManySessionsError) for each in others), others[:3]
        living = [each for each in made if await states[0].sessions.get(each.id)]
        assert len(living) == len(await states[1].sessions.of_user(user)) == 3
        if on_full == "refuse":
            assert made == living
        else:
            assert len(made) == 100, "each login ends the oldest"


async def test_all_sessions_of_everybody_end_at_once(make_lab, policies, user):
    lab = make_lab("standalone")
    lab.start()
    env = policies('[sessions]\nmax_per_user = 1\non_full = "refuse"\n')
    async with instances(lab, 2, **env) as (one, two):
        made = await one.sessions.create(user)
        nobody = await one.sessions.create(data={"a": 1})
        await one.sessions.end_all()
        await until(lambda: two.sessions._store.has_ended(made.ref, made.created_at, None))
        for state in (one, two):
            assert await state.sessions.get(made.id) is None
            assert await state.sessions.get(nobody.id) is None
            assert await state.sessions.of_user(user) == []
            with pytest.raises(SessionGoneError):
                await state.sessions.update(nobody, set={"a": 2})
            with pytest.raises(SessionGoneError):
                await state.sessions.rotate(made)
        again = await two.sessions.create(user)
        assert (await one.sessions.get(again.id)).id == again.id
