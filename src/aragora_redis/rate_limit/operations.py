"""What rate limits ask of Redis."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from ..digests import blake2b_key
from ..errors import OverloadedError, UnexpectedReplyError
from ..operation import Fence, Kind, Operation
from ..scripts.catalog import load
from .bucket import MOST_HOLDS
from .gcra import Answer, Mode, Own, validate_cost
from .policy import LimitPolicy, Rate
from .reservation import Found, Reservation, Settlement, settlement

_KEY: Final = re.compile(rb":l:\{([\w-]{22})\}:[\w.-]+(?::([\w-]{22}))?\Z")


def subject_digest(key: bytes, subject: str) -> bytes:
    """What stands for a subject outside this process: 16 bytes that only `key` can reproduce.

    A plain digest would not hide a subject: addresses and user ids can be guessed and compared.
    """
    digest = _keyed(key).copy()
    digest.update(subject.encode("utf-8", "surrogatepass"))
    return digest.digest()


@lru_cache(maxsize=16)
def _keyed(key: bytes) -> blake2b:
    # Taking in the key is a third of the work.
    return blake2b(digest_size=16, key=blake2b_key(key))


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


def digests_in(key: bytes) -> tuple[bytes, bytes | None] | None:
    """The subject's digest in the key of its bucket, and `at` of that; None of another key."""
    found = _KEY.search(key)
    if found is None:
        return None
    first, second = (part and urlsafe_b64decode(part + b"==") for part in found.groups())
    return (first, None) if second is None else (second, first)


def _text(digest: bytes) -> bytes:
    return urlsafe_b64encode(digest).rstrip(b"=")


def micros(seconds: float | None) -> int:
    """A span for a script; 0 for good, which None is."""
    return 0 if seconds is None else max(int(seconds * 1e6), 1)


def check(policy: LimitPolicy, key: bytes, cost: int) -> Operation[Answer]:
    """Take `cost` tokens, if they are there.

    Raises:
        InvalidInputError: it is no cost, see `validate_cost`.
    """
    validate_cost(policy, cost)
    return _gcra(policy, key, cost, "check", Kind.EFFECT)


def check_all(asked: Sequence[tuple[LimitPolicy, bytes, int]]) -> Operation[list[Answer]]:
    """Take from several buckets, each with its key and cost, or from none of them.

    Their keys may be in several hash slots: whoever builds it knows that one primary holds all.

    Raises:
        InvalidInputError: one is no cost, see `validate_cost`.
    """
    limits: list[int] = []
    for policy, _, cost in asked:
        validate_cost(policy, cost)
        limits += (policy.count, policy.period_us, policy.burst, cost)
    return Operation(
        kind=Kind.EFFECT,
        keys=tuple(key for _, key, _ in asked),
        args=(),
        read=partial(_answers, len(asked)),
        script=load("gcra"),
        shared=("check", *limits),
        fence=Fence.STANDING,
        at_once=True,
        across_slots=True,
    )


def peek(policy: LimitPolicy, key: bytes) -> Operation[Answer]:
    """Look at the bucket without taking anything."""
    return _gcra(policy, key, 0, "check", Kind.READ)


def charge(policy: LimitPolicy, key: bytes, cost: int) -> Operation[Answer]:
    """Take what was admitted elsewhere already; empties the bucket at most."""
    return _gcra(policy, key, min(cost, policy.burst), "charge", Kind.EFFECT)


def reset_channel(prefix: str) -> bytes:
    """Where resets, and what else ends refusals, are told to all instances."""
    return f"{prefix}:l:resets".encode()


RETURNED: Final = b" returned"
"""What stands behind a key on that channel whose bucket is not full, but has more than before."""


def reset(key: bytes, channel: bytes) -> Operation[bool]:
    """Fill the bucket, and tell `channel`. The result says whether anything had been taken."""
    return Operation(
        kind=Kind.EFFECT,
        at_once=True,
        keys=(key,),
        args=(channel,),
        read=_truth,
        script=load("reset"),
        fence=Fence.PROBE,
    )


class Grant(NamedTuple):
    """What was reserved.

    Attributes:
        tokens: how many; 0 where there are too few, -1 where too many reservations are open.
        until_us: when they lapse, in server microseconds.
    """

    tokens: int
    until_us: int
    answer: Answer

    def demand_room(self) -> None:
        """Raises `OverloadedError` where too many reservations of the subject are open."""
        if self.tokens < 0:
            raise OverloadedError(
                f"{MOST_HOLDS} reservations of this subject are open",
                remedy="settle them, or give them a shorter ttl",
            )


class Settled(NamedTuple):
    """How a reservation has ended.

    Attributes:
        unpaid: tokens that were used, and that even a full burst could not pay.
        used: tokens that were used, as the first settlement said.
        held: tokens that were held, perhaps a part of those reserved, see `hold`.
    """

    found: Found
    unpaid: int
    answer: Answer
    used: int
    held: int

    def settlement(self, used: int) -> Settlement:
        """What ending it with `used` tokens came to; an earlier settlement counts instead."""
        if self.found is not Found.PAST:
            used = self.used
        return settlement(self.held, used, self.found, self.unpaid)


