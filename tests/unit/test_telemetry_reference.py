"""The committed list of metrics is the generated one, and holds what is exported."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from aragora_redis.state.status import OnDisk, Status
from aragora_redis.telemetry.prometheus import Metrics
from aragora_redis.telemetry.reference import main, reference
from aragora_redis.topology.statement import Lag

COMMITTED = Path(__file__).parents[2] / "docs" / "METRICS.md"


def test_the_committed_page_is_the_generated_one():
    assert main(["--check", str(COMMITTED)]) == 0


def test_what_is_exported_is_listed_and_no_more():
    metrics = Metrics()
    disk = OnDisk(entries=0, size=0, waiting=0, delay=0, trouble=None)
    status = Status(
        mode="sentinel",
        health="healthy",
        lag=Lag(0, 0),
        keys_age=0,
        disk=disk,
        in_flight={"llm": 1},
    )
    metrics.watch(lambda: status)
    content, _ = metrics.exposition()
    exported = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(content.decode())
        if not family.name.endswith("_created")  # what the client library adds
    }
    listed = set(re.findall(r"^\| `(aragora_redis_\w+)`", reference(), re.MULTILINE))
    assert listed == exported


def test_each_row_has_five_cells():
    rows = [line for line in reference().splitlines() if line.startswith("| `aragora")]
    assert len(rows) > 20
    assert {row.count("|") for row in rows} == {6}
