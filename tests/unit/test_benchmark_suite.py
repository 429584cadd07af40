"""The pure parts of the benchmarks: figures, bars and the table that shows them."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from benchmarks.suite.__main__ import main
from benchmarks.suite.case import Bar, Case, Entry
from benchmarks.suite.cases import CASES, chosen
from benchmarks.suite.drive import by_arrivals, by_callers, by_threads
from benchmarks.suite.results import CaseResult, Results
from benchmarks.suite.sample import MEASURES, Sample, figure, ratio, timed
from benchmarks.suite.table import markdown, number
from benchmarks.suite.target import Target
from benchmarks.suite.verdict import judge

SLOW = [Sample(calls=100, seconds=1), Sample(calls=50, seconds=1), Sample(calls=200, seconds=1)]
FAST = [Sample(calls=400, seconds=1), Sample(calls=300, seconds=1), Sample(calls=600, seconds=1)]


def test_a_round_tells_its_median_and_its_tail():
    sample = timed(100, 2.0, 1.0, [0.001] * 98 + [0.5, 0.7])
    assert (sample.median, sample.p99) == (0.001, 0.7)
    assert MEASURES["rate"].of(sample) == 50
    assert MEASURES["client cpu"].of(sample) == pytest.approx(10_000)


def test_a_figure_is_the_median_of_the_rounds_with_its_spread():
    assert figure("rate", SLOW) == (100, 50, 200)


def test_a_ratio_is_taken_round_by_round():
    """The ratio of the medians would be 4, and no round would know of it."""
    assert ratio("rate", FAST, SLOW[1:] + SLOW[:1]) == (6, 1.5, 8)


@pytest.mark.parametrize(
    ("bar", "reached", "margin"),
    [
        (Bar("rate", "fast", at_least=4, against="slow"), True, 1),
        (Bar("rate", "fast", at_least=8, against="slow"), False, 0.5),
        (Bar("rate", "slow", at_most=50), False, 0.5),
        (Bar("rate", "fast", at_most=600, less="slow"), True, 2),
        (Bar("rate", "fast", at_least=1, against="absent"), None, None),
        (Bar("rate", "absent", at_least=1), None, None),
    ],
    ids=["reached", "missed", "too much", "difference", "no peer", "no answer"],
)
def test_a_bar_is_reached_or_not_and_by_how_much(bar, reached, margin):
    verdict = judge(bar, {"fast": FAST, "slow": SLOW})
    assert (verdict.reached, verdict.margin) == (reached, margin)


def test_a_bar_has_one_bound_and_names_entries_that_are_there():
    with pytest.raises(ValueError, match="bound"):
        Bar("rate", "ours", at_least=1, at_most=2)
    bars = (Bar("rate", "ours", at_least=1, against="theirs"),)
    with pytest.raises(ValueError, match="theirs"):
        Case("c", "a case", (Entry("ours", "check", "ours"),), ("rate",), bars)


def test_the_table_tells_what_is_missing_and_what_is_not_reached():
    entries = (Entry("a", "t", "fast"), Entry("b", "t", "slow"), Entry("c", "t", "gone"))
    bars = (
        Bar("rate", "fast", at_least=8, against="slow"),
        Bar("rate", "fast", at_least=8, against="gone"),
    )
    case = Case("case", "how fast", entries, ("rate", "median"), bars)
    late = [Sample(calls=100, seconds=1, failed=2), *SLOW[1:]]
    found = CaseResult(case, {"fast": FAST, "slow": late}, {"gone": "no wheel"})
    results = Results("today", "2 cores", "Redis 7", 1, 3, {"redis": "8"}, [found])
    text = markdown(results)
    assert "| 4 (3 to 6) | **no**, 0.5 of the bar |" in text
    assert "| not available | not known |" in text
    assert "| gone | not available: no wheel |" in text
    assert "| slow (2 calls failed) |" in text
    told = json.loads(json.dumps(results.as_json()))["cases"]["case"]
    assert [bar["reached"] for bar in told["bars"]] == [False, None]
    assert len(told["entries"]["fast"]) == 3


def test_numbers_have_three_digits_that_say_something():
    assert [number(value) for value in (0, 0.01234, 12.345, 12345.6)] == [
        "0",
        "0.0123",
        "12.3",
        "12 346",
    ]


def test_cases_are_chosen_by_pattern():
    assert len({case.name for case in CASES}) == len(CASES)
    assert [case.name for case in chosen(("check-*",))] == ["check-1", "check-16", "check-256"]
    assert [case.name for case in chosen(("check-1",))] == ["check-1"]
    assert chosen(()) == tuple(case for case in CASES if not case.long)
    assert all(case.long for case in chosen(("*-10m",)))
    with pytest.raises(ValueError, match="check-256"):
        chosen(("chec",))


def test_what_runs_only_where_it_is_named_is_said_where_cases_are_chosen(capsys, monkeypatch):
    long = [case.name for case in CASES if case.long]
    assert "grow-revocations" in long
    monkeypatch.setattr("sys.argv", ["suite", "--help"])
    with pytest.raises(SystemExit):
        main()
    told = "".join(capsys.readouterr().out.split())
    assert all(name in told for name in long)
    monkeypatch.setattr("sys.argv", ["suite", "--list"])
    main()
    marked = [line for line in capsys.readouterr().out.splitlines() if "where it is named" in line]
    assert [line.split()[0] for line in marked] == long


def test_revocations_grow_from_a_thousand_to_ten_million():
    (case,) = chosen(("grow-revocations",))
    ten_million = {entry.line for entry in case.entries if entry.at == 10**7}
    assert ten_million == {entry.line for entry in case.entries}
    look_ups = [entry for entry in case.entries if entry.task == "is-revoked"]
    assert sorted({entry.at for entry in look_ups}) == [10**3, 10**4, 10**5, 10**6, 10**7]
    assert all(entry.parameters["entries"] == entry.at for entry in case.entries)


def test_a_case_with_several_lines_is_a_curve_of_each_where_it_was_measured():
    plots = pytest.importorskip("benchmarks.suite.plots")
    entries = tuple(
        Entry("c", "t", f"{line}: {at}", {}, at, line) for line in ("a", "b") for at in (1, 10)
    )
    case = Case("case", "a case", entries, ("median", "bytes"), axis="things")
    quick, small = [Sample(median=1e-6)], [Sample(value=17.0)]
    answers = {"a: 1": quick, "a: 10": quick, "b: 10": small}
    shown = plots._curves(CaseResult(case, answers))
    drawn = [[list(line.get_xdata()) for line in axis.lines] for axis in shown.axes]
    assert drawn == [[[1, 10], []], [[], [10]]]
    assert [text.get_text() for text in shown.axes[0].get_legend().get_texts()] == ["a", "b"]
    plots.plt.close(shown)


def test_the_target_travels_as_a_line_and_hides_its_password():
    target = Target("127.0.0.1", 1, "secret", {"A": "b"}, "return 1", "sha", ("0", "check"))
    assert "\n" not in target.to_json()
    assert Target.from_json(target.to_json()) == target
    assert "secret" not in repr(target)


def _every(number, attempts):
    """A call of which one in `number` fails."""

    async def one(at):
        attempts.append(at)
        await asyncio.sleep(0)
        if at % number == number - 1:
            raise OSError("late")

    return one


async def test_few_calls_that_fail_are_told_and_many_end_the_round():
    attempts: list[int] = []
    sample = await by_callers(_every(500, attempts), 4)(0.1)
    assert sample.failed == len(attempts) // 500
    assert sample.calls == len(attempts) - sample.failed
    with pytest.raises(OSError, match="late"):
        await by_callers(_every(10, []), 4)(0.1)


async def test_threads_begin_together_and_each_call_is_counted():
    attempts: list[int] = []
    sample = await by_threads(attempts.append, 3)(0.05)
    assert sample.calls == len(attempts) == len(set(attempts))
    assert sample.seconds >= 0.05


async def test_an_open_loop_counts_from_when_a_call_was_due(monkeypatch):
    """Calls of 20 ms that are due while the loop is held up for 0.2 s are told with that delay."""
    held = False

    async def capacity(_one: object) -> float:
        return 3_000.0

    monkeypatch.setattr("benchmarks.suite.drive.capacity", capacity)

    async def one(_number: int) -> None:
        nonlocal held
        if asyncio.get_running_loop().time() > hold_at and not held:
            held = True
            time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be held up
        await asyncio.sleep(0.02)

    run = by_arrivals(one, 10)
    hold_at = asyncio.get_running_loop().time() + 0.1
    sample = await run(0.5)
    assert held
    assert sample.p99 > 0.15
    assert sample.calls > 100, "those that were due meanwhile are counted"


async def test_callers_are_told_apart_by_how_often_they_are_served():
    async def one(number: int) -> None:
        await asyncio.sleep(0.001 * (1 + number % 2))

    sample = await by_callers(one, 4)(0.2)
    assert 0 < sample.evenness <= 1
