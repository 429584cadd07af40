"""Trial calls of a half-open circuit (invariant I7): places of the fleet's, kept and given back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from ...circuit import operations
from ...circuit.machine import Standing
from ...circuit.operations import Asked, lease_of
from ...circuit.outcome import Outcome
from ...circuit.permit import Permit
from ...circuit.policy import CircuitPolicy
from ...errors import AragoraRedisError
from .knowledge import Knowledge, Surroundings, is_gone
from .lone_trials import LoneTrials

PLACES_RENEWED = 1024
"""Trial calls of one circuit that are followed here."""


class NoPlaceError(Exception):
    """There is no place for a trial call now; `wait` is in seconds."""

    def __init__(self, wait: float, *, state: str = "half-open") -> None:
        super().__init__(state)
        self.wait = wait
        self.state = state


class Trials:
    """Takes, keeps and gives back the places of one circuit's trial calls."""

    def __init__(
        self,
        name: str,
        policy: Callable[[], CircuitPolicy],
        around: Surroundings,
        known: Knowledge,
    ) -> None:
        self._name = name
        self._policy = policy
        self._around = around
        self._known = known
        self._places: dict[Permit, float] = {}
        self._given_up: dict[Permit, None] = {}
        self._lone = LoneTrials(
            name,
            policy,
            clock=around.clock,
            server_now=lambda: int(around.server_now() * 1_000_000),
            fleet=around.fleet,
            own=around.own,
        )

    def __len__(self) -> int:
        return len(self._places)

    @property
    def owing(self) -> bool:
        """Whether places are to be given back."""
        return bool(self._given_up)

    async def acquire(self) -> Permit | None:
        """Leave to make a trial call; None where the circuit has changed meanwhile: look again.

        Raises:
            NoPlaceError: there is none now.
        """
        current = self._known.current
        if self._known.alone:
            return self._try_alone(current)
        permit = Permit("p", *current.generation, token=secrets.token_hex(8))
        try:
            asked = await self._ask(permit)
        except BaseException as error:
            if isinstance(error, AragoraRedisError) and is_gone(error):
                return self._try_alone(current)
            # The place may be taken, for a call that will not be made.
            self.give_up(permit)
            if isinstance(error, AragoraRedisError):
                raise NoPlaceError(self._policy().open_for) from error
            raise
        self._known.adopt(asked.standing, asked.server_now)
        match asked.word:
            case "permit":
                return permit
            case "changed":
                return None
        raise NoPlaceError(asked.wait, state="half-open" if asked.word == "busy" else "open")

    def follow(self, permit: Permit) -> None:
        """Keep a place for as long as the call takes."""
        if permit.kind == "p" and len(self._places) < PLACES_RENEWED:
            self._places[permit] = self._around.clock.monotonic()

    async def keep(self, permit: Permit) -> bool:
        """Keep a place for one more lease; False where it is lost.

        Raises:
            AragoraRedisError: Redis cannot be asked.
        """
        if permit.kind == "l":
            return self._lone.keep(permit.token)
        if permit in self._given_up:
            return False
        # The call may have ended elsewhere: a place taken anew would be held for nobody.
        return (await self._ask(permit, anew=False)).word == "permit"

    def give_up(self, permit: Permit) -> None:
        """Give a place back in the background, from whatever task or destructor."""
        self._places.pop(permit, None)
        if permit.kind == "l":
            self._lone.finish(permit.token)
        elif permit.trial and len(self._given_up) < PLACES_RENEWED:
            self._given_up[permit] = None
            self._around.wake()

    async def settle(self, permit: Permit, outcome: Outcome) -> bool:
        """Tell the result of a trial call; "released" only gives its place back.

        Returns:
            Whether it could be told.
        """
        self._places.pop(permit, None)
        if permit.kind == "l":
            if self._lone.finish(permit.token):
                self._settle_alone(permit, outcome)
            return True
        settle = operations.settle(
            self._around.keys,
            self._name,
            self._policy(),
            permit,
            outcome,
            open_for=self._known.open_for(self._known.current.opens + 1),
        )
        try:
            asked = await self._around.executor.run(settle, within=self._around.deadline)
        except AragoraRedisError as error:
            # The place comes free by itself. A failure holds here; a success only where there is no
            # Redis that could have counted it: one of several may not close the circuit.
            if outcome == "failed" or is_gone(error):
                self._settle_alone(permit, outcome)
            return False
        except BaseException:
            self.give_up(permit)  # the task was cancelled as it told the result
            raise
        self._known.adopt(asked.standing, asked.server_now)
        return True

    async def tend(self, now: float) -> None:
        """Keep places in use, and give others back."""
        third = lease_of(self._policy()) / 3
        due = [permit for permit, at in self._places.items() if now - at > third]
        await asyncio.gather(*(self._renew(permit) for permit in due))
        # All circuits wait for each other here, and leases wait for nobody.
        until = self._around.clock.monotonic() + self._around.deadline
        while self._given_up and self._around.clock.monotonic() < until:
            permit = next(iter(self._given_up))
            del self._given_up[permit]
            if not await self.settle(permit, "released"):
                self._given_up.clear()  # the places come free by themselves

    async def _renew(self, permit: Permit) -> None:
        try:
            asked = await self._ask(permit)
        except AragoraRedisError:
            return
        if permit not in self._places:  # the call ended while this was under way
            self.give_up(permit)
        elif asked.word == "permit":
            self._places[permit] = self._around.clock.monotonic()
        else:
            self._places.pop(permit, None)

    async def _ask(self, permit: Permit, *, anew: bool = True) -> Asked:
        """Ask Redis for a place, or to keep it."""
        acquire = operations.acquire(
            self._around.keys, self._name, self._policy(), permit, anew=anew
        )
        return await self._around.executor.run(acquire, within=self._around.deadline)

    def _try_alone(self, current: Standing) -> Permit:
        token = self._lone.take()
        if token is None:
            raise NoPlaceError(self._lone.wait)
        return Permit("l", *current.generation, self._known.turn, token)

    def _settle_alone(self, permit: Permit, outcome: Outcome) -> None:
        if not self._known.holds(permit) or self._known.state != "half-open":
            return
        if outcome == "failed":
            self._known.open_alone()
        elif outcome == "ok":
            self._known.close_alone()
