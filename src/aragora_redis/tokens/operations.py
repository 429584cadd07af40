"""What is asked of Redis about one shard of the revocations, and how the replies are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..errors import UnexpectedReplyError
from ..operation import Argument, Kind, Lane, Operation, returnable
from ..scripts.catalog import load
from .entry import DAY, DAYS, DayDigest, Entry, all_revocations, can_be, read_blob
from .position import Position
from .shard import Head

CALL_ENTRIES = 128
"""Entries in one join at most: a longer one would hold up the server."""
CALL_BYTES = 64 * 1024
FEED_PAGE = 500
SCAN_PAGE = 1000
LEASES = 4
"""Full comparisons of one shard at the same time, fleet-wide."""
LEASE_MS = 30_000
_NUMBER = re.compile(rb"\d{1,20}")


class ShardKeys:
    """The keys of one shard. They share a hash tag, so that a script may touch them together."""

    def __init__(self, prefix: str, shard: int) -> None:
        self._base = f"{prefix}:t:{{t{shard}}}:".encode()
        self.head = self._base + b"head"
        self.digests = self._base + b"digests"
        self.feed = self._base + b"feed"
        self.leases = self._base + b"leases"

    def members(self, day: int) -> bytes:
        """The sorted set of one day: member -> score."""
        return self._base + b"members:%d" % day

    def notes(self, day: int) -> bytes:
        """The hash of one day: member -> why."""
        return self._base + b"notes:%d" % day


class Joined(NamedTuple):
    """The answer to a join."""

    position: Position
    changed: int
    server_now: int

    def refused(self, entries: Iterable[Entry], now: float) -> list[Entry]:
        """Those that the script left out as over by the server's clock, and ours (`now`) does not.

        Nobody has them: a server whose clock is ahead must not have them taken for stored.
        """
        theirs = self.server_now / 1_000_000
        return [entry for entry in entries if now < (entry.day + 2) * DAY <= theirs]


def join(
    keys: ShardKeys, entries: Sequence[Entry], *, nonce: bytes, durable: bool = False
) -> Operation[Joined]:
    """Add entries; with none, only find out whether a new era has begun."""
    days = sorted({entry.day for entry in entries})
    index = {day: number for number, day in enumerate(days, 1)}
    args: list[Argument] = [nonce, "1" if durable else "0", len(days), *days]
    for entry in entries:
        args += [index[entry.day], entry.member, entry.score, entry.note]
    return Operation(
        kind=Kind.JOIN,
        keys=(
            keys.head,
            keys.digests,
            keys.feed,
            *(key for day in days for key in (keys.members(day), keys.notes(day))),
        ),
        args=tuple(args),
        read=_read_joined,
        script=load("join"),
        lane=Lane.DURABLE if durable else Lane.BULK,
    )


def calls(entries: Iterable[Entry]) -> Iterator[tuple[Entry, ...]]:
    """Split entries into what one join may carry."""
    call: list[Entry] = []
    size = 0
    for entry in entries:
        weight = len(entry.member) + len(entry.note.encode()) + 64
        if call and (len(call) == CALL_ENTRIES or size + weight > CALL_BYTES):
            yield tuple(call)
            call, size = [], 0
        call.append(entry)
        size += weight
    if call:
        yield tuple(call)


def survey(keys: ShardKeys, counted: Sequence[int] = ()) -> Operation[Head]:
    """Read where the shard stands, with the digests of its days, and the sizes of some sets."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.head, keys.digests, *map(keys.members, counted)),
        args=(),
        read=partial(_read_head, counted),
        script=load("survey"),
        lane=Lane.BULK,
    )


def redigest(keys: ShardKeys, day: int, *, stored: DayDigest, true: DayDigest) -> Operation[bool]:
    """Replace the digest of a day that is not its set's; False where either changed since."""
    return Operation(
        kind=Kind.CAS,
        keys=(keys.head, keys.digests, keys.members(day)),
        args=(day, stored.size, f"{stored.sum:016x}", true.size, f"{true.sum:016x}"),
        read=lambda reply: reply == 1,
        script=load("redigest"),
        lane=Lane.BULK,
    )


def standing(keys: ShardKeys) -> Operation[Position | None]:
    """Read the position only: the cheap question of each second."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.head,),
        args=("HMGET", keys.head, "nonce", "rid", "era", "seq"),
        read=_read_standing,
        lane=Lane.BULK,
    )


def feed_after(
    keys: ShardKeys, position: Position
) -> Operation[list[tuple[int, int, list[Entry]]]]:
    """One page of the feed after a position: era, number and entries of each record."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.feed,),
        args=(
            "XRANGE", keys.feed, f"({position.era}-{position.seq}", "+", "COUNT", FEED_PAGE,
        ),
        read=_read_feed,
        lane=Lane.BULK,
    )  # fmt: skip


def scan_day(keys: ShardKeys, day: int, cursor: bytes) -> Operation[tuple[bytes, dict[bytes, int]]]:
    """One page of a day's members and scores; the cursor is `0` first and last."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.members(day),),
        args=("ZSCAN", keys.members(day), cursor, "COUNT", SCAN_PAGE),
        read=_read_scan,
        lane=Lane.BULK,
    )


def score_of(keys: ShardKeys, day: int, member: bytes) -> Operation[int | None]:
    """The score of one member on one day; None where that day does not hold it."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.members(day),),
        args=("ZSCORE", keys.members(day), member),
        read=lambda reply: None if reply is None else int(float(reply)),
        lane=Lane.BULK,
    )


