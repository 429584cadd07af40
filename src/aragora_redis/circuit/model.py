"""The rules of the circuit scripts in Python: their oracle, and what runs without a Redis.

Each function takes the KEYS and ARGV of its script, less `not_after`, and answers as it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..memory import Memory, Model
from .machine import (
    CLOCK_TOLERANCE,
    Evidence,
    Phase,
    Standing,
    begun_again,
    closed,
    opened,
    trips,
)
from .policy import CircuitPolicy

_KEEP_US = 30 * 86_400_000_000
_Keys = tuple[bytes, ...]


class _Stored:
    """One circuit's state."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.own_history = False
        self.successes = 0
        self.nonce = b""
        self.lease = 0

    def merge(self, standing: Standing) -> None:
        """Take over a state of another history."""
        self.standing, self.own_history, self.successes = standing, False, 0

    def move(self, standing: Standing, now: int) -> None:
        """Give a new state the next number, in the history of this data."""
        era, n = self.standing.generation
        era, n = (era, n + 1) if self.own_history else (max(era + 1, now // 1000), 1)
        self.standing, self.own_history = replace(standing, era=era, n=n), True
        self.successes = 0

    def mind_clock(self, now: int) -> bool:
        """Begin a state again that was given before the clock was set back."""
        outlasts = self.standing.outlasts(now)
        if outlasts:
            self.move(begun_again(self.standing, now), now)
        return outlasts


def report(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`circuit_report.lua`."""
    stored, now = _stored(memory, keys[0]), memory.now
    era, n, phase, until, span, opens, reason, own, calls, failures, slow, *policy = args
    known = Standing(
        int(era), int(n), Phase(phase.decode()), int(until), int(opens), int(span), reason.decode()
    )
    earlier, later = stored.standing.later_than(known), known.later_than(stored.standing)
    if later:
        stored.merge(known)
    begun = stored.mind_clock(now)
    if later or begun:
        _keep(memory, keys[0], stored)
    if begun:
        memory.delete(keys[1])
        return _reported(now, stored, Evidence())
    if not earlier:
        _note(memory, keys[1], own, (int(calls), int(failures), int(slow)), int(policy[0]))
    pooled = _pool(memory, keys[1], int(policy[0]))
    if earlier:
        return _reported(now, stored, pooled)
    rules = CircuitPolicy(
        minimum_calls=int(policy[1]),
        failure_rate=float(policy[2]),
        slow_rate=float(policy[3]),
        reporters=int(policy[4]),
    )
    if stored.standing.shown(now) == "closed" and trips(rules, pooled):
        stored.move(opened(stored.standing, now, int(policy[5])), now)
        _keep(memory, keys[0], stored)
        memory.delete(keys[1])
    return _reported(now, stored, pooled)


def acquire(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`circuit_acquire.lua`."""
    stored, now = _stored(memory, keys[0]), memory.now
    era, n, token, budget, lease = int(args[0]), int(args[1]), args[2], int(args[3]), int(args[4])
    longest = max(stored.lease, lease)
    places = _places(memory, keys[1], longest)
    if token not in places:
        if args[7] == b"1":
            return _asked(b"changed", 0, now, stored)
        if stored.mind_clock(now):
            _keep(memory, keys[0], stored)
        standing = stored.standing
        if standing.generation != (era, n) or standing.phase is not Phase.OPEN:
            return _asked(b"changed", 0, now, stored)
        if now < standing.until:
            return _asked(b"early", standing.until - now, now, stored)
        if len(places) >= budget:
            return _asked(b"busy", min(places.values()) * 1000 - now, now, stored)
    places[token] = now // 1000 + lease
    memory.put(keys[1], places)
    memory.expire_at(keys[1], max(memory.expiry(keys[1]) or 0, now + lease * 1000))
    stored.lease = longest
    return _asked(b"permit", 0, now, stored)


def settle(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`circuit_settle.lua`."""
    stored, now = _stored(memory, keys[0]), memory.now
    era, n, token, outcome, needed, span = (
        int(args[0]), int(args[1]), args[2], args[3], int(args[4]), int(args[5]),
    )  # fmt: skip
    standing, places = stored.standing, _places(memory, keys[1])
    if standing.generation != (era, n) or standing.phase is not Phase.OPEN or token not in places:
        places.pop(token, None)
        return _asked(b"late", 0, now, stored)
    if outcome == b"released" or (outcome == b"ok" and stored.successes + 1 < needed):
        del places[token]
        stored.successes += outcome == b"ok"
        return _asked(b"settled", 0, now, stored)
    stored.move(closed(standing) if outcome == b"ok" else opened(standing, now, span), now)
    _keep(memory, keys[0], stored)
    del places[token]
    memory.delete(keys[2])
    return _asked(b"settled", 0, now, stored)


def force(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`circuit_force.lua`."""
    stored, now = _stored(memory, keys[0]), memory.now
    nonce, phase, reason, ttl, *_ = args
    if stored.nonce != nonce:
        span = int(ttl)
        until = now + span if span else 0
        forced = Standing(
            phase=Phase(phase.decode()), until=until, span=span, reason=reason.decode()
        )
        stored.move(forced, now)
        _keep(memory, keys[0], stored)
        stored.nonce = nonce
        memory.delete(keys[1])
    return _reported(now, stored, Evidence())


def evidence(memory: Memory, keys: _Keys, _args: _Keys) -> Any:
    """`circuit_evidence.lua`."""
    rows: dict[bytes, tuple[int, int, int, int]] = memory.get(keys[0]) or {}
    return [memory.now, *(part for own in sorted(rows) for part in (own, *rows[own]))]


def names(memory: Memory, keys: _Keys, args: _Keys) -> Any:
    """`circuit_names.lua`."""
    kept, most, *used = args
    ms = memory.now // 1000
    known: dict[bytes, int] = memory.get(keys[0]) or {}
    known |= dict.fromkeys(used, ms)
    known = {name: at for name, at in known.items() if at > ms - int(kept)}
    memory.put(keys[0], known)
    ranked = sorted(known, key=lambda name: (known[name], name), reverse=True)
    return ranked[: int(most)]


MODELS: Mapping[str, Model] = {
    "circuit_report": report,
    "circuit_acquire": acquire,
    "circuit_settle": settle,
    "circuit_force": force,
    "circuit_evidence": evidence,
    "circuit_names": names,
}


def _stored(memory: Memory, key: bytes) -> _Stored:
    found = memory.get(key)
    return found if isinstance(found, _Stored) else _Stored()


def _keep(memory: Memory, key: bytes, stored: _Stored) -> None:
    memory.put(key, stored)
    forced = stored.standing.phase in (Phase.FORCED_OPEN, Phase.FORCED_CLOSED)
    until = stored.standing.until
    endless = forced and until == 0
    memory.expire_at(key, None if endless else max(memory.now, until) + _KEEP_US)


def _note(memory: Memory, key: bytes, own: bytes, seen: tuple[int, int, int], window: int) -> None:
    rows: dict[bytes, tuple[int, int, int, int]] = memory.get(key) or {}
    rows.pop(own, None)
    if seen[0]:
        rows[own] = (memory.now, *seen)
        memory.put(key, rows)
        memory.expire_at(key, memory.now + window)


def _pool(memory: Memory, key: bytes, window: int) -> Evidence:
    rows: dict[bytes, tuple[int, int, int, int]] = memory.get(key) or {}
    now = memory.now
    for boot, (at, *_) in list(rows.items()):
        if at + window <= now or at > now + CLOCK_TOLERANCE:
            del rows[boot]
    return Evidence(
        calls=sum(row[1] for row in rows.values()),
        failures=sum(row[2] for row in rows.values()),
        slow=sum(row[3] for row in rows.values()),
        reporting=len(rows),
        failing=sum(row[2] > 0 for row in rows.values()),
        slowing=sum(row[3] > 0 for row in rows.values()),
    )


def _places(memory: Memory, key: bytes, longest: int | None = None) -> dict[bytes, int]:
    """The places that are taken; none for longer than the longest lease (milliseconds)."""
    places: dict[bytes, int] = memory.get(key) or {}
    for token in [token for token, ends in places.items() if ends * 1000 <= memory.now]:
        del places[token]
    if longest is not None:
        last = memory.now // 1000 + longest
        for token, ends in places.items():
            if ends > last + CLOCK_TOLERANCE // 1000:
                places[token] = last
    return places


def _fields(stored: _Stored) -> list[Any]:
    standing = stored.standing
    return [
        standing.era,
        standing.n,
        standing.phase.value.encode(),
        standing.until,
        standing.span,
        standing.opens,
        standing.reason.encode(),
    ]


def _reported(now: int, stored: _Stored, pooled: Evidence) -> list[Any]:
    return [now, pooled.calls, pooled.failures, pooled.slow, *_fields(stored)]


def _asked(word: bytes, wait: int, now: int, stored: _Stored) -> list[Any]:
    return [word, wait, now, *_fields(stored)]
