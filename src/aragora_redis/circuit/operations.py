"""What circuits ask of Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ..errors import UnexpectedReplyError
from ..operation import Argument, Fence, Kind, Lane, Operation
from ..scripts.catalog import load
from .machine import Evidence, Phase, Standing
from .outcome import Outcome
from .permit import Permit
from .policy import CircuitPolicy

Word = Literal["permit", "busy", "early", "changed", "settled", "late"]

NAMES_KEPT_MS = 7 * 86_400_000
NAMES_SHOWN = 1024
LEASE_FLOOR = 5.0
"""Seconds for which the place of a trial call is kept, at least."""


class CircuitKeys:
    """The keys of circuits. Those of one circuit share a hash tag."""

    def __init__(self, prefix: str) -> None:
        self._base = f"{prefix}:c:".encode()
        self.channel = self._base + b"changes"
        self.names = self._base + b"{names}:names"

    def state(self, name: str) -> bytes:
        """The hash of a circuit's state."""
        return self._base + b"{%b}:state" % name.encode()

    def evidence(self, name: str) -> bytes:
        """What each instance has seen."""
        return self._base + b"{%b}:evidence" % name.encode()

    def places(self, name: str) -> bytes:
        """The places for trial calls."""
        return self._base + b"{%b}:places" % name.encode()


class Reported(NamedTuple):
    """The state of a circuit, and the calls that all instances have seen."""

    server_now: int
    standing: Standing
    pooled: Evidence


class Reporter(NamedTuple):
    """What one instance has told of a circuit's calls, in the window that it told of.

    Attributes:
        instance: its boot id.
        age: seconds since it told.
    """

    instance: str
    age: float
    calls: int
    failures: int
    slow: int


class Asked(NamedTuple):
    """What became of a trial call's request or result; `wait` is in seconds."""

    word: Word
    wait: float
    server_now: int
    standing: Standing


def lease_of(policy: CircuitPolicy) -> float:
    """Seconds for which the place of a trial call is kept: twice what is slow."""
    return max(2 * policy.slow_call, LEASE_FLOOR)


def report(
    keys: CircuitKeys,
    name: str,
    policy: CircuitPolicy,
    *,
    known: Standing,
    own: str,
    seen: Evidence,
    open_for: float,
) -> Operation[Reported]:
    """Tell what was seen and what is known; a circuit that trips is open for `open_for` seconds."""
    args: list[Argument] = [
        known.era,
        known.n,
        known.phase.value,
        known.until,
        known.span,
        known.opens,
        known.reason,
        own,
        seen.calls,
        seen.failures,
        seen.slow,
        _micros(policy.window),
        policy.minimum_calls,
        repr(policy.failure_rate),
        repr(policy.slow_rate),
        policy.reporters,
        _micros(open_for),
        keys.channel,
        name,
    ]
    return Operation(
        kind=Kind.CAS,
        keys=(keys.state(name), keys.evidence(name)),
        args=tuple(args),
        read=_read_reported,
        script=load("circuit_report"),
        fence=Fence.STANDING,
        lane=Lane.BULK,
        at_once=True,
    )


def acquire(
    keys: CircuitKeys, name: str, policy: CircuitPolicy, permit: Permit, *, anew: bool = True
) -> Operation[Asked]:
    """Take the place that a permit names, or keep it for longer; without `anew` only that."""
    return Operation(
        kind=Kind.CAS,
        keys=(keys.state(name), keys.places(name)),
        args=(
            permit.era,
            permit.n,
            permit.token,
            policy.half_open_probes,
            int(lease_of(policy) * 1000),
            keys.channel,
            name,
            int(not anew),
        ),
        read=_read_asked,
        script=load("circuit_acquire"),
        fence=Fence.STANDING,
        at_once=True,
    )


def settle(
    keys: CircuitKeys,
    name: str,
    policy: CircuitPolicy,
    permit: Permit,
    outcome: Outcome,
    *,
    open_for: float,
) -> Operation[Asked]:
    """Tell the result of a trial call; a failed one opens the circuit for `open_for` seconds."""
    return Operation(
        kind=Kind.CAS,
        keys=(keys.state(name), keys.places(name), keys.evidence(name)),
        args=(
            permit.era,
            permit.n,
            permit.token,
            outcome,
            policy.half_open_probes,
            _micros(open_for),
            keys.channel,
            name,
        ),
        read=_read_asked,
        script=load("circuit_settle"),
        fence=Fence.STANDING,
        at_once=True,
    )


