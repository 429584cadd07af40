"""Refresh tokens on real servers: of all who present one, one gets its successor."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.fleet import healthy, instances, until

from aragora_redis import Level
from aragora_redis.errors import (
    AragoraRedisError,
    OutageError,
    OutcomeUnknownError,
    RefreshRacedError,
    RefreshReusedError,
    TokenRevokedError,
)
from aragora_redis.tokens import refresh

OUTAGES = (OutageError, OutcomeUnknownError)


async def outcome(state, token, **how):
    try:
        return await state.refresh_tokens.rotate(token, **how)
    except AragoraRedisError as error:
        return error


async def test_one_of_a_thousand_wins_and_what_comes_later_ends_the_family(
    sentinel_lab, monkeypatch
):
    async with instances(sentinel_lab, 2) as (one, two):
        token = one.refresh_tokens.begin("42")
        tries = [outcome(each, token, within=10.0) for each in (one, two) for _ in range(500)]
        found = await asyncio.gather(*tries)
        won = [each for each in found if not isinstance(each, AragoraRedisError)]
        assert len(won) == 1
        assert won[0].level is Level.REPLICATED
        assert {type(each) for each in found if each is not won[0]} == {RefreshRacedError}
        following = await two.refresh_tokens.rotate(won[0].claims, nonce="mine")
        assert (await one.refresh_tokens.rotate(won[0].claims, nonce="mine")) == following
        access = {"jti": "access", "sub": "42", "sid": token["sid"], "iat": token["iat"]}
        assert not two.tokens.is_revoked(access)
        monkeypatch.setattr(refresh, "AGAIN_WITHIN", -1.0)
        assert isinstance(await outcome(one, token), RefreshReusedError)
        for late in (token, won[0].claims, following.claims):
            assert isinstance(await outcome(one, late), TokenRevokedError)
        await until(lambda: two.tokens.is_revoked(access), within=2)
        assert isinstance(await outcome(two, following.claims), TokenRevokedError)


@pytest.mark.paired
async def test_a_failover_that_loses_the_tail_leaves_no_two_winners(sentinel_lab, connect):
    """What no replica has is told to nobody as done, so what the new primary lacks was no win."""
    async with instances(sentinel_lab, 2) as (one, two):
        families = [one.refresh_tokens.begin(str(each)) for each in range(20)]
        connect(sentinel_lab, "primary").config_set("min-replicas-to-write", 0)
        for replica in ("replica-0", "replica-1"):
            connect(sentinel_lab, replica).replicaof("127.0.0.1", 1)
        told = await asyncio.gather(
            *(outcome(one, each, nonce="one", within=0.5) for each in families)
        )
        assert {type(each) for each in told} == {OutcomeUnknownError}
        await asyncio.to_thread(sentinel_lab.kill, "primary")
        await until(healthy(one, two), within=30)

        async def win(token):
            while isinstance(got := await outcome(two, token, nonce="two"), OUTAGES):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            return got

        rivals = await asyncio.gather(*(win(each) for each in families))
        again = [await outcome(one, each, nonce="one") for each in families]
        assert not any(isinstance(each, AragoraRedisError) for each in rivals)
        assert {type(each) for each in again} == {RefreshRacedError}
        assert all([not isinstance(await win(each.claims), AragoraRedisError) for each in rivals])


async def test_no_token_that_was_used_is_good_again_on_an_empty_redis(sentinel_lab):
    """The instances know what was used up, though all of Redis has forgotten the family."""
    async with instances(sentinel_lab, 2) as (one, two):
        token = one.refresh_tokens.begin("42")
        rotation = await one.refresh_tokens.rotate(token)
        await until(lambda: two.refresh_tokens.is_used_up(token), within=2)
        await asyncio.to_thread(sentinel_lab.kill, "all")
        await asyncio.to_thread(sentinel_lab.start_all, wipe=True)
        await until(healthy(one, two), within=30)
        assert isinstance(await outcome(two, token), RefreshReusedError)
        assert isinstance(await outcome(two, rotation.claims), TokenRevokedError)
