"""What a failover under load comes to: phases, moments, JSON, a table and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.failover_under_load import SHARES, Felt, write
from benchmarks.suite.drive import Arrival

from aragora_redis.errors import DeadlineError
from aragora_redis.rate_limit.gcra import Source

KILLED = 104.0


def arrival(due: float, took: float, source: Source | None) -> Arrival:
    return Arrival(due, took, source or DeadlineError("late"))


ARRIVALS = (
    *(arrival(100 + number / 10, 0.001, Source.REDIS) for number in range(40)),
    arrival(104.05, 0.001, Source.REDIS),  # already under way
    arrival(104.12, 0.050, Source.LOCAL),
    arrival(104.14, 0.070, None),
    arrival(105.50, 0.0002, Source.LOCAL),
    arrival(105.75, 0.002, Source.REDIS),
    arrival(106.00, 0.001, Source.REDIS),
)
FELT = Felt(20, 1234.0, KILLED, ARRIVALS)


def test_a_run_has_a_time_before_one_without_a_primary_and_one_after():
    before, without, after = FELT.as_json()["phases"]
    assert (before["checks"], before["by Redis"], before["p50"]) == (40, 40, 1.0)
    assert without["name"] == "without a primary (1.75 s)"
    assert (without["by Redis"], without["here"], without["errors"]) == (1, 2, 1)
    assert without["longest"] == pytest.approx(70)
    assert (after["checks"], after["by Redis"]) == (2, 2)
    assert "| before | 40 | 1.0 | 1.0 | 1.0 | 1.0 | 40 | 0 | 0 |" in FELT.markdown()


def test_each_moment_is_told_by_its_distance_from_the_kill():
    told = {each["at"]: each for each in FELT.as_json()["moments"]}
    assert min(told) == -4.0
    assert sum(each["checks"] for each in told.values()) == len(ARRIVALS)
    assert (told[0.0]["checks"], told[0.1]["checks"]) == (1, 2)
    assert told[0.1]["longest"] == pytest.approx(70)


def test_results_are_json_markdown_and_a_picture(tmp_path: Path):
    pytest.importorskip("matplotlib")
    results = {"date": "today", "machine": "2 cores", "shares": [FELT.as_json()] * len(SHARES)}
    write(results, [FELT.markdown()], tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [share["rate"] for share in kept["shares"]] == [1234.0] * len(SHARES)
    assert FELT.markdown() in (tmp_path / "out" / "results.md").read_text()
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")