def force(
    keys: CircuitKeys, name: str, phase: Phase, *, reason: str, nonce: str, ttl: float = 0.0
) -> Operation[Reported]:
    """Hold a circuit open or closed, or (`Phase.CLOSED`) let its calls decide again.

    It holds for so many seconds; 0 until it is changed by hand. The reason is a `note`.
    """
    return Operation(
        kind=Kind.CAS,
        keys=(keys.state(name), keys.evidence(name)),
        args=(nonce, phase.value, reason, _micros(ttl), keys.channel, name),
        read=_read_reported,
        script=load("circuit_force"),
        fence=Fence.PROBE,
        lane=Lane.BULK,
    )


def names(keys: CircuitKeys, used: Sequence[str]) -> Operation[list[str]]:
    """Say which circuits are used here, and learn which are used anywhere."""
    return Operation(
        kind=Kind.JOIN,
        keys=(keys.names,),
        args=(NAMES_KEPT_MS, NAMES_SHOWN, *used),
        read=_read_names,
        script=load("circuit_names"),
        lane=Lane.BULK,
    )


def names_used(keys: CircuitKeys) -> Operation[list[str]]:
    """Which circuits are used anywhere, the last used first."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.names,),
        args=("ZREVRANGE", keys.names, 0, NAMES_SHOWN - 1),
        read=_read_names,
        lane=Lane.BULK,
    )


def stored(keys: CircuitKeys, name: str) -> Operation[Standing]:
    """The state of a circuit as it is stored; one that is not is closed."""
    key = keys.state(name)
    return Operation(
        kind=Kind.READ,
        keys=(key,),
        args=("HMGET", key, "era", "n", "state", "until", "span", "opens", "reason"),
        read=_read_stored,
        lane=Lane.BULK,
    )


def evidence(keys: CircuitKeys, name: str) -> Operation[list[Reporter]]:
    """What each instance last told that it had seen."""
    return Operation(
        kind=Kind.READ,
        keys=(keys.evidence(name),),
        args=(),
        read=_read_evidence,
        script=load("circuit_evidence"),
        lane=Lane.BULK,
    )


def read_change(message: bytes) -> tuple[str, int, Standing]:
    """A published change: the circuit's name, the server's clock then, and the new state.

    Raises:
        UnexpectedReplyError: it is none.
    """
    try:
        name, now, *fields = message.split(b" ", 8)
        return name.decode(), _number(now), _standing(fields)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise UnexpectedReplyError("the change of a circuit cannot be read") from error


_LARGEST = 2**53
"""The largest number that Lua tells from its neighbours."""


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _number(found: Any) -> int:
    number = int(found)
    if not 0 <= number <= _LARGEST:
        raise ValueError("a number is larger than any of ours")
    return number


def _standing(fields: Sequence[Any]) -> Standing:
    era, n, state, until, span, opens, reason = fields
    return Standing(
        _number(era),
        _number(n),
        Phase(state.decode()),
        _number(until),
        _number(opens),
        _number(span),
        reason.decode("utf-8", "replace"),
    )


def _read_reported(reply: Any) -> Reported:
    try:
        now, calls, failures, slow, *fields = reply
        pooled = Evidence(_number(calls), _number(failures), _number(slow))
        return Reported(_number(now), _standing(fields), pooled)
    except (TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("the state of a circuit cannot be read") from error


def _read_stored(reply: Any) -> Standing:
    try:
        return Standing() if reply[2] is None else _standing(reply)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise UnexpectedReplyError("the state of a circuit cannot be read") from error


def _read_evidence(reply: Any) -> list[Reporter]:
    try:
        now, *flat = reply
        rows = [flat[start : start + 5] for start in range(0, len(flat), 5)]
        return [
            Reporter(
                own.decode("utf-8", "replace"),
                max(int(now) - int(at), 0) / 1e6,
                *(int(number) for number in counts),
            )
            for own, at, *counts in rows
        ]
    except (TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("the evidence of a circuit cannot be read") from error


_WORDS: Mapping[bytes, Word] = {
    b"permit": "permit",
    b"busy": "busy",
    b"early": "early",
    b"changed": "changed",
    b"settled": "settled",
    b"late": "late",
}


def _read_asked(reply: Any) -> Asked:
    try:
        word, wait, now, *fields = reply
        return Asked(_WORDS[word], int(wait) / 1e6, _number(now), _standing(fields))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnexpectedReplyError("the answer about a trial call cannot be read") from error


def _read_names(reply: Any) -> list[str]:
    try:
        return [name.decode() for name in reply]
    except (TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("the names of circuits cannot be read") from error
