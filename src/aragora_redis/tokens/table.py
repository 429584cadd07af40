"""Entries packed into buckets of bytes: 14 bytes each and two to three beside. Pure.

A million revocations as Python objects take 250 MB. Here a bucket is one `bytes` of records, found
by a part of the member and searched by `bytes.rfind`; buckets are split one at a time as they fill
(linear hashing, Litwin 1980), so no insertion waits for all others to move. What is new waits in
tails until there is enough of it: buckets that grow by each record alone leave holes in memory
that no other one fits into.

A record has one day, which is nearly always that of its score, or up to 30 later: five bits. What
does not fit, a member on several days above all, is kept beside, where it takes ten times as much.

One thread writes; others may look up at the same time, and never miss what was there before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from struct import Struct

from .entry import DAY, MEMBER_BYTES, Entry, Joined

FILL = 48
"""Records of a bucket, on average, at which one is split."""
LEAST_NEW = 256
"""Entries that are taken over into buckets together, at least. In a large table it is one of 256,
and one of 32 while many are expected."""
DROPPED_AT_ONCE = 128
"""Buckets of which days are forgotten in one step."""
_DAY_MS = DAY * 1000
_VALUE_BYTES = 6
_SIZE = MEMBER_BYTES + _VALUE_BYTES
_RECORD = Struct(f">{MEMBER_BYTES}sHI")
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
        self._tails: dict[int, bytes] = {}
        self._waiting = 0
        self._expected = 0
        self._beside: dict[bytes, dict[int, int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        # In this order: what is taken over meanwhile comes twice, and nothing never.
        for records in chain(list(self._tails.values()), self._buckets):
            for member, value in _read(records):
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
        tailed = number in self._tails
        records = self._records(number, member) if tailed else self._buckets[number]
        at = records.rfind(member)  # which is faster than `find` among so few bytes
        if at < 0 and len(member) == MEMBER_BYTES:  # as good as always
            # A split may just have moved what this bucket held.
            return None if self._shape is shape else self.score(member)
        if at % _SIZE == 0 and len(member) == MEMBER_BYTES:
            value = int.from_bytes(records[at + MEMBER_BYTES : at + _SIZE])
            if value < _COUNTED:
                return value & _INSTANT
        return max((entry.score for entry in self.entries(member)), default=None)

    def entries(self, member: bytes) -> list[Entry]:
        """A member on each of its days."""
        shape = self._shape
        records = self._records(_index(member, shape), member)
        at = _find(records, member)
        if at < 0 and len(member) == MEMBER_BYTES:
            return [] if self._shape is shape else self.entries(member)
        return [Entry(day, member, score) for day, score in self._days(records, at, member).items()]

    def expect(self, count: int) -> None:
        """Make room for so many: buckets are split while they are empty, and then fill together.

        `settle` says that they have come.
        """
        self._make_room(count)
        self._expected = count

    def settle(self) -> None:
        """Take all that is new over into buckets, and expect no more."""
        self._expected = 0
        self._take_over()

    def join(self, day: int, members: Collection[tuple[bytes, int]]) -> list[Joined]:
        """Raise the scores of some members on one day; what has changed by that."""
        tails, buckets, (mask, split) = self._tails, self._buckets, self._shape
        first = day * _DAY_MS
        end = min(first + _DAY_MS, _SCORES)
        changed: list[Joined] = []
        add = changed.append
        for member, score in members:
            hashed = hash(member)
            number = hashed & mask
            if number < split:
                number = hashed & (2 * mask + 1)
            tail = tails.get(number, b"")
            if (
                buckets[number].rfind(member) >= 0
                or tail.rfind(member) >= 0
                or len(member) != MEMBER_BYTES
            ):
                at = _find(self._records(number, member), member)
                if at >= 0 or len(member) != MEMBER_BYTES:  # and no part of two records
                    changed += self._raise(number, at, day, member, score)
                    continue
            value = score if first <= score < end else _packed(day, score)
            if value == _BESIDE:
                self._beside[member] = {day: score}
            tails[number] = tail + (member + value.to_bytes(_VALUE_BYTES))
            add((member, score, None))
        came = [before for _, _, before in changed].count(None)
        self._count += came
        self._waiting += came
        if self._waiting > max(LEAST_NEW, self._count >> 8, self._expected >> 5):
            self._take_over()
        return changed

    def drop(self, days: Collection[int]) -> Iterator[None]:
        """Forget whole days, in steps. What is joined between them must be of other days."""
        self.settle()
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

    def _records(self, number: int, member: bytes) -> bytes:
        """Where the record of a member is: in a bucket's tail, else in the bucket."""
        tail = self._tails.get(number, b"")  # first: it goes when the bucket has it
        return tail if _find(tail, member) >= 0 else self._buckets[number]

    def _days(self, records: bytes, at: int, member: bytes) -> dict[int, int]:
        """The scores of a member by day, given its record, if it has one."""
        if at >= 0 and len(member) == MEMBER_BYTES:
            value = int.from_bytes(records[at + MEMBER_BYTES : at + _SIZE])
            if value != _BESIDE:
                return {_day(value): _score(value)}
        return dict(self._beside.get(member, ()))

    def _raise(self, number: int, at: int, day: int, member: bytes, score: int) -> list[Joined]:
        """Raise the score of a member that has a record there, or that none can hold."""
        records = self._records(number, member)
        days = self._days(records, at, member)
        before = days.get(day)
        if before is not None and before >= score:
            return []
        days[day] = score
        value = _packed(day, score) if len(days) == 1 and member not in self._beside else _BESIDE
        if value == _BESIDE or len(member) != MEMBER_BYTES:
            self._beside[member] = days  # first: who reads the record then looks here
        if len(member) == MEMBER_BYTES:
            head, rest = records[: at + MEMBER_BYTES], records[at + _SIZE :]
            raised = head + value.to_bytes(_VALUE_BYTES) + rest
            if records is self._buckets[number]:
                self._buckets[number] = raised
            else:
                self._tails[number] = raised
        return [(member, score, before)]

    def _take_over(self) -> None:
        self._make_room(self._count)
        for number in sorted(self._tails):  # in this order the old ones leave one hole behind
            self._buckets[number] += self._tails[number]
            del self._tails[number]
        self._waiting = 0

    def _make_room(self, count: int) -> None:
        while count > FILL * len(self._buckets):
            self._split()

    def _split(self) -> None:
        mask, split = self._shape
        wider = 2 * mask + 1
        stay: list[bytes] = []
        move: list[bytes] = []
        bucket = self._buckets[split] + self._tails.get(split, b"")
        for at in range(0, len(bucket), _SIZE):
            moves = hash(bucket[at : at + MEMBER_BYTES]) & wider > mask
            (move if moves else stay).append(bucket[at : at + _SIZE])
        # In this order: who looks by the old shape finds all until the last step, and then sees
        # that the shape has changed.
        self._buckets.append(b"".join(move))
        self._shape = (mask, split + 1) if split < mask else (wider, 0)
        self._buckets[split] = b"".join(stay)
        self._tails.pop(split, None)


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
