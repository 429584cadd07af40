"""What a soak runs, and when it says that a process has grown."""

from __future__ import annotations

from itertools import islice

import pytest
from tests.drills import resources
from tests.drills.drill import OUTAGES
from tests.drills.history import Happening, History, Recorder, load
from tests.drills.nemesis import FAULTS
from tests.drills.soak import plans


def test_a_soak_is_the_same_for_the_same_seed_and_takes_turns():
    one, other = (list(islice(plans(7, ["sentinel", "cluster"], 5), 5)) for _ in range(2))
    assert one == other
    assert [plan.mode for plan in one] == ["sentinel", "cluster"] * 2 + ["sentinel"]
    assert [plan.outage for plan in one] == [OUTAGES[0]] * 2 + [OUTAGES[1]] * 2 + [OUTAGES[0]]
    assert all(set(plan.faults) <= set(FAULTS[plan.mode]) for plan in one)
    assert [plan.apart for plan in one] == [""] * 4 + ["limits"]
    assert len({plan.seed for plan in one}) == 5
    assert one != list(islice(plans(8, ["sentinel", "cluster"], 5), 4))


def lived(**figures):
    """A process that held this after each fault."""
    return History(
        happenings=[
            Happening(process="a", what=what, at=float(at), value=float(value))
            for what in resources.ALLOWED
            for at, value in enumerate(figures.get(what, [100] * 16))
        ]
    )


WARM = [10, 60, 90, 99] + [100] * 12


@pytest.mark.parametrize(
    ("figures", "found"),
    [
        pytest.param({"tasks": WARM, "rss": [each * 2**20 for each in WARM]}, [], id="warms up"),
        pytest.param({"tasks": range(16)}, ["tasks"], id="a task with each fault"),
        pytest.param({"descriptors": range(0, 32, 2)}, ["descriptors"], id="two descriptors"),
        pytest.param({"rss": range(0, 16 * 2**20, 2**20)}, ["rss"], id="a megabyte with each"),
        pytest.param({"tasks": range(8), "rss": range(8), "descriptors": range(8)}, [], id="short"),
    ],
)
def test_a_process_that_grows_while_faults_come_and_go_is_told_of(figures, found):
    violations = resources.grown(lived(**figures))
    assert [each.text.split(" from ")[0] for each in violations] == [
        f"a has grown in {what}" for what in found
    ]


async def test_a_note_tells_of_this_process(tmp_path):
    recorder = Recorder(tmp_path / "history.jsonl", "a")
    await resources.note(recorder)
    recorder.close()
    noted = {each.what: each.value for each in load([tmp_path / "history.jsonl"]).happenings}
    assert noted["rss"] > 10 * 2**20
    assert noted["descriptors"] >= 3
    assert noted["tasks"] == 1
