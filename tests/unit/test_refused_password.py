"""A server refuses our password: whatever asks it names the setting that the password is from."""

from __future__ import annotations

import pytest
from tests.unit.test_outage_log import Refusing

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Failure
from aragora_redis.ops.asking import survey
from aragora_redis.ops.connect import check_ways
from aragora_redis.ops.health import check_health
from aragora_redis.ops.targets import Target, target_of
from aragora_redis.settings import from_env


@pytest.fixture
async def server():
    async with Refusing().listening() as refusing:
        yield refusing


@pytest.fixture(params=["URL", "PASSWORD", "PASSWORD_FILE"])
def setting(request):
    return request.param


@pytest.fixture
def target(server, setting, tmp_path) -> Target:
    (tmp_path / "password").write_text("wrong-secret")
    said = {
        "URL": {"ARAGORA_REDIS_URL": f"redis://:wrong-secret@{server.address}"},
        "PASSWORD": {"ARAGORA_REDIS_PASSWORD": "wrong-secret"},
        "PASSWORD_FILE": {"ARAGORA_REDIS_PASSWORD_FILE": str(tmp_path / "password")},
    }
    environ = {"ARAGORA_REDIS_URL": f"redis://{server.address}"} | said[setting]
    found = target_of(from_env(environ))
    assert found is not None
    return found


@pytest.fixture
def remedy(setting):
    return "check " + ("the URL in " if setting == "URL" else "") + f"ARAGORA_REDIS_{setting}"


async def test_health_names_it(target, remedy):
    assert (await check_health(target, deadline=2)).headline.endswith(remedy)


async def test_doctor_and_status_name_it(target, remedy):
    said = await survey(target, prefix="p", clock=SYSTEM_CLOCK, deadline=2)
    (failure,) = said.nodes.values()
    assert isinstance(failure, Failure)
    assert failure.text.endswith(remedy)


async def test_the_ways_name_it(target, remedy):
    (way,) = (await check_ways(target, clock=SYSTEM_CLOCK, deadline=2)).ways
    assert way.fix == remedy
