"""The Redis of a run: a server of its own on loopback, and what it spends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from aragora_redis.lab import Lab
from aragora_redis.rate_limit import operations
from aragora_redis.rate_limit.policy import LimitPolicy, Rate
from aragora_redis.scripts.catalog import load
from aragora_redis.tokens.entry import SHARDS
from aragora_redis.tokens.operations import ShardKeys

from .target import PLENTY, Target

POLICIES = f"""
[limits.api]
rate = "{PLENTY}/second"
burst = {PLENTY}
[limits.open]
rate = "{PLENTY}/second"
burst = {PLENTY}
on_outage = "fail-open"
[limits.scarce]
rate = "1/hour"
burst = 1
[limits.leased]
rate = "{PLENTY}/second"
burst = {PLENTY}
lease = {PLENTY // 10}
"""
PAST_US = 3600 * 1_000_000
"""How old the era of the revocations is: an instance waits until it is six seconds old."""


@dataclass(frozen=True, slots=True)
class BenchServer:
    """The server, as the run sees it."""

    target: Target
    client: Redis

    def cpu(self) -> float:
        """Seconds of processor time that it has spent so far, in all its threads."""
        told = self.client.info("cpu")
        return float(told["used_cpu_sys"]) + float(told["used_cpu_user"])

    def wire(self) -> int:
        """Bytes that it has read and written so far."""
        told = self.client.info("stats")
        return int(told["total_net_input_bytes"]) + int(told["total_net_output_bytes"])

    def name(self) -> str:
        """What it calls itself."""
        return f"Redis {self.client.info('server')['redis_version']}, one server on loopback"

    def empty(self) -> None:
        """Begin anew: no key, all scripts, a past."""
        self.client.flushall()
        self.client.script_load(self.target.script)
        give_past(self.client)


@contextmanager
def serving(limits: str = POLICIES) -> Iterator[BenchServer]:
    """A server while this lasts, with limits as the policies file has them."""
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab.create(Path(directory) / "lab", "standalone", ports="free")
        policies = Path(directory) / "policies.toml"
        policies.write_text(limits)
        lab.start(foreground=True)
        try:
            node = lab.node("primary")
            env = lab.env() | {"ARAGORA_POLICIES": str(policies), "ARAGORA_REDIS_DEADLINE": "2"}
            target = _target(node.port, lab.password(node), env)
            with Redis(port=node.port, password=target.password, socket_timeout=10) as client:
                yield BenchServer(target, client)
        finally:
            lab.stop()


def _target(port: int, password: str, env: dict[str, str]) -> Target:
    script = load("gcra")
    rate = Rate(f"{PLENTY}/second", PLENTY)
    policy = LimitPolicy("api", rate.count, rate.period_us, rate.burst)
    check = operations.check(policy, b"bench:l:{0}:api", 1)
    return Target(
        host="127.0.0.1",
        port=port,
        password=password,
        env=env,
        script=script.source.decode(),
        sha=script.sha,
        arguments=("0", *map(str, check.shared)),
    )


def give_past(client: Redis) -> None:
    """Let the era of each shard be old enough for who starts now."""
    for index in range(SHARDS):
        keys = ShardKeys("aragora", index)
        opened = client.eval(
            load("join").source.decode(), 3, keys.head, keys.digests, keys.feed, 0, "past", "0", 0
        )
        client.hset(keys.head, "opened", str(int(opened[-1]) - PAST_US))
