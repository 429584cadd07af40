"""Circuit breakers shared by the fleet: calls are decided here, evidence is pooled behind them.

A call through a closed circuit costs no round trip, but for the first, which asks for the state: it
is let through by what is known here, and counted here; a task in the background pools what was
counted. Only a trial call of a circuit whose open time is over asks Redis for one of its places
(invariant I7).

An open circuit stays open while one instance knows of it: of two states the later holds, and who
knows a later one than Redis has, tells it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from ...audit.act import Act
from ...circuit import note, operations
from ...circuit.machine import Evidence, Phase, Standing, open_time
from ...circuit.operations import CircuitKeys, Reported, Reporter
from ...clock import Clock
from ...errors import AragoraRedisError, InvalidInputError, UnexpectedReplyError
from ...events import Events
from ...names import validate_name
from ...operation import Operation, Runs
from ...policies import Policies
from ...rate_limit.share import FleetSize
from ...times import Duration, in_seconds_if_given
from ..audit.audit import UNRECORDED, Recorder
from ..life import Life
from .circuit import Circuit
from .knowledge import Surroundings
from .status import CircuitStatus, status_of

T = TypeVar("T")

CIRCUITS = 1024
"""Circuits that one process follows."""
NAMES_EVERY = 3600.0
"""Seconds after which the names in use are told again."""
AT_ONCE = 64
"""Reports under way at once."""
PAUSE = 0.05
"""Seconds between rounds at least: evidence that comes in bursts is told together."""
IDLE = 1.0

LONGEST_FORCE = 366 * 86_400.0

Forced = Literal["open", "closed", "auto"]


class Circuits:
    """The circuits of the service, by name.

    Args:
        executor: the way to Redis, or this process alone.
        life: from when to when calls are let through.
        policies: what each circuit is to be like.
        server_now: the server's clock in Unix seconds.
        fleet: who shares the trial calls while Redis cannot be asked.
        own: boot id of this instance.
        deadline: seconds that a round trip may take.
        source: who it is that decides there.
        audit: records what names who does it.
        held: circuits that users may hold from before; each begins anew with its next call.
    """

    def __init__(
        self,
        executor: Runs,
        *,
        life: Life,
        policies: Policies,
        clock: Clock,
        events: Events,
        server_now: Callable[[], float],
        fleet: FleetSize,
        own: str,
        prefix: str,
        deadline: float,
        source: Literal["redis", "local"],
        audit: Recorder = UNRECORDED,
        held: Iterable[Circuit] = (),
    ) -> None:
        self._policies = policies
        self._audit = audit
        self._clock = clock
        self._wake = asyncio.Event()
        self._keys = CircuitKeys(prefix)
        self._around = Surroundings(
            life=life,
            executor=executor,
            source=source,
            keys=self._keys,
            clock=clock,
            events=events,
            server_now=server_now,
            fleet=fleet,
            own=own,
            deadline=deadline,
            wake=self._wake.set,
            jitter=lambda: random.uniform(1.0, 1.2),
        )
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()
        # Those that made room for others, as long as somebody holds them.
        self._resting: WeakValueDictionary[str, Circuit] = WeakValueDictionary()
        self._named_at: dict[str, float] = {}
        for circuit in held:
            circuit.begin(policies.circuit(circuit.name), self._around)
            circuit.rest()
            self._resting[circuit.name] = circuit

    @property
    def channel(self) -> bytes:
        """Where changes are told to all instances."""
        return self._keys.channel

    def __getitem__(self, name: str) -> Circuit:
        """The circuit of a name; it begins closed.

        Raises:
            InvalidInputError: the name cannot be one, or too many circuits are in use.
        """
        circuit = self._held(name) if isinstance(name, str) else None
        if circuit is None:
            validate_name(name, "a circuit")
            if not self._make_room():
                raise InvalidInputError(
                    f"{CIRCUITS} circuits are in use",
                    remedy="name a circuit after a dependency, and not after a request",
                )
            circuit = Circuit(name, self._policies.circuit(name), self._around)
            self._follow(circuit)
        elif name in self._circuits:
            self._circuits.move_to_end(name)
        return circuit

    @property
    def held(self) -> list[Circuit]:
        """All that somebody here may hold."""
        return [*self._circuits.values(), *self._resting.values()]

    @property
    def in_flight(self) -> dict[str, int]:
        """Calls under way here, by circuit."""
        return {name: circuit.bulkhead.in_flight for name, circuit in list(self._circuits.items())}

    def use(self, policies: Policies) -> None:
        """Put other policies in force."""
        self._policies = policies
        for circuit in self.held:
            circuit.use(policies.circuit(circuit.name))

    async def all(self) -> list[CircuitStatus]:
        """All circuits in use in the fleet, by name; only those of this instance without Redis."""
        self._around.life.require()
        known = set(self._circuits)
        try:
            elsewhere = await self._run(operations.names(self._keys, ()))
            known.update(elsewhere)
        except AragoraRedisError:
            mine = sorted(self._circuits.items())  # others may have come and gone meanwhile
            return [circuit.snapshot() for _, circuit in mine]
        shown = {name: each.snapshot() for name, each in self._circuits.items() if name in known}
        others = sorted(known - shown.keys())
        for start in range(0, len(others), AT_ONCE):
            page = others[start : start + AT_ONCE]
            shown |= zip(page, await asyncio.gather(*map(self._looked_at, page)), strict=True)
        return [shown[name] for name in sorted(shown)]

    async def look(self, name: str) -> CircuitStatus:
        """One circuit, as Redis tells it; who only looks takes no place among those followed.

        Raises:
            InvalidInputError: the name cannot be one.
        """
        self._around.life.require()
        validate_name(name, "a circuit")
        return await self._looked_at(name)

    async def reporters(self, name: str) -> list[Reporter]:
        """What each instance has told of a circuit's calls.

        Raises:
            InvalidInputError: the name cannot be one.
            OutageError, OutcomeUnknownError: Redis cannot be asked.
        """
        self._around.life.require()
        validate_name(name, "a circuit")
        return await self._run(operations.evidence(self._keys, name))

    async def force(
        self,
        name: str,
        state: Forced,
        *,
        reason: str = "",
        actor: str = "",
        ttl: Duration | None = None,
    ) -> CircuitStatus:
        """Hold a circuit open or closed, or let its calls decide again.

        Args:
            name: which.
            state: `open`, `closed`, or `auto` for as its calls decide.
            reason: why, for people.
            actor: who does it, as they name themselves; the act is recorded then (`state.audit`).
            ttl: seconds for which it holds; None until it is told otherwise.

        Raises:
            InvalidInputError: the arguments.
            OutageError: it did not run.
            OutcomeUnknownError: it may have run.
        """
        self._around.life.require()
        phases: dict[str, Phase] = {
            "open": Phase.FORCED_OPEN,
            "closed": Phase.FORCED_CLOSED,
            "auto": Phase.CLOSED,
        }
        if not isinstance(state, str) or state not in phases:
            raise InvalidInputError("a circuit is forced open, closed or auto")
        ttl = in_seconds_if_given(ttl, "ttl")
        if ttl is not None and not 0.001 <= ttl <= LONGEST_FORCE:
            raise InvalidInputError("a circuit is forced for 1 millisecond to 366 days")
        said = note.write(note.Note(actor, self._around.server_now(), reason))
        validate_name(name, "a circuit")
        circuit = None
        with contextlib.suppress(InvalidInputError):  # too many; but who acts by hand always can
            circuit = self[name]
            await circuit.report_evidence()  # what is forced must be later than what is known here
        force = operations.force(
            self._keys,
            name,
            phases[state],
            reason=said,
            nonce=secrets.token_hex(8),
            ttl=ttl or 0.0,
        )
        act = Act(actor=actor, action=f"circuits force {state}", target=name, reason=reason)
        forced = await self._audit.act(
            act, lambda: self._run(force), lambda forced: forced.standing.phase.value
        )
        if circuit is None:
            return self._as_told(name, forced)
        circuit.adopt(forced.standing, forced.server_now)
        return circuit.snapshot()

    def on_push(self, push: list[Any]) -> None:
        """Take in a published message; those of other channels are not ours."""
        if len(push) != 3 or push[:2] != [b"message", self._keys.channel]:
            return
        try:
            name, server_now, standing = operations.read_change(push[2])
        except UnexpectedReplyError:
            self._wake.set()
            return
        if (circuit := self._held(name)) is not None:
            circuit.adopt(standing, server_now)

    async def run(self) -> None:
        """Pool evidence, renew places and learn of changes, until cancelled."""
        while True:
            self._wake.clear()
            self._follow_those_in_use()
            now = self._clock.monotonic()
            due = [each for each in self._circuits.values() if each.due_at <= now]
            for start in range(0, len(due), AT_ONCE):
                page = due[start : start + AT_ONCE]
                await asyncio.gather(*(circuit.tend() for circuit in page))
            await self._tell_names(now)
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(PAUSE)
        now = self._clock.monotonic()
        until = min((each.due_at for each in self._circuits.values()), default=now + IDLE)
        try:
            async with asyncio.timeout(min(max(until - now, 0.0), IDLE)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _tell_names(self, now: float) -> None:
        untold = [
            name
            for name in self._circuits
            if now - self._named_at.get(name, float("-inf")) >= NAMES_EVERY
        ]
        if not untold:
            return
        try:
            await self._run(operations.names(self._keys, untold))
        except AragoraRedisError:
            return
        self._named_at |= dict.fromkeys(untold, now)

    def on_link_up(self) -> None:
        """Ask for every circuit anew: a change may have been missed meanwhile."""
        self._follow_those_in_use()
        for circuit in self._resting.values():
            circuit.rest()
        now = self._clock.monotonic()
        for circuit in self._circuits.values():
            circuit.due_at = now
        self._wake.set()

    async def _looked_at(self, name: str) -> CircuitStatus:
        """A circuit as Redis tells it; as it is known here where there is no answer.

        One that nobody here holds is not made for it: who only looks takes no place among those
        that are followed, and has seen nothing change.
        """
        if (circuit := self._held(name)) is not None:
            await circuit.report_evidence()
            return circuit.snapshot()
        policy, around = self._policies.circuit(name), self._around
        report = operations.report(
            self._keys,
            name,
            policy,
            known=Standing(),
            own=around.own,
            seen=Evidence(),
            open_for=open_time(policy, 1) * around.jitter(),
        )
        try:
            return self._as_told(name, await self._run(report))
        except AragoraRedisError:
            return status_of(name, policy, Standing(), 0, Evidence(), source="local")

    def _as_told(self, name: str, told: Reported) -> CircuitStatus:
        standing, policy = told.standing, self._policies.circuit(name)
        now = standing.told_at(told.server_now)
        return status_of(name, policy, standing, now, told.pooled, source=self._around.source)

    def _held(self, name: str) -> Circuit | None:
        """The circuit of a name that somebody here may hold: it must not be made twice."""
        return self._circuits.get(name) or self._resting.get(name)

    def _make_room(self) -> bool:
        """Follow one less where there are too many; False where all are in use."""
        if len(self._circuits) < CIRCUITS:
            return True
        for name, circuit in self._circuits.items():
            if circuit.idle:
                del self._circuits[name]
                self._named_at.pop(name, None)
                circuit.rest()
                self._resting[name] = circuit
                return True
        return False

    def _follow(self, circuit: Circuit) -> None:
        circuit.due_at = self._clock.monotonic()
        self._circuits[circuit.name] = circuit
        self._wake.set()

    def _follow_those_in_use(self) -> None:
        """Follow again what made room and is used since, also where that is one too many."""
        for circuit in [each for each in self._resting.values() if not each.resting]:
            del self._resting[circuit.name]
            self._make_room()
            self._follow(circuit)

    async def _run(self, operation: Operation[T]) -> T:
        return await self._around.executor.run(operation, within=self._around.deadline)