def first_of_day(
    keys: ShardKeys, day: int, low: int, high: int, count: int, *, skip: int = 0
) -> Operation[dict[bytes, int]]:
    """Up to `count` members of a day with scores from `low` to `high`, the lowest first.

    The first `skip` of them are left out.
    """
    return Operation(
        kind=Kind.READ,
        keys=(keys.members(day),),
        args=(
            "ZRANGEBYSCORE", keys.members(day), low, high, "WITHSCORES", "LIMIT", skip, count,
        ),
        read=_read_members,
        lane=Lane.BULK,
    )  # fmt: skip


def count_of_day(keys: ShardKeys, day: int, low: int, high: int) -> Operation[int]:
    """How many members of a day have scores from `low` to `high`."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.members(day),),
        args=("ZCOUNT", keys.members(day), low, high),
        read=int,
        lane=Lane.BULK,
    )


def note_of(keys: ShardKeys, day: int, member: bytes) -> Operation[str | None]:
    """Why a member was revoked, if a reason was given."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.notes(day),),
        args=("HGET", keys.notes(day), member),
        read=lambda reply: reply.decode("utf-8", "replace") if isinstance(reply, bytes) else None,
        lane=Lane.BULK,
    )


def lease(keys: ShardKeys, holder: str, *, take: bool) -> Operation[bool]:
    """Take, or give back, one of the places for a full comparison."""
    return Operation(
        kind=Kind.CAS,
        keys=(keys.leases,),
        args=(holder, LEASES, LEASE_MS if take else 0),
        read=lambda reply: reply == 1,
        script=load("lease"),
        lane=Lane.BULK,
    )


def read_message(payload: Any) -> tuple[Position, list[Entry]]:
    """The position and entries of a published change.

    Raises:
        UnexpectedReplyError: the join script did not write this.
    """
    parts = payload.split(b" ", 4) if isinstance(payload, bytes) else []
    if len(parts) != 5 or not all(map(_NUMBER.fullmatch, parts[2:4])):
        raise UnexpectedReplyError("a message on the revocation feed cannot be read")
    position = Position(parts[0], parts[1], int(parts[2]), int(parts[3]))
    return position, read_blob(parts[4])


def _position(nonce: Any, rid: Any, era: Any, seq: Any) -> Position:
    return Position(returnable(nonce), returnable(rid), int(era), int(seq))


def _read_joined(reply: Any) -> Joined:
    try:
        nonce, rid, era, seq, changed, now = reply
        return Joined(_position(nonce, rid, era, seq), int(changed), int(now))
    except (TypeError, ValueError) as error:
        raise UnexpectedReplyError("the join script's answer cannot be read") from error


def _read_head(counted: Sequence[int], reply: Any) -> Head:
    try:
        now, head_fields, digest_fields, sizes = reply
        head = dict(zip(head_fields[::2], head_fields[1::2], strict=True))
        ends: dict[int, tuple[bytes, int]] = {}
        for name, value in head.items():
            if name.startswith(b"end:"):
                rid, seq = value.split(b" ")
                ends[int(name[4:])] = (rid, int(seq))
        return Head(
            position=_position(head[b"nonce"], head[b"rid"], head[b"era"], head[b"seq"]),
            opened=int(head[b"opened"]),
            ends=ends,
            digests=_read_digests(digest_fields),
            sizes=dict(zip(counted, map(int, sizes), strict=True)),
            server_now=int(now),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("the head of a token shard cannot be read") from error


def _read_digests(fields: list[bytes]) -> dict[int, DayDigest]:
    raw = dict(zip(fields[::2], fields[1::2], strict=True))
    digests = {
        int(name[2:]): DayDigest(int(count), int(raw[b"x:" + name[2:]], 16))
        for name, count in raw.items()
        if name.startswith(b"c:")
    }
    if any(not 0 <= day < DAYS for day in digests):
        raise ValueError("a day that no revocation has")
    return digests


def _read_standing(reply: Any) -> Position | None:
    try:
        nonce, rid, era, seq = reply
        return _position(nonce, rid, era, seq) if nonce is not None else None
    except (TypeError, ValueError) as error:
        raise UnexpectedReplyError("the position of a token shard cannot be read") from error


def _read_feed(reply: Any) -> list[tuple[int, int, list[Entry]]]:
    try:
        records = []
        for record_id, (_, blob) in reply:
            era, _, seq = record_id.partition(b"-")
            records.append((int(era), int(seq), read_blob(blob)))
    except (TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("the feed of a token shard cannot be read") from error
    return records


def _read_scan(reply: Any) -> tuple[bytes, dict[bytes, int]]:
    try:
        cursor, flat = reply
        page_after = returnable(cursor)
    except (TypeError, ValueError) as error:
        raise UnexpectedReplyError("a page of revocations cannot be read") from error
    return page_after, _read_members(flat)


def _read_members(flat: Any) -> dict[bytes, int]:
    try:
        members, scores = _columns(flat)
        page = dict(zip(members, map(int, map(float, scores)), strict=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise UnexpectedReplyError("a page of revocations cannot be read") from error
    if not all_revocations(page) and not all(map(can_be, page, page.values())):
        raise UnexpectedReplyError(
            "a revocation in Redis has a length, or a score with it, that none can have"
        )
    return page


def _columns(flat: list[Any]) -> tuple[list[bytes], list[Any]]:
    if flat and isinstance(flat[0], list):  # RESP3 nests, RESP2 does not
        return [member for member, _ in flat], [score for _, score in flat]
    return flat[::2], flat[1::2]
