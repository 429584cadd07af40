"""Passwords and tokens that change under connections that live."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from tests.integration.fleet import until
from tests.integration.past import give_past

from aragora_redis import SharedState
from aragora_redis.errors import LinkDownError
from aragora_redis.events import RenewalFailed
from aragora_redis.identity import Credential
from aragora_redis.settings import Secret

RIGHTS = ("on", "~*", "&*", "+@all")


@pytest.fixture
def admin(standalone_lab, connect):
    client = connect(standalone_lab)
    yield client
    for user in client.acl_users():
        if user.startswith("app"):
            client.execute_command("ACL", "DELUSER", user)


@pytest.fixture
def env(standalone_lab):
    give_past(standalone_lab, ARAGORA_KEY_PREFIX="credentials")
    return {
        "ARAGORA_REDIS_URL": f"redis://{standalone_lab.node('primary').address}/0",
        "ARAGORA_KEY_PREFIX": "credentials",
    }


def connections(admin):
    """The connections of our users, by id."""
    return {
        each["id"]: each["user"] for each in admin.client_list() if each["user"].startswith("app")
    }


def logins(admin):
    """How often a password was taken."""
    said = admin.info("commandstats").get("cmdstat_auth", {"calls": 0, "failed_calls": 0})
    return said["calls"] - said["failed_calls"]


async def test_a_password_that_rotates_is_presented_on_the_living_connections(admin, env, tmp_path):
    admin.execute_command("ACL", "SETUSER", "app", *RIGHTS, ">the-old-one")
    file = tmp_path / "password"
    file.write_text("the-old-one\n")
    env |= {"ARAGORA_REDIS_USERNAME": "app", "ARAGORA_REDIS_PASSWORD_FILE": str(file)}
    async with SharedState.from_env(env) as state:
        failed: list[RenewalFailed] = []
        state.events.subscribe(
            lambda event: failed.append(event) if isinstance(event, RenewalFailed) else None
        )
        before, presented = connections(admin), logins(admin)
        assert len(before) == 3
        # The file is ahead of the server: what was presented holds, and it is tried again.
        file.write_text("the-new-one\n")
        await until(lambda: bool(failed))
        assert "one" not in failed[0].reason
        assert failed[0].reason.endswith("(check ARAGORA_REDIS_PASSWORD_FILE)")
        assert (await state.rate_limits.check("api", "u")).source.value == "redis"
        admin.execute_command("ACL", "SETUSER", "app", ">the-new-one", "<the-old-one")
        await until(lambda: logins(admin) >= presented + 3, within=15)
        assert connections(admin) == before
        admin.client_kill_filter(_id=next(iter(before)))
        await until(lambda: connections(admin).keys().isdisjoint(before))
        await until(lambda: state.status().health == "healthy")


class Issuer:
    """A token for a user of its own each time, which the server forgets when it expires."""

    blocks = True
    life = 3.0

    def __init__(self, admin):
        self._admin = admin
        self._numbers = itertools.count()
        self.issued: list[Credential] = []
        self.refuses = False

    def issue(self):
        if self.refuses:
            raise LinkDownError("the issuer is away", remedy="wait")
        user = f"app-{next(self._numbers)}"
        self._admin.execute_command("ACL", "SETUSER", user, *RIGHTS, f">token-of-{user}")
        made = Credential(user, Secret(f"token-of-{user}"), time.time() + self.life)
        self.issued.append(made)
        return made

    async def expire(self):
        """What a service does with connections whose token is over: it ends them."""
        while True:
            for each in self.issued[:]:
                if each.expires_at is not None and each.expires_at <= time.time():
                    self._admin.execute_command("ACL", "DELUSER", each.username)
                    self.issued.remove(each)
            await asyncio.sleep(0.05)


async def test_a_token_is_renewed_before_it_expires_and_no_connection_ends(admin, env, monkeypatch):
    issuer = Issuer(admin)
    monkeypatch.setattr("aragora_redis.link.account.source_of", lambda _credentials: issuer)
    expiring = asyncio.create_task(issuer.expire())
    try:
        async with SharedState.from_env(env) as state:
            before = connections(admin)
            (first,) = (int(user.removeprefix("app-")) for user in set(before.values()))
            third = f"app-{first + 3}"
            await until(lambda: set(connections(admin).values()) == {third}, within=15)
            assert connections(admin).keys() == before.keys()
            assert (await state.rate_limits.check("api", "u")).source.value == "redis"
            # Without the issuer the last token holds until its end, and nothing is lost after that.
            issuer.refuses = True
            await until(lambda: state.status().health == "degraded", within=10)
            issuer.refuses = False
            await until(lambda: state.status().health == "healthy", within=10)
            assert (await state.rate_limits.check("api", "u")).source.value == "redis"
    finally:
        expiring.cancel()
        await asyncio.gather(expiring, return_exceptions=True)
