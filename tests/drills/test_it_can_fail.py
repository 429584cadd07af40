"""For each invariant a build that is broken on purpose, and the checker that catches it."""

from __future__ import annotations

import pytest
from tests.drills import plays
from tests.integration.rights import needs_cuts

pytestmark = pytest.mark.paired  # what comes of it, and not how soon
LONG = [pytest.mark.drill, pytest.mark.timeout(300)]
CUTS = [*LONG, needs_cuts]
BROKEN = [
    pytest.param(plays.lost_tail, "no_reconciliation", "I1", marks=needs_cuts),
    pytest.param(plays.overtaken_position, "positions_by_id_alone", "I1", marks=LONG),
    pytest.param(plays.unheard_tail, "wait_for_nothing", "I1", marks=CUTS),
    pytest.param(plays.flapping, "refilled_at_a_switch", "I2", marks=LONG),
    pytest.param(plays.outage, "fallback_at_the_full_limit", "I2", marks=LONG),
    pytest.param(plays.outage_of_tokens, "one_redis_for_all", "spared", marks=LONG),
    pytest.param(plays.refused, "open_instead_of_closed", "I2", marks=LONG),
    pytest.param(plays.refused, "vouching_when_stale", "I1", marks=LONG),
    pytest.param(plays.refused, "copies_although_denied", "closed", marks=LONG),
    pytest.param(plays.resumed_primary, "role_with_the_write", "I3", marks=CUTS),
    pytest.param(plays.cut_off, "no_standing", "I2", marks=CUTS),
    pytest.param(plays.cut_off, "reads_unfenced", "I6", marks=CUTS),
    pytest.param(plays.left_by_the_name, "name_not_followed", "I3", marks=CUTS),
    pytest.param(plays.moving_slots, "moved_not_believed", "spared", marks=LONG),
    pytest.param(plays.dropped_connections, "unsafe_replay", "I5", marks=CUTS),
    pytest.param(plays.extinct, "outbox_not_adopted", "I1", marks=LONG),
    pytest.param(plays.stale_update, "upsert", "I6"),
    pytest.param(plays.calm, "trial_calls_without_lease", "I7", marks=LONG),
]


@pytest.mark.parametrize(("play", "broken", "invariant"), BROKEN)
async def test_a_broken_build_is_caught(play, broken, invariant, tmp_path):
    found = await plays.judged(play, tmp_path, broken)
    assert invariant in {violation.invariant for violation in found}, found[:5]


@pytest.mark.drill
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "play",
    [
        pytest.param(play, marks=marks)
        for play, marks in {each.values[0]: each.marks for each in BROKEN}.items()
    ],
)
async def test_the_whole_build_is_not(play, tmp_path):
    assert not await plays.judged(play, tmp_path)
