"""`aragora-redis bench` on a Redis that others use: what it tells, and that it leaves nothing."""

from __future__ import annotations

import json

from aragora_redis.ops.bench import load_of


def test_bench_tells_how_fast_it_is_and_leaves_nothing(cli, standalone_lab):
    node = standalone_lab.node("primary")
    where = ("--lab", str(standalone_lab.directory))
    code, out, err = cli("bench", *where, "--seconds", "0.2", "--callers", "4", "--json")
    assert code == 0
    assert "aragora:bench:*" in err
    (load,) = json.loads(out)
    assert load["callers"] == 4
    assert load["calls"] > 10 * load["failed"]
    assert 0 < load["median_ms"] <= load["p99_ms"]
    with standalone_lab._site.access(node).client(node, timeout=5) as client:
        left = list(client.scan_iter("aragora:bench:*"))
        assert left
        assert all(client.ttl(key) != -1 for key in left)  # it expires, or just has


def test_figures_are_of_the_calls_that_were_decided():
    load = load_of(2, [0.001] * 98 + [0.5, 0.7], 3, 2.0)
    assert (load.rate, load.median, load.p99, load.failed) == (50, 0.001, 0.5, 3)
    assert load_of(2, [], 3, 2.0).as_dict()["median_ms"] == 0
