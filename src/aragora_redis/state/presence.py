"""One row for each live instance: who shares the limits, and who has reconciled which eras.

A beat is a write, so a primary that was cut off from its replicas refuses it: an accepted beat is
also the proof that what was read after it is fresh.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..clock import Clock
from ..errors import AragoraRedisError, UnexpectedReplyError
from ..link.replies import classify
from ..operation import Kind, Lane, Operation, Runs, returnable
from ..rate_limit.share import FleetSize
from ..scripts.catalog import load

BEAT_EVERY = 2.0
EXPIRY = 6.0
"""Seconds after which an instance that does not beat is gone: three beats."""
BEAT_LIMIT = 0.5
"""Seconds that a beat may take."""
TURN = 0.05
"""Seconds by which a beat may come early and still be in turn."""


class PresenceKeys(NamedTuple):
    """Where it is: see `scripts/beat.lua`."""

    beats: bytes
    rows: bytes
    version: bytes
    tally: bytes
    changes: bytes


def row_id(boot_id: str, part: str) -> str:
    """Under what an instance beats where it has another row, for what else it uses that Redis.

    Two ways may lead to one server by other names or users. In one row they would take turns, and
    whoever starts would hear from it that eras are reconciled which are not.
    """
    return f"{boot_id}.{part}" if part else boot_id


def boot_ids(rows: Iterable[str]) -> frozenset[str]:
    """Whose rows these are: each instance once."""
    return frozenset(row.split(".", 1)[0] for row in rows)


def presence_keys(prefix: str) -> PresenceKeys:
    """The keys, in one hash slot."""
    base = f"{prefix}:p:{{presence}}:".encode()
    return PresenceKeys(*(base + field.encode() for field in PresenceKeys._fields))


class Pulse(NamedTuple):
    """The answer to a beat."""

    server_now: int
    instances: int
    agreed: int
    version: bytes
    changes: tuple[str, ...]
    """Boot ids after `+` or `-`: who came and went since the version that was known, in order."""
    alike: int
    """Instances that go by the same policies."""
    whole: bool
    """Whether the changes name everybody who is there."""
    full: AragoraRedisError | None = None
    """What becomes of operations that can wait, where memory is full."""

    def after(self, ids: Iterable[str]) -> frozenset[str]:
        """Who is there, if these were at the version that was known."""
        there = set() if self.whole else set(ids)
        for change in self.changes:
            (there.add if change.startswith("+") else there.discard)(change[1:])
        return frozenset(there)


class Presence:
    """Beats, and keeps what the beats showed.

    Args:
        row_id: under what this instance beats: its boot id, or see `row_id`.
        policies: hash of the policies in force here.
        row: the words of this instance's row after that and the eras, for the next beat.
        eras: the eras that this instance has reconciled, as one word.
        on_beat: told of each beat, with what kept it from being accepted, or keeps others.
    """

    def __init__(
        self,
        executor: Runs,
        clock: Clock,
        *,
        prefix: str,
        row_id: str,
        policies: Callable[[], str],
        row: Callable[[], str],
        eras: Callable[[], str],
        fleet: FleetSize,
        on_beat: Callable[[AragoraRedisError | None], None],
    ) -> None:
        self._executor = executor
        self._clock = clock
        self._on_beat = on_beat
        self._keys = presence_keys(prefix)
        self._row_id = row_id
        self._policies = policies
        self._row = row
        self._eras = eras
        self._fleet = fleet
        self._version = b""
        self._ids: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self.accepted_at: float | None = None
        """Monotonic seconds at which the last accepted beat was sent."""
        self._agreed: tuple[tuple[str, bytes], float] | None = None
        """The eras that all had reconciled and the version of the list, and since which beat."""
        self._counted_at = float("-inf")
        self.instances = 0
        self.differing = 0
        """Instances that went by other policies than this one, at the last beat in turn."""

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._wake.clear()
            await self.beat()
            try:
                async with asyncio.timeout(BEAT_EVERY):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def poke(self) -> None:
        """Beat now."""
        self._wake.set()

    async def beat(self) -> None:
        """Say once that this instance lives."""
        sent_at = self._clock.monotonic()
        eras = self._eras()
        try:
            pulse = await self._executor.run(self._operation(eras), within=BEAT_LIMIT)
        except AragoraRedisError as error:
            self._agreed = None
            self._on_beat(error)
            return
        if pulse.version != self._version:
            self._version, self._ids = pulse.version, pulse.after(self._ids)
        # Beats out of turn must not count as quiet ones, or N would shrink within a moment.
        in_turn = sent_at - self._counted_at >= BEAT_EVERY - TURN
        self._fleet.observe(boot_ids(self._ids), healthy=in_turn)
        if in_turn:
            self._counted_at = sent_at
            # Who has several rows here is as many that differ.
            rows = max(len(self._ids), 1)
            self.differing = -(-max(rows - pulse.alike, 0) * len(boot_ids(self._ids)) // rows)
        self.accepted_at = sent_at
        self.instances = len(boot_ids(self._ids))
        self._agrees((eras, pulse.version) if pulse.instances == pulse.agreed else None)
        self._on_beat(pulse.full)

    async def leave(self) -> None:
        """Say that this instance ends, if it can be said; else it is missed when its beat expires.

        A fleet whose instances are replaced often would count those of the last seconds too, and
        who starts would wait for them.
        """
        if self.accepted_at is None:
            return
        with contextlib.suppress(AragoraRedisError):
            await self._executor.run(self._operation(self._eras(), ends=True), within=BEAT_LIMIT)

    def _agrees(self, on: tuple[str, bytes] | None) -> None:
        if on is None or self._agreed is None or self._agreed[0] != on:
            self._agreed = None if on is None else (on, self._clock.monotonic())

    @property
    def agreed_since(self) -> float | None:
        """Since when every instance is known to have reconciled what this one has by now.

        Monotonic seconds at which the first of the beats was answered that found the same instances
        agreed; None where they were not at the last one.
        """
        if self._agreed is None or self._agreed[0][0] != self._eras():
            return None
        return self._agreed[1]

    def _operation(self, eras: str, *, ends: bool = False) -> Operation[Pulse]:
        policies = self._policies()
        row = "" if ends else f"{eras} {policies} {self._row()}"
        return Operation(
            kind=Kind.CAS,
            keys=self._keys,
            args=(self._row_id, row, eras, int(EXPIRY * 1000), self._version, policies),
            read=_read_pulse,
            script=load("beat"),
            lane=Lane.BULK,
        )


def _read_pulse(reply: Any) -> Pulse:
    try:
        now, instances, agreed, version, told, alike, whole, full = reply
        changes = tuple(change.decode() for change in told)
        return Pulse(
            int(now),
            int(instances),
            int(agreed),
            returnable(version),
            changes,
            int(alike),
            whole == 1,
            classify(full.decode()) if full else None,
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReplyError("the presence of instances cannot be read") from error
