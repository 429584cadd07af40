"""A source that speaks TLS alone: what the target needs to follow it, and what is said before."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

import pytest
import redis
from tests.integration.certificates import self_signed
from tests.integration.fleet import until
from tests.integration.rights import speaks_tls
from tests.integration.test_migrate import Labs
from tests.ports import free_port

from aragora_redis.lab.server import find_server
from aragora_redis.ops.migrate import replication
from aragora_redis.ops.migrate.plan import Way
from aragora_redis.ops.report import Status


class Server:
    """Stands for a lab of one node."""

    def __init__(self, directory, *, encrypted):
        directory.mkdir()
        self_signed(directory)
        self.certificate, self.port, self.encrypted = directory / "cert.pem", free_port(), encrypted
        ports = f"port 0\ntls-port {self.port}\n" if encrypted else f"port {self.port}\n"
        files = "tls-cert-file cert.pem\ntls-key-file key.pem\ntls-ca-cert-file cert.pem\n"
        config = directory / "redis.conf"
        own = files + "tls-auth-clients no\n" if encrypted else ""
        config.write_text(f'{ports}bind 127.0.0.1\ndir "{directory}"\n{own}')
        command = [find_server().path, config]
        self.process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)

    def env(self):
        scheme = "rediss" if self.encrypted else "redis"
        found = {"ARAGORA_REDIS_URL": f"{scheme}://127.0.0.1:{self.port}"}
        return found | ({"ARAGORA_REDIS_TLS_CA": str(self.certificate)} if self.encrypted else {})

    def client(self):
        tls: Any = {"ssl": True, "ssl_ca_certs": str(self.certificate)} if self.encrypted else {}
        return redis.Redis("127.0.0.1", self.port, socket_timeout=5, decode_responses=True, **tls)

    def answers(self):
        with contextlib.suppress(redis.RedisError):
            return self.client().ping()


@pytest.mark.skipif(not speaks_tls(), reason="this redis-server was built without TLS")
async def test_over_tls_there_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(replication, "CONNECT_LIMIT", 2.0)
    source = Server(tmp_path / "source", encrypted=True)
    target = Server(tmp_path / "target", encrypted=False)
    labs = Labs(source, target, tmp_path / "journal.json")
    try:
        await until(lambda: source.answers() and target.answers())
        source.client().set("key", "value")
        to = target.client()

        # Without an authority: said before, and another way is there.
        found = await labs.migration().plan(way=Way.REPLICATION)
        assert "tls-ca-cert-file" in found.headline
        assert (await labs.migration().plan()).way is Way.COPY
        assert (await labs.run(way=Way.REPLICATION)).status is Status.CRITICAL
        assert not labs.path.exists()

        # With the authority of somebody else: tried before anything is changed.
        to.config_set("tls-cert-file", str(target.certificate))
        to.config_set("tls-key-file", str(target.certificate.with_name("key.pem")))
        to.config_set("tls-ca-cert-file", str(target.certificate))
        found = await labs.migration().plan()
        assert (found.way, found.status) == (Way.REPLICATION, Status.WARNING)
        assert any("must hold the authority" in each.text for each in found.findings)
        to.set("own", "kept")
        report = await labs.run(overwrite=True)
        assert report.status is Status.CRITICAL
        assert "trust the authority" in report.headline
        assert to.get("own") == "kept"
        assert to.info("replication")["role"] == "master"
        assert to.config_get("tls-replication")["tls-replication"] == "no"

        to.config_set("tls-ca-cert-file", str(source.certificate))
        report = await labs.run(overwrite=True)
        assert report.status is Status.OK, report
        assert (to.get("key"), to.get("own")) == ("value", None)
        to.set("since", "x")
        assert not (await labs.migration().verify()).different
        assert (await labs.migration().rollback()).status is Status.OK
        assert source.client().get("since") == "x"
        assert (await labs.migration().rollback()).status is Status.OK

        labs.path.unlink()
        report = await labs.run(way=Way.COPY, overwrite=True)
        assert report.status is Status.OK, report
        assert to.get("since") == "x"
    finally:
        for each in (source, target):
            each.process.kill()
            each.process.wait()
