"""What `status` draws."""

from __future__ import annotations

from aragora_redis.cli import output, status
from aragora_redis.ops.overview import Overview
from aragora_redis.ops.survey import Instance


def test_the_figures_of_instances_say_what_they_count(capsys):
    seen = Overview(
        master_name=None,
        primary="10.0.0.1:6379",
        servers=(),
        sentinels=(),
        instances=(Instance("web-1", "", staleness=0.3, by_redis=7, alone=2),),
    )
    output.show(status._drawn(seen))
    *_, head, row, note = (line.strip() for line in capsys.readouterr().out.splitlines())
    assert head.split("  ")[-2:] == ["LIMITS BY REDIS", "LIMITS ALONE"]
    assert row.split() == ["web-1", "0.3", "s", "old", "7", "2"]
    assert note.startswith("limits: checks in the last two seconds")
