"""Operations on their way: which of them share a call, and what each caller is told. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import hiredis
from msgspec import Struct

from ..clock import ServerTime
from ..errors import (
    AragoraRedisError,
    DeadlineError,
    InvalidInputError,
    OutcomeUnknownError,
    UnexpectedReplyError,
)
from ..operation import Argument, Kind, Operation
from .pipe import pack
from .replies import classify, reconnects

CALL_KEYS = 128
"""Keys in one call of a script: a longer call would hold up the server."""
CALL_BYTES = 64 * 1024
LATE_MARGIN = 0.1
"""Seconds that `not_after` lies behind the deadline."""
_ASKING = pack(("ASKING",))
_JOIN = Kind.JOIN


class Pending(Struct, eq=False):
    """One operation on its way, and the caller who waits for it.

    Attributes:
        future: gets the raw reply.
        deadline: monotonic seconds.
        asking: whether the slot is only on its way to this server.
        alone: whether it shares no call with others.
    """

    operation: Operation[Any]
    future: asyncio.Future[Any]
    deadline: float
    asking: bool
    alone: bool


class Batch:
    """What one write carried. It is in flight until every call of it is answered."""

    __slots__ = ("calls", "pending", "sent_at")

    def __init__(self, pending: list[Pending], sent_at: float) -> None:
        self.pending = pending
        self.sent_at = sent_at
        self.calls = 0


def pack_call(call: list[Pending], server_time: ServerTime) -> bytes:
    """The command of one call, with `not_after` on the server's clock where it changes data."""
    command = _pack_command(call, server_time)
    return _ASKING + command if call[0].asking else command


def _pack_command(call: list[Pending], server_time: ServerTime) -> bytes:
    first = call[0].operation
    script = first.script
    if script is None:
        return pack(first.args)
    keys: list[bytes] = []
    args: list[Argument] = []
    for pending in call:
        keys += pending.operation.keys
        args += pending.operation.args
    head: list[Argument] = ["EVALSHA", script.sha, len(keys)]
    if script.writes:
        not_after = 0
        if _not_after_counts(first):
            # Who gives up first is told when it can run no more; the others ask again.
            earliest = min([pending.deadline for pending in call])
            not_after = server_time.at(earliest + LATE_MARGIN)
        return pack((*head, *keys, not_after, *first.shared, *args))
    return pack((*head, *keys, *first.shared, *args))


def _not_after_counts(operation: Operation[Any]) -> bool:
    """Whether its script refuses to run once its caller has given up; a join may always run."""
    script = operation.script
    return script is not None and script.writes and operation.kind is not _JOIN


def pack_calls(
    calls: list[list[Pending]], server_time: ServerTime
) -> tuple[list[list[Pending]], list[bytes]]:
    """The calls that can be sent, and their commands.

    An argument that is none keeps its own operation from being sent, and no other.
    """
    sent: list[list[Pending]] = []
    commands: list[bytes] = []
    waiting = deque(calls)
    while waiting:
        call = waiting.popleft()
        try:
            command = pack_call(call, server_time)
        except (TypeError, ValueError, OverflowError) as error:
            if len(call) > 1:
                waiting.extendleft([pending] for pending in reversed(call))
            else:
                why = f"an argument cannot be sent: {type(error).__name__}"
                fail(call[0], InvalidInputError(why, remedy="send text, bytes or whole numbers"))
            continue
        sent.append(call)
        commands.append(command)
    return sent, commands


def group(pending: list[Pending], *, by_slot: bool) -> list[list[Pending]]:
    """Split a batch into calls; what shares a batchable script and arguments shares a call.

    In a cluster (`by_slot`) the keys of a call must be in one slot, too.
    """
    calls: list[list[Pending]] = []
    open_calls: dict[tuple[Any, ...], _OpenCall] = {}
    for item in pending:
        operation = item.operation
        if operation.script is None or not operation.script.batchable or item.alone:
            calls.append([item])
            continue
        company = (operation.script.sha, operation.shared, operation.slot if by_slot else None)
        found = open_calls.get(company)
        if found is None or not found.has_room(operation):
            found = open_calls[company] = _OpenCall(len(operation.keys) or 1)
            calls.append(found.pending)
        found.add(item)
    return calls


class _OpenCall:
    """A call that others of its kind may still join."""

    __slots__ = ("bytes", "most", "pending")

    def __init__(self, keys: int) -> None:
        self.pending: list[Pending] = []
        self.most = max(CALL_KEYS // keys, 1)
        self.bytes = 0

    def add(self, item: Pending) -> None:
        self.pending.append(item)
        self.bytes += item.operation.size

    def has_room(self, operation: Operation[Any]) -> bool:
        return len(self.pending) < self.most and self.bytes + operation.size <= CALL_BYTES


def settle_call(call: list[Pending], reply: Any, *, late: bool) -> str | None:
    """Give each caller its part of a reply. A `late` success is not one of a trusted primary.

    Returns the code of a part after which the connection is of no more use, as scripts that answer
    for each of several store on a server that has become a replica; else None.
    """
    script = call[0].operation.script
    if script is None or not script.batchable:
        replies = [reply]
    elif isinstance(reply, list) and len(reply) == len(call):
        replies = reply
    else:
        got = UnexpectedReplyError(
            f"{script.name} answered {type(reply).__name__} for {len(call)} operations",
            remedy="check that nothing between us and Redis changes replies",
        )
        for pending in call:
            fail(pending, got)
        return None
    over = None
    for pending, one in zip(call, replies, strict=True):
        if isinstance(one, hiredis.ReplyError):
            refusal = classify(str(one))
            fail(pending, refusal)
            over = over or reconnects(refusal)
        elif pending.future.done():
            continue
        elif late and pending.operation.kind is not Kind.READ:
            pending.future.set_exception(
                OutcomeUnknownError("Redis answered too late to be trusted as the primary")
            )
        else:
            pending.future.set_result(one)
    return over


def fail(pending: Pending, error: AragoraRedisError) -> None:
    """Tell the caller, unless it has been told or has gone."""
    if not pending.future.done():
        pending.future.set_exception(error)


def no_answer(pending: Pending, after: float) -> AragoraRedisError:
    """What is known of an operation that was sent `after` seconds ago and not answered."""
    message = f"Redis did not answer within {after * 1000:.0f} ms"
    operation = pending.operation
    if operation.kind is Kind.READ:
        return DeadlineError(message)
    if _not_after_counts(operation):
        return OutcomeUnknownError(message, remedy="it cannot run later than 100 ms from now")
    return OutcomeUnknownError(message, remedy="it may still run; read back before repeating")
