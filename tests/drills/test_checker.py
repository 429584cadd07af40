"""The checker on histories written by hand: what it catches, and what it excuses."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from tests.drills import checker
from tests.drills.admissions import allowance
from tests.drills.history import Band, Call, Happening, History
from tests.drills.verdict import Expectations, Limit

_numbers = count(1)


def call(what: Any, on: str, began: float, **given: Any) -> Call:
    ended = given.pop("ended", began + 0.001)
    process = given.pop("by", "a")
    return Call(
        process=process,
        number=next(_numbers),
        what=what,
        on=on,
        began=began,
        ended=ended,
        **({"outcome": "ok"} | given),
    )


def revoked(at: float, level: str = "replicated", by: str = "a", **given: Any) -> Call:
    return call("revoke", "x", at, answer=level, by=by, **given)


def started(process: str, at: float) -> Happening:
    return Happening(process=process, what="started", at=at)


def refused(at: float, by: str = "b") -> Call:
    return call("verify", "x", at, answer=True, by=by)


def accepted(at: float, by: str = "b") -> Call:
    return call("verify", "x", at, answer=False, by=by)


def ended(process: str, at: float) -> Happening:
    return Happening(process=process, what="ended", at=at)


def fault(began: float, settled: float, **facts: Any) -> Band:
    return Band(name="fault", began=began, ended=settled, settled=settled, **facts)


def invariants(*lines: Call | Happening | Band, **expected: Any) -> list[str]:
    history = History(
        sorted((line for line in lines if isinstance(line, Call)), key=lambda c: c.began),
        [line for line in lines if isinstance(line, Happening)],
        [line for line in lines if isinstance(line, Band)],
    )
    return [found.invariant for found in checker.check(history, Expectations(**expected))]


@pytest.mark.parametrize(
    ("lines", "broken"),
    [
        ((revoked(1), refused(10)), False),
        ((revoked(1), accepted(10)), True),
        ((revoked(1), accepted(2)), False),  # it may still be on its way
        ((revoked(1), accepted(2, by="a")), True),  # but not here
        ((revoked(1), refused(1.5), accepted(1.6)), True),  # nor where it was known
        ((revoked(1), accepted(10), fault(8, 20)), False),  # during a fault
        ((revoked(1), accepted(10), fault(8, 20, heard=True)), True),  # that hides none
        ((revoked(1), accepted(30), fault(8, 20)), True),  # and no longer after it
        ((revoked(1, "primary"), ended("a", 2), accepted(10)), False),  # nobody knows of it
        ((revoked(1, "primary"), refused(1.5, by="c"), ended("a", 2), accepted(10)), True),
        ((revoked(1), ended("a", 2), accepted(10)), True),  # that is what the level is for
        ((revoked(1), ended("a", 2), fault(3, 4, wiped=True), accepted(10)), False),
        ((revoked(1), fault(3, 4, wiped=True), accepted(10)), True),  # a is alive
        ((revoked(1, "local", disk=True), ended("a", 2), accepted(20)), False),  # nobody has looked
        ((revoked(1, "local", disk=True), ended("a", 2), started("b", 9), accepted(20)), True),
        ((revoked(1, "local", disk=True), ended("a", 2), started("b", 19), accepted(20)), False),
        ((revoked(1, "local"), ended("a", 2), started("b", 9), accepted(20)), False),
    ],
)
def test_revocations(lines, broken):
    assert ("I1" in invariants(*lines)) is broken


@pytest.mark.parametrize(
    ("each_second", "bands", "broken"),
    [
        (10, (), False),
        (12, (), True),
        (20, (fault(0, 40, cut=2),), False),
        (20, (fault(0, 40, total=True),), True),
        (20, (fault(0, 40, cut=1, doubled=40),), False),
        (20, (fault(0, 40, cut=1, doubled=4),), True),
        (10.4, (fault(0, 40, total=True),), False),
    ],
)
def test_admissions(each_second, bands, broken):
    limit = Limit("hot", 10, 10)
    times = [second / each_second for second in range(int(40 * each_second))]
    calls = [call("check", "hot", at, answer=True, source="redis") for at in times]
    found = invariants(*calls, *bands, limits=(limit,), instances=2)
    assert ("I2" in found) is broken


def test_flapping_never_gives_more_than_twice_the_limit():
    history = History([], [], [fault(at, at + 0.5, total=True) for at in range(40)])
    assert allowance(history, 0, 40, Limit("hot", 1, 10), Expectations()) == pytest.approx(102)


def test_each_flap_of_a_link_is_a_switch():
    once, thrice = (History([], [], [fault(1, 2, times=times)]) for times in (1, 3))
    given = [allowance(h, 0, 100, Limit("hot", 1, 10), Expectations()) for h in (once, thrice)]
    assert given[1] - given[0] == pytest.approx(20.2)


def test_a_primary_that_is_replaced_twice_costs_two_bursts():
    heard = [Happening(process="drill", what="switch", at=at) for at in (2, 2.1, 4, 4.2, 5.6)]
    history = History([], heard[:4], [fault(1, 6)])
    twice = allowance(history, 0, 100, Limit("hot", 1, 10), Expectations())
    history.happenings = heard[:2]
    once = allowance(history, 0, 100, Limit("hot", 1, 10), Expectations())
    assert twice - once == pytest.approx(10.1)


def chain(*updates: tuple[str | None, str, float, str], final: str, at: float = 100) -> list[Call]:
    calls = [
        call("update", "s", began, field="f", base=base, value=value, outcome=outcome)
        for base, value, began, outcome in updates
    ]
    return [*calls, call("read", "s", at, data={"f": final} if final else {})]


@pytest.mark.parametrize(
    ("calls", "bands", "broken"),
    [
        (chain((None, "1", 1, "ok"), ("1", "2", 2, "ok"), final="2"), (), []),
        (chain((None, "1", 1, "ok"), (None, "2", 2, "ok"), final="2"), (), ["I6"]),
        (chain((None, "1", 1, "ok"), final=""), (), ["I3"]),
        (chain((None, "1", 1, "ok"), final=""), (fault(0.9, 5, loses=0.3),), []),
        (chain((None, "1", 1, "ok"), final=""), (fault(0.5, 5, loses=0.3),), ["I3"]),
        (chain((None, "1", 1, "ok"), final=""), (fault(2, 5, wiped=True),), []),
        (chain((None, "1", 1, "unknown"), ("1", "2", 2, "ok"), final="2"), (), []),
        (chain((None, "1", 1, "no"), final="1"), (), ["I5"]),
        (chain((None, "1", 1, "conflict"), final="1"), (), ["I5"]),
        (chain((None, "1", 1, "unknown"), final="1"), (), []),
    ],
)
def test_updates(calls, bands, broken):
    assert invariants(*calls, *bands) == broken


@pytest.mark.parametrize(
    ("read_at", "by", "source", "broken"),
    [
        (7, "a", "redis", True),
        (7, "a", "copy", False),
        (7, "b", "redis", False),  # of the primary of the others
        (4.5, "a", "redis", False),  # it is not doubted yet
        (9.5, "a", "redis", False),  # no more
    ],
)
def test_what_is_read_on_an_island(read_at, by, source, broken):
    island = fault(2, 20, loses=3, cut=1, beside="a", returns=9)
    read = call("read", "s", read_at, by=by, source=source, data={"f": "1"})
    assert invariants(read, island) == ["I6"] * broken


@pytest.mark.parametrize(
    ("read_at", "by", "broken"),
    [(2, "a", True), (2, "b", False), (9, "b", True), (0.5, "a", False)],
)
def test_endings(read_at, by, broken):
    lines = call("end", "s", 1), call("read", "s", read_at, by=by, data={"f": "1"})
    assert ("I6" in invariants(*lines)) is broken


def test_deadlines_are_kept_but_for_the_lag_that_was_measured():
    slow = call("check", "hot", 1, ended=1.4, answer=True, source="redis")
    late = Happening(process="a", what="lag", at=1.3, value=0.3)
    assert invariants(slow) == ["I4"]
    assert invariants(slow, late) == []


def test_checks_that_wait_for_a_redis_that_is_known_to_be_away():
    def waiting(source: str) -> list[Call]:
        return [
            call("check", "hot", 1 + n / 100, ended=1 + n / 100 + 0.04, answer=False, source=source)
            for n in range(200)
        ]

    assert invariants(*waiting("local"), fault(0, 4, total=True)) == ["I2"]
    assert invariants(*waiting("local")) == []
    assert invariants(*waiting("redis"), fault(0, 4, total=True)) == [], "it was there"


def checks(source: str, count_: int, slot: int) -> list[Call]:
    return [
        call("check", "free", 1 + n / 1000, answer=True, source=source, slot=slot)
        for n in range(count_)
    ]


@pytest.mark.parametrize(
    ("calls", "facts", "broken"),
    [
        (checks("local", 100, 7), {"slots": ((0, 9),)}, False),
        (checks("local", 100, 10), {"slots": ((0, 9),)}, True),
        (checks("redis", 99, 10) + checks("local", 1, 10), {"slots": ((0, 9),)}, False),
        (checks("local", 100, 10), {}, False),
        (checks("local", 100, 10), {"seamless": True}, True),
        (checks("local", 100, 10), {"slots": ((0, 9),), "cut": 1}, False),
        ([call("update", "s", 1, outcome="no", slot=10)], {"slots": ((0, 9),)}, True),
        ([call("update", "s", 1, outcome="unknown", slot=0)], {"seamless": True}, True),
        ([call("update", "s", 1, outcome="no", slot=9)], {"slots": ((0, 9),)}, False),
        ([call("update", "s", 1, outcome="conflict", slot=10)], {"slots": ((0, 9),)}, False),
    ],
)
def test_what_a_fault_must_spare(calls, facts, broken):
    assert ("spared" in invariants(*calls, fault(0, 5, **facts))) is broken


def test_a_shard_is_excused_by_its_own_faults_alone():
    lost = [
        call("update", "s", 1, field="f", base=None, value="1", slot=10),
        call("read", "s", 6, data={}, slot=10),
    ]
    assert invariants(*lost, fault(1, 5, loses=1, slots=((10, 20),))) == []
    assert invariants(*lost, fault(1, 5, loses=1, slots=((0, 9),))) == ["I3"]
    times = [second / 20 for second in range(800)]
    calls = [call("check", "hot", at, answer=True, source="redis", slot=10) for at in times]
    limit = Limit("hot", 10, 10)
    for slots, broken in (((10, 20), False), ((0, 9), True)):
        bands = [fault(0, 40, cut=2, slots=(slots,))]
        assert ("I2" in invariants(*calls, *bands, limits=(limit,), instances=2)) is broken


@pytest.mark.parametrize(
    ("made", "more", "broken"),
    [
        pytest.param({}, [], True, id="nobody ended it"),
        pytest.param({"outcome": "unknown"}, [], False, id="never acknowledged"),
        pytest.param({}, [call("end", "s", 3, outcome="unknown")], False, id="perhaps ended"),
        pytest.param({}, [call("end", "s", 7)], True, id="ended later"),
        pytest.param({}, [fault(0, 2, loses=1.5)], False, id="its beginning was lost"),
        pytest.param({}, [fault(3, 9, loses=1)], False, id="an old primary may answer"),
        pytest.param({}, [fault(3, 9, ahead=1799.0)], True, id="a clock ahead by less than idle"),
        pytest.param({}, [fault(3, 4, ahead=1800.0)], False, id="a clock ahead by idle"),
        pytest.param({}, [fault(7, 9, ahead=1800.0)], True, id="a clock ahead later"),
    ],
)
def test_a_session_is_there_until_it_is_ended(made, more, broken):
    read = call("read", "s", 5, outcome="gone")
    found = invariants(call("create", "s", 1, **made), read, *more)
    assert found == (["I6"] if broken else [])


def test_a_clock_that_goes_ahead_fills_a_bucket_once():
    history = History(bands=[fault(2, 4, ahead=5.0, seamless=True)])
    expected = Expectations(fail_open=False)
    given = [allowance(history, 0, 10, Limit("x", rate, 10), expected) for rate in (1, 4)]
    assert given == pytest.approx([(20 + 5) * 1.01 + 1, (50 + 10) * 1.01 + 1])


def test_effects_run_once():
    def counted(at: float, taken: int, **given: Any) -> Call:
        return call("check", "counted", at, answer=True, version=taken, source="redis", **given)

    assert invariants(counted(1, 1), counted(2, 2)) == []
    assert invariants(counted(1, 1), counted(2, 3)) == ["I5"]
    lost = call("check", "counted", 1.5, outcome="unknown")
    assert invariants(counted(1, 1), lost, counted(2, 3)) == []


def test_trial_calls_in_flight():
    four = [call("probe", "c", 1 + n / 10, ended=5) for n in range(4)]
    assert invariants(*four) == ["I7"]
    assert invariants(*four, fault(0, 6)) == []
    assert invariants(*four, fault(0, 1.05)) == [], "the first began in it, and lasts"
    assert invariants(*four, fault(0, 0.9)) == ["I7"]
    assert invariants(*four[:3]) == []
    died = call("probe", "c", 0.5, ended=None, outcome="unknown", by="b")
    assert invariants(died, *four[:3]) == ["I7"]
    assert invariants(died, ended("b", 0.9), *four[:3]) == []


@pytest.mark.parametrize("what", ["stale-send", "unhandled", "left-behind"])
def test_what_must_never_happen(what):
    assert invariants(Happening(process="a", what=what, at=1, text="x"))


def closed(*lines: Call | Happening | Band, **expected: Any) -> list[str]:
    return invariants(*lines, fail_open=False, **expected)


@pytest.mark.parametrize(
    ("given", "broken"),
    [
        ({"answer": True, "source": "redis"}, []),
        ({"answer": True, "source": "lease"}, []),
        ({"answer": True, "source": "local"}, ["I2"]),
        ({"answer": False, "source": "deny-cache"}, []),
        ({"outcome": "closed"}, []),
        ({"outcome": "unknown"}, []),
        ({"outcome": "no"}, ["I2"]),
        ({"outcome": "unknown", "ended": None}, []),  # it died with its process
    ],
)
def test_where_limits_fail_closed_redis_alone_admits(given, broken):
    assert closed(call("check", "hot", 1, **given)) == broken
    assert not invariants(call("check", "hot", 1, **given))


@pytest.mark.parametrize(
    ("at", "facts", "broken"),
    [
        (12, {"gone": (2, 20)}, True),
        (6.9, {"gone": (2, 20)}, False),  # it was vouched for within the staleness
        (12, {"gone": (2, 11)}, False),
        (12, {"gone": (2, 20), "alone": "b"}, True),
        (12, {"gone": (2, 20), "alone": "c"}, False),
        (12, {"gone": (2, 20), "slots": ((0, 9),)}, True),
        (12, {"gone": (2, 20), "slots": ((10, 20),)}, False),  # another shard judges it
        (12, {}, False),
    ],
)
def test_nobody_vouches_for_tokens_alone_for_long(at, facts, broken):
    passed = call("verify", "x", at, answer=False, by="b", slot=7)
    assert ("I1" in closed(passed, fault(1, 21, **facts))) is broken
    assert not invariants(passed, fault(1, 21, **facts))


@pytest.mark.parametrize(
    ("level", "at", "facts", "broken"),
    [
        ("replicated", 8, {}, True),
        ("replicated", 5, {}, False),
        ("primary", 8, {}, False),
        ("replicated", 8, {"wiped": True}, False),
    ],
)
def test_what_is_replicated_is_refused_in_a_fault_too(level, at, facts, broken):
    lines = revoked(1, level), ended("a", 2), accepted(at), fault(2, 20, **facts)
    assert ("I1" in closed(*lines)) is broken
    assert not invariants(*lines)


def test_where_sessions_are_denied_no_copy_is_given():
    read = call("read", "s", 1, source="copy", data={})
    assert closed(read) == ["closed"]
    assert not invariants(read)


@pytest.mark.parametrize(
    ("facts", "on_top"),
    [
        ({"total": True}, 0),
        ({"cut": 1}, 0),
        ({"loses": 0.75}, 10 + 1),
        ({"wiped": True}, 10),
        ({"loses": 0.75, "seamless": True}, 0),
    ],
)
def test_where_limits_fail_closed_only_a_lost_tail_is_given_twice(facts, on_top):
    expected = Expectations(fail_open=False)
    history = History([], [], [fault(10, 20, **facts)])
    assert allowance(history, 0, 100, Limit("hot", 1, 10), expected) == pytest.approx(
        (110 + on_top) * 1.01 + 1
    )


def test_a_late_answer_is_a_refusal_where_limits_fail_closed():
    late = [call("check", "free", 1, outcome="closed", slot=10)]
    band = fault(0, 5, slots=((0, 9),))
    assert closed(*checks("redis", 99, 10), *late, band) == []
    assert closed(*checks("redis", 2, 10), *late * 3, band) == ["spared"]
    assert invariants(*checks("redis", 99, 10), *late, band) == ["spared"]
