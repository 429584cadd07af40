"""The pure rules of circuits: standing, window, permit."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.circuit.machine import (
    Evidence,
    Phase,
    Standing,
    begun_again,
    closed,
    open_time,
    opened,
    trips,
)
from aragora_redis.circuit.operations import (
    CircuitKeys,
    acquire,
    force,
    lease_of,
    read_change,
)
from aragora_redis.circuit.permit import Permit
from aragora_redis.circuit.policy import CircuitPolicy
from aragora_redis.circuit.window import Window
from aragora_redis.errors import InvalidInputError, UnexpectedReplyError


def test_the_later_state_holds():
    rising = [
        Standing(),
        Standing(1, 1, Phase.OPEN, 10),
        Standing(1, 1, Phase.OPEN, 20),
        Standing(1, 2),
        Standing(2, 1, Phase.FORCED_CLOSED),
    ]
    for (i, one), (k, two) in itertools.product(enumerate(rising), repeat=2):
        assert one.later_than(two) == (i > k)


def test_half_open_is_open_with_its_time_over():
    standing = opened(Standing(1, 1), 40, 60)
    assert [standing.shown(now) for now in (99, 100)] == ["open", "half-open"]
    assert closed(standing).shown(0) == "closed"
    assert Standing(phase=Phase.FORCED_OPEN).shown(10**15) == "forced-open"


def test_open_time_doubles_up_to_64_times():
    policy = CircuitPolicy(open_for=0.5)
    assert [open_time(policy, n) for n in (1, 2, 3, 7, 8, 1000)] == [0.5, 1, 2, 32, 32, 32]
    assert opened(opened(Standing(), 1, 0), 2, 0).opens == 2


def test_a_state_that_would_last_for_longer_than_it_was_given_for_begins_again():
    given = opened(Standing(1, 1), 10_000_000, 3_000_000)
    assert not given.outlasts(9_000_000), "clocks differ by as much"
    assert given.outlasts(8_999_999)
    again = begun_again(given, 5_000_000)
    assert (again.until, again.span) == (8_000_000, 3_000_000)
    assert not Standing(phase=Phase.FORCED_OPEN).outlasts(0), "what has no end has no span"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Evidence(), False),
        (Evidence(4, 4), False),
        (Evidence(5, 3), True),
        (Evidence(5, 0, 3), True),
        (Evidence(6, 2, 2), False),
        (Evidence(6, 6, 0, reporting=2, failing=1), False),
        (Evidence(6, 6, 0, reporting=5, failing=2), True),
        (Evidence(6, 3, 6, reporting=2, failing=1, slowing=2), True),
    ],
)
def test_what_trips(seen, expected):
    assert trips(CircuitPolicy(), seen) is expected


def test_the_window_slides():
    window = Window(10)
    window.add(100.5, failed=True, slow=False)
    window.add(105.0, failed=False, slow=True)
    assert window.seen(109.9)[:3] == (2, 1, 1)
    assert window.seen(110.1)[:3] == (1, 0, 1)
    assert window.seen(500)[:3] == (0, 0, 0)
    window.add(501, failed=False, slow=False)
    window.clear()
    assert window.seen(501)[:3] == (0, 0, 0)


@given(st.lists(st.floats(0, 50), max_size=30).map(sorted))
def test_the_window_holds_what_a_list_would(times):
    window = Window(10)
    for at in times:
        window.add(at, failed=True, slow=False)
    now = times[-1] if times else 0.0
    exact = {sum(at > now - span for at in times) for span in (9, 10)}
    assert min(exact) <= window.seen(now).calls <= max(exact)


@given(st.sampled_from("lp"), st.integers(0, 10**14), st.integers(0, 10**14), st.integers(0, 10**8))
def test_a_permit_is_read_as_it_was_written(kind, era, n, turn):
    one, two = Permit("c", era, n, turn), Permit(kind, era, n, turn, "0123456789abcdef")
    for permit in (one, two, one.with_place(), two.with_place()):
        assert Permit.parse(str(permit)) == permit
        assert permit.trial == (permit.kind != "c")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c",
        "c.1.1",
        "c.1.1.0.-",
        "x.1.1.0.-.-",
        "p.1.1.0.-.-",
        "l.1.1.0.-.-",
        "c.1.1.0.0123456789abcdef.-",
        "c.-1.1.0.-.-",
        "c.1.1.0.-.0123456789ABCDEF",
        "c.1.1.0.-.-\n",
        "c.\u0661.1.0.-.-",
    ],
)
def test_no_permit_is_made_up(text):
    with pytest.raises(InvalidInputError):
        Permit.parse(text)


@given(st.binary(max_size=60))
def test_a_message_is_a_change_or_refused(message):
    try:
        read_change(message)
    except UnexpectedReplyError:
        return


def test_a_place_is_kept_for_twice_what_is_slow():
    assert lease_of(CircuitPolicy(slow_call=60)) == 120
    assert lease_of(CircuitPolicy(slow_call=0.1)) == 5


@pytest.mark.parametrize(
    "reply",
    [
        None,
        1,
        b"OK",
        [],
        [1] * 9,
        [1, 1, 1, b"weird", 0, 0, b"", 0, 0, 0],
        [b"x"] * 10,
        [None] * 10,
    ],
    ids=repr,
)
def test_a_reply_that_is_no_state_is_told(reply):
    keys, policy = CircuitKeys("p"), CircuitPolicy()
    told = force(keys, "llm", Phase.CLOSED, reason="", nonce="n")
    asked = acquire(keys, "llm", policy, Permit("p", 1, 1, token="0123456789abcdef"))
    for operation in (told, asked):
        with pytest.raises(UnexpectedReplyError):
            operation.read(reply)
