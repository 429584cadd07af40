"""The start program of deploy/redis puts each server where the Sentinels have it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
import redis
from tests.integration.pods import MASTER, SECRETS, needs_addresses, until
from tests.integration.rights import needs_mounts

pytestmark = [needs_addresses, pytest.mark.timeout(240)]


def test_the_first_start_makes_the_first_node_primary(site):
    site.pods[2].start()
    site.pods[1].start()
    until(lambda: "has not started yet" in site.pods[1].log("redis"))
    assert site.primaries() == []
    site.pods[0].start()
    assert until(site.primary) is site.pods[0]
    file = site.pods[0].data / "redis" / "redis.conf"
    assert file.stat().st_mode & 0o077 == 0


@needs_mounts
def test_names_that_resolve_late_are_waited_for(site):
    site.use_names()
    site.start()
    until(lambda: all("waiting" in pod.log("redis") for pod in site.pods))
    assert site.primaries() == []
    site.publish(*site.pods[1:])
    until(lambda: "not all of them are there" in site.pods[2].log("sentinel"))
    site.publish(site.pods[0])
    assert until(site.primary) is site.pods[0]
    site.pods[0].kill()
    until(site.primaries)
    site.pods[0].start()
    until(site.primary)
    assert "starting as a replica" in site.pods[0].log("redis")


def test_a_primary_that_crashed_returns_as_a_replica(running):
    old = running.pods[0]
    old.kill()
    new = until(lambda: next(iter(running.primaries()), None))
    until(lambda: new.can_write("meanwhile"))
    old.start()
    accepted = 0
    while running.primary() is None:
        accepted += old.role() == "master" and old.can_write("stale")
    assert accepted == 0
    assert running.primary() is not old
    assert [pod.ask("GET", "kept") for pod in running.pods] == ["yes"] * 3
    assert "starting as a replica" in old.log("redis")


@pytest.mark.parametrize("away", [0.5, 0.8, 0.95], ids="after {}".format)
def test_a_primary_that_is_back_just_before_it_counts_as_down_takes_no_writes_to_lose(
    running, away
):
    """The Sentinels look once a second: they replace it although it is there again."""
    old = running.pods[0]
    old.kill("redis")
    time.sleep(away)  # it is this moment that is tried
    old.start("redis")
    taken: list[str] = []
    while (primary := running.primary()) is None:
        if old.role() == "master" and old.can_write(f"taken-{len(taken)}"):
            taken.append(f"taken-{len(taken)}")
    kept = [key for key in taken if primary.ask("GET", key)]
    assert kept == taken


def test_a_replica_that_lost_its_volume_is_not_promoted_before_it_has_the_data(running):
    running.kill()
    empty = running.pods[1]
    empty.lose_volume()
    for pod in running.pods[1:]:
        pod.start()
    until(lambda: "has not started yet" in empty.log("redis"))
    # The third starts without the primary in the end, and is promoted; the empty one never is.
    until(lambda: running.pods[2].role() == "master")
    running.pods[0].start()
    until(running.primary)
    assert [pod.ask("GET", "kept") for pod in running.pods] == ["yes"] * 3


def test_a_sentinel_that_lost_its_volume_learns_of_the_replicas_without_a_primary(running):
    """It may be the one that has to elect among them."""
    running.kill()
    empty, other = running.pods[1:]
    empty.lose_volume()
    for pod in (other, empty):
        pod.start("sentinel")

    def known(pod):
        with contextlib.suppress(redis.RedisError), pod.client(sentinel=True) as client:
            found = client.sentinel_slaves(MASTER)
            return {(each["ip"], each["port"]) for each in found}
        return set()

    assert len(until(lambda: known(other))) == 2
    assert until(lambda: known(empty)) == known(other)


def test_a_replica_that_missed_writes_lets_the_primary_come_first(running):
    stale = running.pods[2]
    stale.kill()
    until(lambda: str(running.pods[0].ask("INFO", "replication")).count("online") == 1)
    running.pods[0].write("missed", "1", replicas=1)
    running.kill()
    for pod in running.pods[1:]:
        pod.start(PRIMARY_WAIT="60")
    until(lambda: "has not started yet" in stale.log("redis"))
    running.pods[0].start()
    until(running.primary)
    assert [pod.ask("GET", "missed") for pod in running.pods] == ["1"] * 3


def test_a_primary_that_restarts_at_once_stays_primary(running):
    running.pods[0].kill("redis")
    running.pods[0].start("redis")
    until(running.primary)
    assert [pod.ask("GET", "kept") for pod in running.pods] == ["yes"] * 3


def test_a_rolling_restart_keeps_all_data_and_one_primary(running):
    for number, pod in enumerate(running.pods):
        pod.kill()
        until(lambda pod=pod: [p for p in running.primaries() if p is not pod])
        pod.start()
        primary = until(running.primary)
        assert running.primaries() == [primary]
        primary.write(f"after-{number}", "1")
    for pod in running.pods:
        assert pod.ask("MGET", "kept", "after-0", "after-1", "after-2") == ["yes", "1", "1", "1"]


def test_all_at_once_after_a_failover_keeps_all_data_and_one_primary(running):
    running.pods[0].kill()
    until(running.primaries)
    running.pods[0].start()
    new = until(running.primary)
    until(lambda: new.can_write("after"))
    new.write("after", "1")
    running.kill()
    running.start()
    # The Sentinels may have replaced it meanwhile, by one that has everything too.
    primary = until(running.primary)
    assert running.primaries() == [primary]
    assert [pod.ask("MGET", "kept", "after") for pod in running.pods] == [["yes", "1"]] * 3


def test_the_newest_configuration_counts_although_only_one_sentinel_has_it(running):
    files = [pod.data / "sentinel" / "sentinel.conf" for pod in running.pods]
    before = [file.read_text() for file in files]
    running.pods[0].kill()
    until(running.primaries)
    new = until(running.named)
    until(lambda: new.can_write("after"))
    new.write("after", "1", replicas=1)
    running.kill()
    # The others stopped before they heard of the switch, and agree on the old primary.
    for pod, file, text in zip(running.pods, files, before, strict=True):
        if pod is not new:
            file.write_text(text)
    running.start()
    until(running.primary)
    assert [pod.ask("MGET", "kept", "after") for pod in running.pods] == [["yes", "1"]] * 3


def test_a_node_that_lost_its_volume_takes_part_again(running):
    first = running.pods[0]
    first.kill()
    until(running.primaries)
    first.lose_volume()
    first.start()
    until(running.primary)
    assert first.role() == "slave"
    assert [pod.ask("GET", "kept") for pod in running.pods] == ["yes"] * 3


def test_an_empty_first_node_alone_takes_no_writes_while_the_others_are_away(running):
    running.kill()
    first = running.pods[0]
    first.lose_volume()
    first.start()
    until(lambda: "the first start" in first.log("sentinel"))
    for _ in range(20):
        assert not first.can_write("lost")
        time.sleep(0.05)
    for pod in running.pods[1:]:
        pod.start()
    until(running.primary)
    assert [pod.ask("GET", "kept") for pod in running.pods] == ["yes"] * 3


@pytest.mark.parametrize("part", ["redis", "sentinel"])
def test_what_waits_ends_when_it_is_told_to(site, part):
    pod = site.pods[1]
    pod.start(part, BOOTSTRAP_WAIT="600")
    until(lambda: "waiting" in pod.log(part))
    pod.processes[part].terminate()
    assert pod.processes[part].wait(10) == 143


def refused(site, part="redis", **env):
    pod = site.pods[0]
    pod.start(part, **env)
    assert pod.processes[part].wait(10) == 78, pod.log(part)
    return pod.log(part)


def test_what_cannot_be_meant_is_refused(site):
    config, secrets = Path(site.env["CONFIG"]), Path(site.env["SECRETS"])
    assert "does not end in a number" in refused(site, NODE="redis")
    assert "PEERS has no host for redis-7" in refused(site, NODE="redis-7")
    assert "cannot be written" in refused(site, DATA="/proc/nowhere")
    assert "say what to start" in refused(site, "both", DATA=str(site.pods[0].data / "redis"))
    for text, why in (
        ("${REDIS_PASSWORD}", "a variable that nobody has replaced"),
        ("", "is empty"),
        ("a\tb", "a control character"),
    ):
        (secrets / "password").write_text(text)
        said = refused(site)
        assert why in said
        assert not text or text not in said
    (secrets / "password").unlink()
    assert "cannot be read" in refused(site)
    (secrets / "password").write_text(SECRETS["password"])
    for name in ("redis-master.conf", "sentinel.conf"):
        (config / name).write_text("requirepass ${REDIS_PASSWORD}\n")
    assert "a literal ${" in refused(site, "sentinel")
