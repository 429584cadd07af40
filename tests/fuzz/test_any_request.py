"""The gateway asked for anything, by its own description: it answers as it says there.

Requests that fit the description and such that do not; with the token of an operator, of a service,
and without one.
"""

from __future__ import annotations

import json
from functools import cache

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import assume, given
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from tests.fuzz.effort import effort
from tests.gateways import client_of

from aragora_redis.gateway.app import create_app
from aragora_redis.policies import parse_policies
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

ADMIN, GATEWAY = "admin-token-000001", "gateway-token-0001"
ENV = {
    "ARAGORA_ADMIN_TOKEN": ADMIN,
    "ARAGORA_GATEWAY_TOKEN": GATEWAY,
    "ARAGORA_JWT_SECRET": "0123456789abcdef" * 4,
    "ARAGORA_PARDON_KEY": "a-pardon-key-of-some-length",
}
POLICIES = """
[limits.api]
rate = "100/second"
[limits.beside]
rate = "9 per minute"
co_locate = "api"
[circuits.db]
max_concurrent = 3
"""
checks.load_all_checks()
CHECKS = [
    getattr(checks, name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
REFUSED = [*CHECKS, checks.negative_data_rejection]
BASE = "http://localhost:8080"


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    """What is to be an export of revocations."""
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


def made_state():
    return SharedState(from_env(ENV), policies=parse_policies(POLICIES, source="x"))


@cache
def described():
    schema = schemathesis.openapi.from_dict(create_app(made_state()).openapi())
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    return {operation.label: operation for operation in found}


@st.composite
def cases(draw: st.DrawFn):
    """A request to one of the operations, and whether it is to be refused."""
    name = draw(st.sampled_from(sorted(described())))
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case = draw(described()[name].as_strategy(generation_mode=mode))
    known = draw(st.booleans())
    for names in ("policy", "name"):  # those that there are, at times
        if known and names in (case.path_parameters or {}):
            case.path_parameters[names] = draw(st.sampled_from(["api", "beside", "db"]))
    body = case.meta.components.get(ParameterLocation.BODY)
    unfit = body is not None and body.mode is GenerationMode.NEGATIVE
    return case, unfit and not known


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client():
    async with client_of(made_state()) as client:
        yield client


async def sent(client, case, token):
    kwargs = case.as_transport_kwargs(base_url=BASE)
    try:
        request = requests.Request(**kwargs).prepare()
    except (requests.RequestException, UnicodeError, ValueError):
        assume(False)  # noqa: FBT003 - it cannot be sent
    fields = {name: value for name, value in request.headers.items() if name != "Authorization"}
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    return await client.request(
        request.method, request.url, content=request.body or b"", headers=fields
    )


@pytest.mark.asyncio(loop_scope="module")
@effort(25)
@given(cases(), st.sampled_from([ADMIN, ADMIN, ADMIN, GATEWAY, None]))
async def test_any_request(client, faults, asked, token):
    case, unfit = asked
    answer = await sent(client, case, token)
    case.validate_response(answer, checks=REFUSED if unfit else CHECKS)
    faults.assert_none()
    if token is None and case.path.startswith(("/v1", "/oauth")):
        assert answer.status_code == 401
    if answer.status_code >= 400 and case.path.startswith("/v1"):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert answer.json()["remedy"]
