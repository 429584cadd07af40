"""A shard is handed over: nothing acknowledged is lost, or it goes on as it was."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tests.integration.fleet import until
from tests.integration.rights import is_old
from tests.integration.test_doctor import ask, target

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.ops.access import Access
from aragora_redis.ops.failover import Phase, switch_over
from aragora_redis.ops.report import Status
from aragora_redis.ops.targets import ClusterTarget

PHASES = [Phase.PREFLIGHT, Phase.PROMOTE, Phase.VERIFY]
TAGS = ("b", "c", "a")
"""A hash tag of each shard."""


async def switched(lab, *, at=None, **how):
    names = {key: name for key, name in how.items() if isinstance(name, str)}
    how |= {key: lab.node(name).address for key, name in names.items()}
    return await switch_over(at or target(lab), prefix="aragora", clock=SYSTEM_CLOCK, **how)


def is_primary(lab, node):
    return ask(lab, node, "ROLE")[0] == b"master"


def each(act, nodes):
    for node in nodes:
        act(node)


class Writer:
    """Writes numbers to one shard, to the node that takes them (redis-py's client for clusters
    leaves connections open when nodes change)."""

    def __init__(self, lab, shard):
        pair = (lab.node(f"redis-{shard}"), lab.node(f"redis-{shard + 3}"))
        self.clients = [
            Redis(host=node.address.host, port=node.port, password=lab.password(node))
            for node in pair
        ]
        self.key = f"{{{TAGS[shard]}}}"
        self.acknowledged: set[int] = set()
        self.over = False

    async def run(self):
        number = 0
        while not self.over:
            number += 1
            try:
                await self.clients[0].sadd(self.key, number)
            except RedisError:
                self.clients.reverse()
            else:
                self.acknowledged.add(number)
            await asyncio.sleep(0.001)

    async def more(self):
        count = len(self.acknowledged) + 50
        await until(lambda: len(self.acknowledged) > count)

    async def lost(self):
        return self.acknowledged - {int(each) for each in await self.clients[0].smembers(self.key)}


@asynccontextmanager
async def writing(lab, *shards):
    writers = [Writer(lab, shard) for shard in shards]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    try:
        for writer in writers:
            await writer.more()
        yield
        for writer in writers:
            await writer.more()
            writer.over = True
        await asyncio.gather(*tasks)
        for writer in writers:
            assert not await writer.lost()
    finally:
        for writer in writers:
            writer.over = True
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in (client for writer in writers for client in writer.clients):
            await client.aclose()


async def test_nothing_is_lost_there_and_back_and_when_cancelled(cluster_lab):
    lab = cluster_lab
    async with writing(lab, 0, 1, 2):
        for how, old, new in (
            ({"to": "redis-3"}, "redis-0", "redis-3"),
            ({"shard": 0}, "redis-3", "redis-0"),
            ({"shard": "redis-4"}, "redis-1", "redis-4"),
        ):
            phases: list[Phase] = []
            report = await switched(lab, on_phase=phases.append, **how)
            assert report.status is Status.OK, report
            assert report.headline.endswith(", nothing acknowledged was lost")
            told = report.as_dict()
            assert (told["old"], told["new"]) == tuple(str(lab.node(n).address) for n in (old, new))
            assert phases == PHASES
            assert set(told["phases"]) == {Phase.PROMOTE, Phase.VERIFY}
            assert 0 < told["write_pause_seconds"] < 2

        phases = []
        task = asyncio.create_task(switched(lab, to="redis-5", on_phase=phases.append))
        await until(lambda: Phase.PROMOTE in phases)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_primary(lab, "redis-5")
    assert "is the primary already" in (await switched(lab, to="redis-5")).headline


async def test_one_clear_word_for_whatever_is_wrong(cluster_lab):
    lab, ours = cluster_lab, target(cluster_lab)

    async def refused(**how):
        report = await switched(lab, **how)
        assert report.status is Status.WARNING
        return report.headline

    assert "the cluster has 3 shards, and none was named" in await refused()
    assert "is no node of a shard" in await refused(to=Address("127.0.0.1", 1), force=True)
    wrong = replace(ours, redis=Access(password="wrong-secret"))
    said = await refused(at=wrong, shard=0)
    assert "refuses the password; check ARAGORA_REDIS_PASSWORD" in said
    assert "wrong-secret" not in said
    nowhere = ClusterTarget((Address("127.0.0.1", 1), Address("nobody.invalid", 7)))
    assert "no node of the cluster answers" in await refused(at=nowhere, shard=0)
    if not is_old():  # Redis 6.2 forbids whole commands only
        for node in ("redis-0", "redis-3"):
            rights = ("+@all", "-cluster|failover", "~*", "&*")
            ask(lab, node, "ACL", "SETUSER", "app", "on", ">pw", *rights)
        app = await switched(lab, at=replace(ours, redis=Access("app", "pw")), shard=0, force=True)
        assert app.status is Status.CRITICAL, "it stays with its primary, by the rights of the user"
        assert "log in as one who may" in app.headline

    lab.kill("redis-4")
    assert f"nobody can take over from {lab.node('redis-1').address}" in await refused(shard=6000)
    lab.freeze("redis-3")
    assert "does not answer within 1 s" in await refused(to="redis-3", deadline=1.0)
    lab.thaw("redis-3")
    lab.freeze("redis-2")
    lab.kill("redis-5")
    lab.kill("redis-1")
    said = await refused(to="redis-3", force=True, deadline=1.0)
    assert "1 of 3 primaries can be heard, and 2 have to vote" in said
    lab.kill("redis-0")
    assert "refuses connections: most primaries" in await refused(shard=0, deadline=1.0)
    assert not is_primary(lab, "redis-3")


async def test_what_does_not_come_leaves_the_primary_as_it_was(cluster_lab):
    """First the replica stands still when it is asked, then those who would have to vote."""
    lab = cluster_lab
    source = lab.node("redis-0").address

    def freeze(phase):
        if phase is Phase.PROMOTE:
            lab.freeze("redis-3")

    async with writing(lab, 0):
        report = await switched(lab, to="redis-3", on_phase=freeze)
        assert report.status is Status.CRITICAL
        assert "may still take over, with nothing lost, when it goes on" in report.headline
        assert report.headline.endswith(f"{source} goes on as primary")
        lab.thaw("redis-3")

    for node in lab.status().nodes:
        ask(lab, node.name, "CONFIG", "SET", "cluster-node-timeout", 60_000)
    voters = ["redis-2", "redis-3" if is_primary(lab, "redis-3") else "redis-0"]
    async with writing(lab, 1):
        report = await switched(
            lab, shard=6000, on_phase=lambda now: now is Phase.PROMOTE and each(lab.freeze, voters)
        )
        each(lab.thaw, voters)
    assert report.status is Status.CRITICAL
    assert "did not take over within 5 s" in report.headline
    assert "so try again after 240 s" in report.headline
    assert report.headline.endswith(f"{lab.node('redis-1').address} goes on as primary")
    assert is_primary(lab, "redis-1")


async def test_a_primary_that_dies_as_it_is_asked_is_not_said_to_go_on(cluster_lab):
    lab = cluster_lab
    report = await switched(
        lab, shard=0, on_phase=lambda now: now is Phase.PROMOTE and lab.kill("redis-0")
    )
    heir = lab.node("redis-3").address
    assert report.status is not Status.OK
    assert "nothing acknowledged was lost" not in report.headline
    assert "goes on as primary" not in report.headline
    assert f"{heir} has been made primary; see" in report.headline or report.progress.notes


def test_the_command(cli, cluster_lab):
    lab = cluster_lab
    code, out, err = cli("failover", "--json", "--shard", "0", "--dry-run", **lab.env())
    told = json.loads(out)
    assert (code, told["status"], told["new"]) == (0, "OK", str(lab.node("redis-3").address))
    assert "would take over" in told["headline"]
    code, out, err = cli("failover", "--lab", str(lab.directory), "--to", "redis-3")
    assert (code, out.startswith("OK: ")) == (0, True), (out, err)
    assert "the replica has writes held, catches up and is voted for" in err
    code, out, _ = cli("failover")
    assert code == 1
    assert out.splitlines()[1] == (
        f"- --shard {lab.node('redis-3').address} (0-5460): --to {lab.node('redis-0').address}"
    )
    for bad in ({"--to": "no such host"}, {"--shard": "16384"}, {"--to": "a:b:99999x"}):
        code, out, err = cli("failover", *(word for each in bad.items() for word in each))
        assert (code, err.count("\n")) in {(1, 1), (1, 2)}, err
        assert "Traceback" not in err
