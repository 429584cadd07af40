"""Entries packed into buckets of bytes: 14 bytes each and two to three beside. Pure.

A million revocations as Python objects take 250 MB. Here a bucket is one `bytes` of records, found
by a part of the member and searched by `bytes.rfind`; buckets are split one at a time as they fill
(linear hashing, Litwin 1980), so no insertion waits for all others to move.

A record has one day, which is nearly always that of its score, or up to 30 later: five bits. What
does not fit, a member on several days above all, is kept beside, where it takes ten times as much.

One thread writes; others may look up at the same time, and never miss what was there before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from struct import Struct

from .entry import DAY, MEMBER_BYTES, Entry, Joined

FILL = 56
"""Records of a bucket, on average, at which one is split."""
DROPPED_AT_ONCE = 128
"""Buckets of which days are forgotten in one step."""
_DAY_MS = DAY * 1000
_VALUE_BYTES = 6
_SIZE = MEMBER_BYTES + _VALUE_BYTES
_RECORD = Struct(f">{MEMBER_BYTES}sHI")
_WHOLE = Struct(f"{_SIZE}s")
_WORD = Struct(">Q")
_HEAD_BYTES = 3
_HEAD = Struct(f">{MEMBER_BYTES}x{_HEAD_BYTES}s{_VALUE_BYTES - _HEAD_BYTES}x")
_BELOW_HEAD = 8 * (_VALUE_BYTES - _HEAD_BYTES)
_SCORE_BITS = 43
_SCORES = 1 << _SCORE_BITS
"""Every score is below that is an instant, until the year 2248."""
_INSTANT = _SCORES - 1
_COUNTED = 31 << _SCORE_BITS
"""From here on a value is a day and a number that is no instant, such as a generation."""
_COUNT_BITS = 23
_COUNTS = 1 << _COUNT_BITS
_BESIDE = (1 << 8 * _VALUE_BYTES) - 1
"""A value that none has: no day has a number as great as this one's. The member is kept beside."""


