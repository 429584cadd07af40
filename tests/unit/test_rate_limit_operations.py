from __future__ import annotations

from hashlib import blake2b

import pytest

from aragora_redis.errors import InvalidInputError, UnexpectedReplyError
from aragora_redis.operation import Fence, Kind, Lane
from aragora_redis.rate_limit import operations
from aragora_redis.rate_limit.policy import LimitPolicy

POLICY = LimitPolicy("api", 100, 1_000_000, 200)


def test_check_travels_in_a_batch_with_its_like() -> None:
    operation = operations.check(POLICY, b"k", 2)
    assert operation.keys == (b"k",)
    assert operation.args == ()
    assert operation.shared == ("check", 1, 10_000, 200, 2)
    assert operation.shared == operations.check(POLICY, b"other", 2).shared
    assert (operation.kind, operation.fence, operation.lane) == (
        Kind.EFFECT,
        Fence.STANDING,
        Lane.FAST,
    )
    assert operation.at_once, "a link that is down is answered by the local bucket"
    assert operation.script is not None
    assert operation.script.writes
    assert operation.script.batchable
    assert operation.read(-7) == -7


@pytest.mark.parametrize("reply", [None, b"1", 1.0, True, []])
def test_reply_that_is_no_integer_is_unexpected(reply: object) -> None:
    with pytest.raises(UnexpectedReplyError):
        operations.check(POLICY, b"k", 1).read(reply)


def test_check_that_can_never_pass_is_not_sent() -> None:
    with pytest.raises(InvalidInputError):
        operations.check(POLICY, b"k", 2**60)


def test_several_limits_travel_as_one_entry() -> None:
    other = LimitPolicy("user", 1, 1_000_000, 5)
    operation = operations.check_all([(POLICY, b"k", 2), (other, b"elsewhere", 1)])
    assert operation.keys == (b"k", b"elsewhere")
    assert operation.shared == ("check", 1, 10_000, 200, 2, 1, 1_000_000, 5, 1)
    assert operation.read([-7, 0]) == [-7, 0]
    for reply in (1, [1], [1, 2, 3], [1, b"2"], None):
        with pytest.raises(UnexpectedReplyError):
            operation.read(reply)
    with pytest.raises(InvalidInputError):
        operations.check_all([(POLICY, b"k", 1), (other, b"l", -6)])


def test_look_may_be_replayed_and_a_charge_may_not() -> None:
    assert operations.peek(POLICY, b"k").replayable
    assert operations.peek(POLICY, b"k").shared == ("check", 1, 10_000, 200, 0)
    assert not operations.charge(POLICY, b"k", 3).replayable
    assert operations.charge(POLICY, b"k", 10**30).shared == ("charge", 1, 10_000, 200, 200)


def test_reset_is_fenced_and_never_replayed() -> None:
    operation = operations.reset(b"k", b"channel")
    assert operation.script is not None
    assert operation.script.writes, "so it carries not_after"
    assert (operation.args, operation.keys) == ((b"channel",), (b"k",))
    assert (operation.kind, operation.fence) == (Kind.EFFECT, Fence.PROBE)
    assert operation.read(1) is True
    assert operation.read(0) is False


def test_limits_of_a_subject_share_a_slot_and_show_nothing_of_it() -> None:
    digest = operations.subject_digest(b"secret", "ip:203.0.113.9")
    assert operations.limit_key("app", "api", digest) == b"app:l:{zHI-oTaFVY4TO3mM9SANew}:api"
    assert operations.limit_key("app", "login", digest).startswith(
        b"app:l:{zHI-oTaFVY4TO3mM9SANew}:"
    )


def test_digest_needs_the_key() -> None:
    digest = operations.subject_digest(b"k", "user:42")
    assert len(digest) == 16
    assert digest != operations.subject_digest(b"other", "user:42")
    assert digest != operations.subject_digest(b"k", "user:43")
    assert digest == blake2b(b"user:42", digest_size=16, key=b"k").digest()


def test_any_key_and_any_text_have_a_digest() -> None:
    long = operations.subject_digest(b"k" * 100, "\ud800")
    assert long != operations.subject_digest(b"k" * 101, "\ud800")
