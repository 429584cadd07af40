"""What makes a key the same on both sides of a migration."""

from __future__ import annotations

from math import inf, nan
from random import Random
from typing import Any

import pytest

from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.errors import InvalidInputError
from aragora_redis.ops.access import Access
from aragora_redis.ops.migrate.compare import (
    ComparisonReport,
    Findings,
    Look,
    What,
    compare,
    shown,
)
from aragora_redis.ops.migrate.reading import agree, counterparts, read, samples
from aragora_redis.ops.migrate.sites import Site
from aragora_redis.ops.migrate.verify import verify
from aragora_redis.ops.report import Status

GONE = [b"none", -2, 0, None]
TEXT = [b"string", -1, 5, b"abc"]


def lasting(seconds):
    return [b"string", int(1000 * seconds), 5, b"abc"]


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        (TEXT, TEXT, None),
        (GONE, GONE, None),
        (TEXT, GONE, What.MISSING),
        (GONE, TEXT, What.EXTRA),
        (TEXT, [b"list", -1, 5, b"abc"], What.TYPE),
        (TEXT, [b"string", -1, 5, b"abd"], What.VALUE),
        (TEXT, [b"string", -1, 9000, None], What.VALUE),
        (TEXT, lasting(9), What.TTL),
        (lasting(9), TEXT, What.TTL),
        (lasting(60), lasting(62.5), None),
        (lasting(60), lasting(63.5), What.TTL),
        (lasting(63.5), lasting(60), What.TTL),
        (lasting(1), GONE, None),
        (GONE, lasting(1), None),
        (lasting(60), GONE, What.MISSING),
        (GONE, lasting(60), What.EXTRA),
    ],
    ids=str,
)
def test_compared_with_a_tolerance_of_two_seconds(source, target, what):
    # Each was asked within half a second, at the same time: that much is not known of any TTL.
    assert compare(Look.of(source, 100, 100.5), Look.of(target, 100, 100.5), 2.0) is what


@pytest.mark.parametrize("tolerance", [0.0, 2.0, 300.0])
def test_a_tolerance_of_times_to_live_excuses_no_key_that_is_missing(tolerance):
    def what(source, target):
        return compare(Look.of(source, 100, 100.5), Look.of(target, 100, 100.5), tolerance)

    assert what(lasting(60), GONE) is What.MISSING
    assert what(GONE, lasting(60)) is What.EXTRA
    assert what(lasting(1), GONE) is None


def test_the_time_between_the_questions_counts():
    first, later = Look.of(lasting(60), 100, 100.1), Look.of(lasting(50), 110, 110.1)
    assert compare(first, later, 0.0) is None
    assert compare(first, Look.of(lasting(60), 110, 110.1), 2.0) is What.TTL


def test_what_cannot_be_read_whole():
    assert Look.of([b"set", -1, 20_000, None], 0, 0).large
    module = Look.of([b"ReJSON-RL", -1, -1, None], 0, 0)
    assert (module.unreadable, module.large) == (True, False)
    assert not Look.of(GONE, 0, 0).large
    assert not Look.of(TEXT, 0, 0).large


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"plain:key", "plain:key"),
        ("schlüssel".encode(), "schlüssel"),
        (b"\x00\xff\x1b[31m\n", r"\x00\xff\x1b[31m\n"),
        (b"a" * 500, "a" * 120 + "... (500 bytes)"),
    ],
    ids=str,
)
def test_keys_are_shown_safely(key, text):
    assert shown(key) == text


def report(findings, **found):
    given: dict[str, Any] = {
        "source_keys": 9,
        "target_keys": 9,
        "ignored": 0,
        "ignore": (),
        "compared": 9,
        "sampled": 0,
        "unreadable": 0,
        "counts": dict(findings.counts),
        "differences": tuple(findings.listed),
        "seconds": 1.0,
    }
    return ComparisonReport(**given | found)


def test_it_is_not_well_where_nothing_was_compared():
    none = report(Findings(2), ignored=18, compared=0, ignore=(b"a:", b"\xff"))
    assert none.status is Status.WARNING
    assert none.headline == (
        "WARNING: this proves nothing: 0 keys were compared in 1.0 s; of both sides 18 were "
        r"ignored, which begin with a: or \xff"
    )
    empty = report(Findings(2), source_keys=0, target_keys=0, compared=0)
    assert empty.headline == "OK: no key differs; 0 keys were compared in 1.0 s"


