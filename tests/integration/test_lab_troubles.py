"""Each trouble is what its name says, as a plain client sees it; and heals."""

from __future__ import annotations

import pytest
import redis
from tests.integration.rights import needs_redis_7

from aragora_redis.errors import LabError
from aragora_redis.lab import Trouble
from aragora_redis.lab.config import MASTER_NAME
from aragora_redis.lab.waiting import wait_until


def said(lab, target, *command):
    """What a node answers to a client that connects now."""
    node = lab.node(target)
    with redis.Redis(
        host=node.address.host, port=node.port, password=lab.password(node), socket_timeout=2
    ) as client:
        try:
            return client.execute_command(*command)
        except redis.RedisError as error:
            return str(error)


def becomes(answer, part):
    """Whether the answer comes to hold some text."""
    return not wait_until(lambda: "" if part in str(answer()) else str(answer()), seconds=15)


@pytest.mark.parametrize(
    ("trouble", "command", "told"),
    [
        ("oom", ("SET", "a", "1"), "used memory > 'maxmemory'"),
        ("noreplicas", ("SET", "a", "1"), "good replicas"),
        ("noauth", ("PING",), "invalid username-password"),
        pytest.param("loading", ("GET", "a"), "is loading the dataset", marks=needs_redis_7),
        ("full-disk", ("SET", "a", "1"), "Errors writing to the AOF file"),
    ],
)
def test_a_primary_in_trouble(sentinel_lab, trouble, command, told):
    lab = sentinel_lab
    assert lab.trouble(trouble) == "redis-0"
    assert becomes(lambda: said(lab, "redis-0", *command), told)
    lab.heal()
    # A primary whose password was changed cannot be asked, and is replaced.
    assert becomes(lambda: said(lab, lab.primary(), "SET", "a", "1"), "True")


def test_a_primary_made_a_replica_by_hand(make_lab):
    lab = make_lab("standalone")
    lab.start()
    lab.trouble("readonly")
    assert "read only" in said(lab, "redis-0", "SET", "a", "1")
    lab.heal()
    assert said(lab, "redis-0", "SET", "a", "1") is True


def test_a_replica_without_its_primary(sentinel_lab):
    lab = sentinel_lab
    lab.trouble("masterdown", "replica-0")
    assert "Link with MASTER is down" in said(lab, "redis-1", "GET", "a")
    lab.heal()
    assert said(lab, "redis-1", "GET", "a") is None


def test_scripts_that_are_gone(sentinel_lab):
    sha = said(sentinel_lab, "redis-0", "SCRIPT LOAD", "return 1")
    sentinel_lab.trouble("noscript")
    assert "No matching script" in said(sentinel_lab, "redis-0", "EVALSHA", sha, 0)


def test_a_sentinel_that_stood_still(sentinel_lab):
    sentinel_lab.trouble("tilt", "sentinel-1")
    assert becomes(
        lambda: said(sentinel_lab, "sentinel-1", "INFO", "sentinel"), "sentinel_tilt': 1"
    )


@pytest.mark.parametrize(
    ("trouble", "names"),
    [("unknown-master", None), ("false-master", "redis-1"), ("stale-epoch", "redis-0")],
)
def test_a_sentinel_that_names_another_primary_or_none(sentinel_lab, trouble, names):
    lab = sentinel_lab
    lab.trouble(trouble, "sentinel-2")
    address = said(lab, "sentinel-2", "SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
    assert address == (names and (lab.node(names).address.host.encode(), lab.node(names).port))
    lab.heal()
    assert said(lab, "sentinel-2", "SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER_NAME) is not None
    assert lab.primary() == "redis-0"


@pytest.mark.parametrize(("trouble", "target"), [("oom", "sentinel-0"), ("tilt", "redis-0")])
def test_a_trouble_is_of_one_kind_of_node(sentinel_lab, trouble, target):
    with pytest.raises(LabError, match="no trouble of"):
        sentinel_lab.trouble(trouble, target)


def test_a_dead_node_has_no_trouble(sentinel_lab):
    sentinel_lab.kill("redis-2")
    with pytest.raises(LabError, match="dead"):
        sentinel_lab.trouble(Trouble.OOM, "redis-2")


def test_all_restarted_at_once_with_and_without_disk(sentinel_lab):
    lab = sentinel_lab
    assert said(lab, "redis-0", "SET", "kept", "yes") is True
    assert said(lab, "redis-0", "WAIT", 2, 2000) == 2
    assert len(lab.restart("all")) == 6
    assert said(lab, lab.primary(), "GET", "kept") == b"yes"
    lab.restart("all", wipe=True)
    assert said(lab, lab.primary(), "GET", "kept") is None
