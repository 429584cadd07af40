"""What happened in a drill: calls with their begin and end, faults as bands, and events.

Every process of a drill writes lines of its own file. All times are those of CLOCK_MONOTONIC, which
the processes of one machine share, in seconds.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

What = Literal["revoke", "verify", "check", "create", "read", "update", "end", "probe"]


class Call(msgspec.Struct, tag="call", omit_defaults=True, kw_only=True):
    """One call of a client. Without an end it was under way when its process died.

    Attributes:
        on: what it is about: a revoked id, a subject, a session's label, a circuit.
        outcome: `ok`, `no` (it did not run), `unknown`, or a word of the operation's own
            (`conflict`, `gone`, `not-ready`, `refused`, and `closed`: a limit that fails closed).
        answer: what was answered, where that is more than the outcome.
        field, base, value: of an update: the field, what it held when it was read, what it gets.
        disk: whether the receipt of a revocation says that it is on disk.
        version: of a session, as read or made.
        data: of a session, as read.
        slot: the hash slot of its keys; -1 where there is none, or several.
    """

    process: str
    number: int
    what: What
    on: str
    began: float
    ended: float | None = None
    outcome: str = "unknown"
    answer: Any = None
    source: str = ""
    field: str = ""
    base: str | None = None
    value: str = ""
    disk: bool = False
    version: int = 0
    data: dict[str, str] = {}
    slot: int = -1


class Happening(msgspec.Struct, tag="happening", omit_defaults=True, kw_only=True):
    """Something else that a process saw, such as `view`, `lag` or `unhandled`."""

    process: str
    what: str
    at: float
    value: float = 0.0
    text: str = ""


class Band(msgspec.Struct, tag="band", omit_defaults=True, kw_only=True):
    """A fault, from its beginning until all is well again.

    Attributes:
        name: of the fault.
        ended: when it was undone.
        settled: when every client was well again and had had time to hear of everything.
        loses: seconds after its beginning in which the old primary may acknowledge what is lost
            then; None where no write may be lost.
        wiped: all of Redis comes back empty.
        total: no client can reach any primary.
        cut: how many clients are cut off from the rest.
        beside: the process that is cut off beside a primary.
        doubled: seconds after its beginning in which those cut off have the whole limit too.
        slots: first and last of those that it concerns, of a cluster; none where it concerns all.
        seamless: nobody may notice it.
        times: how often it comes and goes.
        returns: when the first server may answer again, where that is before it is undone.
        gone: from when to when no primary that speaks for the fleet answers anybody, or `alone`.
        alone: the one process that is cut off.
        ahead: seconds by which the clock of a server goes ahead in it, be it as it is set right.
        heard: whether what is revoked is heard of by all as if it was not there.
        spares: the kinds of calls whose Redis is another one, which it does not touch.
    """

    name: str
    began: float
    ended: float = float("inf")
    settled: float = float("inf")
    loses: float | None = None
    wiped: bool = False
    total: bool = False
    cut: int = 0
    beside: str = ""
    doubled: float = 0.0
    slots: tuple[tuple[int, int], ...] = ()
    seamless: bool = False
    times: int = 1
    returns: float | None = None
    gone: tuple[float, float] | None = None
    alone: str = ""
    ahead: float = 0.0
    heard: bool = False
    spares: tuple[What, ...] = ()

    def concerns(self, slot: int) -> bool:
        """Whether it touches the holder of a slot, or may."""
        if not self.slots or slot < 0:
            return True
        return any(first <= slot <= last for first, last in self.slots)


Line = Call | Happening | Band


class Recorder:
    """Writes one process's history; each line is whole on disk before the call goes on."""

    def __init__(self, path: Path, process: str) -> None:
        self._file = path.open("ab", buffering=0)
        self._process = process
        self._number = 0
        self._encode = msgspec.json.Encoder().encode

    def write(self, line: Line) -> None:
        """Append a line."""
        self._file.write(self._encode(line) + b"\n")

    def happened(self, what: str, *, value: float = 0.0, text: str = "") -> None:
        """Note something that is no call."""
        now = time.monotonic()
        self.write(Happening(process=self._process, what=what, at=now, value=value, text=text))

    def write_ended(self, process: str) -> None:
        """Note that another process has ended, or was ended, now."""
        self.write(Happening(process=process, what="ended", at=time.monotonic()))

    @contextmanager
    def call(self, what: What, on: str, *, early: bool = False, **details: Any) -> Any:
        """Record a call; the body fills in what came of it.

        Args:
            what: which.
            on: what it is about.
            early: write it down before it begins as well, for calls that leave traces although
                their process may die meanwhile.
            details: further fields.
        """
        self._number += 1
        call = Call(
            process=self._process,
            number=self._number,
            what=what,
            on=on,
            began=time.monotonic(),
            **details,
        )
        if early:
            self.write(call)
        yield call
        call.ended = time.monotonic()
        self.write(call)

    def close(self) -> None:
        """End the file."""
        self._file.close()


@dataclass(slots=True)
class History:
    """All of a drill, in order of time."""

    calls: list[Call] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)

    def of(self, *what: What) -> list[Call]:
        """The calls of some kinds."""
        return [call for call in self.calls if call.what in what]

    def began_within(self, first: float, last: float) -> list[Call]:
        """The calls that began in a span of time, both ends included; they are in order."""
        start = bisect_left(self.calls, first, key=_began)
        return self.calls[start : bisect_right(self.calls, last, lo=start, key=_began)]

    def hitting(self, what: What) -> list[Band]:
        """The faults of the Redis that calls of a kind go to."""
        return [band for band in self.bands if what not in band.spares]

    def noted(self, what: str) -> list[Happening]:
        """The happenings of one kind."""
        return [each for each in self.happenings if each.what == what]


def _began(call: Call) -> float:
    return call.began


def load(paths: Iterable[Path]) -> History:
    """Read the files of all processes; a call that was written twice counts as it ended."""
    decode = msgspec.json.Decoder(Line).decode
    calls: dict[tuple[str, int], Call] = {}
    history = History()
    for path in paths:
        for text in path.read_bytes().splitlines():
            match decode(text):
                case Call() as call:
                    calls[call.process, call.number] = call
                case Happening() as happening:
                    history.happenings.append(happening)
                case Band() as band:
                    history.bands.append(band)
    history.calls = sorted(calls.values(), key=_began)
    history.happenings.sort(key=lambda each: each.at)
    history.bands.sort(key=lambda band: band.began)
    return history
