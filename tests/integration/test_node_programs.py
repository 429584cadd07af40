"""What the programs of deploy/redis do to a node that runs: users, secrets, probes, handover."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import redis
from tests.integration import fleet
from tests.integration.past import open_eras
from tests.integration.pods import MASTER, SECRETS, needs_addresses, until

from aragora_redis import SharedState

pytestmark = [needs_addresses, pytest.mark.timeout(240)]

FORBIDDEN = (
    ("default", False, "CONFIG GET *"),
    ("default", False, "FLUSHALL"),
    ("default", False, "REPLICAOF NO ONE"),
    ("default", False, "ACL LIST"),
    ("default", False, "SCRIPT FLUSH"),
    ("default", False, "SCRIPT KILL"),
    ("default", True, f"SENTINEL FAILOVER {MASTER}"),
    ("default", True, f"SENTINEL SET {MASTER} quorum 1"),
    ("monitor", False, "GET kept"),
    ("monitor", False, "CONFIG SET maxmemory 1"),
    ("monitor", True, f"SENTINEL RESET {MASTER}"),
    ("replica", False, "GET kept"),
)


def test_users_may_do_no_more_than_they_need(running):
    for user, sentinel, words in FORBIDDEN:
        with pytest.raises(redis.exceptions.NoPermissionError):
            running.pods[0].ask(*words.split(), user=user, sentinel=sentinel)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_the_library_may_do_all_that_it_does(site, encrypted):
    if encrypted:
        site.use_tls()
    with site.start_at_once().client() as client:
        open_eras(client)
    state = SharedState.from_env(site.application_env())
    async with state:
        assert await state.wait_ready(20), state.status()
        assert (await state.rate_limits.check("api", subject="one")).source == "redis"
        receipt = await state.tokens.revoke("jti", expires_at=time.time() + 60)
        assert receipt.level.name == "REPLICATED"
        session = await state.sessions.create(user="42")
        assert await state.sessions.get(session.id)
        async with state.circuits["upstream"]:
            pass
        await fleet.until(lambda: state.status().health == "healthy")
    for pod in site.pods:
        for sentinel in (False, True):
            assert pod.ask("ACL", "LOG", user="operator", sentinel=sentinel) == []


def refused_probes(site):
    """Those that do not get in with what the files say now."""
    parts = itertools.product(site.pods, ("redis", "sentinel"), ("live", "ready"))
    return [(pod.name, *what) for pod, *what in parts if pod.probe(*what)[0]]


def test_secrets_change_without_anybody_being_refused(running):
    secrets = Path(running.env["SECRETS"])
    new = {name: f"new-{name}" for name in SECRETS}
    for name in SECRETS:
        (secrets / f"{name}-other").write_text(new[name])
    assert refused_probes(running) == []
    for pod in running.pods:
        assert pod.run("rotate").returncode == 0
    for name, old in SECRETS.items():
        (secrets / name).write_text(new[name])
        (secrets / f"{name}-other").write_text(old)
    assert refused_probes(running) == []
    for pod in running.pods:
        assert pod.run("rotate").returncode == 0
        assert pod.ask("PING", secret=SECRETS["password"])
        assert pod.ask("PING", secret=new["password"])
    for name in SECRETS:
        (secrets / f"{name}-other").unlink()
    assert refused_probes(running) == []
    for pod in running.pods:
        assert pod.run("rotate").returncode == 0
        with pytest.raises(redis.AuthenticationError):
            pod.ask("PING", secret=SECRETS["password"])
    running.pods[0].kill()
    until(running.primaries)
    running.pods[0].start()
    until(running.primary)
    assert [pod.ask("GET", "kept") for pod in running.pods] == ["yes"] * 3


def test_a_rotation_that_reaches_no_server_says_so(running):
    running.pods[1].kill("sentinel")
    failed = running.pods[1].run("rotate")
    assert failed.returncode == 1
    assert f"failed at port {running.sentinel_port}" in failed.stderr
    Path(running.env["SECRETS"], "operator-password").write_text("wrong")
    failed = running.pods[0].run("rotate")
    assert failed.returncode == 1
    assert f"failed at port {running.redis_port}" in failed.stderr


def test_probes_tell_a_server_that_lives_from_one_to_count_on(running):
    first, second, third = running.pods
    assert first.probe("redis", "live") == (0, "alive")
    assert first.probe("redis", "ready") == (0, "primary")
    assert second.probe("redis", "ready") == (0, "replica")
    assert second.probe("sentinel", "live") == (0, "alive")
    assert second.probe("sentinel", "ready") == (0, "quorum")
    second.kill("sentinel")
    third.kill("sentinel")
    until(lambda: first.probe("sentinel", "ready")[0] == 1)
    assert "NOQUORUM" in first.probe("sentinel", "ready")[1]
    assert first.probe("sentinel", "live") == (0, "alive")
    first.signal("redis", signal.SIGSTOP)
    assert first.probe("redis", "live") == (1, "no answer")
    first.kill("redis")
    until(lambda: second.probe("redis", "ready")[0] == 1)
    assert second.probe("redis", "live") == (0, "alive")
    first.start("redis")
    until(lambda: "waiting" in first.log("redis"))
    assert first.probe("redis", "live") == (0, "waiting to start")
    assert first.probe("redis", "ready")[0] == 1
    Path(running.env["SECRETS"], "password").write_text("not known to the server yet")
    assert second.probe("redis", "live") == (0, "alive")
    assert second.probe("redis", "ready")[0] == 1


def test_a_primary_hands_over_before_it_ends_and_nothing_is_lost(running):
    old = running.pods[0]
    written, stop = [], threading.Event()

    def write_on():
        with old.client() as client, contextlib.suppress(redis.RedisError):
            for number in itertools.count():
                if stop.is_set():
                    return
                client.rpush("numbers", number)
                written.append(number)

    writer = threading.Thread(target=write_on)
    writer.start()
    until(lambda: written)
    done = old.run("handover")
    assert (done.returncode, "handed over to" in done.stderr) == (0, True), done.stderr
    old.signal("redis", signal.SIGTERM)
    old.kill()
    stop.set()
    writer.join(10)
    new = until(lambda: next(iter(running.primaries()), None))
    assert new.ask("LRANGE", "numbers", 0, -1) == [str(number) for number in written]


def test_who_cannot_hand_over_takes_writes_until_the_end(running):
    assert running.pods[1].run("handover").stderr == "", "a replica has nothing to hand over"
    for pod in running.pods[1:]:
        pod.kill("redis")
    primary = running.pods[0]
    until(lambda: "slave0" not in str(primary.ask("INFO", "replication")))
    done = primary.run("handover", HANDOVER_SECONDS="1")
    assert (done.returncode, "no replica has everything" in done.stderr) == (0, True)
    primary.ask("CONFIG", "SET", "min-replicas-to-write", 0, user="operator")
    assert primary.can_write("still")


def test_a_primary_that_may_not_hand_over_says_so(running):
    Path(running.env["SECRETS"], "operator-password").write_text("wrong")
    done = running.pods[0].run("handover")
    assert done.returncode == 0
    assert "not handed over" in done.stderr


def test_a_renewed_certificate_is_read_by_one_node_after_the_other(site):
    site.use_tls()
    site.start()
    until(site.primary)
    first, second, third = site.pods
    assert first.probe("redis", "live") == (0, "alive")
    began = time.time()
    for pod in site.pods:
        for part in ("redis", "sentinel"):
            os.utime(pod.data / part / "started", (began - 3600, began - 3600))
    renewed = Path(site.env["TLS"], "tls.crt")
    os.utime(renewed, (began - 400, began - 400))
    for pod, code in ((first, 1), (second, 1), (third, 0)):
        for part in ("redis", "sentinel"):
            assert pod.probe(part, "live")[0] == code, (pod.name, part)
    first.kill("redis")
    first.start("redis")
    until(lambda: first.probe("redis", "live")[0] == 0)


def copies(folder):
    return sorted(path.name for path in folder.iterdir())


def backup(pod, folder, **env):
    return pod.run("backup", BACKUPS=str(folder), **env)


def test_a_copy_is_checked_and_the_oldest_go(running, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    for old in ("redis-20250101T000000Z.rdb", "redis-20250102T000000Z.rdb", "mine.rdb"):
        (folder / old).touch()
    done = backup(running.pods[0], folder, KEEP="2")
    assert done.returncode == 0, done.stderr
    assert "copied " + running.hosts[1] in done.stderr, "of a replica"
    mine, old, new = copies(folder)
    assert (mine, old) == ("mine.rdb", "redis-20250102T000000Z.rdb")
    assert (folder / new).stat().st_mode & 0o077 == 0
    for pod in running.pods[1:]:
        pod.kill("redis")
    until(lambda: "slave0" not in str(running.pods[0].ask("INFO", "replication")))
    assert backup(running.pods[0], folder).returncode == 0, "of the primary where nobody else is"
    running.kill()
    done = backup(running.pods[0], folder)
    assert (done.returncode, "no server can be copied from" in done.stderr) == (1, True)
    assert not [name for name in copies(folder) if name.startswith(".")]


def test_a_copy_brings_back_what_was_there(running, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    first, second, _ = running.pods
    assert backup(first, folder).returncode == 0
    (copy,) = folder.iterdir()
    first.write("kept", "spoiled")
    first.write("later", "1")
    first.kill("redis")
    second.signal("sentinel", signal.SIGSTOP)
    refused = restore(first, copy)
    assert (refused.returncode, "stop all servers" in refused.stderr) == (78, True)
    running.kill()
    before = copies(second.data / "redis")
    garbage = tmp_path / "garbage.rdb"
    garbage.write_bytes(b"REDIS0011 but no more")
    refused = restore(second, garbage)
    assert (refused.returncode, "or damaged" in refused.stderr) == (78, True)
    running.inside = ("sh", "-c", 'ulimit -f 0; exec "$@"', "a full disk")
    refused = restore(second, copy)
    assert (refused.returncode, "nothing was changed" in refused.stderr) == (78, True)
    assert copies(second.data / "redis") == before
    running.inside = ()
    for pod in running.pods:
        done = restore(pod, copy)
        assert done.returncode == 0, done.stderr
        assert list((pod.data / "redis").glob("before-*/appendonlydir"))
    running.start()
    primary = until(running.primary)
    assert [pod.ask("MGET", "kept", "later") for pod in running.pods] == [["yes", None]] * 3
    primary.write("after", "1")


def restore(pod, copy):
    return pod.run("restore", str(copy), DATA=str(pod.data / "redis"))
