"""Entries packed into buckets of bytes: 26 bytes each and about four beside. Pure.

A million revocations as Python objects take 250 MB. Here a bucket is one `bytes` of records, found
by a part of the member and searched by `bytes.find`; buckets are split one at a time as they fill
(linear hashing, Litwin 1980), so no insertion waits for all others to move.

One thread writes; others may look up at the same time, and never miss what was there before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .entry import MEMBER_BYTES, Entry

FILL = 16
"""Records of a bucket, on average, at which one is split."""
_DAY_BYTES = 3
_HEAD = MEMBER_BYTES + _DAY_BYTES
_SIZE = _HEAD + 7


class Table:
    """Scores by member and day."""

    def __init__(self) -> None:
        self._buckets = [b""]
        # How many low bits of the hash choose a bucket, as a mask, and up to which bucket one more.
        self._shape = (0, 0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for bucket in self._buckets:
            yield from _read(bucket)

    def score(self, member: bytes) -> int | None:
        """The greatest score of a member over all days, or None."""
        shape = mask, split = self._shape
        hashed = hash(member)
        number = hashed & mask
        if number < split:
            number = hashed & (2 * mask + 1)
        bucket = self._buckets[number]
        at = bucket.find(member)
        if at >= 0:
            if at % _SIZE == 0 and bucket.find(member, at + 1) < 0:  # as good as always
                return int.from_bytes(bucket[at + _HEAD : at + _SIZE])
            scores = [entry.score for entry in _read(bucket) if entry.member == member]
            if scores:
                return max(scores)
        # A split may just have moved what this bucket held.
        return None if self._shape is shape else self.score(member)

    def entries(self, member: bytes) -> list[Entry]:
        """A member on each of its days."""
        shape = self._shape
        bucket = self._buckets[_index(member, shape)]
        found = [entry for entry in _read(bucket) if entry.member == member]
        # A split moves all of a member's at once, so what was found is whole.
        return found if found or self._shape is shape else self.entries(member)

    def join(self, day: int, member: bytes, score: int) -> int | None:
        """Raise the score of a member on one day; what it was before, or None."""
        head = member + day.to_bytes(_DAY_BYTES)
        number = _index(member, self._shape)
        bucket = self._buckets[number]
        at = _find(bucket, head)
        if at < 0:
            self._buckets[number] = bucket + head + score.to_bytes(_SIZE - _HEAD)
            self._count += 1
            if self._count > FILL * len(self._buckets):
                self._split()
            return None
        end = at + _SIZE
        before = int.from_bytes(bucket[at + _HEAD : end])
        if before < score:
            raised = score.to_bytes(_SIZE - _HEAD)
            self._buckets[number] = bucket[: at + _HEAD] + raised + bucket[end:]
        return before

    def drop(self, days: Collection[int]) -> int:
        """Forget whole days; returns how many records."""
        before = self._count
        past = {day.to_bytes(_DAY_BYTES) for day in days}
        for number, bucket in enumerate(self._buckets):
            records = _records(bucket)
            stay = [each for each in records if each[MEMBER_BYTES:_HEAD] not in past]
            if len(stay) < len(records):
                self._buckets[number] = b"".join(stay)
                self._count -= len(records) - len(stay)
        return before - self._count

    def _split(self) -> None:
        mask, split = self._shape
        wider = 2 * mask + 1
        stay: list[bytes] = []
        move: list[bytes] = []
        for record in _records(self._buckets[split]):
            (move if hash(record[:MEMBER_BYTES]) & wider > mask else stay).append(record)
        # In this order: who looks by the old shape finds all until the last step, and then sees
        # that the shape has changed.
        self._buckets.append(b"".join(move))
        self._shape = (mask, split + 1) if split < mask else (wider, 0)
        self._buckets[split] = b"".join(stay)


def _index(member: bytes, shape: tuple[int, int]) -> int:
    mask, split = shape
    hashed = hash(member)  # keyed anew in each process: nobody makes all members meet in a bucket
    number = hashed & mask
    return number if number >= split else hashed & (2 * mask + 1)


def _find(bucket: bytes, head: bytes) -> int:
    at = bucket.find(head)
    while at >= 0 and at % _SIZE:
        at = bucket.find(head, at + 1)
    return at


def _records(bucket: bytes) -> list[bytes]:
    return [bucket[at : at + _SIZE] for at in range(0, len(bucket), _SIZE)]


def _read(bucket: bytes) -> Iterator[Entry]:
    for record in _records(bucket):
        yield Entry(
            int.from_bytes(record[MEMBER_BYTES:_HEAD]),
            record[:MEMBER_BYTES],
            int.from_bytes(record[_HEAD:]),
        )
