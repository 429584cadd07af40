"""The link over TLS, against a server that speaks nothing else."""

from __future__ import annotations

import socket
import subprocess
import time
from collections import Counter

import pytest
import redis
from tests.integration.certificates import self_signed
from tests.integration.fleet import until
from tests.ports import free_port

from aragora_redis import Level, SharedState
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Event, LinkLost, LinkUp
from aragora_redis.lab.server import find_server
from aragora_redis.ops.asking import survey
from aragora_redis.ops.connect import Step, check_ways
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.targets import target_of
from aragora_redis.settings import from_env

PASSWORD = "a-password-for-the-test"


@pytest.fixture
def port(tmp_path):
    """A redis-server on TLS alone."""
    self_signed(tmp_path)
    port = free_port()
    config = tmp_path / "redis.conf"
    config.write_text(
        f"port 0\ntls-port {port}\nbind 127.0.0.1\nrequirepass {PASSWORD}\n"
        f'dir "{tmp_path}"\ntls-cert-file cert.pem\ntls-key-file key.pem\n'
        "tls-ca-cert-file cert.pem\ntls-auth-clients no\n"
    )
    server = subprocess.Popen(
        [find_server().path, config],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        if server.poll() is not None:
            assert server.stdout is not None
            said = server.stdout.read()
            if "Bad directive" in said or "TLS" in said:
                pytest.skip("this redis-server was built without TLS")
            pytest.fail(said)
        yield port
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def state_on(port, tmp_path, **env):
    return SharedState.from_env(
        {
            "ARAGORA_REDIS_URL": f"rediss://:{PASSWORD}@127.0.0.1:{port}",
            "ARAGORA_REDIS_TLS_CA": str(tmp_path / "cert.pem"),
        }
        | env
    )


async def test_limits_and_revocations_travel_over_tls(port, tmp_path):
    async with state_on(port, tmp_path) as state:
        decision = await state.rate_limits.check("api", "u")
        assert (decision.allowed, decision.source.value) == (True, "redis")
        receipt = await state.tokens.revoke("x", expires_at=time.time() + 60)
        assert receipt.level is Level.PRIMARY
        assert state.tokens.is_revoked({"jti": "x"})


async def test_a_server_that_cannot_be_trusted_is_not_used(port, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    self_signed(other)
    state = state_on(port, tmp_path, ARAGORA_REDIS_TLS_CA=str(other / "cert.pem"))
    state.start()
    try:
        await until(lambda: "certificate" in (state.status().reason or "").lower())
        reason = state.status().reason or ""
        assert not state.ready
        assert PASSWORD not in reason
    finally:
        await state.close()


async def test_a_certificate_that_ends_soon_is_told_while_there_is_time(port, tmp_path):
    env = {
        "ARAGORA_REDIS_URL": f"rediss://:{PASSWORD}@127.0.0.1:{port}",
        "ARAGORA_REDIS_TLS_CA": str(tmp_path / "cert.pem"),
    }
    found = target_of(from_env(env))
    assert found is not None
    seen = await survey(found, prefix="aragora", clock=SYSTEM_CLOCK)
    ends = next(each for each in examine(seen).diagnoses if each.name == "certificate-ends")
    assert ends.evidence == "has a certificate that ends in 1.0 days"
    (way,) = (await check_ways(found, clock=SYSTEM_CLOCK)).ways
    assert list(way.taken) == [Step.DNS, Step.TCP, Step.TLS, Step.AUTH, Step.ROLE]
    other = tmp_path / "other"
    other.mkdir()
    self_signed(other)
    found = target_of(from_env(env | {"ARAGORA_REDIS_TLS_CA": str(other / "cert.pem")}))
    assert found is not None
    (way,) = (await check_ways(found, clock=SYSTEM_CLOCK)).ways
    assert way.failed is Step.TLS
    assert "ARAGORA_REDIS_TLS_CA" in way.fix


async def test_a_renewed_certificate_needs_no_restart(port, tmp_path):
    """As the runbook has it: new files, one command to the server, none to the instances."""
    env = {
        "ARAGORA_REDIS_URL": f"rediss://:{PASSWORD}@127.0.0.1:{port}",
        "ARAGORA_REDIS_TLS_CA": str(tmp_path / "cert.pem"),
    }
    async with state_on(port, tmp_path) as state:
        self_signed(tmp_path, days=90)
        with redis.Redis(
            port=port, password=PASSWORD, ssl=True, ssl_cert_reqs="none", decode_responses=True
        ) as client:
            client.config_set("tls-cert-file", "cert.pem")
            await until(lambda: state.status().health == "healthy")
            told = Counter[type[Event]]()
            state.events.subscribe(lambda event: told.update([type(event)]))
            client.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: 0 < told[LinkLost] == told[LinkUp])
        await until(lambda: state.status().health == "healthy")
        assert (await state.rate_limits.check("api", "u")).source.value == "redis"
    found = target_of(from_env(env))
    assert found is not None
    seen = await survey(found, prefix="aragora", clock=SYSTEM_CLOCK)
    assert "certificate-ends" not in {each.name for each in examine(seen).diagnoses}


async def test_a_name_of_the_hosts_file_is_what_the_certificate_is_checked_for(port, tmp_path):
    self_signed(tmp_path, hosts=(), names=("redis.example",))
    with redis.Redis(port=port, password=PASSWORD, ssl=True, ssl_cert_reqs="none") as client:
        client.config_set("tls-cert-file", "cert.pem")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 redis.example other.example\n")
    env = {
        "ARAGORA_REDIS_URL": f"rediss://:{PASSWORD}@redis.example:{port}",
        "ARAGORA_REDIS_HOSTS_FILE": str(hosts),
        "ARAGORA_REDIS_TLS_CA": str(tmp_path / "cert.pem"),
    }
    async with SharedState.from_env(env) as state:
        assert (await state.rate_limits.check("api", "u")).source.value == "redis"
    found = target_of(from_env(env))
    assert found is not None
    seen = await survey(found, prefix="aragora", clock=SYSTEM_CLOCK)
    assert len(seen.alive) == 1
    (way,) = (await check_ways(found, clock=SYSTEM_CLOCK)).ways
    assert list(way.taken) == [Step.DNS, Step.TCP, Step.TLS, Step.AUTH, Step.ROLE]
    other = env | {"ARAGORA_REDIS_URL": f"rediss://:{PASSWORD}@other.example:{port}"}
    state = SharedState.from_env(other)
    state.start()
    try:
        assert not await state.wait_ready(1)
        assert "certificate" in (state.status().reason or "").lower()
    finally:
        await state.close()


async def test_a_server_that_asks_for_a_certificate_gets_ours(port, tmp_path):
    with redis.Redis(port=port, password=PASSWORD, ssl=True, ssl_cert_reqs="none") as client:
        client.config_set("tls-auth-clients", "yes")
    ours = {
        "ARAGORA_REDIS_TLS_CERT": str(tmp_path / "cert.pem"),
        "ARAGORA_REDIS_TLS_KEY": str(tmp_path / "key.pem"),
    }
    async with state_on(port, tmp_path, **ours) as state:
        assert (await state.rate_limits.check("api", "u")).source.value == "redis"
    state = state_on(port, tmp_path)
    state.start()
    try:
        assert not await state.wait_ready(1)
        assert "ARAGORA_REDIS_TLS_CERT" in str(state.status().reason)
    finally:
        await state.close()
