"""What a service announces; anybody may push anything."""

from __future__ import annotations

import pytest

from aragora_redis.topology.maintenance import LONGEST, Notice, Work, read_notice


@pytest.mark.parametrize(
    ("push", "notice"),
    [
        ([b"MOVING", 15, 30, None], Notice(Work.MOVING, 30)),
        ([b"MOVING", 15, 30, b"10.0.0.2:6379"], Notice(Work.MOVING, 30)),
        ([b"MIGRATING", 16, 10], Notice(Work.MIGRATING, 10)),
        ([b"MIGRATED", 17], Notice(Work.MIGRATED, 0)),
        ([b"FAILING_OVER", 18, 10**9], Notice(Work.FAILING_OVER, LONGEST)),
        ([b"FAILED_OVER", 19, [b"1"]], Notice(Work.FAILED_OVER, 0)),
        ([b"SMIGRATED", 20, [[b"a:1", b"b:1", b"0-5"]]], Notice(Work.SLOTS_MIGRATED, 0)),
    ],
)
def test_announcements_are_read(push, notice):
    assert read_notice(push) == notice


@pytest.mark.parametrize(
    "push",
    [
        None,
        [],
        [b"MOVING"],
        [b"MOVING", 1],
        [b"MOVING", 1, b"soon", None],
        [b"MOVING", 1, -1, None],
        [b"message", b"channel", b"MOVING"],
        [b"\xff", 1, 2],
        ["MOVING", 1, 2],
        {b"MOVING": 1},
    ],
)
def test_what_is_none_is_left_to_others(push):
    assert read_notice(push) is None
