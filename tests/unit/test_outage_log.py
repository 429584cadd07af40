"""A service that attaches no log of events is told of an outage all the same: once each way."""

from __future__ import annotations

import logging
import socket

import pytest
from fastapi import FastAPI
from tests.fuzz.between import Posing
from tests.integration.fleet import until
from tests.ports import free_port

from aragora_redis import SharedState
from aragora_redis.errors import LimitUnavailableError
from aragora_redis.events import Degraded, Events, LinkUp, Recovered, Unreachable
from aragora_redis.settings import from_env
from aragora_redis.state.outage_log import OutageLog
from aragora_redis.telemetry.logs import EventLog
from aragora_redis.web.fastapi import lifespan

SECRET = "hunter2-of-redis"


@pytest.fixture
def events():
    made = Events()
    OutageLog(made, why=lambda _features: None).listen()
    made.emit(LinkUp("h:1", "fast", 0.0))
    return made


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def outages(caplog):
    return [line for line in warnings(caplog) if line.startswith(("degraded", "recovered"))]


def test_an_outage_is_a_warning_each_way(events, caplog):
    events.emit(Degraded("no link"))
    events.emit(Recovered(2.5))
    assert warnings(caplog) == [
        "degraded: Redis cannot be used: no link",
        "recovered: operations reach Redis again, after 2.5 s",
    ]


def test_it_is_told_once_the_cause_is_known(caplog):
    events = Events()
    OutageLog(events, why=lambda _features: None).listen()
    events.emit(Degraded("not connected yet"))
    assert not warnings(caplog)
    for _ in range(2):
        events.emit(Unreachable("primary h:1", "h:1 does not answer (check host)"))
    assert warnings(caplog) == ["degraded: Redis cannot be used: h:1 does not answer (check host)"]


def test_each_redis_has_its_own_outage_and_cause(caplog):
    causes: dict[tuple[str, ...], str] = {
        ("tokens",): "h:1 does not answer",
        ("limits",): "h:2 refuses",
    }
    events = Events()
    OutageLog(events, why=causes.__getitem__).listen()
    for features in causes:
        events.emit(Degraded("not connected yet", features=features))
    events.of(("tokens",)).emit(Unreachable("primary h:1", "h:1 does not answer"))
    told = ["degraded: the Redis of tokens cannot be used: h:1 does not answer"]
    assert warnings(caplog) == told, "why the other cannot be used is not known yet"
    events.of(("limits",)).emit(Unreachable("primary h:2", "h:2 refuses"))
    events.emit(Recovered(2.5, features=("limits",)))
    assert warnings(caplog) == [
        *told,
        "degraded: the Redis of limits cannot be used: h:2 refuses",
        "recovered: operations reach the Redis of limits again, after 2.5 s",
    ]


def test_it_is_not_said_twice_where_all_events_are_logged(events, caplog):
    end = EventLog().listen(events)
    events.emit(Degraded("no link"))
    assert len(warnings(caplog)) == 1
    end()
    events.emit(Recovered(2.5))
    assert len(warnings(caplog)) == 2


class Refusing(Posing):
    """A server that knows another password."""

    def _told(self, command):
        if command[0].upper() in {b"HELLO", b"AUTH"}:
            return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        return super()._told(command)


async def started(url, caplog):
    """The lines of a service with this Redis, from its start to its end."""
    state = SharedState(from_env({"ARAGORA_REDIS_URL": url}))
    async with lifespan(state)(FastAPI()):
        pass
    (degraded,) = outages(caplog)
    (not_ready,) = [line for line in warnings(caplog) if line.startswith("not ready after")]
    assert SECRET not in caplog.text
    return degraded, not_ready


@pytest.fixture(autouse=True)
def never_ready(monkeypatch, caplog):
    """The wait for readiness is in vain, and over as soon as the outage is told."""

    async def wait_ready(state, within):
        del state, within
        before = len(outages(caplog))
        await until(lambda: len(outages(caplog)) > before)
        return False

    monkeypatch.setattr(SharedState, "wait_ready", wait_ready)


async def test_a_service_that_is_refused_says_which_setting_to_check(caplog):
    async with Refusing().listening() as server:
        lines = await started(f"redis://:{SECRET}@{server.address}/0", caplog)
    told = "refused the credentials (check the URL in ARAGORA_REDIS_URL)"
    assert all(told in line for line in lines)


async def test_a_limit_that_cannot_be_decided_says_the_same_and_not_to_try_again():
    async with Refusing().listening() as server:
        state = SharedState(from_env({"ARAGORA_REDIS_URL": f"redis://:{SECRET}@{server.address}"}))
        state.start()
        try:
            await until(lambda: "credentials" in (state.status().reason or ""))
            with pytest.raises(LimitUnavailableError) as refused:
                await state.rate_limits.check("api", "s")
        finally:
            await state.close()
    assert str(refused.value).endswith(
        f": {server.address} refused the credentials (check the URL in ARAGORA_REDIS_URL; "
        "on_outage = fail-open would decide locally)"
    )


async def test_a_service_whose_redis_is_not_there_says_where_it_looks(caplog):
    address = f"127.0.0.1:{free_port()}"
    lines = await started(f"redis://:{SECRET}@{address}/0", caplog)
    assert all(f"{address} cannot be reached: Connection refused (check" in line for line in lines)


async def test_a_service_whose_redis_has_no_address_names_it(caplog, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    lines = await started(f"redis://:{SECRET}@no-such-host.invalid/0", caplog)
    assert all("no-such-host.invalid cannot be resolved" in line for line in lines)


async def test_a_state_that_is_started_again_says_it_once(caplog):
    state = SharedState(from_env({"ARAGORA_REDIS_URL": f"redis://127.0.0.1:{free_port()}"}))
    for times in (1, 2):
        async with state:
            assert len(outages(caplog)) == times
