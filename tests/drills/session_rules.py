"""The rules about sessions: what was acknowledged stays, and what was ended is gone. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from .excuses import PROPAGATION, doubted, hushed, may_be_lost, switches
from .history import Call, History
from .verdict import Expectations, Violation


def updates(history: History) -> Iterator[Violation]:
    """I6 and I3: an acknowledged update that is neither in the last state nor built upon.

    Each update says what its field held when it was read, so the acknowledged ones of a field form
    a chain that ends in what was read last. One that is off the chain was lost: by another update
    of the same base (I6), or with a primary (I3), which only a fault excuses.
    """
    promoted = switches(history)
    for update, read, rivals in off_the_chain(history):
        before = [
            band
            for band in history.hitting("update")
            if band.began <= read.began and band.concerns(update.slot)
        ]
        if not may_be_lost(update, before, promoted):
            yield Violation(
                "I6" if rivals else "I3",
                update.ended or update.began,
                f"{update.on}.{update.field} = {update.value} was acknowledged and is lost",
            )
    seen = {
        (read.on, name, value)
        for read in history.of("read")
        if read.outcome == "ok"
        for name, value in read.data.items()
    }
    for update in history.of("update"):
        denied = update.outcome in {"no", "conflict", "gone"}
        if denied and (update.on, update.field, update.value) in seen:
            told = f"told {update.outcome}, and yet it is there"
            text = f"{update.on}.{update.field} = {update.value}: {told}"
            yield Violation("I5", update.began, text)


def off_the_chain(history: History) -> Iterator[tuple[Call, Call, bool]]:
    """Acknowledged updates that the last state read does not build on.

    Yields the update, that read, and whether others have built on the same.
    """
    final = _last_read(history)
    by_value = {(u.on, u.field, u.value): u for u in history.of("update")}
    acknowledged = [u for u in history.of("update") if u.outcome == "ok"]
    built_on = Counter((u.on, u.field, u.base) for u in acknowledged)
    for update in acknowledged:
        # One that nobody has looked at since may well be there.
        if update.on in final and (update.ended or 0.0) <= final[update.on].began:
            value = final[update.on].data.get(update.field)
            if not _leads_to(update, value, by_value):
                rivals = built_on[update.on, update.field, update.base] > 1
                yield update, final[update.on], rivals


def _last_read(history: History) -> dict[str, Call]:
    """The last state of each session; what is read on an island before it is doubted is none."""
    islands = [band for band in history.hitting("read") if band.cut]
    return {
        call.on: call
        for call in _told_by_redis(history)
        if not any(band.began <= call.began <= doubted(band) for band in islands)
    }


def reads_on_islands(history: History) -> Iterator[Violation]:
    """I6: a session of a primary that the reader is cut off with, and has to doubt by then."""
    islands = [band for band in history.hitting("read") if band.beside]
    for read in _told_by_redis(history):
        for band in islands:
            over = band.ended if band.returns is None else band.returns
            if read.process == band.beside and doubted(band) < read.began < over:
                text = f"{read.process} reads {read.on} of a primary that may have been replaced"
                yield Violation("I6", read.began, text)


def _told_by_redis(history: History) -> Iterator[Call]:
    """Reads that were given no copy."""
    for call in history.of("read"):
        if call.outcome == "ok" and call.source != "copy":
            yield call


def _leads_to(update: Call, value: str | None, by_value: dict[tuple[str, str, str], Call]) -> bool:
    """Whether the chain of bases behind `value` passes through an update."""
    seen = set()
    while value is not None and value not in seen:
        if value == update.value:
            return True
        seen.add(value)
        made = by_value.get((update.on, update.field, value))
        value = made.base if made is not None else None
    return False


def endings(history: History) -> Iterator[Violation]:
    """I6: a session that was ended and is read again."""
    ended: dict[str, list[Call]] = defaultdict(list)
    for call in history.of("end"):
        if call.outcome == "ok":
            ended[call.on].append(call)
    bands = history.hitting("read")
    for call in history.of("read"):
        if call.outcome != "ok":
            continue
        for end in ended[call.on]:
            at = end.ended if end.ended is not None else float("inf")
            here = end.process == call.process and at < call.began
            heard_by = call.began - PROPAGATION
            heard = at < heard_by and not hushed(bands, heard_by, call.began)
            if here or heard:
                yield Violation(
                    "I6", call.began, f"{call.process} reads {call.on}, which was ended"
                )


def vanished(history: History, expected: Expectations) -> Iterator[Violation]:
    """I6: a session that is gone although nobody has ended it, and no fault excuses it.

    A fault does where it may have lost its beginning, where the reader may be told by a primary
    that never heard of it, and where the clock of a server went ahead by the idle time and more,
    since that clock is what idle times are measured by.
    """
    promoted, bands = switches(history), history.hitting("read")
    made = {call.on: call for call in history.of("create") if call.outcome == "ok"}
    ended: dict[str, float] = {}
    for end in history.of("end"):
        ended.setdefault(end.on, end.began)
    for read in history.of("read"):
        begun, over = made.get(read.on), read.ended if read.ended is not None else read.began
        if read.outcome != "gone" or begun is None or ended.get(read.on, float("inf")) <= over:
            continue
        born = begun.ended if begun.ended is not None else begun.began
        before = [b for b in bands if b.began <= over and b.settled >= born]
        stale = any(b.settled >= read.began and (b.loses is not None or b.cut) for b in before)
        aged = any(band.ahead >= expected.idle for band in before)
        if not (stale or aged or may_be_lost(begun, before, promoted)):
            yield Violation(
                "I6", read.began, f"{read.process} misses {read.on}, which nobody ended"
            )
