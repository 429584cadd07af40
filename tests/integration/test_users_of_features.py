"""A user of Redis for each feature, with the rights that SECURITY.md gives it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import redis
from tests.integration.fleet import healthy, instances, until
from tests.integration.rights import is_old

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
VARIABLES = {
    "tokens": "TOKENS",
    "sessions": "SESSIONS",
    "limits": "RATE_LIMIT",
    "circuits": "CIRCUITS",
}
PASSWORD = "a-password"


def rights_of(feature, prefix):
    """Those of the page: the commands of the one user, what all need, and the feature's keys."""
    (common,) = re.findall(r"ACL SETUSER aragora on >PASSWORD ([^`]*)```", SECURITY)
    commands = [each for each in common.split() if not each.endswith(":*")]
    (shared,) = re.findall(r"^`(~aragora:p:[^`]*)`, and$", SECURITY, re.MULTILINE)
    (own,) = re.findall(rf"^\| {feature} \| `([^`]*)` \|$", SECURITY, re.MULTILINE)
    return [*commands, *f"{shared} {own}".replace("aragora:", f"{prefix}:").split()]


@pytest.fixture
def admin(standalone_lab):
    node = standalone_lab.node("primary")
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
        yield client
        client.acl_deluser(*VARIABLES)


async def test_each_needs_no_more_than_its_keys_and_reaches_no_others(standalone_lab, admin):
    prefix, port = f"f{time.time_ns()}", standalone_lab.node("primary").port
    env = {"ARAGORA_KEY_PREFIX": prefix, "ARAGORA_REDIS_DEADLINE": "1"}
    for feature, variable in VARIABLES.items():
        rights = rights_of(feature, prefix)
        admin.execute_command("ACL", "SETUSER", feature, "on", f">{PASSWORD}", *rights)
        env[f"ARAGORA_{variable}_REDIS_URL"] = f"redis://{feature}:{PASSWORD}@127.0.0.1:{port}"
    admin.acl_log_reset()
    async with instances(standalone_lab, 2, **env) as (one, two):
        await until(healthy(one, two))
        assert len(one.status().redis) == 4
        assert (await one.rate_limits.check("api", "a")).source == "redis"
        await (await one.rate_limits.reserve("api", "a", 2)).settle(1)
        await one.rate_limits.reset("api", "a", actor="ann")
        await one.tokens.revoke("a", expires_at=time.time() + 60, reason="r", actor="ann")
        await until(lambda: two.tokens.is_revoked({"jti": "a"}))
        session = await one.sessions.create("ann", {"a": 1})
        await one.sessions.update(await one.sessions.rotate(session), set={"a": 2})
        await one.sessions.end_user("ann", actor="ann")
        async with one.circuits["upstream"]:
            pass
        await one.circuits.force("upstream", "open", actor="ann")
        await one.refresh_tokens.rotate(one.refresh_tokens.begin("ann"), nonce="n")
        assert (await one.audit.recent()).acts
        assert one.status().lacks == ()
    unknown = {"client"} if is_old() else set()  # see test_neighbour.py
    assert {each["object"] for each in admin.acl_log()} == unknown
    first = {"tokens": "t", "sessions": "s", "limits": "l", "circuits": "c"}
    for feature in VARIABLES:
        with redis.Redis(port=port, username=feature, password=PASSWORD) as theirs:
            for other in set(first) - {feature}:
                with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|access"):
                    theirs.get(f"{prefix}:{first[other]}:x")
                with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|access"):
                    theirs.publish(f"{prefix}:{first[other]}:x", "x")
