"""A short drill in every run of the tests, and the whole matrix in `make drills`."""

from __future__ import annotations

import sys

import pytest
from tests.drills import plays, report, settable
from tests.drills.drill import APART, OUTAGES, Plan, loaded, run
from tests.drills.figures import figures
from tests.drills.nemesis import FAULTS, NEED_CUTS, NEED_SETTABLE
from tests.drills.verdict import STALENESS, Expectations
from tests.integration.rights import needs_cuts, needs_tls


@pytest.mark.paired
@pytest.mark.timeout(300)
async def test_a_short_drill_keeps_every_promise(tmp_path):
    # Others may use the machine: how fast it is, `make drills` says. To wait is another matter.
    plan = Plan(faults=("kill", "freeze", "wipe"), seed=1, at_once=0.04)
    result = await run(plan, tmp_path / "drill")
    assert not result.violations
    assert len(result.history.of("verify")) > 1000
    assert {c.source for c in result.history.of("check")} >= {"redis", "local"}
    assert all(band.settled < float("inf") for band in result.history.bands)
    report.write(result, tmp_path / "report")
    assert "Every promise was kept" in (tmp_path / "report" / "report.html").read_text("utf-8")
    assert (tmp_path / "report" / "timeline.png").stat().st_size > 10_000


@pytest.mark.alone  # how soon all are back decides how much of a limit two primaries give
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("mode", "fault"),
    [pytest.param("managed", "resume", marks=needs_tls), ("cluster", "reshard")],
)
async def test_a_short_drill_of_each_other_mode(mode, fault, tmp_path):
    result = await run(Plan(mode=mode, faults=(fault,), seed=1, martyrs=False), tmp_path)
    assert not result.violations
    assert len(result.history.of("verify")) > 1000
    assert [band.name for band in result.history.bands] == [fault]


@pytest.mark.paired
@pytest.mark.timeout(120)
@pytest.mark.parametrize("apart", APART)
async def test_who_has_a_redis_of_its_own_does_not_notice_an_outage(apart, tmp_path):
    plan = Plan(faults=("outage",), apart=apart, seed=1, martyrs=False, at_once=0.04)
    result = await run(plan, tmp_path)
    assert not result.violations
    (band,) = result.history.bands
    during = result.history.began_within(band.began, band.ended)
    checks = {call.source for call in during if call.what == "check"}
    levels = {call.answer for call in during if call.what == "revoke"}
    by_redis, alone = ({"redis", "deny-cache"}, {"local"})
    assert checks <= by_redis if apart == "limits" else checks >= alone
    assert levels == {"primary"} if apart == "tokens" else levels >= alone


@pytest.mark.paired
@pytest.mark.timeout(120)
async def test_an_outage_that_is_refused(tmp_path):
    assert not await plays.judged(plays.refused, tmp_path, at_once=0.04)
    history = loaded(tmp_path)
    (band,) = history.bands
    assert band.gone is not None
    away, until = band.gone
    checks = [c for c in history.of("check") if away + 0.5 < c.began < until - 0.5]
    assert {c.outcome for c in checks if c.source != "deny-cache"} == {"closed"}
    tokens = [c for c in history.of("verify") if away + STALENESS + 0.2 < c.began < until]
    assert {c.outcome for c in tokens if not c.answer} == {"not-ready"}


@pytest.mark.paired
@pytest.mark.timeout(120)
async def test_what_is_on_disk_outlives_all_of_redis_and_all_who_knew_it(tmp_path):
    assert not await plays.judged(plays.extinct, tmp_path, at_once=0.04)
    history = loaded(tmp_path)
    (band,) = history.bands
    alone = [c for c in history.of("revoke") if c.disk and c.answer == "local"]
    assert alone, "revoked while there was no Redis"
    asked = {c.on: c.answer for c in history.of("verify") if c.began > band.settled}
    assert {asked[call.on] for call in alone} == {True}


def _needs(fault):
    if fault in NEED_SETTABLE:
        return pytest.mark.skipif(settable.why_not() is not None, reason=f"{settable.why_not()}")
    return needs_cuts if fault in NEED_CUTS else ()


@pytest.mark.drill
@pytest.mark.timeout(600)
@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        pytest.param(mode, fault, marks=_needs(fault))
        for mode, faults in FAULTS.items()
        for fault in faults
    ],
)
async def test_each_fault_three_times(mode, fault, outage, tmp_path):
    result = await run(Plan(mode=mode, outage=outage, faults=(fault,) * 3, seed=3), tmp_path)
    sys.stdout.write(f"{figures(result.history, Expectations().limits[0]).as_dict()}\n")
    assert not result.violations
