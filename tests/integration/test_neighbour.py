"""A Redis that others use too: a user with rights to our prefix alone is enough for us."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import redis
from tests.integration.fleet import healthy, instances, until
from tests.integration.rights import is_old

SECURITY = Path(__file__).parents[2] / "SECURITY.md"


@pytest.fixture
def rights():
    """Those that the page gives, with its prefix."""
    (found,) = re.findall(r"ACL SETUSER aragora on >PASSWORD ([^`]*)```", SECURITY.read_text())
    return found.split()


@pytest.fixture
def admin(standalone_lab):
    node = standalone_lab.node("primary")
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
        yield client
        client.acl_deluser("neighbour")


async def test_the_rights_that_are_advised_are_enough_and_reach_no_neighbour(
    standalone_lab, admin, rights
):
    prefix = f"n{time.time_ns()}"
    ours = [each.replace("aragora:", f"{prefix}:") for each in rights]
    admin.execute_command("ACL", "SETUSER", "neighbour", "on", ">a-password", *ours)
    admin.acl_log_reset()
    env = {
        "ARAGORA_KEY_PREFIX": prefix,
        "ARAGORA_REDIS_USERNAME": "neighbour",
        "ARAGORA_REDIS_PASSWORD": "a-password",
        "ARAGORA_REDIS_DEADLINE": "1",
    }
    async with instances(standalone_lab, 2, **env) as (one, two):
        await until(healthy(one, two))
        assert (await one.rate_limits.check("api", "a")).source == "redis"
        reserved = await one.rate_limits.reserve("api", "a", 2)
        await reserved.settle(1)
        await one.tokens.revoke("a", expires_at=time.time() + 60, reason="r", actor="ann")
        await until(lambda: two.tokens.is_revoked({"jti": "a"}))
        session = await one.sessions.create("ann", {"a": 1})
        await one.sessions.update(await one.sessions.rotate(session), set={"a": 2})
        await one.sessions.end_user("ann", actor="ann")
        async with one.circuits["upstream"]:
            pass
        await one.circuits.force("upstream", "open", actor="ann")
        first = one.refresh_tokens.begin("ann")
        await one.refresh_tokens.rotate(first, nonce="n")
        assert (await one.audit.recent()).acts
        assert one.status().lacks == ()
    # Redis 6.2 refuses what it does not know of a command that it knows; later ones do not know it.
    unknown = {"client"} if is_old() else set()  # CLIENT MAINT_NOTIFICATIONS
    assert {each["object"] for each in admin.acl_log()} == unknown
    user = {"port": standalone_lab.node("primary").port, "username": "neighbour"}
    with redis.Redis(**user, password="a-password") as theirs:
        assert theirs.wait(0, 1) == 0, "which is asked where there are replicas"
        for forbidden in (
            ("GET", "another:key"),
            ("PUBLISH", "another:channel", "x"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "requirepass"),
            ("KEYS", "*"),
            ("ACL", "LIST"),
            ("CLIENT", "LIST"),
            ("EVAL", "return redis.call('GET', 'another:key')", "0"),
            ("SCRIPT", "FLUSH"),
            ("SCRIPT", "KILL"),
        ):
            with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|access"):
                theirs.execute_command(*forbidden)
