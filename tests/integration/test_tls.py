"""The link over TLS, against a server that speaks nothing else."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aragora_redis import Level, SharedState
from aragora_redis.lab.server import find_server

PASSWORD = "a-password-for-the-test"


def self_signed(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def port(tmp_path):
    """A redis-server on TLS alone."""
    self_signed(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
        assert not await state.wait_ready(1)
        reason = state.status().reason or ""
        assert "certificate" in reason.lower()
        assert PASSWORD not in reason
    finally:
        await state.close()
