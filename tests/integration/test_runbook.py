"""The runbook's commands answer what it says, in the trouble that each section is about."""

from __future__ import annotations

import re
import time

import pytest
from tests.integration.rights import needs_redis_7
from tests.integration.runbook import PAGE, Stage, alike, looks, modes, play, sections

SETTLED = 20.0
"""Seconds within which servers come to what the page shows of them."""
TEXT = PAGE.read_text("utf-8")
SECTIONS = sections(TEXT)
MODES = modes(TEXT)


@pytest.fixture
def stage(request, heading, tmp_path, quick_path):
    lab = request.getfixturevalue(f"{MODES[heading]}_lab")
    stage = Stage(lab, tmp_path, quick_path)
    yield stage
    stage.end()


SINCE_REDIS_7 = "Redis Cluster: slots not covered"
"""Its page says what there is instead."""


@pytest.mark.parametrize(
    "heading",
    [pytest.param(each, marks=[needs_redis_7] * (each == SINCE_REDIS_7)) for each in SECTIONS],
)
def test_a_section_is_true(heading, stage):
    lines = TEXT.split("\n")
    for step, said in play(SECTIONS[heading], stage):
        first, last = step.shown or (0, 0)
        page = "\n".join(lines[first:last])
        end = time.monotonic() + SETTLED
        while not alike(page, said) and looks(step) and time.monotonic() < end:
            said = stage.run(step.command)  # noqa: PLW2901 - the answer is what it comes to
        assert alike(page, said), f"$ {step.command}\nthe page:\n{page}\nsaid:\n{said}"


def test_every_symptom_leads_to_a_section():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
        for line in TEXT.split("\n")
        if line.startswith("## ")
    }
    linked = set(re.findall(r"\]\(#([a-z0-9-]+)\)", TEXT))
    assert linked == headings
    assert "redis-cluster-failover" in headings


def test_a_section_says_what_it_is_played_on():
    page = "# Page\n\n## One\ntext\n\n## Two\n\n<!-- on a cluster -->\ntext"
    assert modes(page) == {"One": "sentinel", "Two": "cluster"}


def test_an_answer_that_differs_is_noticed():
    assert alike("OK: 3 servers  in 1.5 s", "OK: 12 servers in 0.1 s")
    assert alike("p\n├── a  replica\n└── b  dead", "p\n├── a  dead\n└── b  replica") is False
    assert alike("p\n├── 1  replica\n└── 2  dead", "p\n├── 1  dead\n└── 2  replica")
    assert not alike("OK: 3 servers", "CRITICAL: 3 servers")
    assert not alike("OK", "OK\nmore")


def test_hidden_steps_waits_and_outputs_are_told_apart():
    page = (
        "## One\n<!-- $ a -->\n<!-- until x: b -->\n<!-- start: c -->\n"
        "```console\n$ d \\\n  e\nout\n$ f\n```"
    )
    (hidden, wait, beside, long, last) = sections(page)["One"]
    assert (hidden.command, hidden.shown) == ("a", None)
    assert (wait.until, wait.command) == ("x", "b")
    assert (beside.command, beside.beside) == ("c", True)
    assert long.command == "d \\\n  e"
    assert page.split("\n")[slice(*long.shown or ())] == ["out"]
    assert last.command == "f"