class Table:
    """Scores by member and day."""

    def __init__(self) -> None:
        self._buckets = [b""]
        # How many low bits of the hash choose a bucket, as a mask, and up to which bucket one more.
        self._shape = (0, 0)
        self._beside: dict[bytes, dict[int, int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for bucket in self._buckets:  # a split puts what it moves behind them all
            for member, value in _read(bucket):
                if value != _BESIDE:
                    yield Entry(_day(value), member, _score(value))
        for member, days in list(self._beside.items()):
            for day, score in list(days.items()):
                yield Entry(day, member, score)

    def score(self, member: bytes) -> int | None:
        """The greatest score of a member over all days, or None."""
        shape = mask, split = self._shape
        # Keyed anew in each process: nobody makes all members meet in a bucket.
        hashed = hash(member)
        number = hashed & mask
        if number < split:
            number = hashed & (2 * mask + 1)
        bucket = self._buckets[number]
        at = bucket.rfind(member)  # which is faster than `find` among so few bytes
        if at < 0 and len(member) == MEMBER_BYTES:  # as good as always
            # A split may just have moved what this bucket held.
            return None if self._shape is shape else self.score(member)
        if at % _SIZE == 0 and len(member) == MEMBER_BYTES:
            value: int = _WORD.unpack_from(bucket, at + _SIZE - _WORD.size)[0]  # copies nothing
            if value & _BESIDE < _COUNTED:
                return value & _INSTANT
        return max((entry.score for entry in self.entries(member)), default=None)

    def entries(self, member: bytes) -> list[Entry]:
        """A member on each of its days."""
        shape = self._shape
        bucket = self._buckets[_index(member, shape)]
        at = _find(bucket, member)
        if at < 0 and len(member) == MEMBER_BYTES:
            return [] if self._shape is shape else self.entries(member)
        return [Entry(day, member, score) for day, score in self._days(bucket, at, member).items()]

    def expect(self, count: int) -> None:
        """Make room for so many: buckets are split while they are empty, and then fill together."""
        while count > FILL * len(self._buckets):
            self._split()

    def join(
        self, day: int, members: Mapping[bytes, int]
    ) -> tuple[Mapping[bytes, int], list[Joined]]:
        """Raise the scores of some members on one day.

        Returns:
            Those that are new and end on that day, which nearly all do; and what else has changed.
        """
        buckets, (mask, split) = self._buckets, self._shape
        wider = 2 * mask + 1
        first = day * _DAY_MS
        end = min(first + _DAY_MS, _SCORES)
        others: set[bytes] = set()
        changed: list[Joined] = []
        for member, score in members.items():
            hashed = hash(member)
            number = hashed & mask
            if number < split:
                number = hashed & wider
            bucket = buckets[number]
            if bucket.rfind(member) < 0 and first <= score < end and len(member) == MEMBER_BYTES:
                buckets[number] = bucket + member + score.to_bytes(_VALUE_BYTES)
            else:
                others.add(member)
                changed += self._raise(number, day, member, score)
        self._count += len(members) - len(others)
        self.expect(self._count)
        if others:
            members = {each: score for each, score in members.items() if each not in others}
        return members, changed

    def drop(self, days: Collection[int]) -> Iterator[None]:
        """Forget whole days, in steps. What is joined between them must be of other days."""
        past, heads = frozenset(days), _heads(days)
        for member in [each for each in self._beside if len(each) != MEMBER_BYTES]:
            if not self._is_left(member, past):
                del self._beside[member]
        number = 0
        while number < len(self._buckets):  # a split puts what it moves behind them all
            self._forget(number, past, heads)
            number += 1
            if number % DROPPED_AT_ONCE == 0:
                yield

    def _forget(self, number: int, past: frozenset[int], heads: frozenset[tuple[bytes]]) -> None:
        bucket = self._buckets[number]
        stay: list[bytes] = []
        emptied: list[bytes] = []
        start = 0
        for index, head in enumerate(_HEAD.iter_unpack(bucket)):
            if head not in heads:
                continue
            at = index * _SIZE
            member = bucket[at : at + MEMBER_BYTES]
            value = int.from_bytes(bucket[at + MEMBER_BYTES : at + _SIZE])
            if value == _BESIDE:
                if self._is_left(member, past):
                    continue
                emptied.append(member)
            elif _day(value) in past:
                self._count -= 1
            else:
                continue
            stay.append(bucket[start:at])
            start = at + _SIZE
        if start:
            self._buckets[number] = b"".join([*stay, bucket[start:]])
        for member in emptied:
            del self._beside[member]

    def _is_left(self, member: bytes, past: frozenset[int]) -> bool:
        """Whether what is kept beside has other days, when it has lost these."""
        known = self._beside[member]
        left = {day: score for day, score in known.items() if day not in past}
        self._count -= len(known) - len(left)
        self._beside[member] = left
        return bool(left)

    def _days(self, bucket: bytes, at: int, member: bytes) -> dict[int, int]:
        """The scores of a member by day, given its record, if it has one."""
        if at >= 0 and len(member) == MEMBER_BYTES:
            value = int.from_bytes(bucket[at + MEMBER_BYTES : at + _SIZE])
            if value != _BESIDE:
                return {_day(value): _score(value)}
        return dict(self._beside.get(member, ()))

    def _raise(self, number: int, day: int, member: bytes, score: int) -> list[Joined]:
        """Raise the score of a member whose place is that bucket, or that no record can hold."""
        bucket = self._buckets[number]
        at = _find(bucket, member)
        days = self._days(bucket, at, member)
        before = days.get(day)
        if before is not None and before >= score:
            return []
        days[day] = score
        value = _packed(day, score) if len(days) == 1 and member not in self._beside else _BESIDE
        if value == _BESIDE or len(member) != MEMBER_BYTES:
            self._beside[member] = days  # first: who reads the record then looks here
        if len(member) == MEMBER_BYTES:
            start = at if at >= 0 else len(bucket)
            record = member + value.to_bytes(_VALUE_BYTES)
            self._buckets[number] = bucket[:start] + record + bucket[start + _SIZE :]
        self._count += before is None
        return [(member, score, before)]

    def _split(self) -> None:
        mask, split = self._shape
        wider = 2 * mask + 1
        stay: list[bytes] = []
        move: list[bytes] = []
        for (record,) in _WHOLE.iter_unpack(self._buckets[split]):
            moves = hash(record[:MEMBER_BYTES]) & wider > mask
            (move if moves else stay).append(record)
        # In this order: who looks by the old shape finds all until the last step, and then sees
        # that the shape has changed.
        self._buckets.append(b"".join(move))
        self._shape = (mask, split + 1) if split < mask else (wider, 0)
        self._buckets[split] = b"".join(stay)


def _index(member: bytes, shape: tuple[int, int]) -> int:
    mask, split = shape
    hashed = hash(member)
    number = hashed & mask
    return number if number >= split else hashed & (2 * mask + 1)


def _find(bucket: bytes, member: bytes) -> int:
    at = bucket.find(member)
    while at >= 0 and at % _SIZE:
        at = bucket.find(member, at + 1)
    return at


def _read(bucket: bytes) -> Iterator[tuple[bytes, int]]:
    return ((member, high << 32 | low) for member, high, low in _RECORD.iter_unpack(bucket))


def _packed(day: int, score: int) -> int:
    """A day and a score as a value of a record; `_BESIDE` where none can say them."""
    later = day - score // _DAY_MS
    if score < _SCORES and 0 <= later < _COUNTED >> _SCORE_BITS:
        return later << _SCORE_BITS | score
    if score < _COUNTS and day < _SCORES // _COUNTS - 1:
        return _COUNTED | day << _COUNT_BITS | score
    return _BESIDE


def _heads(days: Collection[int]) -> frozenset[tuple[bytes]]:
    """How values of these days may begin, as `_HEAD` gives it; few others begin so."""
    heads = {_BESIDE >> _BELOW_HEAD}
    for day in days:
        heads.add((_COUNTED | day << _COUNT_BITS) >> _BELOW_HEAD)
        for later in range(_COUNTED >> _SCORE_BITS):
            first = later << _SCORE_BITS | max(day - later, 0) * _DAY_MS
            heads |= {*range(first >> _BELOW_HEAD, (first + _DAY_MS >> _BELOW_HEAD) + 1)}
    limit = 1 << 8 * _HEAD_BYTES  # days after the last instant have none
    return frozenset((head.to_bytes(_HEAD_BYTES),) for head in heads if head < limit)


def _day(value: int) -> int:
    score = value & _INSTANT
    if value < _COUNTED:
        return score // _DAY_MS + (value >> _SCORE_BITS)
    return score >> _COUNT_BITS


def _score(value: int) -> int:
    return value & (_SCORES if value < _COUNTED else _COUNTS) - 1