def reserve(policy: LimitPolicy, key: bytes, cost: int, name: str, ttl: float) -> Operation[Grant]:
    """Take `cost` tokens, if they are there, until they are settled or `ttl` seconds have passed.

    Args:
        policy: the limit.
        key: of the bucket.
        cost: whole tokens.
        name: of the reservation, 16 characters of its own: it makes a second run harmless.
        ttl: after it the tokens come back by themselves.
    """
    args = cost, cost, 1, name, int(ttl * 1e6), 0, MOST_HOLDS, "", 0
    return _reserve(policy, args, key)


def hold(policy: LimitPolicy, made: Reservation, ttl: float) -> Operation[Grant]:
    """Have Redis hold a reservation for `ttl` seconds from now, or as much of it as is there.

    One that it holds already is only kept; one that was settled holds nothing.
    """
    args = 0, made.cost, 1, made.name, max(int(ttl * 1e6), 1), 0, MOST_HOLDS, "", 0
    return _reserve(policy, args, made.key, made.outcome_key)


class Lease(NamedTuple):
    """Tokens to have at hand, and those of before that are brought back in the same step.

    Attributes:
        least: fewer are of no use. 0, with `most` 0, only brings back.
        most: how many are wanted.
        shares: instances among which the bucket is to be shared out.
        name: of this lease, 16 characters.
        ttl: seconds after which they count as used.
        ended: name of the lease of before, or empty.
        used: how many of its tokens were used.
    """

    least: int
    most: int
    shares: int
    name: str
    ttl: float
    ended: str
    used: int


def lease(policy: LimitPolicy, key: bytes, wanted: Lease) -> Operation[Grant]:
    """Take tokens to give away here; who dies with some has used them."""
    least, most, shares, name, ttl, ended, used = wanted
    rest = name, int(ttl * 1e6), 1, MOST_HOLDS, ended, used
    return _reserve(policy, (least, most, shares, *rest), key)


def _reserve(policy: LimitPolicy, args: tuple[str | int, ...], *keys: bytes) -> Operation[Grant]:
    return Operation(
        kind=Kind.CAS,
        keys=keys,
        args=(policy.count, policy.period_us, policy.burst, *args),
        read=_grant,
        script=load("reserve"),
        fence=Fence.STANDING,
        at_once=True,
    )


def settle(
    policy: LimitPolicy, reservation: Reservation, used: int, *, late: float, channel: bytes
) -> Operation[Settled]:
    """End a reservation with what was used; a second run is told what the first one did.

    Args:
        policy: its limit.
        reservation: what to end.
        used: whole tokens; more than were reserved are charged, and never refused.
        late: seconds after it has lapsed within which it may still be settled.
        channel: where instances hear that something came back, see `reset_channel`.
    """
    return Operation(
        kind=Kind.CAS,
        keys=(reservation.key, reservation.outcome_key),
        args=(
            policy.count,
            policy.period_us,
            policy.burst,
            reservation.name,
            used,
            reservation.until_us,
            int(late * 1e6),
            channel,
        ),
        read=_settled,
        script=load("settle"),
        fence=Fence.STANDING,
        at_once=True,
    )


def set_quota(
    policy: LimitPolicy, key: bytes, rate: Rate | None, ttl: float | None, channel: bytes
) -> Operation[bool]:
    """Give a subject a limit of its own, or, with None, the policy's again.

    The result says whether it had one before.

    Args:
        policy: the limit.
        key: of the subject's bucket.
        rate: its own limit.
        ttl: seconds for which it holds; None for good.
        channel: where instances hear of it, see `reset_channel`.
    """
    own = (rate.count, rate.period_us, rate.burst) if rate is not None else (0, 0, 0)
    return Operation(
        kind=Kind.EFFECT,
        keys=(key,),
        args=(
            policy.count,
            policy.period_us,
            policy.burst,
            channel,
            *own,
            micros(ttl),
        ),
        read=_truth,
        script=load("quota"),
        fence=Fence.PROBE,
        at_once=True,
    )


def _gcra(policy: LimitPolicy, key: bytes, cost: int, mode: Mode, kind: Kind) -> Operation[Answer]:
    return Operation(
        kind=kind,
        keys=(key,),
        args=(),
        read=_answer,
        script=load("gcra"),
        shared=(mode, policy.count, policy.period_us, policy.burst, cost),
        fence=Fence.STANDING,
        at_once=True,
    )


def _integer(reply: Any) -> int:
    if type(reply) is not int:
        raise UnexpectedReplyError(f"a rate limit was answered with {type(reply).__name__}")
    return reply


def _answer(reply: Any) -> Answer:
    if type(reply) is int:
        return reply
    if isinstance(reply, list) and len(reply) == len(Own._fields):
        return Own(*(_integer(part) for part in reply))
    return _integer(reply)


def _answers(count: int, reply: Any) -> list[Answer]:
    if not isinstance(reply, list) or len(reply) != count:
        raise UnexpectedReplyError(f"{count} rate limits were answered with {type(reply).__name__}")
    return [_answer(each) for each in reply]


def _grant(reply: Any) -> Grant:
    tokens, until_us, answer = reply
    return Grant(_integer(tokens), _integer(until_us), _answer(answer))


def _settled(reply: Any) -> Settled:
    found, unpaid, answer, *tokens = reply
    used, held = (_integer(each) for each in tokens)
    return Settled(Found(found.decode()), _integer(unpaid), _answer(answer), used, held)


def _truth(reply: Any) -> bool:
    return _integer(reply) > 0
