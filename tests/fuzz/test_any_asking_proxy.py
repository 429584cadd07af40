"""What comes to `/authz`: paths of a proxy and its client in one, fields, and what tokens say."""

from __future__ import annotations

import time
from urllib.parse import unquote

import jwt
import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import texts

from aragora_redis.gateway.authz import SCOPE, STATUS, USER, Judge, asked_in
from aragora_redis.policies import parse_policies
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

KEY = "0123456789abcdef" * 4
POLICIES = '[limits.api]\nrate = "1000000 per second"\n'
WHOS = ("user", "address", "caller", "user+a", "user+a+b", "address+a", "users", "")

fields = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"x-forwarded-for", b"x-aragora-user", b"forwarded"]),
        st.binary(max_size=60) | st.binary(max_size=40).map(b"Bearer ".__add__),
    ),
    max_size=4,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def judge():
    policies = parse_policies(POLICIES, source="x")
    async with SharedState(from_env({"ARAGORA_JWT_SECRET": KEY}), policies=policies) as state:
        yield Judge(state)


async def asked(judge, path, *headers):
    """The status and the fields of the answer, which can be sent."""
    answer = await judge.answer({"path": path, "headers": headers, "client": ("127.0.0.1", 1)})
    told = {name.decode(): value.decode("ascii") for name, value in answer.raw_headers}
    assert all(value.isprintable() for value in told.values())
    assert told[STATUS.lower()] == str(answer.status_code)
    return answer.status_code, told


@pytest.mark.asyncio(loop_scope="module")
@effort(100)
@given(st.sampled_from(WHOS) | texts, st.sampled_from(["api", "-", ""]), texts, fields)
async def test_any_path_and_fields(judge, faults, who, policy, rest, headers):
    path = f"/authz/{who}/{policy}/{rest}"
    status, told = await asked(judge, path, *headers)
    if asked_in(path) is None:
        assert status == 404
    else:
        assert status in {200, 401}
    assert USER.lower() not in told, "nobody has shown a token"
    faults.assert_none()


@pytest.mark.asyncio(loop_scope="module")
@effort(60)
@example("/authz/user/api", "\ud800", ["\ud800"])
@given(st.sampled_from(["/authz", "/authz/user/api"]), texts, st.lists(texts, max_size=3))
async def test_any_user_is_told_as_one_field(judge, faults, path, user, scopes):
    claims = {"sub": user, "scp": scopes, "exp": time.time() + 60, "jti": "one"}
    sent = b"Bearer " + jwt.encode(claims, KEY).encode()
    status, told = await asked(judge, path, (b"authorization", sent))
    if status == 200:
        assert unquote(told[USER.lower()], errors="surrogatepass") == user
        assert len(told[SCOPE.lower()].split(" ")) == max(len({*scopes}), 1)
    else:
        assert status == 401
    faults.assert_none()
