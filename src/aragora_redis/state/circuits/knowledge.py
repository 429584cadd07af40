"""What this instance knows of one circuit: its state, and the calls that were seen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from ...circuit import operations
from ...circuit.machine import Phase, Shown, Standing, closed, open_time, opened, trips
from ...circuit.operations import CircuitKeys
from ...circuit.permit import Permit
from ...circuit.policy import CircuitPolicy
from ...circuit.window import Window
from ...clock import Clock, ServerTime
from ...errors import AragoraRedisError, LinkDownError, LinkSilentError, RefusedError
from ...events import CircuitChanged, Events
from ...operation import Runs
from ...rate_limit.share import FleetSize
from ..life import Life


def is_gone(error: AragoraRedisError) -> bool:
    """Whether there is no Redis to decide: an answer that is late is no sign of that."""
    gone = isinstance(error, LinkDownError | RefusedError)
    return gone and not isinstance(error, LinkSilentError)


class Surroundings(Struct, frozen=True):
    """What all circuits of an instance share; see `Circuits`.

    Attributes:
        life: from when to when calls are let through.
        source: who it is that decides where there is an answer.
        wake: lets evidence be pooled now.
        jitter: a factor from 1 on, by which an open time is stretched.
    """

    life: Life
    executor: Runs
    keys: CircuitKeys
    source: Literal["redis", "local"]
    clock: Clock
    events: Events
    server_now: Callable[[], float]
    fleet: FleetSize
    own: str
    deadline: float
    wake: Callable[[], None]
    jitter: Callable[[], float]


class Knowledge:
    """The state of a circuit as Redis told it last, or as this instance has decided without it."""

    def __init__(
        self, name: str, policy: Callable[[], CircuitPolicy], around: Surroundings
    ) -> None:
        self._name = name
        self._policy = policy
        self._around = around
        self._local: Standing | None = None
        self._told_at: ServerTime | None = None
        self._turns = itertools.count(1)
        self._answered = False
        self.window = Window(policy().window)
        self.standing = Standing()
        """What Redis told last."""
        self.pooled = self.window.seen(0.0)
        self.turn = 0
        """Which decision of this instance holds; 0 where Redis decides."""
        self.asked = False
        """Whether Redis was asked once, answered or not."""
        self.leave: Permit | None = None
        """Leave to make a call, where all are let through whatever the time is; else None."""

    @property
    def current(self) -> Standing:
        """The state by which calls are let through."""
        return self.standing if self._local is None else self._local

    @property
    def state(self) -> Shown:
        """Its name, now."""
        return self.current.shown(self.now())

    @property
    def alone(self) -> bool:
        """Whether this instance goes by its own decision."""
        return self._local is not None

    @property
    def source(self) -> Literal["redis", "local"]:
        """Who decides now."""
        return self._around.source if self._answered and self._local is None else "local"

    @property
    def wait(self) -> float:
        """Seconds until it may be tried again; 0 where it lets calls through."""
        return self.current.wait(self.now(), self._policy().open_for)

    def now(self) -> int:
        """The clock by which the present state was told, in Unix microseconds, carried on by ours.

        So what is left of it is the same whatever becomes of the servers' clocks.
        """
        if self._told_at is None:
            return int(self._around.server_now() * 1_000_000)
        return self._told_at.at(self._around.clock.monotonic())

    def permit(self) -> Permit:
        """Leave to make a call through the circuit as it stands."""
        return Permit("c", *self.current.generation, self.turn)

    def holds(self, permit: Permit) -> bool:
        """Whether the state in which a permit was given still is the one."""
        return (*permit.generation, permit.turn) == (*self.current.generation, self.turn)

    def adopt(self, standing: Standing, server_now: int) -> None:
        """Take over a state that Redis has told, if it is later than what is known.

        Args:
            standing: the state.
            server_now: the clock of the server that told it, then.
        """
        later = standing.later_than(self.standing)
        if later or (standing == self.standing and not self.alone):
            now = standing.told_at(server_now)
            self._told_at = ServerTime(self._around.clock.monotonic(), now)
        if later:
            self._go_by(standing, None, 0)
            self.window.clear()
            self._turned(self._around.source)

    def ask_anew(self) -> None:
        """Let nobody through until Redis was asked again: changes are not heard meanwhile."""
        self.asked = False
        self._weigh()

    async def report(self) -> None:
        """Tell Redis what is seen and known here; where that fails, decide alone."""
        report = operations.report(
            self._around.keys,
            self._name,
            self._policy(),
            known=self.standing,
            own=self._around.own,
            seen=self.window.seen(self._around.clock.monotonic()),
            open_for=self.open_for(1),
        )
        try:
            told = await self._around.executor.run(report, within=self._around.deadline)
        except AragoraRedisError as error:
            self._was_asked()
            if is_gone(error):
                self._decide_alone()
            return
        self._was_asked()
        self._answered = True
        self.pooled = told.pooled
        if told.standing == self.standing or told.standing.later_than(self.standing):
            self._return_to(told.standing, told.server_now)

    def open_alone(self) -> None:
        """Open it here, while Redis cannot be asked."""
        current = self.current
        opens = current.opens + 1 if current.phase is Phase.OPEN else 1
        self._decide(opened(current, self.now(), int(self.open_for(opens) * 1_000_000)))

    def close_alone(self) -> None:
        """Close it here, while Redis cannot be asked."""
        self.window.clear()
        self._decide(closed(self.current))

    def open_for(self, opens: int) -> float:
        """Seconds for which it is open the `opens`-th time in a row."""
        return open_time(self._policy(), opens) * self._around.jitter()

    def _return_to(self, standing: Standing, server_now: int) -> None:
        """Go by what Redis says again; what was seen meanwhile is in the window, to be pooled."""
        alone = self._local is not None
        self._go_by(self.standing, None, 0)
        if alone and standing == self.standing:
            self._turned(self._around.source)
        self.adopt(standing, server_now)

    def _decide_alone(self) -> None:
        """While Redis cannot be asked, an instance goes by what it has seen itself."""
        seen = self.window.seen(self._around.clock.monotonic())
        if self.state == "closed" and trips(self._policy(), seen):
            self.open_alone()

    def _decide(self, standing: Standing) -> None:
        """Go by an own decision until Redis can be asked again."""
        self._go_by(self.standing, standing, next(self._turns))
        self._turned("local")

    def _go_by(self, told: Standing, local: Standing | None, turn: int) -> None:
        self.standing, self._local, self.turn = told, local, turn
        self._weigh()

    def _was_asked(self) -> None:
        self.asked = True
        self._weigh()

    def _weigh(self) -> None:
        """Whoever lets calls through, a thread perhaps, reads the outcome and decides nothing."""
        through = self.asked and self.current.phase in {Phase.CLOSED, Phase.FORCED_CLOSED}
        self.leave = self.permit() if through else None

    def _turned(self, source: Literal["redis", "local"]) -> None:
        current = self.current
        self._around.events.emit(
            CircuitChanged(self._name, current.phase.value, current.opens, source)
        )
