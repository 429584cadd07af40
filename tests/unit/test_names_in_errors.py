"""No error repeats a name that is none of ours: it may be a secret in the wrong place."""

from __future__ import annotations

import pytest

from aragora_redis.errors import InvalidInputError, UnknownPolicyError
from aragora_redis.names import validate_name
from aragora_redis.testing import memory_state


async def test_a_limit_that_is_not_known_is_answered_with_those_that_are():
    policies = "[limits.api]\nrate = '1/second'\n"
    async with memory_state(policies) as state:
        with pytest.raises(UnknownPolicyError, match="of that name: there is 'api'") as raised:
            await state.rate_limits.check("user-42", "api")
    assert "user-42" not in f"{raised.value} {raised.value.args}"


def test_what_can_be_no_name_is_not_repeated():
    with pytest.raises(InvalidInputError) as caught:
        validate_name("Bearer a-token-of-anybody", "a circuit")
    assert "token" not in f"{caught.value} {caught.value.args}"
