"""Refresh tokens in memory, and over HTTP."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from tests.gateways import client_of

from aragora_redis import Level
from aragora_redis.errors import (
    DeadlineError,
    InvalidInputError,
    LinkDownError,
    OutcomeUnknownError,
    RefreshRacedError,
    RefreshReusedError,
    TokenInvalidError,
    TokenRevokedError,
)
from aragora_redis.gateway.refresh import Refresh, RotationBody
from aragora_redis.gateway.tokens import Question, Revocation
from aragora_redis.link.durable import Ticket
from aragora_redis.settings import GatewaySettings, JwtSettings, Secret, Settings
from aragora_redis.settings.model import TokenSettings
from aragora_redis.testing import FakeClock, memory_state, outage
from aragora_redis.tokens.claims import SEEN
from aragora_redis.tokens.entry import RevocationKind, cut_off_entry, member_of
from aragora_redis.tokens.refresh import Successor
from aragora_redis.tokens.replica import ShardReplica

KEY = "k" * 64
SETTINGS = Settings(
    jwt=JwtSettings(Secret(KEY)),
    gateway=GatewaySettings(admin_tokens=(Secret("admin-token-000001"),)),
    tokens=TokenSettings(pardon_key=Secret("p" * 32)),
)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def state(clock):
    async with memory_state(settings=SETTINGS, clock=clock) as made:
        yield made


def test_no_token_or_id_of_one_is_shown():
    shown = [
        repr(Refresh(token="secret")),
        repr(Revocation(token="secret")),
        f"{Question(jti='secret')}",
        repr(Successor("secret", b"secret")),
        repr(RotationBody(claims={"jti": "secret"}, level="local")),
    ]
    assert shown[0] == "Refresh()"
    assert "secret" not in "".join(shown)


def signed(claims):
    return jwt.encode(dict(claims), KEY)


async def test_an_ended_family_does_not_live_on_where_the_end_was_not_known_yet(state, clock):
    """One who is cut off ends it; another, who has not heard of that, gives a successor."""
    first = state.refresh_tokens.begin("ann")
    family = member_of(state.refresh_tokens._key, RevocationKind.FAMILY, first["sid"])
    end = cut_off_entry(family, clock.wall() + 2, 86_400.0, "")
    clock.advance(5)
    successor = (await state.refresh_tokens.rotate(first)).claims
    access = {"jti": "access", "sid": first["sid"], "iat": successor["iat"]}
    state.revocations.apply(end)
    assert state.tokens.is_revoked(successor)
    with pytest.raises(TokenRevokedError):
        await state.refresh_tokens.rotate(successor)
    assert not state.tokens.is_revoked(access), "which was issued after the cut-off"


@pytest.mark.parametrize(
    ("kind", "name"), [(RevocationKind.USER, "ann"), (RevocationKind.TENANT, "acme")]
)
async def test_a_login_does_not_live_on_where_its_cut_off_was_not_known_yet(
    state, clock, kind, name
):
    first = state.refresh_tokens.begin("ann", org_id="acme")
    cut_off = cut_off_entry(
        member_of(state.refresh_tokens._key, kind, name), clock.wall() + 2, 86_400.0, ""
    )
    clock.advance(5)
    successor = (await state.refresh_tokens.rotate(first)).claims
    state.revocations.apply(cut_off)
    assert state.tokens.is_revoked(successor)
    with pytest.raises(TokenRevokedError):
        await state.refresh_tokens.rotate(successor)
    later = state.refresh_tokens.begin("ann", org_id="acme")
    following = (await state.refresh_tokens.rotate(later)).claims
    assert not state.tokens.is_revoked(following), "a login since"


async def test_a_login_right_after_a_cut_off_lives_and_so_do_its_successors(state, clock):
    await state.tokens.revoke_user("ann", reason="password changed")
    await state.tokens.revoke_tenant("acme", users=1)
    login = state.refresh_tokens.begin("ann", org_id="acme")
    assert login["iat"] == int(clock.wall())
    access = {"sub": "ann", "jti": "a", "org_id": "acme", "sid": login["sid"]}
    access |= state.tokens.stamp(access)
    following = (await state.refresh_tokens.rotate(signed(login))).claims
    last = (await state.refresh_tokens.rotate(following)).claims
    for claims in (access, following, last):
        assert not state.tokens.is_revoked(claims)
    bare = {name: value for name, value in access.items() if name != SEEN}
    assert state.tokens.is_revoked(bare), "nothing says when it came"


@pytest.mark.parametrize("ahead", [0, 10])
async def test_each_cut_off_covers_the_logins_before_it_whoever_made_the_one_before(
    state, clock, ahead
):
    logins: list[dict[str, Any]] = []

    async def cut(revoking):
        await revoking
        assert all(state.tokens.is_revoked(login) for login in logins)
        logins.append(state.refresh_tokens.begin("ann", org_id="acme"))
        assert not state.tokens.is_revoked(logins[-1])

    clock._wall += ahead  # of who made the first cut-off
    await cut(state.tokens.revoke_user("ann"))
    clock._wall -= ahead
    for _ in range(5):
        await cut(state.tokens.revoke_user("ann"))
    await cut(state.tokens.revoke_tenant("acme", users=1))
    await cut(state.tokens.revoke_family(logins[-1]["sid"]))
    await cut(state.tokens.revoke_user("ann"))
    clock.advance(60)
    assert SEEN not in state.refresh_tokens.begin("bob")


@pytest.mark.parametrize("seen", [{}, {"user": True}, {"user": "9"}, ["user"], 9**20, {"user": 1}])
async def test_a_claim_that_says_nothing_of_cut_offs_is_none(state, clock, seen):
    await state.tokens.revoke_user("ann")
    assert state.tokens.is_revoked({"sub": "ann", "jti": "x", "iat": clock.wall(), SEEN: seen})


async def test_a_cut_off_that_comes_while_a_token_is_refreshed_covers_its_successor(
    state, monkeypatch
):
    login = state.refresh_tokens.begin("ann")
    run = state.embedded.run

    async def cut_off_first(*args, **given):
        answer = await run(*args, **given)
        await state.tokens.revoke_user("ann")
        return answer

    monkeypatch.setattr(state.refresh_tokens._runs, "run", cut_off_first)
    following = await state.refresh_tokens.rotate(login)
    assert state.tokens.is_revoked(following.claims)


@pytest.mark.parametrize("name", ["iat", "exp", "jti", "generation", "sid", "family_exp", SEEN])
def test_what_a_login_sets_itself_cannot_be_given(state, name):
    with pytest.raises(InvalidInputError, match=name):
        state.refresh_tokens.begin("ann", **{name: 1})


async def test_a_chain_of_refresh_tokens(state, clock):
    first = state.refresh_tokens.begin("42", lifetime=600.0, org_id="acme")
    assert (first["sub"], first["generation"]) == ("42", 0)
    clock.advance(60.0)
    second = await state.refresh_tokens.rotate(signed(first))
    assert second.level is Level.LOCAL
    assert second.claims == first | {
        "generation": 1,
        "jti": second.claims["jti"],
        "iat": first["iat"] + 60,
        "exp": first["exp"] + 60,
    }
    assert second.claims["jti"] != first["jti"]
    third = await state.refresh_tokens.rotate(second.claims, lifetime=30.0)
    assert third.claims["exp"] == third.claims["iat"] + 30
    assert first["jti"] not in repr(second)


async def test_a_family_may_have_an_end(state, clock):
    first = state.refresh_tokens.begin("42", lifetime=60.0, absolute=100.0)
    assert first["exp"] == first["iat"] + 60
    clock.advance(50.0)
    second = await state.refresh_tokens.rotate(first)
    assert second.claims["exp"] == first["iat"] + 100


@pytest.mark.parametrize("absolute", [0, -1, float("nan"), float("inf"), 1e11, "60", True])
async def test_an_end_of_a_family_that_is_none_is_refused(state, absolute):
    with pytest.raises(InvalidInputError, match="absolute"):
        state.refresh_tokens.begin("42", absolute=absolute)


async def test_a_long_chain_leaves_one_entry_a_day(state):
    claims = state.refresh_tokens.begin("42", lifetime=3600.0)
    first = claims
    for _ in range(50):
        claims = (await state.refresh_tokens.rotate(claims)).claims
    assert len(state.tokens) <= 2
    assert not (await state.tokens.list()).shown
    assert state.refresh_tokens.is_used_up(first)
    assert not state.refresh_tokens.is_used_up(claims)


async def test_reuse_ends_the_family_and_its_access_tokens_alone(state, clock):
    first = state.refresh_tokens.begin("42")
    other = state.refresh_tokens.begin("42")
    second = await state.refresh_tokens.rotate(first)
    with pytest.raises(RefreshRacedError):
        await state.refresh_tokens.rotate(first)
    clock.advance(11.0)
    with pytest.raises(RefreshReusedError):
        await state.refresh_tokens.rotate(first)
    with pytest.raises(TokenRevokedError):
        await state.refresh_tokens.rotate(second.claims)
    access = {"jti": "a", "sid": first["sid"], "iat": int(clock.wall())}
    assert state.tokens.is_revoked(access)
    assert (await state.refresh_tokens.rotate(other)).claims["generation"] == 1


async def test_no_refresh_undoes_the_pardon_of_a_family_that_reuse_has_ended(state, clock):
    first = state.refresh_tokens.begin("42")
    second = await state.refresh_tokens.rotate(first)
    clock.advance(11.0)
    with pytest.raises(RefreshReusedError):
        await state.refresh_tokens.rotate(first)
    await state.tokens.pardon(family=first["sid"])
    access = {"jti": "a", "sid": first["sid"], "iat": int(clock.wall())}
    with pytest.raises(TokenRevokedError):
        await state.refresh_tokens.rotate(second.claims)
    assert not state.tokens.is_revoked(access)


async def test_a_family_that_has_ended_gets_back_a_cut_off_that_was_lost(state, clock):
    first = state.refresh_tokens.begin("42")
    second = await state.refresh_tokens.rotate(first)
    clock.advance(11.0)
    with pytest.raises(RefreshReusedError):
        await state.refresh_tokens.rotate(first)
    for shard in state._shards:
        shard.replica = ShardReplica()
    with pytest.raises(TokenRevokedError):
        await state.refresh_tokens.rotate(second.claims)
    assert state.tokens.is_revoked({"jti": "a", "sid": first["sid"], "iat": int(clock.wall())})


async def test_who_asks_again_with_the_same_nonce_gets_the_same(state, clock):
    first = state.refresh_tokens.begin("42")
    second = await state.refresh_tokens.rotate(first, nonce="n")
    clock.advance(5.0)
    assert await state.refresh_tokens.rotate(first, nonce="n") == second


async def test_a_refresh_token_opens_nothing_and_no_other_token_refreshes(state):
    first = state.refresh_tokens.begin("42")
    with pytest.raises(TokenInvalidError, match="opens nothing"):
        await state.tokens.verify(signed(first))
    del first["generation"]
    with pytest.raises(TokenInvalidError, match="no refresh token"):
        await state.refresh_tokens.rotate(signed(first))


async def test_an_outage_leaves_the_token_good(state):
    first = state.refresh_tokens.begin("42")
    async with outage(state):
        with pytest.raises(LinkDownError):
            await state.refresh_tokens.rotate(first)
    assert (await state.refresh_tokens.rotate(first)).claims["generation"] == 1


class Lane:
    """A way to Redis that is there; whether it has sent what it was given before time is up."""

    def __init__(self, sent):
        self.sent = sent
        self.executor = self

    def required(self, _slot):
        return 1

    async def usable(self, _operation, until):
        return until > 1000.0

    def submit(self, operation, until):
        return Ticket(operation, until, sent=self.sent)


@pytest.mark.parametrize(
    ("sent", "within", "error", "said"),
    [
        (True, 0.01, OutcomeUnknownError, "may have been used up"),
        (False, 0.01, DeadlineError, "its turn"),
        (True, 0.0, DeadlineError, "taken all the time"),
    ],
)
async def test_i5_what_was_never_sent_is_not_unknown(state, sent, within, error, said):
    state.refresh_tokens._redis = Lane(sent)
    with pytest.raises(error, match=said):
        await state.refresh_tokens.rotate(state.refresh_tokens.begin("42"), within=within)


@pytest.mark.parametrize(
    "wrong",
    [
        {"generation": -1},
        {"generation": True},
        {"generation": 1.0},
        {"generation": 10**12},
        {"sid": None},
        {"sid": 5},
        {"jti": None},
        {"exp": None},
        {"exp": float("nan")},
        {"iat": "now"},
        {"iat": float("inf")},
        {"iat": None},
        {"family_exp": "never"},
    ],
    ids=str,
)
async def test_claims_of_no_refresh_token_are_refused(state, wrong):
    with pytest.raises(InvalidInputError):
        await state.refresh_tokens.rotate(state.refresh_tokens.begin("42") | wrong)


@pytest.mark.parametrize("how", [{"lifetime": 0.0}, {"lifetime": 1e9}, {"nonce": "n" * 1025}])
async def test_what_cannot_be_kept_is_refused(state, how):
    first = state.refresh_tokens.begin("42")
    with pytest.raises(InvalidInputError):
        await state.refresh_tokens.rotate(first, **how)
    assert await state.refresh_tokens.rotate(first)
    with pytest.raises(InvalidInputError, match="a user must be text"):
        state.refresh_tokens.begin(42)


async def test_what_cannot_be_answered_over_http_is_not_used_up(clock):
    state = memory_state(settings=SETTINGS, clock=clock)
    async with client_of(state, "admin-token-000001") as client:
        first = state.refresh_tokens.begin("42")
        for claim in ("\ud800", float("nan")):
            asked = {"token": signed(first | {"name": claim})}
            answer = await client.post("/v1/tokens/refresh", json=asked)
            assert (answer.status_code, answer.json()["ran"]) == (422, "no")
        answer = await client.post("/v1/tokens/refresh", json={"token": signed(first)})
        assert answer.status_code == 200


async def test_over_http(clock):
    state = memory_state(settings=SETTINGS, clock=clock)
    async with client_of(state, "admin-token-000001") as client:

        async def refresh(token, **more):
            return await client.post("/v1/tokens/refresh", json={"token": token, **more})

        first = signed(state.refresh_tokens.begin("42"))
        answer = await refresh(first, nonce="n", lifetime=60)
        claims = answer.json()["claims"]
        assert (answer.status_code, answer.json()["level"]) == (200, "local")
        assert (await refresh(first, nonce="n", lifetime=60)).json()["claims"] == claims
        raced = await refresh(first)
        assert (raced.status_code, raced.json()["type"][18:]) == (409, "refresh-raced")
        clock.advance(11.0)
        reused = await refresh(first)
        assert (reused.status_code, reused.json()["type"][18:]) == (422, "refresh-reused")
        revoked = await refresh(signed(claims))
        assert (revoked.status_code, revoked.json()["type"][18:]) == (422, "token-revoked")
        async with outage(state):
            away = await refresh(signed(state.refresh_tokens.begin("42")))
            assert (away.status_code, away.json()["ran"]) == (503, "no")
            assert away.headers["retry-after"] == "1"


async def test_tokens_that_outlive_the_cut_offs_are_told_of_once(caplog, clock):
    async with memory_state(settings=SETTINGS, clock=clock) as state:
        now = int(clock.wall())
        for days in (30, 90, 90):
            claims = {"jti": f"t{days}", "sub": "ann", "iat": now, "exp": now + days * 86_400}
            await state.tokens.verify(signed(claims))
    told = [each.getMessage() for each in caplog.records if "MAX_LIFETIME" in each.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("tokens live for 90.0 days, and cut-offs of users and tenants")