def test_what_was_ignored_is_told():
    some = report(Findings(2), ignored=3, ignore=(b"a:",))
    assert some.headline == (
        "OK: no key differs; 9 keys were compared in 1.0 s; of both sides 3 were ignored, which "
        "begin with a:"
    )


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"ignore": ["a:", ""]}, "an empty prefix is that of every key"),
        ({"tolerance": inf}, "inf is no number of seconds"),
        ({"tolerance": nan}, "nan is no number of seconds"),
        ({"tolerance": -1.0}, "-1 is no number of seconds"),
    ],
    ids=["prefix", "inf", "nan", "negative"],
)
async def test_what_would_find_everything_alike_is_refused(rules, why):
    nobody = Site("the source", {Address("127.0.0.1", 1): ()}, Access())
    with pytest.raises(InvalidInputError, match=why):
        await verify(
            nobody, nobody, dbs=[0], clock=SYSTEM_CLOCK, on_progress=lambda _: None, **rules
        )


def test_all_are_counted_and_the_first_are_listed():
    findings = Findings(2)
    assert report(findings).status is Status.OK
    assert report(findings, unreadable=1).exit_code == 1
    for key in (b"a", b"b", b"c"):
        findings.add(3, key, What.VALUE)
    found = report(findings)
    assert (found.exit_code, found.different) == (2, 3)
    told = found.as_dict()
    assert told["counts"]["value"] == 3
    assert told["differences"] == [{"db": 3, "key": each, "what": "value"} for each in "ab"]


def answered(key, most, *replies):
    """What a reading returns that gets these replies."""
    reading = read(key, most)
    next(reading)
    for each in replies[:-1]:
        reading.send(each)
    with pytest.raises(StopIteration) as end:
        reading.send(replies[-1])
    return end.value.value


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (b"hash", [b"a", b"1", b"b", b"2"], {b"b": b"2", b"a": b"1"}),
        (b"zset", [b"a", b"0.10000000000000001", b"b", b"inf"], [[b"a", 0.1], [b"b", inf]]),
        (b"set", [b"a", b"b"], {b"b", b"a"}),
    ],
    ids=["hash", "zset", "set"],
)
def test_both_protocols_give_one_digest(kind, old, new):
    first, second = (answered(b"k", 10, [kind, -1], [2], [value]) for value in (old, new))
    assert first == second
    assert first[:3] == [kind, -1, 2]


def test_digests_keep_elements_apart():
    def digest(kind, value):
        return answered(b"k", 10, [kind, -1], [2], [value])[3]

    assert digest(b"list", [b"ab", b"c"]) != digest(b"list", [b"a", b"bc"])
    assert digest(b"hash", [b"ab", b"c"]) != digest(b"hash", [b"a", b"bc"])
    assert digest(b"hash", [b"a", b"1", b"b", b"2"]) != digest(b"hash", [b"a", b"2", b"b", b"1"])


def test_large_values_and_strange_types_are_not_read():
    assert answered(b"k", 10, [b"set", -1], [11]) == [b"set", -1, 11, None]
    assert answered(b"k", 10, [b"string", -1], [1001]) == [b"string", -1, 1001, None]
    assert answered(b"k", 10, [b"ReJSON-RL", 5]) == [b"ReJSON-RL", 5, -1, None]


def test_samples_of_the_source_are_looked_up_on_the_target():
    asked = samples(b"k", b"zset", 99, 2, Random(1))
    assert asked == [(b"ZRANDMEMBER", b"k", 2, b"WITHSCORES")]
    replies = [[[b"a", 1.0], [b"b", inf]]]
    assert counterparts(b"k", b"zset", asked, replies) == [(b"ZMSCORE", b"k", b"a", b"b")]
    assert agree(b"zset", replies, [[b"1", b"inf"]])
    assert not agree(b"zset", replies, [[b"1", None]])
    assert not agree(b"set", [[]], []), "it has gone"
    pieces = samples(b"k", b"string", 5000, 3, Random(1))
    assert pieces[:2] == [(b"GETRANGE", b"k", 0, 1023), (b"GETRANGE", b"k", 3976, 4999)]
    assert counterparts(b"k", b"string", pieces, []) == pieces
