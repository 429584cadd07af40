"""What rate limits ask of Redis."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

from ..errors import UnexpectedReplyError
from ..operation import Fence, Kind, Operation
from ..scripts.catalog import load
from .gcra import Mode, validate_cost
from .policy import LimitPolicy


def subject_digest(key: bytes, subject: str) -> bytes:
    """What stands for a subject outside this process: 16 bytes that only `key` can reproduce.

    A plain digest would not hide a subject: addresses and user ids can be guessed and compared.
    """
    key = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
    return blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()


def limit_key(prefix: str, policy: str, digest: bytes, at: bytes | None = None) -> bytes:
    """The key of one subject's bucket. All limits of a subject share a hash slot.

    Args:
        prefix: of all keys.
        policy: name of the limit.
        digest: of the subject.
        at: digest of the subject beside whose limits this one lies, see `LimitPolicy.co_locate`.
    """
    key = b"%b:l:{%b}:%b" % (prefix.encode(), _text(at or digest), policy.encode())
    return b"%b:%b" % (key, _text(digest)) if at else key


def _text(digest: bytes) -> bytes:
    return urlsafe_b64encode(digest).rstrip(b"=")


def check(policy: LimitPolicy, key: bytes, cost: int) -> Operation[int]:
    """Take `cost` tokens, if they are there.

    Raises:
        InvalidInputError: the cost exceeds the burst, see `validate_cost`.
    """
    validate_cost(policy, cost)
    return _gcra(policy, key, cost, "check", Kind.EFFECT)


def check_all(asked: Sequence[tuple[LimitPolicy, bytes, int]]) -> Operation[list[int]]:
    """Take from several buckets, each with its key and cost, or from none of them.

    Their keys may be in several hash slots: whoever builds it knows that one primary holds all.

    Raises:
        InvalidInputError: a cost exceeds its burst, see `validate_cost`.
    """
    limits: list[int] = []
    for policy, _, cost in asked:
        validate_cost(policy, cost)
        limits += (policy.count, policy.period_us, policy.burst, cost)
    return Operation(
        kind=Kind.EFFECT,
        keys=tuple(key for _, key, _ in asked),
        args=(),
        read=partial(_integers, len(asked)),
        script=load("gcra"),
        shared=("check", *limits),
        fence=Fence.STANDING,
        at_once=True,
        across_slots=True,
    )


def peek(policy: LimitPolicy, key: bytes) -> Operation[int]:
    """Look at the bucket without taking anything."""
    return _gcra(policy, key, 0, "check", Kind.READ)


def charge(policy: LimitPolicy, key: bytes, cost: int) -> Operation[int]:
    """Take what was admitted elsewhere already; empties the bucket at most."""
    return _gcra(policy, key, min(cost, policy.burst), "charge", Kind.EFFECT)


def reset_channel(prefix: str) -> bytes:
    """Where resets are told to all instances."""
    return f"{prefix}:l:resets".encode()


def reset(key: bytes, channel: bytes) -> Operation[bool]:
    """Fill the bucket, and tell `channel`. The result says whether anything had been taken."""
    return Operation(
        kind=Kind.EFFECT,
        at_once=True,
        keys=(key,),
        args=(channel,),
        read=_deleted,
        script=load("reset"),
        fence=Fence.PROBE,
    )


def _gcra(policy: LimitPolicy, key: bytes, cost: int, mode: Mode, kind: Kind) -> Operation[int]:
    return Operation(
        kind=kind,
        keys=(key,),
        args=(),
        read=_integer,
        script=load("gcra"),
        shared=(mode, policy.count, policy.period_us, policy.burst, cost),
        fence=Fence.STANDING,
        at_once=True,
    )


def _integer(reply: Any) -> int:
    if type(reply) is not int:
        raise UnexpectedReplyError(f"a rate limit was answered with {type(reply).__name__}")
    return reply


def _integers(count: int, reply: Any) -> list[int]:
    if not isinstance(reply, list) or len(reply) != count:
        raise UnexpectedReplyError(f"{count} rate limits were answered with {type(reply).__name__}")
    return [_integer(each) for each in reply]


def _deleted(reply: Any) -> bool:
    return _integer(reply) > 0
