"""How long Redis takes no writes, or a node is missing, after what may befall it.

    python -m benchmarks.recovery [ROUNDS] [MEGABYTES]

Three nodes, each a Redis and a Sentinel started by the programs and templates of deploy/redis:
`down-after-milliseconds` 5000. Each node is tried with a write every 10 ms. Every round begins with
empty volumes and fills them with as many megabytes (100) that do not compress.

A process stands for a pod: add what your scheduler needs for a new pod, a volume and a name.
"""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from tests.integration.pods import DEPLOY, MASTER, Pod, Site, until

PACE = 0.01
LIMIT = 180.0
VALUE = 10_000

Steps = Iterator[tuple[str, float]]
"""What was measured, and how many seconds it took."""


class Writer:
    """Writes to every node, always: when some node took a write."""

    def __init__(self, site: Site) -> None:
        self._taken: list[float] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(pod,)) for pod in site.pods]

    def _write(self, pod: Pod) -> None:
        with pod.client() as client:
            while not self._over.wait(PACE):
                with suppress(redis.RedisError):
                    client.set("recovery", "1")
                    self._taken.append(time.monotonic())

    def first_after(self, moment: float) -> float:
        """Wait for the first write taken after this, and say how long after it that was."""
        until(lambda: any(at > moment for at in list(self._taken)), LIMIT)
        return min(at for at in list(self._taken) if at > moment) - moment

    def longest_gap(self, since: float) -> float:
        """The longest time without a write since then."""
        times = [since, *sorted(at for at in list(self._taken) if at > since), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """While this lasts."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


def as_shipped(root: Path) -> Site:
    """Three nodes with the templates as they are, and not those of the tests."""
    site = Site(root)
    for name in ("redis-master.conf", "redis-replica.conf", "sentinel.conf"):
        shutil.copy(DEPLOY / name, Path(site.env["CONFIG"]) / name)
    del site.env["BOOTSTRAP_WAIT"]
    return site


def settled(site: Site) -> Pod | None:
    """The primary, once everybody knows it and everybody else."""
    try:
        for pod in site.pods:
            with pod.client(sentinel=True) as client:
                known = client.sentinel_master(MASTER)
                replicas = client.sentinel_slaves(MASTER)
            if (known["num-slaves"], known["num-other-sentinels"]) != (2, 2):
                return None
            if any(each["is_sdown"] or each["master-link-status"] != "ok" for each in replicas):
                return None
        primary: Pod | None = site.named()
    except redis.RedisError:
        return None
    online = str(primary.ask("INFO", "replication")).count("online") if primary else 0
    return primary if online == 2 else None


def linked(pod: Pod) -> bool:
    """Whether it is a replica that follows."""
    try:
        role = pod.ask("ROLE")
    except redis.RedisError:
        return False
    return role[0] == "slave" and role[3] == "connected"


def fill(primary: Pod, megabytes: int) -> None:
    """Give it so much that all others have too."""
    with primary.client() as client:
        for number in range(megabytes * 1_000_000 // VALUE):
            client.set(f"filling-{number}", os.urandom(VALUE))
        client.wait(2, 60_000)


def first_start(site: Site, megabytes: int) -> Steps:
    """Empty volumes; then they are filled."""
    with Writer(site).writing() as writer:
        began = time.monotonic()
        site.start()
        yield "first start, empty volumes: until writable", writer.first_after(began)
        primary = until(lambda: settled(site), LIMIT)
    fill(primary, megabytes)


def crash(site: Site) -> Steps:
    """The primary's node ends without a word."""
    primary = until(lambda: settled(site), LIMIT)
    with Writer(site).writing() as writer:
        primary.kill()
        yield "crash of the primary: until writable", writer.first_after(time.monotonic())
        primary.start()
        until(lambda: linked(primary), LIMIT)


def handover(site: Site) -> Steps:
    """The primary's node is restarted with notice, as in an upgrade."""
    primary = until(lambda: settled(site), LIMIT)
    with Writer(site).writing() as writer:
        writer.first_after(0)
        began = time.monotonic()
        done = primary.run("handover")
        if "handed over" not in done.stderr:
            raise RuntimeError(done.stderr)
        primary.kill()
        primary.start()
        until(lambda: linked(primary), LIMIT)
        gap = writer.longest_gap(began)
        yield "restart of the primary after a handover: longest time without a write", gap


def lost_volumes(site: Site) -> Steps:
    """A node begins with nothing: a replica's, then the primary's."""
    primary = until(lambda: settled(site), LIMIT)
    replica = next(pod for pod in site.pods if pod is not primary)
    for what, lost in (("a replica's", replica), ("the primary's", primary)):
        until(lambda: settled(site), LIMIT)
        lost.kill()
        lost.lose_volume()
        began = time.monotonic()
        lost.start()
        until(lambda lost=lost: linked(lost), LIMIT)
        yield f"{what} volume lost: until it is a linked replica", time.monotonic() - began


def all_at_once(site: Site) -> Steps:
    """Every node ends without a word, and starts with what it had."""
    until(lambda: settled(site), LIMIT)
    with Writer(site).writing() as writer:
        site.kill()
        began = time.monotonic()
        site.start()
        yield "all nodes killed and started again: until writable", writer.first_after(began)
        until(lambda: settled(site), LIMIT)


def restore(site: Site) -> Steps:
    """A copy is taken and brought back."""
    primary = until(lambda: settled(site), LIMIT)
    copies = site.root / "copies"
    copies.mkdir()
    began = time.monotonic()
    done = primary.run("backup", BACKUPS=str(copies))
    yield "taking a copy", time.monotonic() - began
    copy = next(copies.glob("redis-*.rdb"), None)
    if copy is None:
        raise RuntimeError(done.stderr)
    site.kill()
    with Writer(site).writing() as writer:
        began = time.monotonic()
        for pod in site.pods:
            done = pod.run("restore", str(copy), DATA=str(pod.data / "redis"))
            if done.returncode:
                raise RuntimeError(done.stderr)
        yield (
            "putting a copy in place on three stopped nodes, one after the other",
            time.monotonic() - began,
        )
        began = time.monotonic()
        site.start()
        yield "start of all nodes on the copy: until writable", writer.first_after(began)
        until(lambda: settled(site), LIMIT)
        yield "start of all nodes on the copy: until both replicas follow", time.monotonic() - began


def one_round(site: Site, megabytes: int) -> Steps:
    """What happens, one after the other."""
    yield from first_start(site, megabytes)
    for part in (crash, handover, lost_volumes, all_at_once, restore):
        yield from part(site)


def main(rounds: int, megabytes: int) -> None:
    """Run, and print a table."""
    found: dict[str, list[float]] = defaultdict(list)
    version = ""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as root:
            site = as_shipped(Path(root))
            try:
                for name, seconds in one_round(site, megabytes):
                    print(f"{seconds:7.2f} s  {name}", file=sys.stderr, flush=True)
                    found[name].append(seconds)
                version = site.pods[0].client().info("server")["redis_version"]
            finally:
                site.kill()
    print(
        f"{os.cpu_count()} cores, {platform.system()}, Redis {version}, {megabytes} MB, "
        f"{rounds} rounds\n"
    )
    print("| What | Median | Least and most |\n|---|---|---|")
    for name, all_seconds in found.items():
        print(
            f"| {name} | {statistics.median(all_seconds):.1f} s "
            f"| {min(all_seconds):.1f} to {max(all_seconds):.1f} s |"
        )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else 100,
    )
