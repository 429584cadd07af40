"""When a server that was silent is doubted, and since when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.link.trust import FRESH, Trust

LONG = FRESH + 0.1


def trusted(now=10.0):
    trust = Trust()
    trust.connected(now)
    return trust


def test_a_silence_is_a_doubt_until_the_server_has_proved_itself():
    trust = trusted(10)
    assert not trust.doubtful(10 + FRESH)
    assert trust.doubtful(10 + LONG)
    trust.answered(10 + LONG)
    assert trust.doubtful(10 + LONG)
    assert trust.silent_since(10 + LONG) == 10
    trust.proved(10 + LONG)
    assert not trust.doubtful(10 + LONG)


def test_a_late_answer_is_a_doubt_like_a_silence():
    trust = trusted(10)
    trust.answered(10.1, late=True)
    assert trust.doubtful(10.1)


def test_only_who_was_heard_since_the_latest_silence_began_knows():
    trust = trusted(10)
    trust.answered(11)
    trust.answered(11.1)
    trust.answered(13)
    assert trust.silent_since(13) == 11.1
    assert trust.silent_since(13 + LONG) == 13


def test_a_doubt_outlives_the_connection_and_ends_with_another_primary():
    trust = trusted(10)
    trust.lost(10 + LONG)
    trust.connected(11)
    assert trust.doubtful(11)
    trust.clear()
    assert not trust.doubtful(11)


# Nearer to the limit the rounding of the instants decides, and not the rule.
PAUSES = st.floats(0.001, 1.0).filter(lambda pause: abs(pause - FRESH) > 1e-9)


@given(st.lists(PAUSES, min_size=1, max_size=20))
def test_it_is_doubted_exactly_where_a_silence_was_too_long(pauses):
    trust, now = trusted(0.0), 0.0
    for pause in pauses:
        now += pause
        trust.answered(now)
    assert trust.doubtful(now) == any(pause > FRESH for pause in pauses)
