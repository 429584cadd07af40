"""Cut-offs of tenants and families through the faces: Python, threads, HTTP."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from tests.gateways import client_of

from aragora_redis import sync
from aragora_redis.errors import InvalidInputError
from aragora_redis.settings import Secret, Settings, from_env
from aragora_redis.settings.model import TokenSettings
from aragora_redis.state.shared import SharedState
from aragora_redis.testing import memory_state
from aragora_redis.tokens.claims import Verdict

ADMIN, KEY = "admin-token-000001", "0123456789abcdef" * 4
CLAIMS = {"jti": "x", "sub": "u", "org_id": "acme", "sid": "login"}


@pytest.fixture
async def gateway():
    state = SharedState(from_env({"ARAGORA_ADMIN_TOKEN": ADMIN, "ARAGORA_JWT_SECRET": KEY}))
    async with client_of(state, ADMIN) as client:
        yield client


def test_threads_revoke_by_cut_offs_too():
    now = time.time()
    with sync.SharedState.from_env({}) as state:
        state.tokens.revoke_family("login", actor="ann")
        assert state.tokens.verdict(CLAIMS | {"iat": now}) is Verdict.FAMILY
        time.sleep(0.01)  # the later one decides
        state.tokens.revoke_tenant("acme", users=1200)
        assert state.tokens.verdict(CLAIMS | {"iat": now}) is Verdict.TENANT


async def test_a_tenant_is_revoked_by_whoever_says_how_many_users_that_logs_out():
    now = time.time()
    async with memory_state() as state:
        wrong: list[Any] = [0, -1, True, "12", 1.0]
        for count in wrong:
            with pytest.raises(InvalidInputError, match="how many users"):
                await state.tokens.revoke_tenant("acme", users=count)
        assert not state.tokens.is_revoked(CLAIMS | {"iat": now})
        receipt = await state.tokens.revoke_tenant("acme", users=1200, actor="ann")
        assert state.tokens.verdict(CLAIMS | {"iat": now}) is Verdict.TENANT
        assert not state.tokens.is_revoked(CLAIMS | {"iat": receipt.not_before})
        assert not state.tokens.is_revoked(CLAIMS | {"iat": now, "org_id": "other"})


@pytest.mark.parametrize("kind", ["user", "family", "tenant"])
async def test_no_cut_off_reaches_into_the_future(kind):
    async with memory_state() as state:
        revoke = getattr(state.tokens, f"revoke_{kind}")
        users = {"users": 1} if kind == "tenant" else {}
        with pytest.raises(InvalidInputError, match="future"):
            await revoke("x", issued_before=time.time() + 10, **users)
        earlier = await revoke("x", issued_before=time.time() - 100, **users)
        later = await revoke("x", **users)
        assert (await revoke("x", issued_before=time.time() - 50, **users)).not_before == (
            later.not_before
        ), "an earlier cut-off takes nothing back"
        assert earlier.not_before < later.not_before


async def test_after_a_pardon_a_cut_off_covers_what_was_asked_and_its_receipt_is_true():
    settings = Settings(tokens=TokenSettings(pardon_key=Secret("p" * 32)))
    async with memory_state(settings=settings) as state:
        second = int(time.time()) - 60
        await state.tokens.revoke_user("u", issued_before=second + 1.2)
        await state.tokens.pardon(user="u")
        again = await state.tokens.revoke_user("u", issued_before=second + 0.5)
        assert again.not_before == second + 1
        assert not state.tokens.is_revoked({"sub": "u", "iat": again.not_before})
        assert state.tokens.is_revoked({"sub": "u", "iat": second})
        await state.tokens.pardon(user="u")
        once_more = await state.tokens.revoke_user("u", issued_before=second + 1.2)
        assert once_more.not_before == second + 2
        assert state.tokens.is_revoked({"sub": "u", "iat": second + 1})
        assert not state.tokens.is_revoked({"sub": "u", "iat": once_more.not_before})


async def test_over_http(gateway):
    token = jwt.encode(CLAIMS | {"iat": time.time(), "exp": time.time() + 60}, KEY)
    revoke, check = "/v1/tokens/revoke", "/v1/tokens/check"
    assert (await gateway.post(revoke, json={"tenant": "acme"})).status_code == 422
    assert (await gateway.post(revoke, json={"user": "u", "users": 3})).status_code == 422
    assert (await gateway.post(check, json={"token": token})).json() == {"revoked": False}
    done = await gateway.post(revoke, json={"family": "login", "actor": "ann", "reason": "theft"})
    assert done.status_code == 200
    assert done.json()["not_before"] > time.time()
    assert (await gateway.post(check, json={"token": token})).json()["revoked"]
    done = await gateway.post(revoke, json={"tenant": "acme", "users": 12})
    assert done.status_code == 200
