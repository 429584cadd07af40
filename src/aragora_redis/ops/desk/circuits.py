"""Circuits as the primary holds them, and what each instance has seen of their calls."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

from ...audit.act import Act
from ...circuit import note, operations
from ...circuit.machine import Phase, Shown, Standing, begun_again
from ...circuit.operations import CircuitKeys, Reporter
from ...errors import AragoraRedisError
from ...names import validate_name
from .desk import Desk

FORCES = {"open": Phase.FORCED_OPEN, "closed": Phase.FORCED_CLOSED, "auto": Phase.CLOSED}


@dataclass(frozen=True, slots=True)
class Circuit:
    """One circuit in Redis.

    Attributes:
        standing: what is stored; one that nobody has stored, or whose force is over, is closed.
        state: what that is by the server's time: open with the open time over is half-open.
        reporters: what each instance has told of its calls.
    """

    name: str
    standing: Standing
    state: Shown
    reporters: list[Reporter]

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        standing, said = self.standing, note.read(self.standing.reason)
        return {
            "name": self.name,
            "state": self.state,
            "until": standing.until / 1e6 if standing.until else None,
            "opens": standing.opens,
            "reason": said.reason or None,
            "forced_by": said.by or None,
            "forced_at": said.at or None,
            "instances": {
                told.instance: {
                    "age": told.age,
                    "calls": told.calls,
                    "failures": told.failures,
                    "slow": told.slow,
                }
                for told in self.reporters
            },
        }


async def listing(desk: Desk) -> list[Circuit]:
    """All that the fleet has used, or somebody has forced, in the last week, by name.

    Raises:
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    keys = CircuitKeys(desk.settings.prefix)
    used = await desk.ask(operations.names_used(keys))
    names = sorted(used)
    standings = await desk.ask_all([operations.stored(keys, name) for name in names])
    evidence = await desk.ask_all([operations.evidence(keys, name) for name in names])
    found = zip(names, standings, evidence, strict=True)
    return [_circuit(desk, *each) for each in found]


async def look(desk: Desk, name: str) -> Circuit:
    """One circuit; raises as `listing` does."""
    validate_name(name, "a circuit")
    keys = CircuitKeys(desk.settings.prefix)
    standing, evidence = await asyncio.gather(
        desk.ask(operations.stored(keys, name)), desk.ask(operations.evidence(keys, name))
    )
    return _circuit(desk, name, standing, evidence)


def _circuit(desk: Desk, name: str, stored: Standing, reporters: list[Reporter]) -> Circuit:
    now = int(desk.server_now() * 1e6)
    standing = _current(stored, now)
    return Circuit(name, standing, standing.shown(now), reporters)


def _current(standing: Standing, now: int) -> Standing:
    """What was forced for a time, which is over, is closed; none lasts longer than was meant."""
    if standing.outlasts(now):
        return begun_again(standing, now)
    if standing.phase is Phase.CLOSED or standing.shown(now) != "closed":
        return standing
    return replace(standing, phase=Phase.CLOSED, until=0, reason="")


async def force(
    desk: Desk, name: str, to: str, *, actor: str, reason: str, ttl: float = 0.0
) -> Circuit:
    """Hold it `open` or `closed`, or let its calls decide again (`auto`). Raises as `look` does.

    It holds for `ttl` seconds; 0 until it is told otherwise.
    """
    validate_name(name, "a circuit")
    keys = CircuitKeys(desk.settings.prefix)
    said = note.write(note.Note(actor, desk.server_now(), reason))
    force = operations.force(
        keys, name, FORCES[to], reason=said, nonce=secrets.token_hex(8), ttl=ttl
    )

    async def work() -> Standing:
        forced = await desk.ask(force)
        # What nobody uses is listed too, or a slip of the pen would hold for ever unseen.
        with contextlib.suppress(AragoraRedisError):
            await desk.ask(operations.names(keys, [name]))
        return forced.standing

    act = Act(actor=actor, action=f"circuits force {to}", target=name, reason=reason)
    standing = await desk.act(act, work, lambda standing: standing.phase.value)
    return Circuit(name, standing, standing.shown(int(desk.server_now() * 1e6)), [])
